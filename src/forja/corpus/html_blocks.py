"""A page taken apart in one linear pass: its elements as a tree of bounded depth, its text as blocks that know their
element. What of it is the main content is decided in `html.py`.

Tags are found by one expression that never goes back, and nested by the part of HTML's rules that text depends on
(void elements, implied end tags, table cells that nothing within them ends). The standard's own tree construction
costs the square of a page's depth and can multiply its size, and its parsers recurse; this does neither.
"""

from __future__ import annotations

import re
from html import unescape
from typing import NamedTuple

TOKEN = re.compile(
    r"""<(?:
        (?i:script|style)(?=[\s/>])[^>]*+(?:>[^<]*+(?:<(?!/(?i:script|style))[^<]*+)*+)?
        | (/?)([a-zA-Z][^\s/>]*+)((?:[^=>]++|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+)>?+
        | !--(?:-?>|.*?-->|.*+)
        | [!?/][^>]*+>?+
    )([^<]*+(?:<(?![a-zA-Z/!?])[^<]*+)*+)""",
    re.DOTALL | re.VERBOSE,
)
"""A tag, comment or declaration, and the text up to the next: (slash, name, attributes, text)."""
HIDDEN = re.compile(
    r"""aria-hidden\s*=\s*["']?true|\bstyle\s*=[^>]*?(?:display\s*:\s*none|visibility\s*:\s*hidden)""", re.IGNORECASE
)
HIDDEN_ATTRIBUTE = re.compile(r"(?:^|\s)hidden(?:[\s=/]|$)", re.IGNORECASE)
QUOTED = re.compile(r""""[^"]*"|'[^']*'""")
HREF = re.compile(r"\bhref\s*=", re.IGNORECASE)
SOFT_HYPHEN = "\xad"
MAX_DEPTH = 256
"""Open elements remembered; what is nested deeper counts as part of the deepest one."""

IGNORED, BREAK, RULE, ANCHOR, INLINE, BLOCK, UNSEEN = range(7)
_NAMES = {
    IGNORED: "b i em strong font u s small big sub sup abbr cite q code tt kbd samp var mark time label img input meta "
    "link source wbr use path head base area param picture",
    BREAK: "br",
    RULE: "hr",
    ANCHOR: "a",
    INLINE: "span",
    BLOCK: "html body main article section div p h1 h2 h3 h4 h5 h6 hgroup header footer nav aside address blockquote "
    "center pre listing xmp ul ol menu dir li dl dt dd table caption thead tbody tfoot tr td th figure figcaption "
    "details summary fieldset form",
    UNSEEN: "title script style noscript template svg math iframe object applet audio video canvas map noframes "
    "noembed select datalist textarea button dialog",
}
KINDS = {form: kind for kind, names in _NAMES.items() for name in names.split() for form in (name, name.upper())}
"""What an element's name means here; a name that is missing, in any case, means as much as an ignored one."""

_ROWS = frozenset({"tr", "td", "th", "caption"})
_ROW_GROUPS = _ROWS | {"thead", "tbody", "tfoot"}
_TABLE = frozenset({"table"})
IMPLIED_ENDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "li": (frozenset({"li"}), frozenset({"ul", "ol", "menu", "dir"})),
    "dt": (frozenset({"dt", "dd"}), frozenset({"dl"})),
    "dd": (frozenset({"dt", "dd"}), frozenset({"dl"})),
    "td": (frozenset({"td", "th", "caption"}), _TABLE | {"tr"}),
    "th": (frozenset({"td", "th", "caption"}), _TABLE | {"tr"}),
    "tr": (_ROWS, _TABLE),
    "thead": (_ROW_GROUPS, _TABLE),
    "tbody": (_ROW_GROUPS, _TABLE),
    "tfoot": (_ROW_GROUPS, _TABLE),
}
"""By an opening tag's name: the open elements that it ends, and those beyond which it ends none."""
CELLS = frozenset({"td", "th"})
END_CELLS = _ROW_GROUPS | _TABLE | {"body", "html"}
"""The end tags that a table cell does not keep in."""
PREFORMATTED = frozenset({"pre", "listing", "xmp"})


class Block(NamedTuple):
    """A run of text with no block boundary in it. node: index of its element. links: how many of its characters
    are link text. tight: only a line break parts it from the block before."""

    node: int
    text: str
    links: int
    tight: bool


