"""Long runs of lines without structure, found in one go: a note of a million lines is not a million steps.

A line of a run is empty, or begins with a letter and holds no sign that could begin a link, tag, code, math, comment,
HTML or address. So it is no heading, item, fence, rule, quote or underline, and says nothing but its words.
"""

from __future__ import annotations

import re
from bisect import bisect_right

LINES = 2_000
"""Notes with fewer lines are not worth the search."""

EMPTY = 1024
"""So many empty lines are passed over in one step."""

_RUN = re.compile(r"^(?:(?:[^\W\d_][^\n\[\]#\\`$%<:]*+)?+\n){16,}+", re.MULTILINE)


class Runs:
    """The runs among the lines of a note from line `first` on; false if there are none."""

    __slots__ = ("_empty", "_ends", "_lines", "_starts")

    def __init__(self, lines: list[str], first: int = 0) -> None:
        self._lines = lines
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._empty: list[int] = []  # the last empty line of each, -1 if there is none
        if len(lines) - first < LINES:
            return
        # An end of line before the first one too, so that each empty line stands between two of them.
        text = "\n" + "\n".join(lines[first:]) + "\n"
        line, at = first, 1
        for match in _RUN.finditer(text, 1):
            start, end = match.span()
            line += text.count("\n", at, start)
            empty = text.rfind("\n\n", start - 1, end)
            self._starts.append(line)
            self._empty.append(line + text.count("\n", start, empty + 1) if empty >= 0 else -1)
            line += text.count("\n", start, end)
            self._ends.append(line)
            at = end

    def __bool__(self) -> bool:
        return bool(self._starts)

    def end(self, at: int) -> int:
        """The end of the run that has line `at`; `at` itself if there is none."""
        n = bisect_right(self._starts, at) - 1
        return max(self._ends[n], at) if n >= 0 else at

    def empty(self, at: int, end: int) -> int:
        """The first empty line from `at` to `end`, all of one run; `end` if there is none."""
        try:
            return self._lines.index("", at, end)
        except ValueError:
            return end

    def text(self, at: int, end: int) -> int:
        """The first line from `at` to `end` that is not empty; `end` if there is none."""
        lines = self._lines
        while end - at > EMPTY and not (lines[at] or lines[at + 1] or any(lines[at : at + EMPTY])):
            at += EMPTY
        return next((n for n in range(at, end) if lines[n]), end)

    def last_empty(self, at: int, end: int) -> int:
        """The last empty line from `at` to `end`, all of one run; something below `at` if there is none."""
        last = self._empty[bisect_right(self._starts, at) - 1]
        if last < end:
            return last
        return next((n for n in range(end - 1, at - 1, -1) if not self._lines[n]), -1)
