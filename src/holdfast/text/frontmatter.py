"""The header of a note: YAML between `---` lines, its values kept as written.

Reads parse events and builds the values itself, so nothing is typed, constructed, merged or copied: `no` stays `no`,
an alias cannot explode, depth is checked before it costs. Never raises: what is wrong is a Problem on its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from holdfast.model import Link, Problem, Value
from holdfast.text.links import wikilinks

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset(("", "~", "null"))
_KEY_LINE = re.compile(r"""(["']?)[\w][\w.-]*\1[ \t]*:(?:[ \t]|\Z)""")

# YAML ends lines at more characters than a note does. They are carried past it as private ones.
_BREAKS = "\r\x85\u2028\u2029"
_BREAK = re.compile(f"[{_BREAKS}]")


@dataclass(slots=True)
class Header:
    """What the header says. `body` is the index of the first line after it; `lines` has the line of each key; `limit`
    says which limit it is over, if any."""

    body: int = 0
    values: dict[str, Value] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    failed: bool = False
    limit: str = ""


class _Refused(Exception):
    """The header has something that the format does not allow, on line `line` of the YAML, counted from 0."""

    def __init__(self, line: int, message: str, *, is_limit: bool = False) -> None:
        super().__init__(message)
        self.line, self.is_limit = line, is_limit


def read(lines: Sequence[str]) -> Header:
    """The header of the note with these lines; an empty one with `body` 0 if there is none."""
    header = Header()
    if not lines or not _is_fence(lines[0]):
        return header
    close = next((n for n in range(1, len(lines)) if _is_fence(lines[n])), 0)
    if not close:
        if len(lines) > 1 and _KEY_LINE.match(lines[1]):
            header.problems.append(Problem(1, "the header is never closed: end it with a line `---`"))
        return header
    header.body = close + 1
    text = "\n".join(lines[1:close])
    if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
        message = f"the header is over {MAX_BYTES} bytes: move text into the body"
        return Header(header.body, problems=[Problem(1, message)], failed=True, limit=message)
    if text:
        _fill(header, text + "\n", lines)
    return header


def first_text(value: Value) -> str | None:
    """`value` where one text is expected: of a list its first item, None if that is no text."""
    while isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, str) else None


def _is_fence(line: str) -> bool:
    return line.startswith("---") and line.rstrip(" \t") == "---"


def _fill(header: Header, text: str, lines: Sequence[str]) -> None:
    """Fill `header` from its YAML, or leave it failed with one problem."""
    spare: dict[str, str | int | None] = {}
    if not text.isascii() or "\r" in text:
        spare = {c: p for c, p in zip(_BREAKS, _unused(text), strict=False) if c in text}
        text = text.translate(str.maketrans(spare))
    build = _Build()
    try:
        root = build.run(yaml.parse(text, Loader=_LOADER))
    except (yaml.YAMLError, ValueError, RecursionError, _Refused) as error:
        line = min(max(_line_of(error, text), 0), max(text.count("\n") - 1, 0))
        header.problems = [Problem(line + 2, f"the header does not parse: {_reason(error)}")]
        header.failed = True
        header.limit = str(error) if isinstance(error, _Refused) and error.is_limit else ""
        return
    back = {ord(str(p)): c for c, p in spare.items()}
    header.values = _translate(root, back) if spare else root
    header.lines = {key.translate(back): line + 2 for key, line in build.key_lines.items()}
    header.problems = [
        Problem(line + 2, f"the key {key!r} stands twice: the last one counts") for line, key in build.repeated
    ]
    for start, end, value in build.linked:
        header.links += _links(lines, start + 2, end + 2, value)


