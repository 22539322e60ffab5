"""What differs between the vault and the index: one pass over two sorted streams, in constant memory.

A directory whose witnesses all equal the index's rows is settled by one comparison of lists. Counts and watermarks
prove nothing (delete one note, move an old one in: the count is equal and nothing is newer), so none are used.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from holdfast.files.conflicts import collisions
from holdfast.files.scan import Directory
from holdfast.model import KEY_END, Witness, key_path
from holdfast.text.names import NOTE_SUFFIXES

PAGE = 4096

_NOTE_SUFFIXES = tuple(os.fsencode(suffix) for suffix in NOTE_SUFFIXES)


class Rows(Protocol):
    """What is asked of an index here."""

    def file_rows(self, after: bytes, limit: int) -> list[Witness]: ...


@dataclass(slots=True)
class Difference:
    """What one directory differs in, and the keys that stood before it in the index and were not met in the walk.

    `added` files are new to the index; `suspect` ones are known, with another witness or an unproven one; `removed`
    keys were not met (in a readable place); `excluded` ones are there and ignored by rules that are new; `unverified`
    rows could not be looked at, nor what is at the `unreadable` paths. `twins` are notes, some of them new, whose names
    are one where case does not count. `is_all_new` says that `added` is all that the directory with this key `prefix`
    holds and that the index had nothing in it.
    """

    added: list[Witness] = field(default_factory=list)
    suspect: list[Witness] = field(default_factory=list)
    removed: list[bytes] = field(default_factory=list)
    excluded: list[bytes] = field(default_factory=list)
    unchanged: int = 0
    unverified: int = 0
    unreadable: list[str] = field(default_factory=list)
    ignored: list[bytes] = field(default_factory=list)
    twins: list[bytes] = field(default_factory=list)
    prefix: bytes = b""
    is_all_new: bool = False


class _KnownRows:
    """The index's rows as a stream that is taken range by range."""

    def __init__(self, index: Rows) -> None:
        self._index = index
        self._page: list[Witness] = []
        self._at = 0
        self._last = b""
        self._ended = False

    def below(self, bound: bytes) -> list[Witness]:
        """The rows from here to the first key that is not below `bound`."""
        out: list[Witness] = []
        while True:
            end = bisect_left(self._page, bound, lo=self._at, key=_key)
            out = out + self._page[self._at : end] if out else self._page[self._at : end]
            self._at = end
            if end < len(self._page) or self._ended:
                return out
            self._page = self._index.file_rows(self._last, PAGE)
            self._at = 0
            self._ended = len(self._page) < PAGE
            if self._page:
                self._last = self._page[-1][0]


def _key(row: Witness) -> bytes:
    return row[0]


def diff(index: Rows, scan: Iterable[Directory]) -> Iterator[Difference]:
    """The differences, directory by directory in key order; the last one holds what stood behind the last directory."""
    known = _KnownRows(index)
    for directory in scan:
        found = Difference(prefix=directory.key_prefix)
        found.removed = [row[0] for row in known.below(directory.key_prefix)]
        if directory.error is not None:
            # Nothing is known of what is in or below it: keep every row, and say so.
            found.unverified = len(known.below(_after_subtree(directory.key_prefix)))
            found.unreadable = [directory.path]
        else:
            rows = known.below(directory.key_prefix[:-1] + b"\1")
            found.unreadable = [key_path(key) for key, _ in directory.unreadable]
            if rows == directory.files and not directory.rules_changed:
                found.unchanged = sum(row[0].lower().endswith(_NOTE_SUFFIXES) for row in rows)
            else:
                _compare(directory, rows, found)
                found.is_all_new = not rows and len(found.added) == len(directory.files) and not directory.unreadable
        yield found
    rest = Difference()
    rest.removed = [row[0] for row in known.below(KEY_END)]
    yield rest


def _after_subtree(prefix: bytes) -> bytes:
    return KEY_END if prefix == b"\0" else prefix[:-2] + b"\1"


def _compare(directory: Directory, rows: list[Witness], found: Difference) -> None:
    known = {row[0]: row for row in rows}
    rules, rematch = directory.rules, directory.rules_changed
    start = len(directory.key_prefix)
    for witness in directory.files:
        row = known.get(witness[0])
        if rules is not None and (row is None or rematch) and rules.ignores(os.fsdecode(witness[0][start:])):
            found.ignored.append(witness[0])
            if known.pop(witness[0], None) is not None:
                found.excluded.append(witness[0])
            continue
        known.pop(witness[0], None)
        if row is None:
            found.added.append(witness)
        elif row == witness:
            found.unchanged += is_note_key(witness[0])
        else:
            found.suspect.append(witness)
    for key, _ in directory.unreadable:
        if known.pop(key, None) is not None:
            found.unverified += 1
    found.removed += known
    if found.added:
        _find_twins(directory, found)


def _find_twins(directory: Directory, found: Difference) -> None:
    prefix = directory.key_prefix
    new = {key for key, *_ in found.added}
    names = (os.fsdecode(key[len(prefix) :]) for key, *_ in directory.files if is_note_key(key))
    for group in collisions(names):
        keys = [prefix + os.fsencode(name) for name in group]
        if not new.isdisjoint(keys):
            found.twins += keys


def is_note_key(key: bytes) -> bool:
    """Whether the file under `key`, which the scan found, is a note; hidden names do not get here."""
    return key.lower().endswith(_NOTE_SUFFIXES)
