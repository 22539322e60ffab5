"""A parsed note -> its chunks, the units of retrieval.

A chunk is a heading's section, a list, a group of paragraphs or a turn: whole blocks of one section, as many as fit.
It never crosses a heading and never cuts a fence that fits by itself. Chunks are in document order and disjoint, and
every line with text, frontmatter and turn markers aside, is in one of them. A token is 4 bytes of UTF-8, rounded up.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate, count
from operator import add

from holdfast.model import Chunk, Turn
from holdfast.text.markdown import fence_end, fence_on, is_item
from holdfast.text.note import Document
from holdfast.text.runs import EMPTY
from holdfast.text.source import BOM, text_of
from holdfast.text.turns import unescape

TOKEN_BYTES = 4

HEADING_CHARS = 200
"""What the path of headings takes of one heading, so that a hostile one is not repeated in every chunk below it."""

Span = tuple[int, int]


def chunk(document: Document, max_tokens: int = 250, most: int = sys.maxsize) -> list[Chunk]:
    """The chunks of a note, none longer than `max_tokens`; empty if its body is blank.

    Of a note with more than `most` only so many are made, and one more.
    """
    chunker = _Chunker(document, max_tokens * TOKEN_BYTES, most)
    try:
        chunker.run()
    except _EnoughError:
        pass
    return chunker.out


def chunk_text(raw: bytes, conversation: bool) -> str:
    """The text of a chunk from the bytes of its range, exactly as `chunk` gave it."""
    text = text_of(raw)
    return unescape(text) if conversation else text


def chunk_digest(text: str, heading: str) -> bytes:
    """The digest of a chunk: equal if and only if its text and its path of headings are."""
    return blake2b(f"{text}\0{heading}".encode(), digest_size=16).digest()


class _EnoughError(Exception):
    """There are as many chunks as are wanted."""


class _Chunker:
    def __init__(self, document: Document, limit: int, most: int) -> None:
        source = document.source
        self.document = document
        self.lines = source.lines
        self.data = source.data
        self.limit = max(limit, 4 * TOKEN_BYTES)
        self.is_clean = source.is_clean
        self.is_conversation = document.is_conversation
        self.runs = document.runs or None
        self.most = most
        self.at = 0  # how far blocks were found
        # starts[n] is the byte at which line n begins; sizes[n] is what the text of the lines before it takes.
        has_returns = b"\r\n" in source.data
        if source.data.isascii() and source.is_clean and not has_returns:
            self.starts = _offsets(map(len, self.lines), 0)
        else:
            base = 3 if source.data.startswith(BOM) else 0
            self.starts = _offsets(map(len, source.data[base:].split(b"\n")), base)
        self.sizes = self.starts
        if not source.is_clean or has_returns:
            self.sizes = _offsets((len(line.encode()) for line in self.lines), 0)
        self.heading = ""
        self.turn: Turn | None = None
        self.out: list[Chunk] = []

    def run(self) -> None:
        turns = self.document.parsed.turns
        self._sections(self.document.first, turns[0].line - 1 if turns else len(self.lines))
        self.heading = ""
        for n, turn in enumerate(turns):
            self.turn = turn
            end = turns[n + 1].line - 1 if n + 1 < len(turns) else len(self.lines)
            self._pack(turn.line, _trimmed_end(self.lines, turn.line, end))

    def _sections(self, first: int, last: int) -> None:
        """Chunk ordinary text by section; a heading with no text before a deeper one goes with that."""
        headings = self.document.headings
        self._section(first, headings[0].start if headings else last)
        path: list[tuple[int, str]] = []
        carried = -1
        for n, heading in enumerate(headings):
            following = headings[n + 1] if n + 1 < len(headings) else None
            end = following.start if following else last
            while path and path[-1][0] >= heading.level:
                path.pop()
            path.append((heading.level, heading.text[:HEADING_CHARS].rstrip()))
            start = heading.start if carried < 0 else carried
            carried = -1
            if (
                following
                and following.level > heading.level
                and _trimmed_end(self.lines, heading.end, end) == heading.end
            ):
                carried = start
                continue
            self.heading = " > ".join(text for _, text in path if text)
            self._section(start, end)

    def _section(self, start: int, end: int) -> None:
        end = _trimmed_end(self.lines, start, end)
        while start < end and _is_blank(self.lines[start]):
            start += 1
        self._pack(start, end)

    def _pack(self, start: int, end: int) -> None:
        """Emit lines `start` to `end`, none of them crossing a heading, in as few chunks as whole blocks allow."""
        if start >= end:
            return
        if self._size(start, end) <= self.limit:
            self._emit(start, end)
            return
        begin = stop = -1  # what waits to be emitted, because more may fit
        for first, last in self._units(start, end):
            if begin >= 0 and self._size(begin, last) <= self.limit:
                stop = last
            elif self._size(first, last) > self.limit:
                begin, stop = self._fill(begin, stop, first, last)
                continue
            else:
                if begin >= 0:
                    self._emit(begin, stop)
                begin, stop = first, last
            if self.runs and self.at == stop:
                stop = self.at = self._last_that_fits(begin, stop, end)
        if begin >= 0:
            self._emit(begin, stop)

    def _last_that_fits(self, begin: int, stop: int, end: int) -> int:
        """The last end of a block of the run at line `stop`, itself such an end, that fits behind line `begin`."""
        last = min(self.runs.end(stop), end) if self.runs else stop
        if last > stop:
            last = bisect_right(self.sizes, self.sizes[begin] + self.limit + 1, stop, last + 1) - 1
            lines = self.lines
            while last > stop and not (lines[last - 1] and (last == end or not lines[last])):
                last -= 1
        return max(last, stop)

    def _units(self, start: int, end: int) -> Iterator[Span]:
        """Blocks that fit; of others the items, the fences and what stands between them, whether they fit or not."""
        for block in self._blocks(start, end):
            if self._size(*block) <= self.limit:
                yield block
            else:
                yield from self._parts(*block)

    def _blocks(self, start: int, end: int) -> Iterator[Span]:
        """The runs of lines without a blank line outside a fence; from `at` on, which who asks may move to the end of
        a later one."""
        lines, runs = self.lines, self.runs
        at = start
        while at < end:
            begin = at
            while at < end and (line := lines[at]) and not line.isspace():
                if runs and (last := min(runs.end(at), end)) > at:
                    at = runs.empty(at, last)
                    continue
                fence = fence_on(line) if "```" in line or "~~~" in line else None
                at = fence_end(lines, at, end, fence) if fence else at + 1
            if at > begin:
                self.at = at
                yield begin, at
                at = self.at
            elif runs and (last := min(runs.end(at), end)) > at:
                at = runs.text(at, last)
            else:
                at += 1

    def _parts(self, start: int, end: int) -> Iterator[Span]:
        """The fences, list items and rests of a block."""
        lines, runs = self.lines, self.runs
        begin = at = start
        while at < end:
            if runs and (last := min(runs.end(at), end)) > at:
                at = last
                continue
            line = lines[at]
            fence = fence_on(line) if "```" in line or "~~~" in line else None
            if at > begin and (fence or is_item(line)):
                yield begin, at
                begin = at
            at += 1
            if fence:
                at = fence_end(lines, begin, end, fence)
                yield begin, at
                begin = at
        if end > begin:
            yield begin, end

    def _fill(self, begin: int, stop: int, first: int, last: int) -> Span:
        """Emit lines `begin` to `stop`, which wait, and `first` to `last`, which do not fit into one chunk.

        As many whole lines as fit are a chunk. Returns what waits then: -1, -1 if nothing does.
        """
        while first < last:
            base = begin if begin >= 0 else first
            end = bisect_right(self.sizes, self.sizes[base] + self.limit + 1, first, last + 1) - 1
            if end > first:
                begin, stop = base, _trimmed_end(self.lines, base, end)
                if end == last:
                    return begin, stop
            elif begin < 0 or 2 * (self.sizes[first] - self.sizes[begin]) <= self.limit:
                # A line that is too long; what waits goes with its beginning, as half a chunk is left for it.
                self._emit_pieces(base, first)
                end, begin = first + 1, -1
            else:
                end = first
            if begin >= 0:
                self._emit(begin, stop)
            begin = stop = -1
            first = end
            while first < last and _is_blank(self.lines[first]):
                first += 1
        return begin, stop

    def _size(self, start: int, end: int) -> int:
        """The bytes of the text of lines `start` to `end`, without the last line end."""
        return self.sizes[end] - self.sizes[start] - 1

    def _byte_end(self, line: int) -> int:
        """Where the bytes of a line end, its line end not counted."""
        end = self.starts[line + 1] - 1
        if line + 2 < len(self.starts) and end > self.starts[line] and self.data[end - 1] in b"\r\0":
            bare = self.data[self.starts[line] : end].rstrip(b"\0")
            if bare.endswith(b"\r"):
                return self.starts[line] + len(bare) - 1
        return end

    def _emit(self, start: int, end: int) -> None:
        begin, stop = self.starts[start], self._byte_end(end - 1)
        if self.is_clean:
            text = "\n".join(self.lines[start:end])
            self._add(begin, stop, start, end, unescape(text) if self.is_conversation else text)
        else:
            self._add(begin, stop, start, end, chunk_text(self.data[begin:stop], self.is_conversation))

    def _emit_pieces(self, start: int, line: int) -> None:
        """Emit lines `start` to `line`, where `line` is too long and what stands before it is not, in pieces."""
        begin, at, stop = self.starts[start], self.starts[line], self._byte_end(line)
        room = self.limit - (self.sizes[line] - self.sizes[start])
        # A bad byte becomes three, so where there may be some, three times as much room is kept.
        scale = 1 if self.is_clean or "\ufffd" not in self.lines[line] else 3
        while at < stop:
            most = at + room // scale
            at = stop if most >= stop else self._cut(at, most)
            text = chunk_text(self.data[begin:at], self.is_conversation)
            if text and not text.isspace():
                self._add(begin, at, start, line + 1, text)
            begin, start, room = at, line, self.limit

    def _cut(self, at: int, most: int) -> int:
        """Where to cut the line at byte `at` so that at most the bytes before `most` come first."""
        half = (at + most) // 2
        blank = max(self.data.rfind(b" ", half, most), self.data.rfind(b"\t", half, most))
        if blank >= 0:
            return blank + 1
        cut = most
        while cut > max(at, most - 4) and self.data[cut] & 0xC0 == 0x80:
            cut -= 1
        return cut if cut > at else most

    def _add(self, begin: int, stop: int, start: int, end: int, text: str) -> None:
        turn = self.turn
        speaker, at = (turn.speaker, turn.at) if turn else (None, None)
        heading = self.heading
        digest = chunk_digest(text, heading)
        self.out.append(Chunk(begin, stop - begin, start + 1, end - start, heading, text, digest, speaker, at))
        if len(self.out) > self.most:
            raise _EnoughError


def _offsets(sizes: Iterable[int], base: int) -> array[int]:
    """Where each line begins, and where the last one ends, if lines have these sizes and an end of one byte."""
    return array("q", map(add, accumulate(sizes, initial=base), count()))


def _is_blank(line: str) -> bool:
    return not line or line.isspace()


def _trimmed_end(lines: Sequence[str], start: int, end: int) -> int:
    while end - start > EMPTY and not (lines[end - 1] or lines[end - 2] or any(lines[end - EMPTY : end])):
        end -= EMPTY
    while end > start and _is_blank(lines[end - 1]):
        end -= 1
    return end
