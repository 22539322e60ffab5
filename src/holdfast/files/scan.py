"""Walk a vault and yield its directories in sort-key order, with one witness per file.

Memory is O(depth of the tree + entries of the widest directory), never O(files); on a slow mount, plus a bounded window
of stats in flight. A directory that cannot be read is yielded with its error, and a walk that was cut short or whose
root was exchanged says `incomplete`: absence of evidence must not look like deletion.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from holdfast.errors import FileLimit
from holdfast.files.fs import NO_DESCRIPTOR, TEMP_PREFIX, Entry, FileSystem
from holdfast.files.ignore import IGNORE_FILES, Rules, read_own, rules_for
from holdfast.files.paths import DEPTH, RESERVED, is_inside, is_note
from holdfast.files.stats import CODEC, ERRORS, Batch, Stats, witness
from holdfast.files.wide import NotYetError, Pending, Pool
from holdfast.model import INODE_MASK, Witness

__all__ = ["Directory", "Scan", "is_note", "scan"]

T = TypeVar("T")

SLOW_NS = 5_000_000
WIDTH = 64
WINDOW = 512
LISTERS = 16
TRIES, PAUSE_S = 50, 0.02
NAMED = 100  # skipped paths kept in words; the counts are always complete
_GONE = (errno.ENOENT, errno.ENOTDIR)


@dataclass(slots=True)
class Directory:
    """One directory as it was found.

    `files` are the witnesses of its regular files, notes and others, in key order and not yet filtered by `rules`;
    `rules` is None where none apply, and `rules_changed` says that every name must be matched again. With an `error`
    nothing is known about the directory or anything below it; a key in `unreadable` exists but could not be looked at.
    """

    path: str
    key_prefix: bytes
    files: list[Witness] = field(default_factory=list)
    rules: Rules | None = None
    rules_changed: bool = False
    error: OSError | None = None
    unreadable: list[tuple[bytes, OSError]] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    skipped_paths: list[tuple[str, str]] = field(default_factory=list)

    def _skip(self, name: str, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        if len(self.skipped_paths) < NAMED:
            self.skipped_paths.append((f"{self.path}/{name}" if self.path else name, reason))

    def _miss(self, name: str, error: OSError) -> None:
        if error.errno not in _GONE:  # one that is gone is simply not there
            self.unreadable.append((self.key_prefix + name.encode(CODEC, ERRORS), error))


@dataclass(slots=True)
class _Visit:
    """A directory on its way to be yielded: found, then listed, then with its stats."""

    found: Directory
    full: str
    depth: int
    rules_above: Rules | None
    changed_above: bool
    batch: Batch
    listing: Pending[list[Entry]] | None = None


def scan(
    fs: FileSystem,
    root: str,
    *,
    rules_seen: Mapping[str, str] | None = None,
    max_depth: int = DEPTH,
    slow_ns: int = SLOW_NS,
    width: int = WIDTH,
    window: int = WINDOW,
    deadline_ns: int | None = None,
    wide: bool = False,
    inode_mask: int = INODE_MASK,
) -> Scan:
    """The walk of the vault at `root`, to be iterated once.

    `rules_seen` is `Scan.rules_found` of the last complete walk. `deadline_ns` is of the monotonic clock. Stats go
    through a pool of `width` threads, `window` at most in flight, while one takes more than `slow_ns`; `wide` begins
    so, for a mount known to be slow.
    """
    stats = Stats(fs, slow_ns=slow_ns, width=width, deadline_ns=deadline_ns, is_slow=wide, inode_mask=inode_mask)
    return Scan(fs, root, rules_seen or {}, max_depth, window, stats)


class Scan:
    """A walk. `directories`, `files` and `opens` count; the rest holds once it is exhausted.

    `rules_found` maps each directory with ignore files to their digest. `incomplete` says that the walk was cut short
    by its deadline or that the root is no longer what it was at the start: then nothing unseen may count as deleted.
    A dict given as `folders` is filled with the directories that were read, and the rules for the names in each.
    """

    def __init__(
        self, fs: FileSystem, root: str, rules_seen: Mapping[str, str], max_depth: int, window: int, stats: Stats
    ) -> None:
        self.rules_found: dict[str, str] = {}
        self.directories = self.files = self.opens = 0
        self.skipped: dict[str, int] = {}
        self.skipped_paths: list[tuple[str, str]] = []
        self.incomplete = True  # until the end is reached
        self.folders: dict[str, Rules | None] | None = None
        self._fs, self._root, self._rules_seen = fs, root, rules_seen
        self._max_depth, self._window, self._stats = max_depth, window, stats
        self._listers: Pool | None = None
        self.is_short = False  # of descriptors: then directories are not listed ahead

    @property
    def was_slow(self) -> bool:
        """Whether a stat took long, judged by the latest of the walk; an open and a read then do too."""
        return self._stats.is_slow

    def __iter__(self) -> Iterator[Directory]:
        try:
            try:
                first = self._identity()
            except OSError as e:
                yield Directory("", b"\0", error=e)
                return
            yield from self._walk()
            # Everything below a root that went away during the walk looks deleted, and is not.
            try:
                self.incomplete = self._identity(is_last=True) != first
            except OSError:
                return  # the root is gone: incomplete
        except NotYetError:
            return  # the deadline has passed: incomplete
        finally:
            self._stats.close()
            if self._listers:
                self._listers.close()

    def _identity(self, *, is_last: bool = False) -> tuple[int, int]:
        began = self._fs.monotonic_ns()
        st = self._fs.stat(self._root)
        self._stats.observe(self._fs.monotonic_ns() - began, is_last=is_last)
        return st.st_dev, st.st_ino

    def _walk(self) -> Iterator[Directory]:
        todo = [_Visit(Directory("", b"\0"), self._root, 0, None, False, Batch(b"\0"))]
        listed: deque[_Visit] = deque()
        while todo or listed:
            # On a slow mount, directories ahead are listed while the stats of earlier ones are under way.
            while todo and (not listed or (self._stats.is_wide and self._stats.in_flight < self._window)):
                if self._stats.is_slow and not self.is_short:
                    self._list_ahead(todo)
                visit = todo.pop()
                if self._list(visit, todo):
                    self._stats.begin(visit.batch)
                    listed.append(visit)
            if listed:
                yield self._complete(listed.popleft())

    def _complete(self, visit: _Visit) -> Directory:
        found, batch = visit.found, visit.batch
        self._stats.finish(batch)
        found.files = batch.witnesses
        for name, error in batch.failed:
            found._miss(name, error)
        self.directories += 1
        self.files += len(found.files)
        if self.folders is not None and found.error is None:
            self.folders[found.path] = found.rules
        for reason, n in found.skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + n
        self.skipped_paths += found.skipped_paths[: NAMED - len(self.skipped_paths)]
        return found

    def _list_ahead(self, todo: list[_Visit]) -> None:
        self._listers = self._listers or Pool(LISTERS)
        for visit in todo[: -2 * LISTERS - 1 : -1]:
            if visit.listing is None:
                visit.listing = self._listers.submit(lambda full=visit.full: self._fs.scandir(full))  # type: ignore[misc]

    def _list(self, visit: _Visit, todo: list[_Visit]) -> bool:
        """Take the listing of `visit` apart; False if the directory is gone, which is no error."""
        found, regular, others = visit.found, visit.batch.regular, []
        try:
            entries = self._entries(visit)
        except OSError as e:
            if found.path and e.errno in _GONE:
                return False
            found.error = e
            return True
        for entry in entries:
            try:
                if entry.name[0] != "." and entry.is_file(follow_symlinks=False):
                    regular.append(entry)
                else:
                    others.append(entry)
            except OSError as e:
                found._miss(entry.name, e)
        self._find_rules(visit, others)
        below = [entry.name for entry in others if self._is_walked(visit, entry)]
        below.sort(key=os.fsencode, reverse=True)
        todo += [self._below(visit, name) for name in below]
        return True

    def _entries(self, visit: _Visit) -> list[Entry]:
        left_ns = self._stats.left_ns()
        if visit.listing:
            try:
                return visit.listing.result(left_ns)
            except OSError as e:
                if e.errno not in NO_DESCRIPTOR:
                    raise
                self.is_short = True
        return self._patiently(lambda: self._fs.scandir(visit.full))

    def _patiently(self, call: Callable[[], T]) -> T:
        """The result of `call`, which opens something. Where no descriptor is left, directories are not listed ahead
        from then on, and it is called again when those under way have ended; raises FileLimit if that does not help.
        """
        for n in range(TRIES):
            try:
                return call()
            except OSError as e:
                if e.errno not in NO_DESCRIPTOR:
                    raise
                self.is_short = True
                if n + 1 == TRIES or self._listers is None:
                    raise FileLimit(f"The limit of open files ({self._fs.open_files_limit()}) is reached.") from e
            self._fs.sleep(PAUSE_S)
        raise AssertionError("the last try has returned or raised")

    def _below(self, visit: _Visit, name: str) -> _Visit:
        found = visit.found
        path = f"{found.path}/{name}" if found.path else name
        prefix = (found.key_prefix[:-1] if found.path else b"") + name.encode(CODEC, ERRORS) + b"\0\0"
        full = f"{visit.full}/{name}"
        return _Visit(Directory(path, prefix), full, visit.depth + 1, found.rules, found.rules_changed, Batch(prefix))

    def _find_rules(self, visit: _Visit, others: list[Entry]) -> None:
        found, spec = visit.found, None
        names = [e.name for e in others if e.name in IGNORE_FILES and e.is_file(follow_symlinks=False)]
        if names:
            own = self._patiently(lambda: read_own(self._fs, visit.full, names))
            spec = own.spec
            self.opens += own.opens
            self.rules_found[found.path] = own.digest
            for name, error in own.problems:
                found._miss(name, error)
        found.rules = rules_for(found.path, visit.rules_above, spec)
        digest, seen = self.rules_found.get(found.path), self._rules_seen.get(found.path)
        found.rules_changed = visit.changed_above or digest != seen

    def _is_walked(self, visit: _Visit, entry: Entry) -> bool:
        """Whether `entry`, which is no plain file, is a directory to walk; otherwise it is accounted for."""
        found, name = visit.found, entry.name
        try:
            if name in RESERVED or name in IGNORE_FILES:
                return False
            if name[0] == ".":
                found._skip(name, "temporary" if name.startswith(TEMP_PREFIX) else "hidden")
            elif entry.is_symlink():
                self._follow(visit, name)
            elif not entry.is_dir(follow_symlinks=False):
                found._skip(name, "not_regular")
            elif found.rules and found.rules.ignores(name, is_dir=True):
                found._skip(name, "ignored")
            elif visit.depth >= self._max_depth:
                found._skip(name, "too_deep")
            else:
                return True
        except OSError as e:
            found._miss(name, e)
        return False

    def _follow(self, visit: _Visit, name: str) -> None:
        """Take a link to a file of the vault as a file under its own name, with the stat of its target."""
        full = f"{visit.full}/{name}"
        if not is_inside(self._fs, self._root, self._fs.realpath(full)):
            visit.found._skip(name, "symlink_outside")
            return
        try:
            st = self._fs.stat(full)
        except OSError as e:
            if e.errno not in (errno.ELOOP, *_GONE):
                raise
            visit.found._skip(name, "symlink_loop" if e.errno == errno.ELOOP else "symlink_broken")
            return
        if stat.S_ISREG(st.st_mode):
            visit.batch.witnesses.append(witness(visit.batch.key_prefix, name, st))
        else:
            visit.found._skip(name, "symlink_directory" if stat.S_ISDIR(st.st_mode) else "not_regular")
