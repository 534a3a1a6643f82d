"""What Wikipedia's templates say in running text: those that a sentence needs are expanded, all others left out.

Names and arguments as on the English Wikipedia, whose most used inline templates other languages share.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Arguments = tuple[list[str], dict[str, str]]
"""Positional ones, in order, and named ones; blanks around them taken off."""

MONTHS = tuple(
    "January February March April May June July August September October November December".split()  # noqa: SIM905
)
LANGUAGES = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "ga": "Irish",
    "grc": "Ancient Greek",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "la": "Latin",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sa": "Sanskrit",
    "sv": "Swedish",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "zh": "Chinese",
}
SIGNS = {
    "!": "|",
    "=": "=",
    "'": "'",
    "'s": "'s",
    "nbsp": " ",
    "thinsp": " ",
    "space": " ",
    "spaces": " ",
    "spaced ndash": " – ",
    "spaced en dash": " – ",
    "snd": " – ",
    "ndash": "–",
    "en dash": "–",
    "spaced mdash": " — ",
    "mdash": "—",
    "em dash": "—",
    "·": " · ",
    "•": " • ",
    "dot": " · ",
    "bull": " • ",
    "pi": "π",
    "times": "×",
    "minus": "−",
    "plusmn": "±",
    "sharp": "♯",
    "flat": "♭",
    "yes": "Yes",
    "no": "No",
    "n/a": "N/A",
    "half": "½",
    "break": "\n",
}
FIRST = """nowrap|nobr|nobreak|small|smaller|big|large|larger|center|em|strong|nobold|noitalic|italics|bold|abbr
tooltip|smallcaps|sc|math|mvar|var|chem2|code|tt|kbd|mono|samp|key press|sup|sub|visible anchor|vanchor|flag|flagu
flagcountry|sic|not a typo|typo|proper name|as written|ill|interlanguage link|interlanguage link multi
plainlist|flatlist|unicode|polytonic|script|hebrew|ipa|pron-en|ipa-en
bdo|underline|u|overline|color box|poem|raise|lower|hs|nts|marriage
url"""
QUOTES = (
    "quote|blockquote|cquote|quotation|quote box|rquote|bquote|pull quote|block quote|centered pull quote|poemquote"
)
BETWEEN = {"-": "–", "–": "–", "to": " to ", "and": " and ", "or": " or ", "by": " by ", "x": " × ", "×": " × "}
BETWEEN |= {"to(-)": " to ", "&ndash;": "–", "+/-": " ± ", "±": " ± ", "*": " × ", "xx": " × ", "-to-": "-to-"}


def expand(name: str, positional: list[str], named: dict[str, str]) -> str:
    """The text of one template whose arguments are rendered already; empty where it says nothing readable.

    name: as written, in any case, with blanks or underscores.
    """
    key = name.replace("_", " ").strip().lower()
    if key in SIGNS:
        return SIGNS[key]
    render = RENDERERS.get(key)
    if render is not None:
        return render(positional, named)
    if key.startswith("lang-"):
        return _language_text([key[5:], *positional], named)
    if ":" in key:
        return _function(key, name, positional)
    return ""


def _function(key: str, name: str, positional: list[str]) -> str:
    """Parser functions and variables with a colon (MediaWiki manual, Help:Magic words)."""
    function = key.partition(":")[0]
    value = name.partition(":")[2].strip()
    if function == "lc":
        return value.lower()
    if function == "uc":
        return value.upper()
    if function in ("ucfirst", "lcfirst"):
        first = value[:1].upper() if function == "ucfirst" else value[:1].lower()
        return first + value[1:]
    if function in ("formatnum", "plural"):
        return value
    if function == "#if":
        return [*positional, "", ""][0 if value else 1]
    return ""


def _first(positional: list[str], named: dict[str, str]) -> str:
    return positional[0] if positional else named.get("1", "")


def _second(positional: list[str], named: dict[str, str]) -> str:
    return positional[1] if len(positional) > 1 else named.get("2", "")


def _last(positional: list[str], named: dict[str, str]) -> str:
    return positional[-1] if positional else ""


def _joined(mark: str) -> Callable[[list[str], dict[str, str]], str]:
    return lambda positional, named: mark.join(part for part in positional if part)


def _language_text(positional: list[str], named: dict[str, str]) -> str:
    """lang-xx and langx: the language's name, then the text."""
    code, text = positional[0].strip(), _second(positional, named) or named.get("text", "")
    label = LANGUAGES.get(code) if named.get("label", "x") != "none" else None
    return f"{label}: {text}" if label and text else text


def _quote(positional: list[str], named: dict[str, str]) -> str:
    text = next((named[key] for key in ("text", "quote", "content") if named.get(key)), _first(positional, named))
    sign = next((named[key] for key in ("author", "sign", "by") if named.get(key)), "")
    source = named.get("source", "")
    tail = ", ".join(part for part in (sign or (positional[1] if len(positional) > 1 else ""), source) if part)
    return f"\n\n{text.strip()}\n{'— ' + tail if tail else ''}\n" if text.strip() else ""


def _date(positional: list[str], named: dict[str, str]) -> str:
    """start date, birth date and their kin: 2001, 3, 4 as `March 4, 2001`."""
    if positional and not positional[0].isdecimal():
        return positional[0]
    numbers = [int(part) for part in positional[:3] if part.isdecimal() and len(part) <= 4]
    if not numbers:
        return ""
    if len(numbers) == 1 or not 1 <= numbers[1] <= 12:
        return str(numbers[0])
    month = MONTHS[numbers[1] - 1]
    if len(numbers) == 2:
        return f"{month} {numbers[0]}"
    return f"{numbers[2]} {month} {numbers[0]}" if "df" in named else f"{month} {numbers[2]}, {numbers[0]}"