class Page(NamedTuple):
    """parents, tags, attributes: one entry for each element, in document order; element 0 is the page itself."""

    parents: list[int]
    tags: list[str]
    attributes: list[str]
    blocks: list[Block]


def parse(html: str, *, hidden: bool = False) -> Page:
    """The visible text of a page in blocks, with the elements around it. Time and memory: linear in its length.

    hidden: whether elements that are hidden until a script shows them are taken for visible.
    """
    page = Page([0], ["html"], [""], [])
    parents, tags, attributes, blocks = page
    # What is open, outermost first. An inline or unseen element has its parent's index.
    names, nodes = ["html"], [0]
    buffer: list[str] = []
    # Depths at which what is hidden, preformatted or linked began; 0 for none.
    unseen = preformatted = linked = 0
    links = 0
    tight = False

    def flush() -> None:
        nonlocal links, tight
        text = "".join(buffer)
        buffer.clear()
        if "&" in text:
            text = unescape(text)
        if SOFT_HYPHEN in text:
            text = text.replace(SOFT_HYPHEN, "")
        text = text.strip("\r\n") if preformatted else " ".join(text.split())
        if text and not text.isspace():
            blocks.append(Block(nodes[-1], text, min(links, len(text)), tight))
            tight = False
        links = 0

    def close(depth: int) -> None:
        nonlocal unseen, preformatted, linked
        del names[depth:], nodes[depth:]
        unseen = 0 if unseen >= depth else unseen
        preformatted = 0 if preformatted >= depth else preformatted
        linked = 0 if linked > depth else linked

    kind_of = KINDS.get
    for slash, name, attrs, text in TOKEN.findall("<b>" + html):
        kind = kind_of(name)
        if kind is None:
            kind = kind_of(name.lower(), IGNORED)
        if kind >= INLINE:
            name = name.lower()
            if kind == BLOCK and not unseen:
                if buffer:
                    flush()
                tight = False
            if slash:
                if names[-1] == name and len(names) > 1:
                    close(len(names) - 1)
                else:
                    at = _ended_by(name, names)
                    if at:
                        close(at)
            else:
                if kind == BLOCK:
                    at = _implied_end(name, names)
                    if at:
                        close(at)
                depth = len(names)
                if depth < MAX_DEPTH and not (kind == UNSEEN and attrs.endswith("/")):
                    node = nodes[-1]
                    if kind == BLOCK and not unseen:
                        node = len(tags)
                        parents.append(nodes[-1])
                        tags.append(name)
                        attributes.append(attrs)
                    names.append(name)
                    nodes.append(node)
                    if not unseen:
                        if kind == UNSEEN or (not hidden and _hidden(name, attrs)):
                            unseen = depth
                        elif name in PREFORMATTED and not preformatted:
                            preformatted = depth
        elif kind == ANCHOR:
            linked = len(names) if not slash and HREF.search(attrs) else 0
        elif kind and not unseen:
            if preformatted:
                buffer.append("\n")
            else:
                flush()
                tight = kind == BREAK
        if text and not unseen and (buffer or preformatted or not text.isspace()):
            buffer.append(text)
            if linked:
                links += len(text.strip())
    flush()
    return page


def _hidden(name: str, attrs: str) -> bool:
    # Pages hide their body until a script shows it.
    if not attrs or name in ("body", "html"):
        return False
    if "hidden" in attrs:
        # Not as a word in a class, where it is often undone for wider screens.
        return HIDDEN.search(attrs) is not None or HIDDEN_ATTRIBUTE.search(QUOTED.sub("", attrs)) is not None
    return "none" in attrs and HIDDEN.search(attrs) is not None


def _ended_by(name: str, names: list[str]) -> int:
    """The depth of the open element that the end tag `name` ends; 0 where there is none."""
    kept_in = name not in END_CELLS
    for at in range(len(names) - 1, 0, -1):
        if names[at] == name:
            return at
        if kept_in and names[at] in CELLS:
            return 0
    return 0


def _implied_end(name: str, names: list[str]) -> int:
    """The depth of the outermost open element that the opening tag of a block ends; 0 where there is none."""
    rule = IMPLIED_ENDS.get(name)
    if rule is None:
        return len(names) - 1 if names[-1] == "p" else 0
    ended, bar = rule
    found = 0
    for at in range(len(names) - 1, 0, -1):
        if names[at] in bar:
            return found
        if names[at] in ended:
            found = at
    return found
