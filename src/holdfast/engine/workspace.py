"""One vault as this process has it: where it is, its settings, and its index as published now.

Everything the verbs share and nothing they decide.
"""

from __future__ import annotations

import errno
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from holdfast.config import Config, load
from holdfast.embed.base import Embedder
from holdfast.embed.choose import Settings, make
from holdfast.engine.log import Log
from holdfast.engine.past import Past
from holdfast.engine.places import default_history_dir, default_state_dir, read_settings, read_text, user_settings
from holdfast.engine.record import reading_identity
from holdfast.engine.slot import Slots
from holdfast.errors import (
    ConfigError,
    DiskFull,
    FileLimit,
    IndexDamaged,
    IndexFault,
    ResourceFault,
    TruthFault,
    UserError,
    VaultBusy,
    VaultMissing,
)
from holdfast.files.fs import FileSystem
from holdfast.files.locks import Holder, JobLock
from holdfast.files.mounts import traits
from holdfast.index.base import Index
from holdfast.index.generations import Generations, OpenIndex
from holdfast.index.home import Manifest, index_directory, is_known
from holdfast.model import INODE_MASK

ROOM_BYTES = 2 << 20
SIGNED_TRIES = 20
LEFT_ALONE = "It is left as it is (`self_heal` is off): look at it, then run `holdfast repair`."

T = TypeVar("T")


