"""The directory of one vault's index: manifest, generations, quarantine.

    manifest.json          which generation is live and what it belongs to; replaced by rename
    gen-000007.db          everything of one generation (SQLite adds -wal and -shm)
    gen-000007.lock        held shared by whoever has it open; only what can be locked exclusively is removed
    gen-000007.flaws       what is wrong with it: once it is replaced and nobody has it open, it goes into quarantine
    job.lock               held by the one process that scans
    quarantine/            what was set aside, each with a .json that says why; at most KEPT

Order of writing, so that a reader never meets a manifest that names what is not there: database, then manifest; for
removal the reverse. docs/index-format.md numbers the invariants.
"""

from __future__ import annotations

import errno
import json
import re
import uuid
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from holdfast.errors import (
    DiskFull,
    IndexDamaged,
    IndexFault,
    IndexForeign,
    ResourceFault,
)
from holdfast.files.fs import TEMP_PREFIX, FileSystem
from holdfast.index.home import MANIFEST, Manifest, exists, read_manifest, write_manifest
from holdfast.index.quarantine import Quarantine, names
from holdfast.index.sqlite.db import SCHEMA, create
from holdfast.index.sqlite.store import SqliteIndex

_GENERATION = re.compile(r"gen-(\d{6})\b")


class Generations:
    """Opens, builds, publishes and sets aside the generations of one index directory."""

    def __init__(self, fs: FileSystem, directory: str, root: str, vault_id: str | None, analyzer: str) -> None:
        self.fs, self.directory = fs, directory
        self._root, self._vault, self._analyzer = root, vault_id or "", analyzer
        self._quarantine = Quarantine(fs, directory)

    def stamp(self) -> tuple[int, int, int] | None:
        """What changes whenever another manifest is published: one stat."""
        try:
            st = self.fs.lstat(f"{self.directory}/{MANIFEST}")
        except OSError:
            return None
        return st.st_ino, st.st_mtime_ns, st.st_size

    def open(self) -> OpenIndex | None:
        """The published generation, or None if there is none.

        Raises IndexDamaged, IndexForeign or IndexTooNew; nothing is changed by it.
        """
        for _ in range(8):
            stamp = self.stamp()
            manifest = read_manifest(self.fs, self.directory)
            if manifest is None:
                return None
            self._check(manifest)
            path = self._path(manifest.generation)
            lock = self._lock(manifest.generation)
            # Published between reading and locking: the one that we read may be gone, so look again.
            if self.stamp() != stamp:
                self.fs.close(lock)
                continue
            try:
                if not exists(self.fs, path + ".db"):
                    raise IndexDamaged(f"The index {path}.db is missing.")
                index = self._open_database(path + ".db", manifest)
            except BaseException:
                self.fs.close(lock)
                raise
            return OpenIndex(index, stamp, partial(self.fs.close, lock))
        raise IndexDamaged(f"The manifest in {self.directory} does not stand still.")

    def _open_database(self, path: str, manifest: Manifest) -> SqliteIndex:
        try:
            return SqliteIndex(path, manifest.generation, manifest.database)
        except DiskFull as full:
            # Not a byte free: even reading needs shared memory that cannot be had. Alone, it can be read.
            try:
                return SqliteIndex(path, manifest.generation, manifest.database, alone=True)
            except (ResourceFault, IndexFault):
                raise full from None

    def _check(self, manifest: Manifest) -> None:
        if manifest.vault != self._vault or (not self._vault and manifest.root != self._root):
            raise IndexForeign(f"The index in {self.directory} belongs to another vault, {manifest.root}.")
        if manifest.schema < SCHEMA or manifest.analyzer != self._analyzer:
            raise IndexDamaged(f"The index in {self.directory} was made by another version of Holdfast.")

    def build(self) -> tuple[OpenIndex, Manifest]:
        """A new, empty generation that nobody sees until `publish`."""
        self.fs.makedirs(self.directory)
        number = self.next_number()
        database = uuid.uuid4().hex
        lock = self._lock(number)
        try:
            create(self._path(number) + ".db", database)
            index = SqliteIndex(self._path(number) + ".db", number, database)
        except BaseException:
            self.fs.close(lock)
            raise
        manifest = Manifest(self._vault, self._root, number, database, self._analyzer)
        return OpenIndex(index, None, partial(self.fs.close, lock)), manifest

    def publish(self, opened: OpenIndex, manifest: Manifest) -> None:
        """Make the generation the live one, for every process at its next call; then remove what nobody has open."""
        write_manifest(self.fs, self.directory, manifest)
        opened.stamp = self.stamp()
        self.drop_old(manifest.generation)

    def set_aside(self, reason: str) -> None:
        """Move the published generation and its manifest into quarantine, with the reason beside it.

        Readers that have it open keep it. Names never collide and the number kept is bounded, oldest removed first.
        """
        stamp = self._quarantine.stamp()
        evidence: dict[str, Any] = {"reason": reason, "at_ns": int(stamp), "files": {}}
        for entry in sorted(self.fs.scandir(self.directory), key=lambda e: e.name):
            # The manifest goes last: until then a reader finds damage, never a wrong index.
            if entry.name.startswith("gen-") and not entry.name.endswith(".lock"):
                self._quarantine.take(entry.name, stamp, evidence)
        self._quarantine.take(MANIFEST, stamp, evidence)
        self._quarantine.keep(stamp, evidence)

    def condemn(self, evidence: Mapping[str, Any], but: int) -> None:
        """Let what is published go into quarantine when it is dropped, with the evidence beside it.

        Until then it serves as before: that is how a damaged one is replaced without a moment in which there is none.
        """
        for number in self.published(but):
            stamp = self._quarantine.stamp()
            text = json.dumps({**evidence, "at_ns": int(stamp), "files": {}}, indent=1) + "\n"
            self.fs.write_new(self._path(number) + ".flaws", text.encode(), durable=False)

    def published(self, but: int = 0) -> list[int]:
        """The number of the published generation; those of all but one, where the manifest does not say which it is."""
        try:
            manifest = read_manifest(self.fs, self.directory)
        except IndexFault:
            manifest = None
        there = {e.name for e in self.fs.scandir(self.directory)}
        found = [n for n in sorted(self._numbers() - {but}) if f"gen-{n:06d}.db" in there]
        return [n for n in found if manifest is not None and n == manifest.generation] or found

    def databases(self, but: int) -> list[str]:
        """The databases of all generations except `but`, newest first."""
        paths = [self._path(n) + ".db" for n in sorted(self._numbers() - {but}, reverse=True)]
        return [path for path in paths if exists(self.fs, path)]

    def is_outdated(self) -> bool:
        """Whether what is published was made by an older version, or with other settings: no damage, and no use."""
        try:
            manifest = read_manifest(self.fs, self.directory)
        except IndexFault:
            return False
        return manifest is not None and (manifest.schema < SCHEMA or manifest.analyzer != self._analyzer)

    def quarantined(self) -> list[str]:
        """The databases that were set aside, newest first."""
        return self._quarantine.databases()

    def drop_old(self, live: int) -> int:
        """Remove generations other than `live` that nobody has open; returns the bytes freed."""
        return sum(self.drop(number) for number in sorted(self._numbers() - {live}))

    def drop(self, number: int) -> int:
        """Remove a generation, unless somebody has it open; returns the bytes freed. What is condemned is kept."""
        fd = self.fs.open_lock(self._path(number) + ".lock")
        try:
            if not self.fs.flock(fd, exclusive=True):
                return 0
            self._retire(number)
            suffixes = (".vec", ".db-shm", ".db-wal", ".db", ".flaws", ".lock")
            return sum(self._remove(self._path(number) + suffix) for suffix in suffixes)
        finally:
            self.fs.close(fd)

    def _retire(self, number: int) -> None:
        """Move a generation into quarantine if it is condemned, under the stamp that it was given: a death on the way
        is made good by the next try."""
        try:
            fd = self.fs.open_read(self._path(number) + ".flaws")
        except FileNotFoundError:
            return
        evidence: dict[str, Any] = {"reason": "condemned"}
        try:
            evidence |= json.loads(self.fs.read_all(fd))
            stamp = f"{int(evidence['at_ns']):020d}"
        except (ValueError, KeyError, TypeError, RecursionError):
            stamp = self._quarantine.stamp()  # its own words are damaged; it goes all the same
            evidence["at_ns"] = int(stamp)
        finally:
            self.fs.close(fd)
        evidence["files"] = {}
        for suffix in (".vec", ".db-wal", ".db"):
            self._quarantine.take(f"gen-{number:06d}{suffix}", stamp, evidence)
        self._quarantine.keep(stamp, evidence)

    def _numbers(self) -> set[int]:
        return {int(m[1]) for e in self.fs.scandir(self.directory) if (m := _GENERATION.match(e.name))}

    def _remove(self, path: str) -> int:
        try:
            size = self.fs.lstat(path).st_size
            self.fs.unlink(path)
        except FileNotFoundError:
            return 0
        return size

    def size(self) -> tuple[int, int]:
        """(bytes allocated on disk, number of files) of everything in the index directory."""
        found = self.files()
        return sum(size for _, size in found), len(found)

    def files(self) -> list[tuple[str, int]]:
        """(path below the index directory, bytes allocated on disk) of every file in it that can be seen."""
        out: list[tuple[str, int]] = []
        stack = [""]
        while stack:
            below = stack.pop()
            try:
                entries = self.fs.scandir(f"{self.directory}/{below}")
            except OSError:
                continue  # gone, or it may not be asked: what is reported then is what could be seen
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(f"{below}{entry.name}/")
                    continue
                try:
                    out.append((below + entry.name, entry.stat(follow_symlinks=False).st_blocks * 512))
                except OSError:
                    continue
        return out

    def live_name(self) -> str:
        """How the files of the published generation begin; "" if there is none, or none that can be told."""
        try:
            manifest = read_manifest(self.fs, self.directory)
        except (IndexFault, OSError):
            return ""
        return f"gen-{manifest.generation:06d}" if manifest is not None else ""

    def old(self) -> list[tuple[int, int]]:
        """(number, bytes) of generations that are not published, where that can be told."""
        live = self.live_name()
        sizes: dict[int, int] = {}
        for name, size in self.files() if live else ():
            if (m := _GENERATION.match(name)) and not name.startswith(live):
                sizes[int(m[1])] = sizes.get(int(m[1]), 0) + size
        return sorted(sizes.items())

    def aside(self) -> list[tuple[str, int]]:
        """(stamp, bytes) of what is in quarantine, oldest first."""
        sizes: dict[str, int] = {}
        for name, size in self.files():
            if name.startswith("quarantine/"):
                stamp = name.partition("/")[2][:20]
                sizes[stamp] = sizes.get(stamp, 0) + size
        return sorted(sizes.items())

    def drop_aside(self, stamp: str) -> None:
        """Remove what was set aside under this stamp."""
        home = f"{self.directory}/quarantine"
        for name in names(self.fs, home):
            if name[:20] == stamp:
                self.fs.unlink(f"{home}/{name}")

    def unfinished(self) -> list[tuple[str, int]]:
        """(name, bytes) of files in the making; whoever made them must be known to be gone."""
        return [(name, size) for name, size in self.files() if name.startswith(TEMP_PREFIX)]

    def remove(self, name: str) -> None:
        """Remove one file of the directory."""
        self._remove(f"{self.directory}/{name}")

    def discard(self) -> None:
        """Remove the published generation, and its manifest first: a reader then finds none, never a wrong one."""
        live = self.live_name()
        self._remove(f"{self.directory}/{MANIFEST}")
        if live:
            self.drop(int(live[4:]))

    def next_number(self) -> int:
        """The number of the next generation that is built."""
        return max(self._numbers(), default=0) + 1

    def _path(self, number: int) -> str:
        return f"{self.directory}/gen-{number:06d}"

    def _lock(self, number: int) -> int:
        path = self._path(number) + ".lock"
        try:
            fd = self.fs.open_lock(path)
        except OSError as e:
            if e.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            fd = self.fs.open_read(path)  # a reader of a directory that it may not write to
        try:
            self.fs.flock(fd, exclusive=False, blocking=True)
        except BaseException:
            self.fs.close(fd)
            raise
        return fd


class OpenIndex:
    """An open generation with the lock that keeps it from being removed.

    The lock goes when nobody uses the index any more: a thread that is still reading keeps it, whoever lets go first.
    """

    def __init__(self, index: SqliteIndex, stamp: tuple[int, int, int] | None, unlock: Callable[[], None]) -> None:
        self.index, self.stamp = index, stamp
        self._unlock = weakref.finalize(index, unlock)

    def close(self) -> None:
        """Close at once; only for who knows that nobody else is using it."""
        self.index.close()
        self._unlock()
