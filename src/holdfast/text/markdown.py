"""The walk over a note's body: which lines are code, comment, math, quote, heading or list item, and what they say.

One pass, line by line; a line's first character decides what it can be. What spans lines (fences, comments, math) is
skipped as a whole. A search for an end that failed is remembered, so that a thousand comments that never close cost one
search. At most MARKS links, tags and structured lines are read from one note: the rest of it is text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from holdfast.model import Link, Observation, Problem, Relation
from holdfast.text.inline import COMMENT, MATH, Inline, scan
from holdfast.text.lines import item
from holdfast.text.runs import Runs

MARKS = 100_000
"""The most inline tokens, headings and structured lines that are read from one note."""

_FENCE = re.compile(r"(`{3,})[^`]*\Z|(~{3,})")
_HEADING = re.compile(r"(#{1,6})(?:[ \t]+(.*))?\Z", re.DOTALL)
_QUOTE = re.compile(r"(?:[ \t]*+>)++[ \t]?")
_ITEM = re.compile(r"[-*+](?:[ \t]+|\Z)")
_ANY_ITEM = re.compile(r"[ \t]*+(?:[-*+]|[0-9]{1,9}[.)])(?:[ \t]|\Z)")
_NUMBERED = re.compile(r"[0-9]{1,9}[.)](?:[ \t]+|\Z)")
# What may stand before a block of math.
_PREFIX = re.compile(r"[ \t>]*+(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]+)?\Z")
_BLANKS = " \t"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading on lines `start` to `end` (indexes, `end` excluded)."""

    start: int
    end: int
    level: int
    text: str


class Body:
    """What a body says, in reading order."""

    __slots__ = ("headings", "links", "observations", "problems", "relations", "tags")

    def __init__(self) -> None:
        self.headings: list[Heading] = []
        self.observations: list[Observation] = []
        self.relations: list[Relation] = []
        self.links: list[Link] = []
        self.tags: list[str] = []
        self.problems: list[Problem] = []


def walk(lines: Sequence[str], first: int, last: int, runs: Runs | None = None) -> Body:
    """What lines `first` to `last` (indexes, `last` excluded) say; `runs` are those of the lines. Never raises."""
    walker = _Walk(lines, last)
    runs = runs or None  # there may be none in them
    at = first
    while at < last and walker.left > 0:
        was_in_comment = walker.resume > 0
        after = walker.take(at)
        if runs and not was_in_comment and (end := min(runs.end(at), last)) > after:
            after = walker.pass_over(runs, after, end) if lines[at] else runs.text(after, end)
        at = after
    if walker.left <= 0:
        message = f"{MARKS} links, tags and headings end here: what follows is read as text; split the note"
        walker.body.problems.append(Problem(at, message))
    return walker.body


def fence_of(bare: str) -> str | None:
    """The backticks or tildes of the code fence that a line without its indent opens."""
    match = _FENCE.match(bare) if bare.startswith(("```", "~~~")) else None
    return (match[1] or match[2]) if match else None


def fence_on(line: str) -> str | None:
    """The backticks or tildes of the code fence that opens on a line, behind its indent or list marker."""
    if "```" not in line and "~~~" not in line:
        return None
    bare = line.lstrip(_BLANKS)
    match = _ITEM.match(bare) or _NUMBERED.match(bare)
    return fence_of(bare[match.end() :] if match else bare)


def fence_end(lines: Sequence[str], at: int, last: int, fence: str, in_quote: bool = False) -> int:
    """The index after the block of code whose fence opens on line `at`: `last` if it is never closed."""
    for n in range(at + 1, last):
        line = lines[n]
        if in_quote:
            match = _QUOTE.match(line)
            if match is None:
                return n
            line = line[match.end() :]
        if fence in line:
            line = line.strip(_BLANKS)
            if line.startswith(fence) and not line.strip(fence[0]):
                return n + 1
    return last


def is_item(line: str) -> bool:
    """Whether a list item, numbered or not, begins on the line."""
    return _ANY_ITEM.match(line) is not None


