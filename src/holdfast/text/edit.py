"""A note's bytes and a wish -> the note's new bytes: text added, replaced, inserted, or put under a heading.

Pure: no I/O. What is not asked for stays byte for byte: bytes that are no UTF-8, the byte order mark, mixed line ends.
New text gets the line end that prevails in the note. An edit that cannot be done as a whole raises QueryError or
NotFound, and so does one after which the note would be cut differently: a header that ends elsewhere, a heading lost in
an open fence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import islice

from holdfast.errors import NotFound, QueryError
from holdfast.text import frontmatter
from holdfast.text.markdown import MARKS, Heading
from holdfast.text.note import Document, parse
from holdfast.text.source import BOM, decode

SHOWN = 10
"""So many lines or headings are named in a message."""

_ATX = re.compile(r"(#{1,6})[ \t]+(.*)")
_CLOSERS = re.compile(r"[ \t]+#+\Z")
_WORD = re.compile(r"\w+")


def append(body: bytes, text: str) -> bytes:
    """`body` with `text` as its new last lines; it ends with a line end, and a missing one is added before."""
    return _put(body, len(body), _lines(body, text))


def prepend(body: bytes, text: str) -> bytes:
    """`body` with `text` in front of all but the byte order mark and the header."""
    at = _offset(body, frontmatter.read(decode(body).lines).body)
    return _put(body, at, _lines(body, text))


def replace(body: bytes, old: str, new: str, count: int | None = None) -> bytes:
    """`body` with `new` for `old`, which must occur exactly `count` times, or once if none is given.

    A line end in `old` stands for either kind. What `old` and `new` begin and end with alike is not touched.
    """
    if not old:
        raise QueryError("The text to be replaced is empty.", hint="Give the text as it stands in the note.")
    if count is not None and count < 1:
        raise QueryError(f"The count is {count}.", hint="Give the number of times that the text occurs, or none.")
    old, new = _unix(old), _unix(new)
    encode(old)
    same = _alike(old, new)
    tail = _alike(old[same:][::-1], new[same:][::-1])
    parts = (old[:same], old[same : len(old) - tail], old[len(old) - tail :])
    pattern = re.compile(b"".join(b"(" + _pattern(part) + b")" for part in parts))
    begin = len(BOM) if body.startswith(BOM) else 0
    found = list(pattern.finditer(body, begin))
    times = len(found)
    # `aa` in `aaa` is there twice, and which one is meant is not said.
    if times == 1 and count is None:
        start = found[0].start()
        times += pattern.search(body, start + (2 if body.startswith(b"\r\n", start) else 1)) is not None
    if times != (count or 1):
        raise _miscounted(body, old, times, count or 1)
    middle = encode(new[same : len(new) - tail], line_end(body))
    changed, at = [], 0
    for match in found:
        changed += [body[at : match.end(1)], middle]
        at = match.start(3)
    after = b"".join(changed) + body[at:]
    was, now = (frontmatter.read(decode(x).lines) for x in (body, after))
    if (now.failed and not was.failed) or (was.body and not now.body):
        reason = now.problems[0].message if now.problems else "the header would have no end"
        raise QueryError(f"After this replacement {reason}.", hint="Replace the whole value, and quote it.")
    return after


def section(body: bytes, heading: str, text: str, append: bool = False) -> bytes:
    """`body` with `text` as the content of the section under `heading`, or behind its content.

    `heading` is given as `Heading` or `## Heading`. The section ends at the next heading of its level or above; its
    subsections are content. Blank lines at the content's start and end stay. An empty `text` empties the section.
    """
    document = parse(body, "")
    if any(problem.message.startswith(f"{MARKS} ") for problem in document.parsed.problems):
        raise QueryError("The note has more headings and links than are read.", hint="Insert or replace by text.")
    n = _find_heading(document, heading)
    headings = document.headings
    own = headings[n]
    after = next((m for m in range(n + 1, len(headings)) if headings[m].level <= own.level), len(headings))
    turns, lines = document.parsed.turns, document.source.lines
    end = headings[after].start if after < len(headings) else (turns[0].line - 1 if turns else len(lines))
    written = [at for at in range(own.end, end) if lines[at].strip()]
    if written:
        first, last = written[-1] + 1 if append else written[0], written[-1] + 1
    else:
        first = last = own.end + (own.end < end and own.end < len(lines) - 1)
    new = b"" if not (text or append) else _lines(body, text)
    # Text on the line above an underlined heading would become part of it, and an empty section had no blank line to
    # lose. Test: test_a_blank_line_keeps_an_underlined_heading_apart
    is_tight = last >= end and after < len(headings)
    if new and is_tight and (not written or headings[after].end - headings[after].start > 1):
        new += line_end(body)
    start, stop = _offset(body, first), _offset(body, last)
    edited = _splice(body, start, stop, new)
    _same_headings(document, parse(edited, ""), n, after)
    return edited


def insert(body: bytes, anchor: str, text: str, before: bool) -> bytes:
    """`body` with `text` as whole lines before or after the one line that contains `anchor`."""
    if not anchor or "\n" in anchor:
        raise QueryError("The anchor is not part of one line.", hint="Give some words of the line to insert at.")
    raw = body.removeprefix(BOM).split(b"\n")
    wanted = encode(anchor)
    found = list(islice((n for n, line in enumerate(raw) if wanted in line), SHOWN + 1))
    if len(found) != 1:
        raise _miscounted(body, anchor, len(found), 1, [n + 1 for n in found])
    at = found[0] if before else found[0] + 1
    return _put(body, _offset(body, at), _lines(body, text), at)


def line_end(body: bytes) -> bytes:
    """The line end that prevails in `body`."""
    return b"\r\n" if 2 * body.count(b"\r\n") > body.count(b"\n") else b"\n"


def encode(text: str, end: bytes = b"\n") -> bytes:
    """`text` as bytes, its lines ended by `end`; raises QueryError if it has half of a surrogate pair."""
    try:
        return _unix(text).encode().replace(b"\n", end)
    except UnicodeEncodeError as error:
        raise QueryError(
            f"Character {error.start + 1} of the text is half of a surrogate pair.", hint="Send the text as UTF-8."
        ) from error


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")


def _lines(body: bytes, text: str) -> bytes:
    """`text` as whole lines for `body`."""
    if not text:
        raise QueryError("There is no text to add.", hint="Give the text; a line end alone adds an empty line.")
    end = line_end(body)
    new = encode(text, end)
    return new if new.endswith(b"\n") else new + end


def _offset(body: bytes, line: int) -> int:
    """Where line `line` (an index) begins in `body`: behind the byte order mark if it is the first."""
    at = len(BOM) if body.startswith(BOM) else 0
    for _ in range(line):
        at = body.find(b"\n", at) + 1
        if not at:
            return len(body)
    return at


def _splice(body: bytes, start: int, stop: int, new: bytes) -> bytes:
    """`body` with `new`, whole lines, for the bytes from `start` to `stop`."""
    head = body[:start]
    if new and head not in (b"", BOM) and not head.endswith(b"\n"):
        head += line_end(body)
    return head + new + body[stop:]


def _put(body: bytes, offset: int, new: bytes, line: int = 0) -> bytes:
    """`body` with the lines `new` at `offset`, where line `line` (an index) begins if that may be in the header.

    Raises QueryError if the header would then end elsewhere, or not parse as before.
    """
    edited = _splice(body, offset, offset, new)
    was, now = (frontmatter.read(decode(x).lines) for x in (body, edited))
    inside = new.count(b"\n") if 0 < line < was.body else 0
    if now.body != was.body + inside or (now.failed and not was.failed):
        raise QueryError(
            "With these lines there the note's header would be another, or none.",
            hint="Set the fields of the header instead, or add the text elsewhere.",
        )
    return edited


def _alike(a: str, b: str) -> int:
    """With how many characters `a` and `b` begin alike."""
    short = min(len(a), len(b))
    return next((n for n in range(short) if a[n] != b[n]), short)


def _pattern(text: str) -> bytes:
    return re.escape(text.encode()).replace(b"\\\n", b"\r?\n")


def _miscounted(body: bytes, text: str, times: int, wanted: int, lines: Sequence[int] = ()) -> QueryError:
    """The error that says how often `text` occurs, and where."""
    if not times:
        near = _near(decode(body).lines, text)
        return QueryError(
            "The text was not found in the note.",
            hint=near or "Read the note again and give the text as it stands there.",
        )
    said = f"on {'at least ' if times > SHOWN else ''}{times} lines" if lines else _times(times)
    where = f" (lines {', '.join(map(str, lines[:SHOWN]))})" if lines else ""
    hint = "Give more of the text around it" + ("." if lines else ", or the count.")
    return QueryError(f"The text occurs {said}{where}, not {_times(wanted)}.", hint=hint)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _near(lines: Sequence[str], text: str) -> str:
    """A sentence on the line that is most like the longest line of `text`; "" if none is. Time is linear."""
    wanted = max((_plain(line) for line in text.split("\n")), key=len)
    words = set(_WORD.findall(wanted))
    best, at = 0.5, -1
    for n, line in enumerate(lines):
        plain = _plain(line)
        if not plain:
            continue
        if wanted and wanted in plain:
            at = n
            break
        mine = set(_WORD.findall(plain)) if words else set()
        score = 2 * len(words & mine) / ((len(words) + len(mine)) or 1)
        if score > best:
            best, at = score, n
    return f"Line {at + 1} is near: {lines[at].strip()[:80]}" if at >= 0 else ""


def _plain(line: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", line).casefold().split())


def _find_heading(document: Document, heading: str) -> int:
    """The index of the one heading that is meant."""
    given = unicodedata.normalize("NFC", heading.strip())
    headings = document.headings
    texts = [unicodedata.normalize("NFC", h.text) for h in headings]
    found = [n for n, text in enumerate(texts) if text == given]
    if not found and (match := _ATX.fullmatch(given)):
        level, spelled = len(match[1]), (match[2], _CLOSERS.sub("", match[2]))
        found = [n for n, text in enumerate(texts) if headings[n].level == level and text in spelled]
    if len(found) > 1:
        lines = ", ".join(str(headings[n].start + 1) for n in found[:SHOWN])
        more = ", ..." if len(found) > SHOWN else ""
        raise QueryError(
            f"The heading “{heading}” stands on {len(found)} lines ({lines}{more}).",
            hint="Name its level (`## Heading`), or insert by the text of a line.",
        )
    if not found:
        raise NotFound(f"There is no heading “{heading}” in the note.", hint=_existing(headings))
    return found[0]


def _existing(headings: Sequence[Heading]) -> str:
    if not headings:
        return "It has no headings: append or insert by the text of a line."
    named = "; ".join(f"{'#' * h.level} {h.text}" for h in headings[:SHOWN])
    more = f"; and {len(headings) - SHOWN} more" if len(headings) > SHOWN else ""
    return f"There are: {named}{more}."


def _same_headings(was: Document, now: Document, own: int, after: int) -> None:
    """Raise QueryError unless the headings up to `own` and from `after` on are there as before.

    An open fence or comment in the new text would swallow what follows. Test: test_section_does_not_swallow_the_rest
    """
    old, new = was.headings, now.headings
    rest = len(old) - after
    shift = len(now.source.lines) - len(was.source.lines)
    moved = [Heading(h.start + shift, h.end + shift, h.level, h.text) for h in old[after:]]
    is_kept = new[: own + 1] == old[: own + 1] and new[len(new) - rest :] == moved
    turns = [(turn.line + shift, turn.n) for turn in was.parsed.turns]
    if not is_kept or [(turn.line, turn.n) for turn in now.parsed.turns] != turns:
        raise QueryError(
            "With this text the note would lose headings or turns outside the section.",
            hint="Close its code fences and comments, and keep turn markers out of it.",
        )