class _Build:
    """Values from parse events: one pass, no recursion."""

    def __init__(self) -> None:
        self.key_lines: dict[str, int] = {}
        self.repeated: list[tuple[int, str]] = []
        self.linked: list[tuple[int, int, str]] = []
        # Each open container, the key that waits for its value there, and where `linked` stood when each key began.
        self.stack: list[tuple[dict[str, Value] | list[Value], list[str], dict[str, tuple[int, int]]]] = []
        self.root: Value = None
        self.documents = 0

    def run(self, events: Iterable[Any]) -> dict[str, Value]:
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent:
                self._open(event, {})
            elif kind is yaml.SequenceStartEvent:
                self._open(event, [])
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._place(self.stack.pop()[0])
            elif kind is yaml.AliasEvent:
                raise _Refused(event.start_mark.line, "aliases are not allowed, write the value out", is_limit=True)
            elif kind is yaml.DocumentStartEvent:
                self.documents += 1
                if self.documents > 1:
                    raise _Refused(event.start_mark.line, "a second document begins, write one mapping")
        if self.documents and not isinstance(self.root, dict):
            raise _Refused(0, "it is no mapping, write `key: value` lines")
        return self.root if isinstance(self.root, dict) else {}

    def _scalar(self, event: Any) -> None:
        text = event.value
        if self.stack:
            container, waiting, seen = self.stack[-1]
            if isinstance(container, dict) and not waiting:
                self._key(event, text, container, waiting, seen)
                return
        if not event.style and text in _NULLS:
            self._place(None)
            return
        if "[[" in text:
            self.linked.append((event.start_mark.line, event.end_mark.line, text))
        self._place(text)

    def _key(
        self, event: Any, text: str, container: dict[str, Value], waiting: list[str], seen: dict[str, tuple[int, int]]
    ) -> None:
        line = event.start_mark.line
        if text in container:
            self.repeated.append((line, text))
            start, end = seen[text]
            self.linked[start:end] = [(0, 0, "")] * (end - start)
        waiting.append(text)
        seen[text] = (len(self.linked), 0)
        if len(self.stack) == 1:
            self.key_lines[text] = line

    def _open(self, event: Any, container: dict[str, Value] | list[Value]) -> None:
        line = event.start_mark.line
        if len(self.stack) >= MAX_DEPTH:
            raise _Refused(line, f"it is nested deeper than {MAX_DEPTH}", is_limit=True)
        if self.stack and isinstance(self.stack[-1][0], dict) and not self.stack[-1][1]:
            raise _Refused(line, "a key is a list or a mapping, quote it")
        self.stack.append((container, [], {}))

    def _place(self, value: Value) -> None:
        if not self.stack:
            self.root = value
            return
        container, waiting, seen = self.stack[-1]
        if isinstance(container, list):
            container.append(value)
            return
        key = waiting.pop()
        container[key] = value
        seen[key] = (seen[key][0], len(self.linked))


def _links(lines: Sequence[str], first: int, last: int, value: str) -> list[Link]:
    """The wikilinks in `value`, which stands on lines `first` to `last`, each on its line."""
    found = wikilinks(value, first)
    if first == last or not found:
        return found
    placed = [link for n in range(first, min(last, len(lines)) + 1) for link in wikilinks(lines[n - 1], n)]
    # A value that YAML folded may have joined or escaped what stands on its lines: then its first line must do.
    # What YAML gives as the last line may belong to the next key.
    placed = placed[: len(found)]
    return placed if [x.target for x in placed] == [x.target for x in found] else found


def _unused(text: str) -> list[str]:
    return [c for c in map(chr, range(0xE000, 0xF900)) if c not in text][: len(_BREAKS)]


def _translate(value: Any, table: dict[int, str]) -> Any:
    if isinstance(value, dict):
        return {k.translate(table): _translate(v, table) for k, v in value.items()}
    if isinstance(value, list):
        return [_translate(v, table) for v in value]
    return value.translate(table) if value is not None else None


def _line_of(error: Exception, text: str) -> int:
    """The line of the YAML that `error` is about, counted from 0."""
    if isinstance(error, _Refused):
        return error.line
    problem, context = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    if context is not None and (problem is None or "end of stream" in str(error)):
        return int(context.line)
    if problem is not None:
        return int(problem.line)
    position = getattr(error, "position", None)
    return text.encode()[:position].count(b"\n") if isinstance(position, int) else 0


def _reason(error: Exception) -> str:
    for name in ("problem", "reason"):
        said = getattr(error, name, None)
        if isinstance(said, str) and said:
            return said
    return str(error).partition("\n")[0] or type(error).__name__
