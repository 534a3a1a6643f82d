"""Plain system logs: consecutive lines grouped into documents, masked, their templates mined by Drain.

Lines of what form, and what is masked in them, stands in `log_lines`.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from forja.corpus.clean import looks_binary
from forja.corpus.sources.log_lines import FORMATS, mask_log, tell_format, time_of
from forja.corpus.sources.record import Record, rejected
from forja.errors import ForjaError
from forja.recipe import Source

if TYPE_CHECKING:
    from drain3 import TemplateMiner

FEWEST_LINES, MOST_LINES, MOST_BYTES = 32, 64, 8192
"""Of a document. Between the fewest and the most it ends where a line's check sum says so: thus lines gone from a
log's beginning, or come to its end, change only the documents beside them."""
CUT = 16
SAMPLE_LINES = 256
MOST_TEMPLATES = 4096
LONGEST_MESSAGE = 2000
"""Characters of a line that its template is mined of."""
REMEMBERED = 1 << 16
SIMILAR = 0.7
"""Drain's similarity threshold. Its usual 0.4 is for messages whose variables still stand in them."""
NULS = re.compile(rb"\0+")
"""A machine that went down leaves a run of them where lines had not reached the disk, and a log that was emptied under
its writer begins with one."""
MOST_NULS = 8
"""Runs of NULs in the first 4 KB from which on it is no text."""
CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\r\x1b") + b"\x7f"

# What varies in a message, whatever the system; the first that matches takes it.
VARIABLES = (
    (r"(?:<(?:ip|host)>|(?<![\w.])(?:127(?:\.\d{1,3}){3}|0\.0\.0\.0)(?![\w.]))(?::\d{1,5})?", "ip"),
    (r"<user>", "user"),
    (r"\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b", "id"),
    (r"\bblk_-?\d+", "block"),
    (r"(?<!\w)(?:0x[0-9A-Fa-f]+|(?=\d*[A-Fa-f])(?=[A-Fa-f]*\d)[0-9A-Fa-f]{8,})(?!\w)", "hex"),
    (r"(?<![\w/])(?:/[\w.+$@%~-]+)+/?", "path"),
    (r"(?<![A-Za-z\d])[-+]?\d+(?:[.,:]\d+)*(?![A-Za-z\d])", "n"),
)


