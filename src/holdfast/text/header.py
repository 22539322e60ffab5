"""A note's header edited line by line: the lines of the keys that are named, and no others.

Where a key's lines are is taken from the YAML parser; what they say is written anew, and kept where it says so already.
The result is read back by the reader of notes before it is returned: it says what was asked, and every other key what
it said before, or the edit is refused and nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import yaml

from holdfast.errors import QueryError
from holdfast.model import Value
from holdfast.text import frontmatter
from holdfast.text.edit import encode, line_end
from holdfast.text.source import BOM, decode

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BREAKS = "\r\x85\u2028\u2029"
_BY_HAND = "Correct it by hand, then set the fields again."

# Text that stands for itself: no indicator in front, no blank at an end. More is quoted than YAML asks for.
_PLAIN = re.compile(r"""(?![-?:][^0-9]|[-?:]\Z|[,\[\]{}#&*!|>'"%@`~=<\s])(?!null\Z).*\S""")
_NOT_PLAIN = re.compile(r":(?:\s|\Z)|\s#")
_NOT_FLOW = re.compile(r"[,\[\]{}:#?]")
_UNSEEN = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_COMMENT = re.compile(r"(?:[ \t]*:)?([ \t]+)#.*", re.DOTALL)
_BLANKS = re.compile(rb"[ \t]+")
_EMPTY = re.compile(rb"[ \t]*(?:#|\r?\Z)")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}


@dataclass(slots=True)
class _Entry:
    """Where a key and its value stand: lines are indexes in the note, columns are characters in their text."""

    key: str
    line: int
    column: int
    key_end: int
    start: int = 0
    """The line on which the value begins."""
    end: tuple[int, int] = (0, 0)
    """The value's last line, and the column behind it there."""
    dash: int = -1
    """The column of the dashes of a block list."""
    items: list[tuple[int, str | None]] = field(default_factory=list)
    """Line and text of each item of a block list, if each is one text on one line."""
    has_anchor: bool = False


def set_fields(body: bytes, fields: Mapping[str, object]) -> bytes:
    """`body` with each of `fields` in its header: text, number, date, truth or a list of them; None takes a key out.

    A key is taken literally, dots and all. A new one comes at the header's end; a header is made if there is none.
    """
    wanted = {_checked_key(key): _checked_value(key, value) for key, value in fields.items()}
    lines = decode(body).lines
    header = frontmatter.read(lines)
    if header.problems and (header.failed or not header.body):
        problem = header.problems[0]
        raise QueryError(f"On line {problem.line} {problem.message}.", hint=_BY_HAND)
    changed = {
        key: value
        for key, value in wanted.items()
        if (key in header.values if value is None else header.values.get(key) != value)
    }
    if not changed:
        return body
    entries, column = _entries(lines[1 : max(header.body - 1, 1)], changed)
    expected = {**header.values, **changed}
    expected = {key: value for key, value in expected.items() if key not in changed or value is not None}
    for as_block in (True, False):
        edit = _Edit(body, lines, header.body, column, as_block)
        edited = edit.run(entries, changed)
        found = frontmatter.read(decode(edited).lines)
        # What stands around a key can join a value that was not asked for, such as a comment behind a block of text:
        # then one line is tried, or nothing. Test: test_a_comment_does_not_become_text
        if found.values == expected and not found.failed:
            return edited
    reason = found.problems[0].message if found.failed else "another field would change with them"
    raise QueryError(f"The fields cannot be set: {reason}.", hint=_BY_HAND)


def _checked_key(key: str) -> str:
    if not key or "\n" in key:
        raise QueryError(f"{key!r} is no name of a field.", hint="Name the field in one line.")
    encode(key)
    return key


def _checked_value(key: str, value: object) -> Value:
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        return _checked_text(key, value)
    return [_checked_text(key, item) for item in value]


def _checked_text(key: str, value: object) -> str:
    """Numbers, dates and truth as YAML writes them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        encode(value)
        return value
    raise QueryError(
        f"The value of {key} is neither a text, number, date nor truth, nor a list of them.", hint="Give it as text."
    )


def _entries(lines: list[str], wanted: Container[str]) -> tuple[list[_Entry], int]:
    """The keys of the header with these lines that are `wanted`, in their order, and the column at which keys begin."""
    text = "\n".join(lines) + "\n"
    # The parser would end lines at these too; any other sign in their place keeps lines and columns.
    spare = (chr(n) for n in range(0xE000, 0xF900) if chr(n) not in text)
    table = {ord(c): next(spare) for c in _BREAKS if c in text}
    back = {ord(p): chr(c) for c, p in table.items()}
    events: Iterator[Any] = yaml.parse(text.translate(table), Loader=_LOADER)
    root: Any = next((e for e in events if isinstance(e, yaml.MappingStartEvent)), None)
    if root is None:
        return [], 0
    if root.flow_style:
        raise QueryError("The header is one mapping in braces.", hint="Write it as `key: value` lines by hand.")
    column = root.start_mark.column
    found = []
    for event in events:
        at, end = event.start_mark, event.end_mark
        if not isinstance(event, yaml.ScalarEvent):
            break  # the mapping ends; keys are texts, or the reader had refused the header
        entry = _Entry(event.value.translate(back), at.line + 1, at.column, end.column)
        entry.has_anchor = event.anchor is not None
        _take_value(entry, events, lines)
        if entry.key not in wanted:
            continue
        if entry.has_anchor or entry.column != column or end.line != at.line:
            kind = "has an anchor" if entry.has_anchor else "is not written as `key: value`"
            raise QueryError(f"The field {entry.key} on line {entry.line + 1} {kind}.", hint=_BY_HAND)
        found.append(entry)
    return found, column


def _take_value(entry: _Entry, events: Iterator[Any], lines: list[str]) -> None:
    """Take the events of the value of `entry`, and note where it stands."""
    depth = 0
    is_simple = True
    end = (0, 0)
    for event in events:
        begin = event.start_mark
        start = begin.line + 1
        if not entry.start:
            entry.start = start
            if isinstance(event, yaml.SequenceStartEvent) and not event.flow_style:
                entry.dash = begin.column
        entry.has_anchor |= getattr(event, "anchor", None) is not None
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            is_simple = is_simple and depth == 1
        stop = _end(event, lines)
        end = max(end, stop)
        if isinstance(event, yaml.ScalarEvent) and depth == 1 and entry.dash >= 0:
            is_null = not event.style and event.value in ("", "~", "null")
            entry.items.append((start, None if is_null else event.value))
            is_simple = is_simple and stop[0] == start and lines[start - 1][entry.dash : entry.dash + 1] == "-"
        if not depth:
            break
    entry.end = max(end, (entry.line, entry.key_end))
    if not is_simple:
        entry.items = []


def _end(event: Any, lines: list[str]) -> tuple[int, int]:
    """The last line of what `event` says, and the column behind it; (0, 0) for the end of a block, which has none."""
    mark, begin = event.end_mark, event.start_mark
    if isinstance(event, yaml.ScalarEvent) and event.style and event.style in "|>":
        last = mark.line if mark.column == 0 else mark.line + 1
        if not (event.value.endswith("\n\n") or event.value == "\n"):  # else empty lines at its end are text
            while last > begin.line + 1 and not lines[last - 1].strip(" "):
                last -= 1
        return last, len(lines[last - 1])
    if isinstance(event, yaml.CollectionEndEvent) and begin.index == mark.index:
        return 0, 0
    return mark.line + 1, mark.column


class _Edit:
    """The lines of a note while its header is edited. Each is as it was, without its `\\n`."""

    def __init__(self, body: bytes, lines: list[str], end: int, column: int, as_block: bool) -> None:
        self.mark = BOM if body.startswith(BOM) else b""
        self.raw = body[len(self.mark) :].split(b"\n")
        self.lines = lines
        self.rest = len(lines) - end + 1 if end else 0  # lines from the closing fence on, 0 if there is no header
        self.cr = line_end(body)[:-1]
        self.column = column
        self.as_block = as_block

    def run(self, entries: list[_Entry], changed: Mapping[str, Value]) -> bytes:
        """The note with the fields `changed`."""
        new = {key: value for key, value in changed.items() if value is not None}
        # From the last to the first, so that the lines before stay where they are. Of a key that stands twice the last
        # one counts: that one is set. Both are taken out, or the first would count again.
        for entry in reversed(entries):
            if changed[entry.key] is None:
                del self.raw[entry.line : entry.end[0] + 1]
            elif entry.key in new:
                self._set(entry, new.pop(entry.key))
        added = []
        for key, value in new.items():
            first, *more = _written(value, self.column, self.as_block)
            added += self._encoded([f"{' ' * self.column}{_scalar(key, in_flow=True)}: {first}", *more])
        if self.rest:
            close = len(self.raw) - self.rest
            self.raw[close:close] = added
        elif added:
            self.raw[:0] = [b"---" + self.cr, *added, b"---" + self.cr]
        return self.mark + b"\n".join(self.raw)

    def _set(self, entry: _Entry, value: Value) -> None:
        if isinstance(value, list) and value and entry.items:
            self._set_items(entry, [str(item) for item in value])
            return
        raw, text = self.raw[entry.line], self.lines[entry.line]
        # The raw line is cut at signs that are counted in its text: bytes that are no UTF-8 have no columns.
        colons = text.count(":", 0, entry.key_end) + 1
        head = b":".join(raw.split(b":", colons)[:colons]) + b":"
        blanks = _BLANKS.match(raw, len(head)) if entry.end > (entry.start, 0) and entry.start == entry.line else None
        rest = text[entry.end[1] if entry.end[0] == entry.line else entry.key_end :]
        comment = b""
        if (entry.end[0] == entry.line or entry.start > entry.line) and (match := _COMMENT.fullmatch(rest)):
            tail = raw.removesuffix(b"\r").rsplit(b"#", rest.count("#"))[1:]
            comment = b"#".join([(match[1] or " ").encode(), *tail])
        first, *more = _written(value, entry.column, self.as_block)
        gap = blanks[0] if blanks and not _EMPTY.match(raw, len(head)) else b" "
        line = head + gap + first.encode() + comment + (b"\r" if raw.endswith(b"\r") else b"")
        self.raw[entry.line : entry.end[0] + 1] = [line, *self._encoded(more)]

    def _set_items(self, entry: _Entry, value: list[str]) -> None:
        """Set a block list; items that it begins and ends with as before keep their lines."""
        old = entry.items
        short = min(len(old), len(value))
        same = next((n for n in range(short) if old[n][1] != value[n]), short)
        tail = next((n for n in range(short - same) if old[-1 - n][1] != value[-1 - n]), short - same)
        new = self._encoded([f"{' ' * entry.dash}- {_scalar(item)}" for item in value[same : len(value) - tail]])
        stop = len(old) - tail
        first = old[same][0] if same < stop or not same else old[same - 1][0] + 1
        self.raw[first : old[stop - 1][0] + 1 if same < stop else first] = new

    def _encoded(self, lines: list[str]) -> list[bytes]:
        return [line.encode() + self.cr for line in lines]


def _written(value: Value, column: int, as_block: bool) -> list[str]:
    """What stands behind the colon of a key at `column` that has `value`, and the lines that follow."""
    if isinstance(value, list):
        return [f"[{', '.join(_scalar(str(item), in_flow=True) for item in value)}]"]
    text = str(value)
    block = _block(text) if as_block else None
    if block is None:
        return [_scalar(text)]
    return [block[0], *(" " * (column + 2) + line if line else "" for line in block[1])]


def _block(text: str) -> tuple[str, list[str]] | None:
    """`text` as a literal block, its sign and lines; None if it is one line, or would not come back like this."""
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < 2 or lines[0][:1] in ("", " ", "\t") or not lines[-1].strip(" \t"):
        return None
    if any(_UNSEEN.search(line.replace("\t", " ")) for line in lines):
        return None
    return "|" if text.endswith("\n") else "|-", lines


def _scalar(text: str, in_flow: bool = False) -> str:
    """`text` in one line of YAML that says just this."""
    if _UNSEEN.search(text):
        return '"' + "".join(_escape(c) for c in text) + '"'
    if _PLAIN.fullmatch(text) and not _NOT_PLAIN.search(text) and not (in_flow and _NOT_FLOW.search(text)):
        return text
    if '"' in text or "\\" in text:
        return "'" + text.replace("'", "''") + "'"
    return f'"{text}"'


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return f"\\u{ord(char):04x}" if _UNSEEN.match(char) else char
