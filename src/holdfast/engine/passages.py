"""Read the words of hits from the notes, at the moment of the answer, and prove them by their digests.

So an answer cannot show text that is no longer there: where the bytes at a chunk's place are not the chunk's, the note
is read and cut again, and the hit is put right or dropped. A note that cannot be read keeps its hit, without text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.engine.apart import read_carefully, refuse_poison
from holdfast.engine.rank import Ranked
from holdfast.engine.workspace import Workspace
from holdfast.errors import HoldfastError, NoteError
from holdfast.files import notes
from holdfast.files.wide import Pool, each
from holdfast.index.asking import ChunkRow
from holdfast.index.base import NoteRow
from holdfast.model import key_path, show_path
from holdfast.text.chunk import chunk_digest, chunk_text

PARALLEL = 16


@dataclass(frozen=True, slots=True)
class Passage:
    """A ranked chunk with its words; `text` is None where they cannot be read."""

    ranked: Ranked
    chunk: ChunkRow
    line: int
    count: int
    text: str | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    passage: Passage | None
    remark: str = ""


def read_passages(
    ws: Workspace,
    rows: dict[int, NoteRow],
    ranked: Sequence[tuple[Ranked, ChunkRow | None]],
    k: int,
    degraded: list[str],
) -> list[Passage]:
    """The first `k` of `ranked` whose words are still in the notes."""
    todo = [(r, c, rows[r.note]) for r, c in ranked if c is not None and r.note in rows]
    pool = Pool(PARALLEL) if _reads_are_slow(ws) else None
    try:
        out: list[Passage] = []
        at = 0
        while len(out) < k and at < len(todo):
            part = todo[at : at + k - len(out)]
            at += len(part)
            for outcome in each(pool, part, lambda x: _read(ws, *x), ws.count):
                if outcome.remark:
                    degraded.append(outcome.remark)
                if outcome.passage is not None:
                    out.append(outcome.passage)
        return out
    finally:
        if pool is not None:
            pool.close()


def _reads_are_slow(ws: Workspace) -> bool:
    try:
        index = ws.index()
        return bool(index and index.meta("slow"))
    except HoldfastError:
        return False  # whoever searched has said what is wrong with the index


def _read(ws: Workspace, ranked: Ranked, chunk: ChunkRow, note: NoteRow) -> _Outcome:
    path = key_path(note.key)
    try:
        if chunk.start < 0 or not 0 < chunk.size <= ws.config.note_bytes:
            # The title of a note without text, which stands at no place that could be read alone; or damage.
            return _read_again(ws, ranked, chunk, note)
        raw = notes.read_range(ws.fs, ws.root, path, chunk.start, chunk.size)
        text = chunk_text(raw, note.type == "conversation")
        if chunk_digest(text, chunk.heading) == chunk.digest:
            return _Outcome(Passage(ranked, chunk, chunk.line, chunk.count, text))
        return _read_again(ws, ranked, chunk, note)
    except FileNotFoundError:
        if ws.is_missing:
            return _Outcome(Passage(ranked, chunk, chunk.line, chunk.count, None))
        return _Outcome(None, f"{show_path(path)} is gone since the last sync; its hit was dropped")
    except NoteError as e:
        ws.count(f"recall_{e.kind}", e)
        return _Outcome(Passage(ranked, chunk, chunk.line, chunk.count, None), e.message)


def _read_again(ws: Workspace, ranked: Ranked, chunk: ChunkRow, note: NoteRow) -> _Outcome:
    path = key_path(note.key)
    body = notes.read_note(ws.fs, ws.root, path, max_bytes=ws.config.note_bytes)
    refuse_poison(ws, note.key, body.digest)
    fresh = read_carefully(ws, body.data, path, body.digest)
    for c in fresh.chunks:
        if c.digest == chunk.digest:
            remark = "" if body.digest == note.digest else f"{show_path(path)} changed since the last sync"
            # A chunk without bytes is the title of a note without text.
            raw = body.data[c.start : c.start + c.size]
            text = chunk_text(raw, fresh.type == "conversation") if c.size else fresh.title
            return _Outcome(Passage(ranked, chunk, c.line, c.count, text), remark)
    return _Outcome(None, f"{show_path(path)} changed since the last sync; a hit in it was dropped")