class Workspace:
    """An open vault. May be used from several threads."""

    def __init__(
        self, fs: FileSystem, root: str, state_dir: str | None, config: Config | None, environ: Mapping[str, str]
    ) -> None:
        self.fs = fs
        self.root = fs.realpath(root)
        self.state_dir = fs.realpath(state_dir or environ.get("HOLDFAST_STATE") or default_state_dir(environ))
        self._find_root()
        user = read_text(fs, user_settings(environ)) or ""
        self.vault_id, loaded = load(read_settings(fs, self.root) or "", environ, user)
        self.config = config or loaded
        self.directory = index_directory(fs, self.state_dir, self.root, self.vault_id)
        self.generations = Generations(fs, self.directory, self.root, self.vault_id, reading_identity(self.config))
        self.traits = traits(fs, self.root)
        self.inode_mask = INODE_MASK if self.traits.stable_inodes else 0
        self._guard = threading.RLock()
        self.environ = environ
        self._embedder: Embedder | None = None
        self._has_embedder = False
        self._open: OpenIndex | None = None
        self.counters: dict[str, int] = {}
        name = self.directory.rpartition("/")[2]
        self.past = Past(fs, default_history_dir(environ), name, self.root, self.config, self.count)
        self.log = Log(fs, f"{self.state_dir}/logs/{self.directory.rpartition('/')[2]}.jsonl")
        # The last look of this process, for threads that ask at once (look.py).
        self._turn = threading.Lock()
        self._embedding = threading.Lock()
        self.looking = threading.Lock()
        self.looked_ns = -1
        self.looked_behind: int | None = None
        self.is_missing = self.is_closed = False
        self.is_writable = True
        self.rebuilt_because = ""
        # Whether every note is parsed in a process of its own: for programs that stay, where one that hangs or dies
        # would take everything with it.
        self.isolates = False
        self.slots = Slots(self.config.slot_bytes)

    def _find_root(self) -> None:
        """Raise VaultMissing unless the root is a folder; the hint tells a mistyped path from a vault that is gone."""
        try:
            if stat.S_ISDIR(self.fs.stat(self.root).st_mode):
                return
            why = "is not a folder"
        except OSError as e:
            why = f"is not there: {e.strerror}"
        known = is_known(self.fs, self.state_dir, self.root)
        hint = (
            f"Mount it again, or name the folder where it is now; if it is gone for good, remove its index in "
            f"{self.state_dir}."
            if known
            else "Check the path; nothing was ever synced from there."
        )
        raise VaultMissing(f"The vault {self.root} {why}.", hint=hint)

    def embedder(self) -> Embedder | None:
        """The embedder that the settings name, None for `none`; made once, loaded when it is first used."""
        with self._guard:
            if not self._has_embedder:
                c = self.config
                self._embedder = make(
                    Settings(
                        embedder=c.embedder, model=c.embedder_model, dimensions=c.embedder_dimensions,
                        query_prefix=c.embedder_query_prefix, passage_prefix=c.embedder_passage_prefix,
                        key_variable=c.embedder_key_variable, threads=c.embedder_threads,
                        timeout_s=c.embedder_timeout_s,
                    ),
                    self.environ,
                )  # fmt: skip
                self._has_embedder = True
            return self._embedder

    def prove_vault(self) -> None:
        """Raise VaultMissing unless the folder is there and is still the vault that was opened.

        Where a disk is not mounted, or another one is, every note looks deleted. Test: fault/test_absence.py.
        """
        try:
            self.fs.stat(self.root)
            vault_id = self.vault_id and load(read_settings(self.fs, self.root) or "", {})[0]
        except OSError as e:
            raise VaultMissing(f"The vault {self.root} cannot be read: {e.strerror}.") from e
        except ConfigError:
            return  # half written or mistyped; it is there
        if vault_id != self.vault_id:
            raise VaultMissing(f"The folder {self.root} is not the vault that was opened: its .holdfast is another.")

    def index(self) -> Index | None:
        """The published index, opened again if another one was published since; None if there is none.

        Raises IndexFault where there is one that cannot be used.
        """
        if self.is_closed:
            raise UserError("The vault is closed.", hint="Open it again with Vault.open.")
        with self._guard:
            stamp = self.generations.stamp()
            if self._open is not None and (self._open.stamp != stamp or self._may_share(self._open)):
                self._open = None  # whoever is reading it keeps it open
            if self._open is None and stamp is not None:
                self._open = self._system(self.generations.open)
            return self._open.index if self._open else None

    def _may_share(self, opened: OpenIndex) -> bool:
        """Whether an index that is open for this process alone need not be so any more: there is room again."""
        return opened.index.is_alone and self.disk()[0] > ROOM_BYTES

    def disk(self) -> tuple[int, int]:
        """(free bytes, all bytes) of the disk of the index, or of the nearest folder that is there."""
        for path in (self.directory, self.state_dir, self.root):
            try:
                st = self.fs.statvfs(path)
                return st.f_bavail * st.f_frsize, st.f_blocks * st.f_frsize
            except OSError:
                continue
        raise TruthFault("The disk of the index and of the notes cannot be asked for its free space.")

    def discard(self) -> None:
        """Remove the published index, which the notes can build anew. Needs the job lock."""
        self.prove_vault()
        with self._guard:
            self._open = None
            self._system(self.generations.discard)

    def writable_index(self) -> Index:
        """The published index, made anew where there is none or it is unusable. Needs the job lock."""
        with self._guard:
            reason = "there was none"
            try:
                if (index := self.index()) is not None:
                    if index.is_in_place:
                        return index
                    raise IndexDamaged(f"The index {index.path} was deleted while it was open.")
            except IndexFault as e:
                if e.exit:
                    raise
                reason = e.message
                self.count(f"index_{e.kind}")
                self.set_aside(reason, is_damaged=not self.generations.is_outdated())
            opened, manifest = self._system(self.generations.build)
            self._system(lambda: self.generations.publish(opened, manifest))
            self._open = opened
            opened.index.note_job("build", reason, self.fs.time_ns())
            return opened.index

    def set_aside(self, reason: str, *, is_damaged: bool = True) -> None:
        """Move the published index into quarantine; the next writer builds a new one.

        Raises IndexDamaged where the settings say that damage is left for inspection.
        """
        if is_damaged and not self.config.self_heal:
            raise IndexDamaged(reason, hint=LEFT_ALONE)
        self.log.event("index_set_aside", reason)
        self.rebuilt_because = reason
        with self._guard:
            self._open = None
            self._system(lambda: self.generations.set_aside(reason))

    def condemn(self, evidence: Mapping[str, Any], but: int) -> None:
        """Have the published index kept in quarantine, with the evidence, once generation `but` has taken its place."""
        self._system(lambda: self.generations.condemn(evidence, but))

    def build(self) -> tuple[OpenIndex, Manifest]:
        return self._system(self.generations.build)

    def adopt(self, opened: OpenIndex, manifest: Manifest) -> None:
        """Publish a generation that was built beside, and use it; the one before is dropped, or kept if condemned."""
        with self._guard:
            self._open = None
            self._system(lambda: self.generations.publish(opened, manifest))
            self._open = opened

    def release(self) -> None:
        """Close the index and the embedder; for the end, when nobody is reading."""
        self.slots.close()
        self.past.close()
        with self._guard:
            self.is_closed = True
            if self._embedder is not None:
                self._embedder.close()
                self._embedder, self._has_embedder = None, False
            if self._open is not None:
                self._open.close()
                self._open = None

    @contextmanager
    def job(self, verb: str, wait_s: float) -> Iterator[None]:
        """Be the one process that scans this vault; raises VaultBusy after `wait_s`."""
        self._system(lambda: self.fs.makedirs(self.directory))
        # Threads of this process queue here; between processes it is the file that decides.
        if not self._turn.acquire(timeout=wait_s):
            raise VaultBusy("Another thread of this process is syncing.")
        try:
            lock = JobLock(self.fs, self.directory + "/job.lock")
            self._system(lambda: lock.acquire(verb, wait_s))
            try:
                yield
            finally:
                self._system(lock.release)
        finally:
            self._turn.release()

    @contextmanager
    def embedding(self) -> Iterator[None]:
        """Be the one process that embeds this vault's chunks; raises VaultBusy at once if another is."""
        self._system(lambda: self.fs.makedirs(self.directory))
        if not self._embedding.acquire(blocking=False):
            raise VaultBusy("Another thread of this process is embedding.")
        try:
            lock = JobLock(self.fs, self.directory + "/embed.lock")
            self._system(lambda: lock.acquire("embed"))
            try:
                yield
            finally:
                self._system(lock.release)
        finally:
            self._embedding.release()

    @contextmanager
    def watching(self) -> Iterator[Callable[[], None]]:
        """Be the one process that watches this vault; raises VaultBusy, with who it is, at once if another is.

        Gives a call that takes the lock again where its file was deleted, with the state directory, say.
        """
        lock = JobLock(self.fs, self.directory + "/watch.lock")

        def take() -> None:
            self.fs.makedirs(self.directory)
            for _ in range(SIGNED_TRIES):
                if lock.try_acquire("watch"):
                    return
                holder = lock.holder()
                if holder is not None and holder.pid:  # else it has not signed yet, or has just ended
                    raise already_watched(holder)
                self.fs.sleep(0.01)
            raise already_watched(Holder())

        def keep() -> None:
            try:
                if not lock.is_in_place():
                    lock.release()
                    take()
            except OSError:
                self.count("watch_lock_lost")

        self._system(take)
        try:
            yield keep
        finally:
            self._system(lock.release)

    def watch_holder(self) -> Holder | None:
        """Who watches this vault now; None if nobody does."""
        return self._holder("watch.lock")

    def embed_holder(self) -> Holder | None:
        """Who embeds this vault's chunks now; None if nobody does."""
        return self._holder("embed.lock")

    def job_holder(self) -> Holder | None:
        """Who scans this vault now; None if nobody does."""
        return self._holder("job.lock")

    def _holder(self, name: str) -> Holder | None:
        try:
            return JobLock(self.fs, f"{self.directory}/{name}").holder()
        except OSError:
            self.count("job_lock_unreadable")
            return None

    def count(self, name: str, error: Exception | None = None) -> None:
        """A caught error that `status` shows; with what it was, for the log."""
        self.counters[name] = self.counters.get(name, 0) + 1
        if error is not None:
            self.log.event(name, str(error))

    def _system(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except OSError as e:
            if e.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull("The disk of the index is full; notes are not touched.") from e
            if e.errno in (errno.EMFILE, errno.ENFILE):
                raise FileLimit(f"The limit of open files ({self.fs.open_files_limit()}) is reached.") from e
            raise ResourceFault(
                f"The index directory {self.directory} cannot be used: {e.strerror}.",
                hint="Make it writable, or name another by --state-dir.",
            ) from e


def already_watched(holder: Holder) -> VaultBusy:
    """What a second watch is told."""
    return VaultBusy(
        f"Process {holder.pid or 'unknown'} watches this vault already (since {holder.since or 'just now'}).",
        hint="It keeps the index up to date for everybody; stop it to watch from here.",
    )