def read_logs(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """One record of 32 to 64 lines (at most 8 KiB, or one longer line), and at the end one of the file's templates,
    each with its count.

    meta: the log's format, the ids of the lines' templates (in this file), how many the file had so far, what was
    masked, and of logs with labels the alerts. NULs are dropped. Raises ForjaError where the file is no text.
    """
    miner = _Templates()
    form: str | None = None
    begun = False
    for lines, too_long in _groups(file, max_bytes):
        found = b"".join(lines)
        raw = found.replace(b"\0", b"")
        if not begun:
            if looks_binary(raw[:4096]) or found[:4096].count(b"\0") > MOST_NULS:
                raise ForjaError("this is no log: it is not text.", where=origin)
            form, begun = tell_format(raw.decode("utf-8", "replace").split("\n")[:SAMPLE_LINES]), True
        place = f"{origin}#{hashlib.blake2b(raw, digest_size=8).hexdigest()}"
        if too_long:
            yield rejected(place, "too-long", raw[:1024])
        elif len(found) - len(found.translate(None, CONTROL)) > len(found) // 50:
            yield rejected(place, "not-text", raw[:1024])
        elif raw.strip():
            yield _document(raw, place, form, miner)
    if miner.counts:
        text = miner.listing(max_bytes)
        meta = {"log_format": form or "plain", "templates": len(miner.counts), "lines": miner.counts.total()}
        yield Record(f"{origin}#templates", text.encode(), "string", meta=meta, text=text)


def _groups(file: IO[bytes], max_bytes: int) -> Iterator[tuple[list[bytes], bool]]:
    """Lines that make a document, each run of NULs in them as one; and whether it is a single one that is too long, of
    which only the beginning is."""
    lines: list[bytes] = []
    size = 0
    while line := file.readline(max_bytes + 1):
        if len(line) > max_bytes and not line.endswith(b"\n"):
            while (rest := file.readline(1 << 20)) and not rest.endswith(b"\n"):
                pass
            if lines:
                yield lines, False
            yield [line[:1024]], True
            lines, size = [], 0
            continue
        line = NULS.sub(b"\0", line)
        # A line that is indented goes on with the entry before (a stack trace).
        continues = line[:1] in b" \t" and line.strip() and len(lines) < 2 * MOST_LINES
        full = len(lines) >= MOST_LINES or size + len(line) > MOST_BYTES
        ends = full or (len(lines) >= FEWEST_LINES and zlib.crc32(lines[-1]) % CUT == 0)
        if lines and ends and (not continues or size + len(line) > 2 * MOST_BYTES):
            yield lines, False
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield lines, False


def _document(raw: bytes, place: str, form: str | None, miner: _Templates) -> Record:
    text, masked = mask_log(raw.decode("utf-8", "replace").replace("\r\n", "\n"))
    pattern = FORMATS[form] if form else None
    kept: list[str] = []
    templates: list[int] = []
    alerts: Counter[str] = Counter()
    date = None
    labelled = pattern is not None and "label" in pattern.groupindex
    for line in text.split("\n"):
        found = pattern.match(line) if pattern else None
        if found and date is None:
            date = time_of(found, form or "")
        if found and labelled:
            if found["label"] != "-":
                alerts[found["label"]] += 1
            # The label was put before the line by those who studied it: a model shall not read it off the text.
            line = line[len(found["label"]) + 1 :]
        kept.append(line)
        message = found["content"] if found else line
        if message.strip():
            templates.append(miner.add(message))
    meta: dict[str, Any] = {
        "log_format": form or "plain",
        "template_ids": sorted(set(templates)),
        "templates": len(miner.counts),
    }
    if masked:
        meta["masked"] = masked
    if labelled:
        meta["label"] = "alert" if alerts else "normal"
        if alerts:
            meta["alerts"] = dict(alerts)
    return Record(place, raw, "string", date=date, meta=meta, text="\n".join(kept).strip("\n"))


class _Templates:
    """Templates mined from one file's messages, in their order (Drain: He et al., ICWS 2017), counted by id.

    Messages that differ in numbers and addresses alone are looked up once. Memory is bounded: beyond 4,096
    templates the one longest unseen is forgotten by the miner, and counts as a new one when it comes again.
    """

    def __init__(self) -> None:
        self._miner = _new_miner()
        self._known: OrderedDict[str, int] = OrderedDict()
        self._texts: dict[int, str] = {}
        self.counts: Counter[int] = Counter()

    def add(self, message: str) -> int:
        """The id of the message's template, from 1."""
        masked = self._miner.masker.mask(message[:LONGEST_MESSAGE])
        known = self._known.get(masked)
        if known is None:
            cluster, _ = self._miner.drain.add_log_message(masked)
            known = int(cluster.cluster_id)
            self._texts[known] = cluster.get_template()
            self._known[masked] = known
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self.counts[known] += 1
        return known

    def listing(self, max_bytes: int) -> str:
        """`<count>x <template>` a line, the most frequent first; as many as fit."""
        lines: list[str] = []
        size = 0
        for known, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0])):
            line = f"{count}x {self._texts[known]}"
            size += len(line.encode()) + 1
            if size > max_bytes:
                break
            lines.append(line)
        return "\n".join(lines)


def _new_miner() -> TemplateMiner:
    from drain3 import TemplateMiner
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    config.drain_sim_th = SIMILAR
    config.drain_depth = 4
    config.drain_max_children = 100
    config.drain_max_clusters = MOST_TEMPLATES
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in VARIABLES]
    return TemplateMiner(config=config)
