"""What a vault remembers of its notes' past: the store of versions, and what a sync finds to tell it.

The store lies under the user's data directory, never in the vault and never with the indexes: those may be deleted. It
is made when the first change is to be kept. That it cannot be used stops no sync and no write, and is counted.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from holdfast.config import MIB, Config
from holdfast.errors import HoldfastError
from holdfast.files.fs import FileSystem
from holdfast.history.rows import Change
from holdfast.history.store import History
from holdfast.history.thin import thin

_DAY_NS = 86_400 * 10**9
FILE, CARD = "history.db", "vault.json"


class Past:
    """The history of one vault; may be used from several threads, which take turns."""

    def __init__(
        self, fs: FileSystem, data_dir: str, name: str, root: str, config: Config,
        count: Callable[[str, Exception | None], None],
    ) -> None:  # fmt: skip
        """`name` is that of the vault's index directory, `count` keeps a caught error where `status` shows it."""
        self._fs, self._root, self._count = fs, root, count
        self._data, self._name = data_dir, name
        self.is_on = config.history != "none"
        self._most_bytes, self._most_days, self._thinned_ns = config.history_bytes, config.history_days, 0
        self._guard = threading.RLock()
        self._store: History | None = None

    @property
    def directory(self) -> str:
        """Where the store lies."""
        return f"{self._data}/{self._name}"

    def is_begun(self) -> bool:
        """Whether there is a store."""
        return os.path.exists(f"{self.directory}/{FILE}")

    @contextmanager
    def store(self) -> Iterator[History]:
        """The store, made where there is none; one thread at a time. Raises IndexDamaged and the resource faults."""
        with self._guard:
            if self._store is not None and not os.path.exists(self._store.path):
                self._store.close()  # It was removed by hand: what is kept from now on is kept in a new one.
                self._store = None
            if self._store is None:
                self._store = self._open()
            yield self._store

    def _open(self) -> History:
        if not os.path.isdir(self.directory):
            self._adopt()
        self._fs.makedirs(self.directory)
        card = f"{self.directory}/{CARD}"
        if not os.path.exists(card):
            self._fs.write_new(card, json.dumps({"root": os.fsencode(self._root).decode("utf-8", "replace")}).encode())
        return History(f"{self.directory}/{FILE}")

    def _adopt(self) -> None:
        """A vault that was moved takes its history along: its id is the same, and its old root is gone."""
        prefix = self._name.rpartition("-")[0] + "-"
        if prefix == "folder-" or not os.path.isdir(self._data):
            return
        for name in sorted(os.listdir(self._data)):
            if (
                name.startswith(prefix)
                and (root := _root_of(f"{self._data}/{name}/{CARD}"))
                and not os.path.exists(root)
            ):
                self._fs.rename(f"{self._data}/{name}", self.directory)
                self._fs.unlink(f"{self.directory}/{CARD}")
                return

    def found(self, changes: Sequence[Change]) -> None:
        """Keep what a sync found; that it cannot be kept is counted, and stops nothing."""
        if not self.is_on or not changes:
            return
        try:
            with self.store() as store:
                store.record(changes)
        except (HoldfastError, OSError) as e:
            self._count("history_failed", e)

    def size(self) -> tuple[int, int]:
        """(bytes, versions) of the store; zeros where there is none."""
        if not self.is_on or not self.is_begun():
            return 0, 0
        try:
            with self.store() as store:
                return store.counts()
        except (HoldfastError, OSError) as e:
            self._count("history_failed", e)
            return 0, 0

    def bound_bytes(self, note_bytes: int) -> int:
        """How many bytes the store may have beside so many bytes of notes."""
        return self._most_bytes or 3 * note_bytes + 64 * MIB

    def keep_within(self, note_bytes: int) -> None:
        """Thin the store if it is too large, and once a day of what is too old; counted if it fails."""
        if not self.is_on or not self.is_begun():
            return
        now_ns, bound = self._fs.time_ns(), self.bound_bytes(note_bytes)
        try:
            with self.store() as store:
                if store.live_bytes() > bound or now_ns - self._thinned_ns > _DAY_NS:
                    self._thinned_ns = now_ns
                    thin(store, max_bytes=bound, before_ns=now_ns - int(self._most_days * _DAY_NS))
        except (HoldfastError, OSError) as e:
            self._count("history_failed", e)

    def close(self) -> None:
        """Close the store."""
        with self._guard:
            if self._store is not None:
                self._store.close()
                self._store = None


def _root_of(card: str) -> str | None:
    try:
        with open(card, encoding="utf-8") as file:
            root = json.load(file)["root"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return root if isinstance(root, str) else None