class _Walk:
    __slots__ = ("body", "in_code", "in_list", "last", "left", "lines", "missing", "paragraph", "resume", "was_blank")

    def __init__(self, lines: Sequence[str], last: int) -> None:
        self.lines = lines
        self.last = last
        self.body = Body()
        self.was_blank = False
        self.in_list = False
        self.in_code = False  # indented code
        self.paragraph = -1  # where the paragraph began that an underline would make a heading
        self.resume = 0  # where the text goes on behind a comment that ended on this line
        self.left = MARKS
        self.missing: dict[str, int] = {}  # by closer: no line between here and there holds it

    def take(self, at: int) -> int:
        """Take the block or line at `at`; the index of the next."""
        line = self.lines[at]
        if self.resume:
            start, self.resume = self.resume, 0
            return self._read(at, line, start)[1]
        bare = line.lstrip(_BLANKS)
        if not bare or bare.isspace():
            self.was_blank, self.paragraph = True, -1
            return at + 1
        indent = len(line) - len(bare)
        char = bare[0]
        if char in "`~" and (fence := fence_of(bare)):
            self._leave_list(indent)
            return self._skip_code(at, fence)
        is_wide = indent > 0 and (indent >= 4 or "\t" in line[:indent])
        if is_wide and not self.in_list and (self.was_blank or self.in_code):
            self.in_code = True
            return at + 1
        self.in_code = False
        if char in "-*+_=" and (after := self._rule_or_item(at, line, bare, indent, is_wide)):
            return after
        if char == ">":
            return self._quote(at, line, indent)
        if char == "#" and not is_wide and (match := _HEADING.match(bare)):
            self._leave_list(indent)
            self._heading(at, at + 1, len(match[1]), match[2] or "")
        elif char in "0123456789" and (match := _NUMBERED.match(bare)):
            return self._numbered(at, line, indent + match.end())
        else:
            if self.was_blank and indent < 2:
                self.in_list = False
            if self.paragraph < 0 and not self.in_list and not is_wide:
                self.paragraph = at
        self.was_blank = False
        return self._read(at, line, indent)[1]

    def pass_over(self, runs: Runs, start: int, end: int) -> int:
        """Be where taking lines `start` to `end`, all of a run and behind a line of text in it, one by one would lead;
        the index of the next."""
        empty = runs.last_empty(start, end)
        if empty < start:
            return end  # text behind text changes nothing
        if empty < end - 1:
            self.was_blank, self.in_list, self.paragraph = False, False, empty + 1
        else:
            self.was_blank, self.paragraph = True, -1
            # Text behind an empty line ends a list.
            if any(islice(self.lines[start:end], runs.empty(start, end) - start, None)):
                self.in_list = False
        return end

    def _leave_list(self, indent: int) -> None:
        if indent < 2:
            self.in_list = False
        self.was_blank, self.paragraph = False, -1

    def _skip_code(self, at: int, fence: str, in_quote: bool = False) -> int:
        self.was_blank = self.in_code = False
        return fence_end(self.lines, at, self.last, fence, in_quote)

    def _rule_or_item(self, at: int, line: str, bare: str, indent: int, is_wide: bool) -> int:
        """Take an underline, a rule or a list item; the index of the next line, 0 if it is none of them."""
        char = bare[0]
        if self.paragraph >= 0 and char in "=-" and not is_wide and not bare.rstrip(_BLANKS).strip(char):
            start = self.paragraph
            text = " ".join(x.strip() for x in self.lines[start:at])
            self._leave_list(indent)
            self._heading(start, at + 1, 1 if char == "=" else 2, text, is_closed=False)
            return at + 1
        if char in "-*_" and not bare.strip(char + _BLANKS) and bare.count(char) >= 3:
            self._leave_list(indent)
            return at + 1
        match = _ITEM.match(bare)
        if match is None:
            return 0
        return self._item(at, line, indent + match.end())

    def _item(self, at: int, line: str, start: int) -> int:
        self.in_list, self.was_blank, self.paragraph = True, False, -1
        if start >= len(line):
            return at + 1
        if line[start] in "`~" and (fence := fence_of(line[start:])):
            return self._skip_code(at, fence)
        inline, after = self._read(at, line, start)
        found = item(line, at + 1, start, inline, self.body.problems)
        if isinstance(found, Observation):
            self.body.observations.append(found)
            self.left -= 1
        elif found:
            self.body.relations.append(found)
        return after

    def _numbered(self, at: int, line: str, start: int) -> int:
        self.in_list, self.was_blank, self.paragraph = True, False, -1
        if fence := fence_of(line[start:]):
            return self._skip_code(at, fence)
        return self._read(at, line, start)[1]

    def _quote(self, at: int, line: str, indent: int) -> int:
        self._leave_list(indent)
        match = _QUOTE.match(line)
        start = match.end() if match else 0
        if fence := fence_of(line[start:].lstrip(_BLANKS)):
            return self._skip_code(at, fence, in_quote=True)
        return self._read(at, line, start, in_quote=True)[1]

    def _heading(self, start: int, end: int, level: int, text: str, is_closed: bool = True) -> None:
        self.left -= 1
        text = text.strip()
        bare = text.rstrip("#")
        if is_closed and (not bare or bare[-1] in _BLANKS):
            text = bare.rstrip()
        self.body.headings.append(Heading(start, end, level, text))

    def _read(self, at: int, line: str, start: int, in_quote: bool = False) -> tuple[Inline | None, int]:
        """Take the links and tags of a line from `start` on; what stands on it, and the index of the next line."""
        after = at + 1
        inline = scan(line, at + 1, start, self.left)
        if inline is None:
            return None, after
        self.left -= inline.tokens
        if inline.opens:
            after = self._close(at, line, inline, in_quote)
        self.body.links += [link for _, link in inline.links]
        self.body.tags += [tag for _, tag in inline.tags]
        return inline, after

    def _close(self, at: int, line: str, inline: Inline, in_quote: bool) -> int:
        """Skip the first comment or block of math that opens on the line and closes below."""
        for start, closer in inline.opens:
            # An HTML comment may begin anywhere, the others only where a line, or an item for math, begins.
            if closer == COMMENT and line[:start].strip(" \t>"):
                continue
            if closer == MATH and not _PREFIX.match(line[:start]):
                continue
            end = self._find(closer, at, in_quote)
            if end:
                inline.cut(start, len(line))
                self.paragraph, self.was_blank = -1, False
                self.resume = self.lines[end].index(closer) + len(closer)
                return end
        return at + 1

    def _find(self, closer: str, at: int, in_quote: bool) -> int:
        """The line below `at` that holds `closer`, 0 if none does, or none in the quote that `at` is in."""
        n = max(at + 1, self.missing.get(closer, 0))
        lines = self.lines
        while n < self.last:
            line = lines[n]
            if in_quote and not line.lstrip(_BLANKS).startswith(">"):
                break
            if closer in line:
                return n
            n += 1
        self.missing[closer] = n
        return 0
