"""Walk a vault and yield its directories in sort-key order, with one witness per file.

Memory is O(depth of the tree + entries of the widest directory), never O(files); on a slow mount, plus a bounded window
of stats in flight. A directory that cannot be read is yielded with its error, and a walk that was cut short or whose
root was exchanged says `incomplete`: absence of evidence must not look like deletion.

This is the hot path of every look at a vault: per file one stat, four attribute reads, one tuple.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from holdfast.files.fs import Entry, FileSystem
from holdfast.files.ignore import IGNORE_FILES, Rules, read_rules
from holdfast.files.paths import DEPTH, RESERVED, is_inside, is_note
from holdfast.files.wide import Pending, Pool
from holdfast.model import Witness

__all__ = ["Directory", "Scan", "is_note", "scan"]

SLOW_NS = 5_000_000
WIDTH = 64
WINDOW = 512
BLOCK = 1024  # files between two looks at the clock
NAMED = 100  # skipped paths kept in words; the counts are always complete
_CODEC, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_GONE = (errno.ENOENT, errno.ENOTDIR)
_QUIET = RESERVED | set(IGNORE_FILES)


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


@dataclass(slots=True)
class _Visit:
    """A directory on its way: found, then listed, then yielded."""

    found: Directory
    full: str
    depth: int
    above: Rules | None
    listing: Pending[list[Entry]] | None = None
    pending: list[tuple[Entry, Pending[os.stat_result]]] = field(default_factory=list)


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
) -> Scan:
    """The walk of the vault at `root`, to be iterated once.

    `rules_seen` is `Scan.rules_found` of the last complete walk. `wide` begins with the pool, for a mount known to be
    slow; otherwise the pool is used once a stat takes more than `slow_ns`, and left again where stats are quick.
    """
    return Scan(fs, root, rules_seen or {}, max_depth, slow_ns, width, window, deadline_ns, wide)


class Scan:
    """A walk. `directories`, `files` and `opens` count; the rest holds for a walk that was exhausted.

    `rules_found` maps each directory with ignore files to their digest. `incomplete` says that the walk was cut short
    by its deadline or that the root is no longer what it was at the start: then nothing unseen may count as deleted.
    """

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        rules_seen: Mapping[str, str],
        max_depth: int,
        slow_ns: int,
        width: int,
        window: int,
        deadline_ns: int | None,
        wide: bool,
    ) -> None:
        self.rules_found: dict[str, str] = {}
        self.directories = self.files = self.opens = 0
        self.skipped: dict[str, int] = {}
        self.skipped_paths: list[tuple[str, str]] = []
        self.incomplete = False
        self._fs, self._root, self._rules_seen = fs, root, rules_seen
        self._max_depth, self._slow_ns, self._width, self._window = max_depth, slow_ns, width, window
        self._deadline_ns = deadline_ns
        self._pool: Pool | None = Pool(width) if wide and not fs.listing_carries_stat else None

    def __iter__(self) -> Iterator[Directory]:
        raise NotImplementedError
