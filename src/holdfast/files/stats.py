"""Stat the files of directories: one after the other, or many at a time where a stat is slow.

Which way is decided by what a stat takes, again and again: one slow disk access at the start must not send 100k quick
stats through threads, and a mount that turns slow half way must not be waited for file by file.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field

from holdfast.files.fs import Entry, FileSystem
from holdfast.files.wide import NotYetError, Pending, Pool
from holdfast.model import INODE_MASK, Witness

CODEC, ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
BLOCK = 1024  # files between two looks at the clock
TRIAL = 64  # stats by the pool between two decisions whether it is worth it


@dataclass(slots=True)
class Batch:
    """The files of one directory: those still to be looked at, those in flight, and what is known of the others."""

    key_prefix: bytes
    regular: list[Entry] = field(default_factory=list)
    in_flight: list[tuple[Entry, Pending[tuple[os.stat_result, int]]]] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    failed: list[tuple[str, OSError]] = field(default_factory=list)


class Stats:
    """Fills batches, with at most one stat a file. `is_slow` says how the mount is, by the latest calls."""

    def __init__(
        self,
        fs: FileSystem,
        *,
        slow_ns: int,
        width: int,
        deadline_ns: int | None,
        is_slow: bool,
        inode_mask: int = INODE_MASK,
    ) -> None:
        self._fs, self._inode_mask = fs, inode_mask
        self._slow_ns, self._width, self._deadline_ns = slow_ns, width, deadline_ns
        self.is_slow = is_slow
        self.in_flight = 0
        self._pool: Pool | None = None
        self._tried = self._tried_ns = 0

    @property
    def is_wide(self) -> bool:
        """Whether stats go through the pool: not where the listing has brought them along."""
        return self.is_slow and not self._fs.listing_carries_stat

    def close(self) -> None:
        """Let the pool end, without waiting for what is in flight."""
        if self._pool:
            self._pool.close()

    def left_ns(self) -> int | None:
        """The time left, None if there is no deadline; raises NotYetError when it has passed."""
        if self._deadline_ns is None:
            return None
        left = self._deadline_ns - self._fs.monotonic_ns()
        if left <= 0:
            raise NotYetError
        return left

    def observe(self, took_ns: int, *, is_last: bool = False) -> None:
        """Judge by one call how the mount is. The last one of a walk settles it, where the pool's stats did not."""
        if is_last and self._tried:
            self.is_slow = self._tried_ns > self._slow_ns * self._tried
        elif is_last or took_ns > self._slow_ns:
            self.is_slow = took_ns > self._slow_ns

    def begin(self, batch: Batch) -> None:
        """Send the stats of `batch` on their way, where the pool is in use."""
        if not self.is_wide or not batch.regular:
            return
        if self._pool is None:
            self._pool = Pool(self._width)
        self.in_flight += len(batch.regular)
        for entry in batch.regular:
            batch.in_flight.append((entry, self._pool.submit(lambda entry=entry: self._timed(entry))))  # type: ignore[misc]
        batch.regular = []

    def finish(self, batch: Batch) -> None:
        """Complete `batch`: its witnesses in key order, and the names that could not be looked at."""
        if batch.regular:
            self._look(batch)
        for entry, pending in batch.in_flight:
            left_ns = self.left_ns()
            try:
                st, took_ns = pending.result(left_ns)
            except OSError as e:
                batch.failed.append((entry.name, e))
            else:
                batch.witnesses.append(witness(batch.key_prefix, entry.name, st, self._inode_mask))
                self._judge(took_ns)
            self.in_flight -= 1
        batch.in_flight = []
        batch.witnesses.sort()

    def _timed(self, entry: Entry) -> tuple[os.stat_result, int]:
        began = self._fs.monotonic_ns()
        st = entry.stat(follow_symlinks=False)
        return st, self._fs.monotonic_ns() - began

    def _judge(self, took_ns: int) -> None:
        self._tried += 1
        self._tried_ns += took_ns
        if self._tried == TRIAL:
            self.is_slow = self._tried_ns > self._slow_ns * TRIAL
            self._tried = self._tried_ns = 0

    def _look(self, batch: Batch) -> None:
        """Stat one file, look at the clock, stat a block; where the one was slow, send the rest to the pool."""
        entries, batch.regular = batch.regular, []
        size = 1
        began = self._fs.monotonic_ns()
        while entries:
            _append(batch, entries, size, self._inode_mask)
            now = self._fs.monotonic_ns()
            if size == 1:
                self.observe(now - began)
                if self.is_wide:
                    batch.regular = entries
                    self.begin(batch)
                    return
            if self._deadline_ns is not None and now >= self._deadline_ns:
                raise NotYetError
            size, began = (1 if size == BLOCK else BLOCK), now


def witness(key_prefix: bytes, name: str, st: os.stat_result, inode_mask: int = INODE_MASK) -> Witness:
    """The witness of the file `name`, whose directory's keys begin with `key_prefix`."""
    return key_prefix + name.encode(CODEC, ERRORS), st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino & inode_mask


def _append(batch: Batch, entries: list[Entry], count: int, mask: int) -> None:
    """Stat `count` entries, taken off the end of the list: an entry keeps its stat, so it must go with its turn.

    The innermost loop of every look at a vault: no call per file but the stat and what the tuple needs.
    """
    prefix, codec, errors = batch.key_prefix, CODEC, ERRORS
    add = batch.witnesses.append
    pop = entries.pop
    for _ in range(min(count, len(entries))):
        entry = pop()
        try:
            st = entry.stat(follow_symlinks=False)
        except OSError as e:
            batch.failed.append((entry.name, e))
            continue
        add((prefix + entry.name.encode(codec, errors), st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino & mask))
