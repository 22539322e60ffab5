"""Give every chunk its vector: what lacks one, newest notes first, in small batches that are kept whatever happens.

Texts are read from the notes again and must be those that the index knows; a vector is stored only for an input that
a live chunk has (index/sqlite/vectors.py), and never made twice for equal inputs. The next job continues one that dies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from holdfast.embed.base import Embedder, Encoded
from holdfast.engine.bounds import keep_within
from holdfast.engine.breaker import FAILED_WITH, open_breaker, reset, settings_mark, trip
from holdfast.engine.carry import carry, rows_in, salvage_quarantine, write_copy
from holdfast.engine.heal import set_aside
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
BATCH_S = 1.0
PLAIN = Input("holdfast", 0, 8, False, b"")
"""What every embedder can embed: who refuses that refuses everything."""

UNWANTED = "no_vectors"
PASSED = "embedded_seq"
"""At which change number all that could be embedded was, by which embedder, and how many notes were left."""

ORPHANS_KEPT, ORPHANS_SHARE = 1_000, 0.5


def embed(ws: Workspace, progress: Progress | None = None, stop: threading.Event | None = None) -> Embedded:
    """Embed what lacks a vector and say what was done.

    Raises VaultBusy while another process embeds, the embedder's faults, and those of the index and the machine.
    """
    started_ns = ws.fs.monotonic_ns()
    embedder, index = ws.embedder(), ws.index()
    if embedder is None or index is None:
        return Embedded(_standing(index), 0, 0, 0.0)
    with ws.embedding():
        job = _Job(ws, index, embedder, progress, stop or threading.Event())
        try:
            job.run()
            reset(job.index)
        except (EmbedderDown, EmbedderWrong) as e:
            trip(job.index, embedder.identity, ws.fs.time_ns(), e)
            _record(ws, job.index, str(e))
            raise
        except (IndexFault, ResourceFault, OSError) as e:
            _record(ws, job.index, str(e))
            if isinstance(e, IndexFault):
                set_aside(ws, job.index, e)
            raise
        job.index.note_job("embed", "", ws.fs.time_ns())
        seconds = round((ws.fs.monotonic_ns() - started_ns) / 1e9, 4)
        return Embedded(job.ready(), job.made, job.left, seconds, job.remarks())


def _standing(index: Index | None) -> Ready:
    """How many chunks have a vector that answers questions."""
    if index is None:
        return Ready(0, 0)
    live = index.vectors.live()
    return Ready(index.vectors.ready(live.id) if live is not None else 0, index.counts().chunks)


def _record(ws: Workspace, index: Index, error: str) -> None:
    ws.log.event("embed_failed", error)
    try:
        values = {FAILED_WITH: settings_mark(ws.config)}
        index.note_job("embed", error, ws.fs.time_ns(), values, failed=True)
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
        self._skipped: set[int] = set()
        self._refused: dict[bytes, str] = {}
        self._refusing: set[int] = set()
        self._seq = self._done = self._total = 0
        self._limit, self._dimension = FIRST_BATCH, 0

    def run(self) -> None:
        self.ws.prove_vault()
        self._begin()
        while not self.stop.is_set():
            self._seq = self.index.counts().seq
            todo = [n for n in self.index.vectors.lacking_notes(self.id or 0) if n not in self._skipped]
            if not todo:
                break
            before = self.made, len(self._refused)
            is_whole = self._go_over(todo)
            if self.stop.is_set():
                return
            if is_whole and (self.made, len(self._refused)) == before:
                self._skipped.update(todo)  # what they lack, their texts do not give
        self.left = len(self._skipped - self._refusing)
        self._settle()
        if not self.stop.is_set():
            self.index.put_meta({PASSED: _passed(self.embedder, self.id, self._seq) + str(self.left)})

    def _begin(self) -> None:
        """Take what there is already for the index at hand."""
        salvage_quarantine(self.ws, self.index, self.embedder.identity)
        self.id, self._dimension = self.index.vectors.find(self.embedder.identity), 0
        self._done, self._total = self.ready().ready, self.index.counts().chunks

    def _go_over(self, todo: list[int]) -> bool:
        """Embed what these notes lack; returns False if that ended early since the list is out of date, so that what
        was written meanwhile comes first. Test: fault/test_embedding.py."""
        for batch in self._batches(todo):
            began_ns, id_ = self.ws.fs.monotonic_ns(), self.id
            self._store(batch)
            self._pace(len(batch), (self.ws.fs.monotonic_ns() - began_ns) / 1e9)
            if self.stop.is_set() or self._follow() or id_ not in (None, self.id):
                return False
            if self.index.counts().seq != self._seq:
                self._skipped.clear()
                return False
        return True

    def _pace(self, count: int, seconds: float) -> None:
        """As many texts in the next batch as take about BATCH_S: so long does a new note wait at most."""
        wanted = max(FIRST_BATCH, int(count * BATCH_S / max(seconds, 1e-3)))
        self._limit = max(1, min(self.ws.config.embed_batch, wanted))

    def _follow(self) -> bool:
        """Go on with the index that is published now, if that is another one, and take along what was made."""
        now = self.ws.index()
        if now is None or now.generation == self.index.generation:
            return False
        old, self.index = self.index, now
        try:
            carry(now, rows_in(old, self.embedder.identity))
        except IndexFault as e:
            self.ws.count(f"carry_{e.kind}")
        self._skipped.clear()
        self._begin()
        return True

    def ready(self) -> Ready:
        ready = self.index.vectors.ready(self.id) if self.id is not None else 0
        return Ready(ready, self.index.counts().chunks)

    def remarks(self) -> tuple[str, ...]:
        """What is to be said of this pass."""
        if not self._refused:
            return ()
        count, why = len(self._refused), next(iter(self._refused.values()))
        texts = "1 text was refused and has" if count == 1 else f"{count:,} texts were refused and have"
        return (f"{texts} no vector; searches by words find it all the same: {why}",)

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

    def _batches(self, todo: list[int]) -> Iterator[list[Input]]:
        """Inputs without a vector, a batch at a time, of the notes `todo` in order; notes that cannot be read as they
        are indexed are skipped: the next sync sees them."""
        pending: dict[bytes, Input] = {}
        size, self._limit = 0, FIRST_BATCH
        for note in todo:
            inputs = self._inputs(note)
            if inputs is None:
                self._skipped.add(note)
                continue
            if any(x.digest in self._refused for x in inputs):
                self._refusing.add(note)
            lacking = self.index.vectors.lacking(self.id or 0, (x.digest for x in inputs)) - self._refused.keys()
            for x in inputs:
                if x.digest in lacking and x.digest not in pending:
                    pending[x.digest] = x
                    size += len(x.text)
                if len(pending) >= self._limit or size >= BATCH_CHARS:
                    yield list(pending.values())
                    lacking -= pending.keys()
                    pending, size = {}, 0
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
            self.ws.count(f"embed_{e.kind}", e)
            return None
        except FileNotFoundError:
            return None
        if body.digest != row.digest:
            return None
        return read_note(body.data, path, self.ws.config.chunk_tokens).inputs

    def _store(self, batch: list[Input]) -> None:
        keep_within(self.ws, self.index)
        for part, encoded in self._encode(batch):
            if encoded.vectors.shape[1] != self._dimension:
                self._take_dimension(encoded.vectors.shape[1])
            assert self.id is not None, "it was found or added"
            tokens = encoded.tokens if self.ws.config.token_vectors else [None] * len(part)
            packed = rows([x.digest for x in part], encoded.vectors, tokens)
            stored = self.index.vectors.put(self.id, packed)
            self.made += stored
            self._done += stored
        if self.progress is not None:
            self.progress(min(self._done, self._total), self._total)

    def _take_dimension(self, dimension: int) -> None:
        """Which vectors are to be completed: with another dimension than before, a server has another model now, and
        all are made anew. Test: fault/test_embedder_faults.py."""
        vectors, identity = self.index.vectors, self.embedder.identity
        known = vectors.find(identity, dimension)
        if known is None and self.id is not None:
            given = self.embedder.encode([PLAIN]).vectors.shape[1]
            if given != dimension:
                raise EmbedderWrong(f"The embedder gives vectors of {dimension} numbers, and of {given}.")
        self._dimension, self.id = dimension, vectors.add_embedder(identity, dimension)

    def _encode(self, batch: list[Input]) -> Iterator[tuple[list[Input], Encoded]]:
        """The batch with its vectors, in parts where one text is refused: that one is passed over.

        An embedder that refuses a plain word too is at fault itself. Test: fault/test_embedding.py.
        """
        try:
            encoded = self.embedder.encode(batch)
        except EmbedderWrong as e:
            try:
                self.embedder.encode([PLAIN])
            except EmbedderWrong:
                raise e from None
            if len(batch) == 1:
                self.ws.count("embed_refused")
                self._refused[batch[0].digest] = e.message
                return
            half = len(batch) // 2
            yield from self._encode(batch[:half])
            yield from self._encode(batch[half:])
        else:
            yield batch, encoded


def is_behind(ws: Workspace, vectors: Ready) -> bool:
    """Whether the vectors lack chunks that came in since the last time they were made, and nobody makes them now."""
    if vectors.ready >= vectors.total:
        return False
    try:
        return _is_behind(ws)
    except HoldfastError as e:  # the answer stands; what is wrong was said in it, or is said by the next
        ws.count(f"embed_{e.kind}", e)
        return False


def want_vectors(ws: Workspace, *, wanted: bool) -> None:
    """Keep whether vectors are to be made at all: who says `--no-vectors` is not overruled by the next question."""
    try:
        index = ws.index()
        if index is not None and bool(index.meta(UNWANTED)) == wanted:
            index.put_meta({UNWANTED: int(not wanted)})
    except (IndexFault, ResourceFault) as e:
        ws.count(f"embed_{e.kind}", e)


def _is_behind(ws: Workspace) -> bool:
    index, embedder = ws.index(), ws.embedder()
    if index is None or embedder is None or index.meta(UNWANTED):
        return False
    id_, live = index.vectors.find(embedder.identity), index.vectors.live()
    if live is not None and live.identity != embedder.identity:
        return False  # whose vectors answer is not for a question to change; see docs/interface.md
    if str(index.meta(PASSED)).startswith(_passed(embedder, id_, index.counts().seq)):
        return False
    is_resting = open_breaker(index, embedder.identity, ws.fs.time_ns()) is not None
    return not is_resting and ws.embed_holder() is None


def _passed(embedder: Embedder, id_: int | None, seq: int) -> str:
    return f"{seq} {embedder.identity} {id_ or 0} left "


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
                self._ws.count(f"embed_{e.kind}", e)
            except Exception as e:  # noqa: BLE001 - a fault of ours must not end the thread unseen
                self._ws.count(f"embed_{type(e).__name__}")
                self._say(e)

    def _say(self, error: Exception) -> None:
        try:
            _keep(self._ws, error)
        except HoldfastError as e:
            self._ws.count(f"embed_{e.kind}", e)

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
        live, id_ = index.vectors.live(), index.vectors.find(embedder.identity)
        is_live = live is not None and live.id == id_
        is_tidy = not (live is not None and is_live and index.vectors.has_others(live.id))
        counts = index.counts()
        if live is not None and is_live and is_tidy and index.vectors.ready(live.id) == counts.chunks:
            if index.jobs().get("embed", {}).get("error"):
                index.note_job("embed", "", ws.fs.time_ns())
            return None
        before, passed = str(index.meta(PASSED)), _passed(embedder, id_, counts.seq)
        if is_tidy and (before == passed + "0" or (not again and before.startswith(passed))):
            return None
        rest = open_breaker(index, embedder.identity, ws.fs.time_ns())
        if rest is not None:
            return f"{rest.error} It is asked again later, or now by `holdfast embed`."
        return embed(ws, progress, stop)
    except VaultBusy as e:
        return f"{e.message} It makes the vectors."
    except (ResourceFault, IndexFault) as e:
        ws.count(f"embed_{e.kind}", e)
        if isinstance(e, EmbedderDown | EmbedderWrong):
            _keep(ws, e)
        return f"{e.message} {e.hint}"


def _keep(ws: Workspace, error: Exception) -> None:
    """Have `status` say it, also where there was no pass that could: a model's folder that is gone has no identity."""
    index, said = ws.index(), str(error) or type(error).__name__
    if index is not None and index.jobs().get("embed", {}).get("error") != said:
        _record(ws, index, said)