def _as_of(positional: list[str], named: dict[str, str]) -> str:
    date = _date(positional, {"df": "y"})
    since = "Since" if named.get("since") else "As of"
    return named.get("alt") or (f"{since.lower() if 'lc' in named else since} {date}" if date else "")


def _convert(positional: list[str], named: dict[str, str]) -> str:
    """The measure as given, its other unit left out: 5 km; 5 ft 6 in; 10–20 kg."""
    said = ""
    for at, part in enumerate(positional[:8]):
        if part in BETWEEN and at:
            said += BETWEEN[part]
        elif re.match(r"[\d.,+−-]*\d", part) or part[:1] in "½¼¾":
            said += ("" if not said or said[-1] in " –-" else " ") + part
        else:
            said += f" {part}" if said else part
            follows = positional[at + 1 : at + 3]
            if not (
                part in ("ft", "lb", "st", "mi", "yd") and len(follows) == 2 and follows[1] in ("in", "oz", "lb", "ft")
            ):
                break
    return said.replace("sqmi", "sq mi").replace("km2", "km²").replace("m2", "m²")


def _fraction(positional: list[str], named: dict[str, str]) -> str:
    if len(positional) == 1:
        return f"1/{positional[0]}"
    if len(positional) == 3:
        return f"{positional[0]} {positional[1]}/{positional[2]}"
    return "/".join(positional[:2])


def _value(positional: list[str], named: dict[str, str]) -> str:
    """val: number, uncertainty, power of ten and unit."""
    said = _first(positional, named)
    if len(positional) > 1 and positional[1]:
        said += f"±{positional[1]}"
    if named.get("e"):
        said += f"×10^{named['e']}"
    unit = named.get("u") or named.get("ul") or ""
    return f"{said} {unit}".strip()


def _sounds(positional: list[str], named: dict[str, str]) -> str:
    """IPAc-en: the pronunciation, a sound an argument."""
    sounds = [part for part in positional if part not in ("lang", "pron", "icon", "us", "uk", "local", "also", "ipa")]
    return f"/{''.join(sounds).replace('_', ' ')}/" if sounds else ""


def _ship(kind: str) -> Callable[[list[str], dict[str, str]], str]:
    def render(positional: list[str], named: dict[str, str]) -> str:
        number = f" ({positional[1]})" if len(positional) > 1 and positional[1] else ""
        return f"{kind} {_first(positional, named)}{number}"

    return render


def _japanese(positional: list[str], named: dict[str, str]) -> str:
    inner = ", ".join(part for part in positional[1:3] if part)
    return f"{_first(positional, named)} ({inner})" if inner else _first(positional, named)


def _chinese(positional: list[str], named: dict[str, str]) -> str:
    return "; ".join(value for key, value in named.items() if value and key in ("t", "s", "c", "p", "w", "hp", "tp"))


def _money(sign: str) -> Callable[[list[str], dict[str, str]], str]:
    return lambda positional, named: f"{sign}{_first(positional, named)}"


def _lines(positional: list[str], named: dict[str, str]) -> str:
    return "".join(f"\n* {part}" for part in positional if part)


RENDERERS: dict[str, Callable[[list[str], dict[str, str]], str]] = {
    **dict.fromkeys(FIRST.replace("\n", "|").split("|"), _first),
    **dict.fromkeys(QUOTES.split("|"), _quote),
    **{
        f"{kind} date{more}": _date
        for kind in ("start", "end", "birth", "death", "film", "release", "start-", "end-")
        for more in ("", " and age", " and years ago")
    },
    **{ship.lower(): _ship(ship) for ship in ("USS", "HMS", "HMAS", "HMCS", "SS", "RMS", "MV", "USNS", "INS")},
    **{sign.lower(): _money(sign) for sign in ("US$", "A$", "C$", "£", "€", "¥", "₹", "$")},
    "dts": _date,
    "date": _date,
    "as of": _as_of,
    "asof": _as_of,
    "convert": _convert,
    "cvt": _convert,
    "frac": _fraction,
    "sfrac": _fraction,
    "fraction": _fraction,
    "val": _value,
    "gaps": _joined(""),
    "e": lambda positional, named: f"×10^{_first(positional, named)}",
    "pow": lambda positional, named: "^".join(positional[:2]),
    "nuclide2": lambda positional, named: "-".join(positional[:2]),
    "simplenuclide2": lambda positional, named: "-".join(positional[:2]),
    "10^": lambda positional, named: f"10^{_first(positional, named)}",
    "lang": _second,
    "rtl-lang": _second,
    "script/hebrew": _first,
    "color": _second,
    "font color": _second,
    "langx": _language_text,
    "transl": _last,
    "transliteration": _last,
    "ipac-en": _sounds,
    "circa": lambda positional, named: f"c. {_first(positional, named)}".strip(),
    "c.": lambda positional, named: f"c. {_first(positional, named)}".strip(),
    "floruit": lambda positional, named: f"fl. {_first(positional, named)}".strip(),
    "fl.": lambda positional, named: f"fl. {_first(positional, named)}".strip(),
    "reign": lambda positional, named: "r. " + "–".join(positional[:2]),
    "isbn": lambda positional, named: "ISBN " + ", ".join(positional),
    "nihongo": _japanese,
    "zh": _chinese,
    "chem": _joined(""),
    "linktext": _joined(""),
    "hlist": _joined(", "),
    "ubl": _lines,
    "unbulleted list": _lines,
    "bulleted list": _lines,
    "ordered list": _lines,
    "angbr": lambda positional, named: f"⟨{_first(positional, named)}⟩",
    "angle": lambda positional, named: f"⟨{_first(positional, named)}⟩",
}
RENDERERS |= {f"ipa-{code}": _first for code in LANGUAGES}
