"""Lines of notes as they are at the moment of asking, for who knows from the index where they stood.

A note whose bytes are not those that the index has read is parsed again, so that no line is shown which says something
else; what is not there any more is dropped, with a word about it.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.engine.apart import read_carefully, refuse_poison
from holdfast.engine.read import find
from holdfast.engine.workspace import Workspace
from holdfast.errors import NoteError, NotFound, QueryError
from holdfast.files import notes
from holdfast.files.notes import NoteBytes
from holdfast.index.base import Index, LinkRow, NoteRow
from holdfast.model import Parsed, key_path, show_path, sort_key
from holdfast.text.note import parse
from holdfast.text.source import decode

LINE_CHARS = 400
PAGE_MAX = 1_000


def check_limit(limit: int) -> None:
    """Raise QueryError unless so many can be asked for at once."""
    if not 1 <= limit <= PAGE_MAX:
        raise QueryError(f"The limit is {limit}.", hint=f"Ask for 1 to {PAGE_MAX:,} at a time.")


def note_of(ws: Workspace, index: Index, identifier: str) -> NoteRow:
    """The index's row of the note that `identifier` names; errors as engine.read.find."""
    path = find(ws, index, identifier).path
    row = index.note_by_key(sort_key(path))
    if row is None:
        raise NotFound(
            f"The note {show_path(path)} is not in the index.", hint="Run `holdfast sync --explain`, which says why."
        )
    return row


def shown_line(text: str, wanted: str = "") -> str:
    """`text` trimmed, or the part of it around `wanted` where it is long."""
    text = text.strip()
    if len(text) <= LINE_CHARS:
        return text
    start = max(0, min(text.find(wanted) - LINE_CHARS // 2, len(text) - LINE_CHARS))
    end = start + LINE_CHARS
    return ("…" if start else "") + text[start:end].strip() + ("…" if end < len(text) else "")


@dataclass(frozen=True, slots=True)
class Found:
    """Where a link stands now, and its line; without text where the note cannot be read."""

    line: int
    text: str | None


class Reader:
    """Reads notes one after another, each once, and says in `degraded` what hindered."""

    def __init__(self, ws: Workspace, degraded: list[str]) -> None:
        self._ws, self._degraded = ws, degraded
        self._at: bytes | None = None
        self._lines: list[str] = []
        self._links: list[LinkRow] | None = None
        self._body: NoteBytes | None = None
        self._is_gone = False

    def link(self, note: NoteRow, link: LinkRow) -> Found | None:
        """Where `link` of `note` stands; None if it is there no more."""
        self._open(note)
        if self._body is None:
            return None if self._is_gone else Found(link.line, None)
        if self._links is None:
            text = self._lines[link.line - 1] if 0 < link.line <= len(self._lines) else ""
            return Found(link.line, shown_line(text, link.target))
        same = [x.line for x in self._links if _same(x, link)]
        if not same:
            self._say(f"{_shown(note)} changed since the last sync; a link in it was dropped")
            return None
        line = min(same, key=lambda at: (abs(at - link.line), at))
        return Found(line, shown_line(self._lines[line - 1], link.target))

    def lines(self, note: NoteRow) -> list[str] | None:
        """All lines of a note as it is now; None where it cannot be read."""
        self._open(note)
        return None if self._body is None else self._lines

    def parsed(self, key: bytes, digest: bytes) -> Parsed | None:
        """What the note with that key says now; None where it cannot be read. `digest` is what the index knows."""
        body = self._read(key)
        if body is None:
            return None
        try:
            refuse_poison(self._ws, key, body.digest)
        except NoteError as e:
            self._say(e.message)
            return None
        if body.digest != digest:
            self._say(f"{show_path(key_path(key))} changed since the last sync")
        return parse(body.data, show_path(key_path(key))).parsed

    def _open(self, note: NoteRow) -> None:
        if self._at == note.key:
            return
        self._at, self._links, self._lines, self._is_gone = note.key, None, [], False
        self._body = self._read(note.key)
        if self._body is None:
            return
        self._lines = decode(self._body.data).lines
        if self._body.digest == note.digest:
            return
        path = key_path(note.key)
        try:
            refuse_poison(self._ws, note.key, self._body.digest)
            self._links = list(read_carefully(self._ws, self._body.data, path, self._body.digest).links)
        except NoteError as e:
            self._ws.count(f"graph_{e.kind}", e)
            self._say(e.message)
            self._body = None

    def _read(self, key: bytes) -> NoteBytes | None:
        path = key_path(key)
        try:
            return notes.read_note(self._ws.fs, self._ws.root, path, max_bytes=self._ws.config.note_bytes)
        except FileNotFoundError:
            self._is_gone = not self._ws.is_missing
            self._say(f"{show_path(path)} is gone since the last sync")
        except NoteError as e:
            self._ws.count(f"graph_{e.kind}", e)
            self._say(e.message)
        return None

    def _say(self, remark: str) -> None:
        if remark not in self._degraded:
            self._degraded.append(remark)


def _same(a: LinkRow, b: LinkRow) -> bool:
    return (a.target, a.heading, a.block, a.relation) == (b.target, b.heading, b.block, b.relation)


def _shown(note: NoteRow) -> str:
    return show_path(key_path(note.key))
