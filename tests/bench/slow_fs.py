"""A vault on a slow mount; everything else, the index's own directory among it, is as fast as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fault.faulty_fs import FaultyFS, SlowFS

_STATS = ("entry_stat", "lstat", "stat")


class SlowMount(SlowFS):
    """`stat_s` for each stat and open below `root`, `list_s` for each listing."""

    def __init__(self, root: Path, stat_s: float, list_s: float, *, listing_carries_stat: bool = False) -> None:
        super().__init__(stat_s, list_s, listing_carries_stat=listing_carries_stat)
        self._root = str(root.resolve())
        self._seen: Counter[str] = Counter()

    def step(self, call: str, where: str, real: Callable[[], Any]) -> Any:
        if not where.startswith(self._root):
            return FaultyFS.step(self, call, where, real)
        if call in _STATS:
            with self._guard:
                self._seen[f"{where} {self._pass}" if where != self._root else ""] += 1
        elif call == "scandir" and where == self._root:
            self._pass += 1
        return super().step(call, where, real)

    _pass = 0

    def reset(self) -> None:
        """Count from here."""
        self._seen.clear()
        self.calls.clear()
        self.most = 0

    @property
    def looks(self) -> int:
        """Stats of files so far."""
        return sum(n for name, n in self._seen.items() if name)

    @property
    def most_a_file(self) -> int:
        """The most stats of one file in one walk."""
        return max((n for name, n in self._seen.items() if name), default=0)
