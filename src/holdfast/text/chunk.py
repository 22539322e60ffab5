"""A parsed note -> its chunks, the units of retrieval.

A chunk is a heading's section, a list, a group of paragraphs or a turn: whole blocks of one section, as many as fit.
It never crosses a heading and never cuts a fence that fits by itself. Chunks are in document order and disjoint, and
every line with text, frontmatter and turn markers aside, is in one of them. A token is 4 bytes of UTF-8, rounded up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate

from holdfast.model import Chunk, Turn
from holdfast.text.markdown import fence_end, fence_of, is_item
from holdfast.text.note import Document
from holdfast.text.source import BOM, text_of
from holdfast.text.turns import unescape

TOKEN_BYTES = 4

Span = tuple[int, int]


def chunk(document: Document, max_tokens: int = 250) -> list[Chunk]:
    """The chunks of a note, none longer than `max_tokens`; empty if its body is blank."""
    return _Chunker(document, max_tokens * TOKEN_BYTES).run()


def chunk_text(raw: bytes, conversation: bool) -> str:
    """The text of a chunk from the bytes of its range, exactly as `chunk` gave it."""
    text = text_of(raw)
    return unescape(text) if conversation else text


def chunk_digest(text: str, heading: str) -> bytes:
    """The digest of a chunk: equal if and only if its text and its path of headings are."""
    return blake2b(f"{text}\0{heading}".encode(), digest_size=16).digest()


class _Chunker:
    def __init__(self, document: Document, limit: int) -> None:
        source = document.source
        self.document = document
        self.lines = source.lines
        self.data = source.data
        self.limit = max(limit, 4 * TOKEN_BYTES)
        self.is_conversation = document.is_conversation
        raw = (source.data[3:] if source.data.startswith(BOM) else source.data).split(b"\n")
        base = len(source.data) - sum(map(len, raw)) - len(raw) + 1
        # starts[n] is the byte at which line n begins; sizes[n] what the text of the lines before n takes, ends included.
        self.starts = list(accumulate(map((1).__add__, map(len, raw)), initial=base))
        if source.is_clean and b"\r\n" not in source.data:
            self.sizes = self.starts
        else:
            self.sizes = list(accumulate((len(line.encode()) + 1 for line in self.lines), initial=0))
        self.heading = ""
        self.turn: Turn | None = None
        self.out: list[Chunk] = []

    def run(self) -> list[Chunk]:
        turns = self.document.parsed.turns
        self._sections(self.document.first, turns[0].line - 1 if turns else len(self.lines))
        self.heading = ""
        ends = [turn.line - 1 for turn in turns[1:]] + [len(self.lines)]
        for self.turn, end in zip(turns, ends, strict=True):
            self._pack(self.turn.line, self._trimmed_end(self.turn.line, end))
        return self.out

    def _sections(self, first: int, last: int) -> None:
        """Chunk ordinary text, section by section; a heading without text of its own goes with what follows."""
        lines = self.lines
        path: list[tuple[int, str]] = []
        begin = first
        headings = self.document.headings
        self._pack(*self._trimmed(first, headings[0].start if headings else last))
        for n, heading in enumerate(headings):
            is_last = n + 1 == len(headings)
            end = last if is_last else headings[n + 1].start
            while path and path[-1][0] >= heading.level:
                path.pop()
            path.append((heading.level, heading.text))
            if begin < heading.start and not self._is_carried(n):
                begin = heading.start
            if not is_last and self._is_carried(n + 1) and self._size(begin, end) <= self.limit:
                continue
            self.heading = " > ".join(text for _, text in path if text)
            self._pack(*self._trimmed(begin, end))
            begin = end
        assert begin <= last or not lines

    def _is_carried(self, n: int) -> bool:
        """Whether heading `n` stands directly below a heading that has no text and is not deeper."""
        return False

    def _size(self, start: int, end: int) -> int:
        """The bytes of the text of lines `start` to `end`, without the last line end."""
        return self.sizes[end] - self.sizes[start] - 1

    def _trimmed_end(self, start: int, end: int) -> int:
        lines = self.lines
        while end > start and (not lines[end - 1] or lines[end - 1].isspace()):
            end -= 1
        return end

    def _trimmed(self, start: int, end: int) -> Span:
        end = self._trimmed_end(start, end)
        while start < end and (not self.lines[start] or self.lines[start].isspace()):
            start += 1
        return start, end
