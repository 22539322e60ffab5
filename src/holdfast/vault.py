"""The facade: the only door for interfaces. Opens a folder of notes and offers the verbs."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from holdfast.config import Config
from holdfast.engine import read as reading
from holdfast.engine.carry import export, salvage
from holdfast.engine.check import check
from holdfast.engine.detached import Detached
from holdfast.engine.embed import Embedding, embed, embed_quietly, is_behind, want_vectors
from holdfast.engine.heal import set_aside
from holdfast.engine.look import look_first
from holdfast.engine.memory import peak_rss_bytes
from holdfast.engine.parse import parse_file
from holdfast.engine.passes import Options, Progress
from holdfast.engine.places import SETTINGS, find_vault, read_settings
from holdfast.engine.prune import prune
from holdfast.engine.rank import By, Mode
from holdfast.engine.recall import recall
from holdfast.engine.repair import repair
from holdfast.engine.status import status, write_health
from holdfast.engine.stopgap import Stopgap, usable_index
from holdfast.engine.sync import rebuild, sync
from holdfast.engine.versions import version_named
from holdfast.engine.workspace import Workspace
from holdfast.errors import HoldfastError, IndexFault, NotFound, PathNotAllowed, VaultMissing
from holdfast.files.fs import FileSystem
from holdfast.files.paths import safe_path
from holdfast.linking import Linking
from holdfast.results import (
    Answer,
    Carried,
    Checked,
    Created,
    Embedded,
    Evaluated,
    Listing,
    Note,
    Status,
    Synced,
    Upkeep,
    Watched,
)
from holdfast.writing import Writing

OPEN_FILES = 8_192
HEALTH_EVERY_S = 5.0
AUDIT_EVERY_S, AUDITED = 60.0, 16
"""A watch compares so many notes with what is kept of them, so often."""


def raise_file_limit() -> tuple[int, int]:
    """Let this process open as many files as it may ever need; for programs, which own their process.

    Returns the soft limit before and after.
    """
    fs = FileSystem()
    before = fs.open_files_limit()
    fs.raise_open_files_limit(OPEN_FILES)
    return before, fs.open_files_limit()


class Vault(Writing, Linking):
    """A folder of notes and its index. May be used from several threads; several processes on one vault are normal."""

    def __init__(self, workspace: Workspace) -> None:
        """For `open`; call that."""
        self._ws = workspace
        self._detached = Detached(workspace)
        self._stopgap = Stopgap(workspace, self._detached)
        self._embedding: Embedding | None = None

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        state_dir: str | os.PathLike[str] | None = None,
        config: Config | None = None,
        fs: FileSystem | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Vault:
        """The vault at `path`, any folder; nothing is written into it. Raises VaultMissing and ConfigError."""
        state = os.fspath(state_dir) if state_dir is not None else None
        return cls(
            Workspace(fs or FileSystem(), os.fspath(path), state, config, os.environ if environ is None else environ)
        )

    @staticmethod
    def find(start: str | os.PathLike[str] = ".") -> str:
        """The nearest folder from `start` upward that holds `.holdfast/`; raises NotFound."""
        return find_vault(FileSystem(), os.fspath(start))

    @staticmethod
    def init(path: str | os.PathLike[str] = ".") -> Created:
        """Give the folder an id of its own, in `.holdfast/config.toml`; an id that it has is kept."""
        fs, root = FileSystem(), os.path.realpath(os.fspath(path))
        try:
            fs.makedirs(f"{root}/.holdfast")
            text = read_settings(fs, root)
            if text is not None:
                from holdfast.config import load

                known, _ = load(text)
                if known:
                    return Created(root, known, created=False)
            id_ = str(uuid.uuid4())
            fs.write_new(f"{root}/{SETTINGS}", f'id = "{id_}"\n{text or ""}'.encode())
        except OSError as e:
            raise PathNotAllowed(
                f"{root} cannot be made a vault: {e.strerror}.", hint="Choose a folder that you may write to."
            ) from e
        return Created(root, id_, created=True)

    @property
    def root(self) -> str:
        """The real path of the folder."""
        return self._ws.root

    def sync(
        self,
        *,
        vectors: bool = True,
        checksum: bool = False,
        accept_empty: bool = False,
        paths: str | Sequence[str] = (),
        progress: Progress | None = None,
        embedding: Progress | None = None,
    ) -> Synced:
        """Make the index equal to the notes; see Synced. `checksum` hashes every note; `paths` looks at these only.

        Then, unless `vectors` is False, embed what lacks a vector: that takes most of the time, searches by words are
        up to date before it begins, and it may be interrupted. `progress` and `embedding` are called with (done, seen)
        of either half. What hinders embedding is said in `degraded`, never raised.
        """
        hints = (paths,) if isinstance(paths, str) else paths
        options = Options(checksum, accept_empty, None, tuple(safe_path(self._ws.root, p) for p in hints))
        done = sync(self._ws, options, progress)
        if done.stopped is not None:
            raise done.stopped
        if not vectors:
            want_vectors(self._ws, wanted=False)
        return self.embed_after(done, embedding) if vectors else done

    def embed_after(self, done: Synced, progress: Progress | None = None) -> Synced:
        """What `sync` does after reading the notes: embed what lacks a vector, and put that into its report `done`."""
        began_ns = self._ws.fs.monotonic_ns()
        want_vectors(self._ws, wanted=True)
        made = embed_quietly(self._ws, progress)
        if made is None:
            return done
        if isinstance(made, str):
            return replace(done, degraded=(*done.degraded, made))
        if self._is_index_gone():  # deleted meanwhile, by somebody: what was reported is not there any more
            return self.sync()
        seconds = round(done.seconds + (self._ws.fs.monotonic_ns() - began_ns) / 1e9, 4)
        degraded = (*done.degraded, *made.degraded)
        return replace(done, vectors=made.vectors, seconds=seconds, peak_rss_bytes=peak_rss_bytes(), degraded=degraded)

    def _is_index_gone(self) -> bool:
        try:
            index = self._ws.index()
        except IndexFault:
            return True
        return index is None or not index.is_in_place

    def embed(self, *, progress: Progress | None = None, stop: threading.Event | None = None) -> Embedded:
        """Embed what lacks a vector, newest notes first. Raises the embedder's faults, and VaultBusy if another does.

        `progress` is called with (chunks that have a vector, chunks); `stop` ends it after the batch at hand.
        """
        return embed(self._ws, progress, stop)

    def keep_embedding(self) -> None:
        """Embed what comes in, in a thread of this process, until the vault is closed; for programs that stay.

        What a sync brings in is found by meaning about a second later. What hinders is counted in `status`.
        """
        if self._embedding is None:
            self._embedding = Embedding(self._ws)
            self._embedding.start()

    def watch(self, stop: threading.Event | None = None, on_event: Callable[[Watched], None] | None = None) -> None:
        """Keep the index equal to the notes, vectors included, until `stop` is set; whatever goes wrong is tried again.

        `on_event` is called with everything that happens; see Watched. Raises VaultBusy if another watch is at work.
        """
        from holdfast.engine.audit import audit
        from holdfast.engine.duties import Duty
        from holdfast.engine.watch import Watch

        duties = [
            Duty("health", HEALTH_EVERY_S, lambda: write_health(self._ws)),
            Duty("audit", AUDIT_EVERY_S, lambda: audit(self._ws, AUDITED)),
        ]
        Watch(self._ws, duties=duties, on_event=on_event).run(stop or threading.Event())

    def export_vectors(self, path: str | os.PathLike[str]) -> Carried:
        """Write all vectors to a file: from it they need not be made again, whatever becomes of the index."""
        return export(self._ws, os.fspath(path))

    def salvage_vectors(self, *paths: str | os.PathLike[str]) -> Carried:
        """Give chunks without a vector those of exports or of damaged databases, or of what was set aside here."""
        return salvage(self._ws, [os.fspath(p) for p in paths])

    def prune(self, *, dry_run: bool = False, whole_index: bool = False) -> Upkeep:
        """Free what is not needed any more, or only say what could be; see Upkeep. Works on a full disk.

        With `whole_index` the index itself goes too: it is built anew from the notes, which takes time.
        """
        return prune(self._ws, dry_run=dry_run, whole_index=whole_index)

    def check(
        self,
        *,
        deep: bool = False,
        vectors: bool = True,
        secrets: bool = False,
        progress: Progress | None = None,
    ) -> Checked:
        """Compare the index with the notes; nothing is changed. `deep` compares every note, posting and vector.

        `vectors` makes vectors again too, where `deep` and the embedder is this machine's. `secrets` looks
        for secrets in all notes. See Checked.
        """
        return check(self._ws, deep=deep, vectors=vectors, secrets=secrets, progress=progress)

    def repair(self, *, dry_run: bool = False, progress: Progress | None = None) -> Upkeep:
        """Mend what a deep check finds wrong with the index: build it anew beside, publish, set the damaged one aside.

        The plan is empty where nothing is wrong; with `dry_run` nothing is done.
        """
        return repair(self._ws, dry_run=dry_run, progress=progress)

    def rebuild(self, *, progress: Progress | None = None) -> Upkeep:
        """Build the index from nothing beside the one that serves, publish it, and drop the old one."""
        before, _ = self._ws.generations.size()
        done = rebuild(self._ws, progress)
        after, _ = self._ws.generations.size()
        plan = {"action": "build", "target": f"gen-{done.generation:06d}", "bytes": after}
        return Upkeep((plan,), done=True, freed_bytes=max(0, before - after))

    def recall(
        self,
        question: str,
        *,
        k: int | None = None,
        budget: int | None = None,
        by: By = "passage",
        mode: Mode = "hybrid",
        min_similarity: float | None = None,
        explain: bool = False,
        sync: bool = True,
    ) -> Answer:
        """The best passages (or notes) for a question, with their lines and a receipt. Looks at the notes first.

        `mode` is hybrid (words and meaning), keyword, vector or bm25; hits with a cosine below `min_similarity`, or
        without one, are left out where it is given; `explain` puts every signal into each hit's `why`.
        """
        answer = recall(
            self._ws, self._stopgap, question, k=k, budget=budget, by=by, look=sync, mode=mode,
            min_similarity=min_similarity, explain=explain,
        )  # fmt: skip
        if sync and self._embedding is None and is_behind(self._ws, answer.receipt.vectors):
            failed = self._detached.start("embed")
            if not answer.receipt.vectors.ready and not failed:
                remark = "nothing was searched by meaning yet: the vectors are being made in the background"
                receipt = replace(answer.receipt, degraded=(*answer.receipt.degraded, remark))
                return replace(answer, receipt=receipt)
        return answer

    def read(self, note: str, *, line: int | None = None, count: int | None = None, sync: bool = True) -> Note:
        """A note by path, permalink, memory://permalink, unique title or path:line:count; as it was: `NOTE@REV`."""
        if sync:
            look_first(self._ws, [])
        try:
            index = reading.usable(self._ws)
            try:
                return reading.read(self._ws, index, note, line, count)
            except IndexFault as e:
                self._ws.count(f"index_{e.kind}", e)
                if index is not None:
                    set_aside(self._ws, index, e)
                return reading.read(self._ws, self._stopgap.index([]), note, line, count)
        except NotFound as e:
            if (version := version_named(self._ws, note)) is not None:
                return reading.shown(self._ws, *version, line or 1, count or 0, is_whole=not (line or count))
            if self._ws.is_missing:
                raise VaultMissing(f"The vault {self._ws.root} has no notes any more.") from e
            raise

    def list(self, path: str = "", *, limit: int = 50, after: str = "", sync: bool = True) -> Listing:
        """Notes in path order, all or those under `path`."""
        if sync:
            look_first(self._ws, [])
        if self._ws.is_missing:
            raise VaultMissing(f"The vault {self._ws.root} has no notes any more.")
        index, _ = usable_index(self._ws, self._stopgap, [])
        try:
            return reading.list_notes(self._ws, index, path, after, limit)
        except IndexFault as e:
            self._ws.count(f"index_{e.kind}", e)
            set_aside(self._ws, index, e)
            return reading.list_notes(self._ws, self._stopgap.index([]), path, after, limit)

    def eval(
        self,
        golden: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
        *,
        modes: str | Sequence[str] = (),
        fail_under: str | Sequence[str] = (),
        seed: int = 0,
        sync: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Evaluated:
        """Ask golden questions, of a file or a list, and say how much of the evidence is found; docs/evaluation.md."""
        from holdfast.engine.evaluate import evaluate, make_plan

        wanted = (modes,) if isinstance(modes, str) else modes
        bounds = (fail_under,) if isinstance(fail_under, str) else fail_under
        plan = make_plan(self._ws.fs, golden, wanted, bounds, seed)
        if sync:
            self.sync()
        return evaluate(self._ws, self._stopgap, plan, progress)

    def propose(self, count: int, *, seed: int = 0, sync: bool = True) -> tuple[Mapping[str, Any], ...]:
        """At most `count` golden questions made of sentences of the notes, for their writer to correct."""
        from holdfast.engine.golden import propose

        if sync:
            self.sync()
        index, _ = usable_index(self._ws, self._stopgap, [])
        return tuple(propose(self._ws, index, count, seed))

    def status(self) -> Status:
        """Health, sizes, jobs and problems, without looking at the notes."""
        return status(self._ws)

    def close(self) -> None:
        if self._embedding is not None:
            self._embedding.stop()
            self._embedding = None
        self._stopgap.close()
        self._detached.close()
        self._ws.release()

    def __enter__(self) -> Vault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


__all__ = ["HoldfastError", "Mode", "Vault", "parse_file"]
