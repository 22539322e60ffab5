"""Whether the index may still grow, in one pass: within the budget and the disk, with one attempt to make room."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.engine.bounds import at_limit, keep_within
from holdfast.engine.prune import free, watchdog
from holdfast.engine.workspace import Workspace
from holdfast.errors import DiskFull, HoldfastError, IndexOverBudget
from holdfast.index.base import Index


class Growth:
    """`stopped` says why the index may not grow any more; then nothing more is brought in; a pass only counts."""

    def __init__(self, ws: Workspace, index: Index, *, is_alone: bool) -> None:
        """`is_alone`: this process holds the job lock, and may remove what is not needed."""
        self._ws, self._index = ws, index
        # An index in memory takes no room on any disk.
        self._is_kept = index.generation > 0
        self._may_make_room = is_alone and self._is_kept
        self._settles = self._may_make_room
        self.stopped: HoldfastError | None = None

    def within(self, work: Callable[[], None]) -> None:
        """Do `work`, unless the index has stopped to grow; it is called again where room could be made."""
        while self.stopped is None:
            try:
                if self._is_kept:
                    keep_within(self._ws, self._index)
                work()
                return
            except (DiskFull, IndexOverBudget) as e:
                if not self._may_make_room:
                    self.stopped = at_limit(self._ws, self._index, e)
                else:
                    self._may_make_room = False
                    free(self._ws, self._index)

    def settle(self) -> None:
        """At the end of a pass that brought all in: free what is not needed if the budget is nearly used up."""
        if self._settles:
            watchdog(self._ws, self._index)
