"""Give every chunk its vector: what lacks one, newest notes first, in small batches that are kept whatever happens.

Texts are read from the notes again and must be those that the index knows; a vector is stored only for an input that
a live chunk has (index/sqlite/vectors.py), and never made twice for equal inputs. A job that dies is continued by the
next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from holdfast.embed.base import Embedder
from holdfast.engine.breaker import open_breaker, reset, trip
from holdfast.engine.carry import salvage_quarantine, write_copy
from holdfast.engine.record import read_note
from holdfast.engine.workspace import Workspace
from holdfast.errors import EmbedderDown, EmbedderWrong, HoldfastError, IndexFault, NoteError, ResourceFault, VaultBusy
from holdfast.files import notes
from holdfast.index.base import Index
from holdfast.index.vectors.codes import rows
from holdfast.model import Input, key_path
from holdfast.results import Embedded, Ready

Progress = Callable[[int, int], None]
"""Called with (chunks that have a vector, chunks)."""

FIRST_BATCH = 16
"""So that what was written last is found by meaning first."""

BATCH_CHARS = 128 * 1024
PASSED = "embedded_seq"
"""At which change number all that could be embedded was, by which embedder, and how many notes were left."""

ORPHANS_KEPT = 1_000
ORPHANS_SHARE = 0.5


def embed(ws: Workspace, progress: Progress | None = None, stop: threading.Event | None = None) -> Embedded:
    """Embed what lacks a vector and say what was done.

    Raises VaultBusy while another process embeds, the embedder's faults, and those of the index and the machine.
    """
    started_ns = ws.fs.monotonic_ns()
    embedder, index = ws.embedder(), ws.index()
    if embedder is None or index is None:
        total = index.counts().chunks if index is not None else 0
        return Embedded(Ready(0, total), 0, 0, 0.0)
    with ws.embedding():
        job = _Job(ws, index, embedder, progress, stop or threading.Event())
        try:
            job.run()
            reset(index)
        except (EmbedderDown, EmbedderWrong) as e:
            trip(index, embedder.identity, ws.fs.time_ns(), e)
            _record(ws, index, e)
            raise
        except (IndexFault, ResourceFault, OSError) as e:
            _record(ws, index, e)
            raise
        index.note_job("embed", "", ws.fs.time_ns())
        return Embedded(job.ready(), job.made, job.left, round((ws.fs.monotonic_ns() - started_ns) / 1e9, 4))


def _record(ws: Workspace, index: Index, error: Exception) -> None:
    try:
        index.note_job("embed", str(error), ws.fs.time_ns(), failed=True)
    except (IndexFault, ResourceFault, OSError):
        ws.count("job_record_failed")  # the error itself is on its way to the user


class _Job:
    """One pass over what lacks a vector. `made` vectors were stored; `left` notes could not be read as indexed."""

    def __init__(
        self, ws: Workspace, index: Index, embedder: Embedder, progress: Progress | None, stop: threading.Event
    ) -> None:
        self.ws, self.index, self.embedder, self.progress, self.stop = ws, index, embedder, progress, stop
        self.id: int | None = None
        self.made = self.left = 0
        self._done = self._total = 0
        live = index.vectors.live()
        if live is not None and live.identity == embedder.identity:
            self.id = live.id

    def run(self) -> None:
        self.ws.prove_vault()
        salvage_quarantine(self.ws, self.index, self.embedder.identity)
        if self.id is None:
            self.id = self.index.vectors.find(self.embedder.identity)
        self._done, self._total = self.ready().ready, self.index.counts().chunks
        skipped: set[int] = set()
        seq = self.index.counts().seq
        while not self.stop.is_set():
            todo = [n for n in self.index.vectors.lacking_notes(self.id or 0) if n not in skipped]
            if not todo:
                break
            before = self.made
            for batch in self._batches(todo, skipped):
                self._store(batch)
                if self.stop.is_set():
                    return
            if self.made == before:
                skipped.update(todo)  # what they lack, their texts do not give
        self.left = len(skipped)
        self._settle()
        if not self.stop.is_set():
            self.index.put_meta({PASSED: _passed(self.embedder, seq) + str(self.left)})

    def ready(self) -> Ready:
        ready = self.index.vectors.ready(self.id) if self.id is not None else 0
        return Ready(ready, self.index.counts().chunks)

    def _settle(self) -> None:
        """All that can be has been embedded: let it answer if it is complete, and drop what nothing has any more."""
        if self.id is None or self.stop.is_set():
            return
        vectors = self.index.vectors
        if vectors.has_others(self.id) and self._may_replace():
            vectors.switch(self.id)
        ready, _ = vectors.counts(self.id)
        if vectors.orphans(self.id) > ORPHANS_KEPT + ORPHANS_SHARE * ready:
            vectors.drop_orphans(self.id)
        vectors.remember_ready()
        if self.made:
            write_copy(self.ws, self.index)
            self.index.checkpoint()

    def _may_replace(self) -> bool:
        """Whether nothing is lost with the vectors that answer now: notes that could not be read leave a gap.

        Test: fault/test_embedding.py.
        """
        vectors = self.index.vectors
        live, id_ = vectors.live(), self.id
        assert id_ is not None, "there are vectors to put in their place"
        return not self.left or live is None or live.id == id_ or vectors.ready(id_) >= vectors.ready(live.id)

    def _batches(self, todo: list[int], skipped: set[int]) -> Iterator[list[Input]]:
        """Inputs without a vector, a batch at a time, of the notes `todo` in order; notes that cannot be read as they
        are indexed go into `skipped`: the next sync sees them."""
        pending: dict[bytes, Input] = {}
        size, limit = 0, FIRST_BATCH
        for note in todo:
            inputs = self._inputs(note)
            if inputs is None:
                skipped.add(note)
                continue
            lacking = self.index.vectors.lacking(self.id or 0, (x.digest for x in inputs))
            for x in inputs:
                if x.digest in lacking and x.digest not in pending:
                    pending[x.digest] = x
                    size += len(x.text)
                if len(pending) >= limit or size >= BATCH_CHARS:
                    yield list(pending.values())
                    lacking -= pending.keys()
                    pending, size, limit = {}, 0, self.ws.config.embed_batch
        if pending:
            yield list(pending.values())

    def _inputs(self, note: int) -> list[Input] | None:
        row = self.index.notes([note]).get(note)
        if row is None:
            return None
        path = key_path(row.key)
        try:
            body = notes.read_note(self.ws.fs, self.ws.root, path, max_bytes=self.ws.config.note_bytes)
        except NoteError as e:
            self.ws.count(f"embed_{e.kind}")
            return None
        except FileNotFoundError:
            return None
        if body.digest != row.digest:
            return None
        return read_note(body.data, path, self.ws.config.chunk_tokens).inputs

    def _store(self, batch: list[Input]) -> None:
        encoded = self.embedder.encode(batch)
        if self.id is None:
            self.id = self.index.vectors.add_embedder(self.embedder.identity, encoded.vectors.shape[1])
        tokens = encoded.tokens if self.ws.config.token_vectors else [None] * len(batch)
        packed = rows([x.digest for x in batch], encoded.vectors, tokens)
        stored = self.index.vectors.put(self.id, packed)
        self.made += stored
        self._done += stored
        if self.progress is not None:
            self.progress(min(self._done, self._total), self._total)


def is_behind(ws: Workspace, vectors: Ready) -> bool:
    """Whether the vectors lack chunks that came in since the last time they were made, and nobody makes them now."""
    if vectors.ready >= vectors.total:
        return False
    try:
        return _is_behind(ws)
    except HoldfastError as e:  # the answer stands; what is wrong was said in it, or is said by the next
        ws.count(f"embed_{e.kind}")
        return False


def _is_behind(ws: Workspace) -> bool:
    index, embedder = ws.index(), ws.embedder()
    if index is None or embedder is None:
        return False
    if str(index.meta(PASSED)).startswith(_passed(embedder, index.counts().seq)):
        return False
    is_resting = open_breaker(index, embedder.identity, ws.fs.time_ns()) is not None
    return not is_resting and ws.embed_holder() is None


def _passed(embedder: Embedder, seq: int) -> str:
    return f"{seq} {embedder.identity} left "


class Embedding(threading.Thread):
    """Embeds what comes in as long as the process stays."""

    EVERY_S = 1.0
    AGAIN = 60
    """In so many rounds once, what could not be read is tried again."""

    def __init__(self, ws: Workspace) -> None:
        super().__init__(name="holdfast-embed", daemon=True)
        self._ws, self._ended = ws, threading.Event()

    def run(self) -> None:
        rounds = 0
        while not self._ended.wait(self.EVERY_S):
            rounds += 1
            try:
                embed_quietly(self._ws, None, self._ended, again=rounds % self.AGAIN == 0)
            except HoldfastError as e:
                self._ws.count(f"embed_{e.kind}")

    def stop(self) -> None:
        """Returns once the batch at hand is stored."""
        self._ended.set()
        self.join()


def embed_quietly(
    ws: Workspace, progress: Progress | None, stop: threading.Event | None = None, *, again: bool = True
) -> Embedded | str | None:
    """As `embed`, for who came for something else: what hinders is returned as a sentence, and counted.

    None where nothing is lacking; then the model is not even loaded. `again` tries notes once more that could not be
    read, though nothing changed.
    """
    try:
        embedder, index = ws.embedder(), ws.index()
        if embedder is None or index is None:
            return None
        live = index.vectors.live()
        is_live = live is not None and live.identity == embedder.identity
        counts = index.counts()
        if live is not None and is_live and index.vectors.ready(live.id) == counts.chunks:
            if index.jobs().get("embed", {}).get("error"):
                index.note_job("embed", "", ws.fs.time_ns())
            return None
        passed = _passed(embedder, counts.seq)
        if index.meta(PASSED) == passed + "0" or (not again and str(index.meta(PASSED)).startswith(passed)):
            return None
        rest = open_breaker(index, embedder.identity, ws.fs.time_ns())
        if rest is not None:
            return f"{rest.error} It is asked again later, or now by `holdfast embed`."
        return embed(ws, progress, stop)
    except VaultBusy as e:
        return f"{e.message} It makes the vectors."
    except (ResourceFault, IndexFault) as e:
        ws.count(f"embed_{e.kind}")
        return f"{e.message} {e.hint}"
