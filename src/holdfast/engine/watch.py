"""Keep the index equal to the notes as long as the process stays.

Notices of the system are hints: the notes they name are looked at a moment later. The guarantee is a scan of the whole
vault, once a minute or after ten times the last one's duration, at once where notices may have been lost, and more
often where the system gives none. Nothing that goes wrong ends a watch: it is counted, told, and tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from holdfast.engine.duties import Duties, Duty
from holdfast.engine.embed import Embedding
from holdfast.engine.passes import Options
from holdfast.engine.slot import UnavailableError
from holdfast.engine.sync import sync
from holdfast.engine.times import rfc3339
from holdfast.engine.workspace import Workspace
from holdfast.errors import HoldfastError, VaultBusy, VaultMissing, WatchLimit
from holdfast.files.conflicts import conflict_of
from holdfast.files.ignore import Rules
from holdfast.files.watch import Notices
from holdfast.model import show_path
from holdfast.results import Synced, Watched

S = 1_000_000_000
TICK_NS = S // 2
GAP_NS = S
"""Who sleeps so much longer than it meant to was stopped, or the machine was: notices may have been lost."""

SCANS_OF_TIME = 10
"""A scan every minute, unless that is more than one part in so many of the time."""
POLLS_OF_TIME = 200
"""Without notices: as often as costs one part in so many of the time, half a percent."""
RELIEF, RELIEF_MOST_NS = 4, 5 * S
"""Scans that notices ask for come one after the other, with so many times the last one's duration between them."""

RETRY_MOST_NS = 8 * S
BUSY_NS = S
WAIT_S = 0.3
PLACE_AGAIN_NS = 600 * S
FOLDERS_GONE = 3
"""So often a scan is made once more because a folder that it met was gone a moment later."""
BLIND = 2
"""After so many scans that found changes, where nothing was ever heard, notices are not waited for any more."""

PATHS_TOLD = 10
REMARKS = ("conflict_copy", "name_collision")


class _Stopped(BaseException):
    """The watch is to end in the middle of a sync. No Exception: nothing has failed, and no job is to say so."""


class Watch:
    """The watch of one vault; at most one at a time, in all processes.

    `on_event` is called in the thread of `run` with everything that happens (Watched); what it raises ends the watch.
    `duties` are done beside it, in a thread of their own.
    """

    def __init__(
        self, ws: Workspace, *, duties: Iterable[Duty] = (), on_event: Callable[[Watched], None] | None = None
    ) -> None:
        self._ws, self._on_event = ws, on_event
        self._config, self._clock = ws.config, ws.fs.monotonic_ns
        self._duties = tuple(duties)
        self._embedding: Embedding | None = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._notices = Notices(
            ws.fs, ws.root, self._wake.set, quiet_ms=self._config.watch_quiet_ms, most=self._config.watch_paths
        )
        self._untold: list[Watched] = []

        self.mode = "events" if ws.traits.events else "polling"
        self._mode_told = ""
        self._is_deaf = not ws.traits.events
        self._place_again_ns = 0
        self._placed: frozenset[str] = frozenset()
        self._scans_placed = self._blind = self._gone = 0

        self._dirty: set[str] = set()
        self._must_scan = self._must_place = True
        self._here = self._identity()
        self._due_ns = self._scanned_ns = self._tried_ns = 0
        self._took_ns = 0
        self._busy_ns = self._retry_ns = 0
        self._failures = 0
        self._trouble: tuple[str, str] | None = None
        self._waits_for = ""

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop` is set. Raises VaultBusy if another watch is at work on this vault."""
        self._stop = stop
        duties = Duties(self._ws, self._duties)
        with self._ws.watching() as keep:
            self._tell("started", f"Watching {show_path(self._ws.root)}; all notes are looked at first.")
            self._pass_on()
            duties.start()
            try:
                self._loop(keep)
            except _Stopped:
                pass
            finally:
                self._notices.close()
                self._ws.isolates = False
                self._ws.slots.close()
                duties.stop()
                if self._embedding is not None:
                    self._embedding.stop()
            self._tell("ended", "The watch has ended.")
            self._pass_on()

    def _loop(self, keep: Callable[[], None]) -> None:
        while not self._stop.is_set():
            self._look_around()
            try:
                self._turn()
            except Exception as e:  # noqa: BLE001 - a watch goes on whatever happens; `_fail` counts it
                self._fail(e)
                self._ws.count(f"watch_{type(e).__name__}")
            self._pass_on()
            self._sleep()
            keep()

    def _sleep(self) -> None:
        now = self._clock()
        next_ns = 0 if self._dirty else max(self._scan_due_ns(), self._busy_ns)
        wait_ns = max(0, min(TICK_NS, max(next_ns, self._retry_ns) - now))
        self._wake.wait(wait_ns / S)
        self._wake.clear()
        if self._clock() - now > wait_ns + GAP_NS:
            # Test: fault/test_watch.py::test_a_watch_that_was_stopped_finds_what_happened_meanwhile
            self._ws.count("watch_gap")
            self._must_scan = self._must_place = True

    def _look_around(self) -> None:
        """Take what was noticed; and see whether the vault is where it was, for a folder that is gone says nothing."""
        noticed = self._notices.take()
        self._dirty |= noticed.paths
        if len(self._dirty) > self._config.watch_paths:
            self._dirty.clear()
            self._must_scan = True
        self._must_scan = self._must_scan or noticed.must_scan
        self._must_place = self._must_place or noticed.must_place
        if (noticed.paths or noticed.must_scan) and self._trouble:
            self._retry_ns = min(self._retry_ns, self._tried_ns + S)
        here = self._identity()
        if here != self._here:
            self._here, self._retry_ns = here, 0
            self._must_scan = self._must_place = True

    def _identity(self) -> tuple[int, int] | None:
        try:
            st = self._ws.fs.stat(self._ws.root)
        except OSError:
            return None  # the next sync says why
        return st.st_dev, st.st_ino

    def _turn(self) -> None:
        now = self._clock()
        if now < self._retry_ns:
            return
        self._tried_ns = now
        # While another process scans, what is dirty can be looked at all the same.
        if now >= max(self._scan_due_ns(), self._busy_ns):
            self._scan()
        elif self._dirty:
            self._look_at_dirty()
        else:
            return
        self._recover()

    def _scan_due_ns(self) -> int:
        if not self._must_scan:
            return self._due_ns
        return min(self._due_ns, self._scanned_ns + min(RELIEF * self._took_ns, RELIEF_MOST_NS))

    def _scan(self) -> None:
        folders: dict[str, Rules | None] = {}
        dirty, self._dirty = self._dirty, set()
        self._must_scan = False
        try:
            done = sync(self._ws, Options(folders=folders, wait_s=WAIT_S), self._go_on)
            if done.stopped is not None:
                raise done.stopped
        except BaseException:
            self._must_scan = True
            self._dirty |= dirty
            raise
        self._isolate()
        self._scanned_ns = self._clock()
        if done.scan.kind != "first":  # that one says nothing about the next
            self._took_ns = int(done.scan.seconds * S)
        self._judge_notices(done)
        self._tell_change(done, ())
        self._place(folders)
        self._due_ns = self._scanned_ns + self._interval_ns()
        if self._embedding is None and self._config.embedder != "none":
            self._embedding = Embedding(self._ws)
            self._embedding.start()

    def _look_at_dirty(self) -> None:
        paths = tuple(sorted(self._dirty))
        done = sync(self._ws, Options(paths=paths), self._go_on)
        if done.stopped is not None:
            self._must_scan = True  # what was left is known to a scan alone
            raise done.stopped
        self._dirty.difference_update(paths)
        index = self._ws.index()
        if index is None or not index.meta("full"):  # the index was deleted, and what is there now has these alone
            self._must_scan = True
        self._tell_change(done, paths)

    def _go_on(self, _done: int, _seen: int) -> None:
        """Called by a sync after each batch: what is in stays in, so it may end here."""
        if self._stop.is_set():
            raise _Stopped

    def _isolate(self) -> None:
        """From the first scan on notes are parsed apart, so that none of them ends this program, which is to stay.

        The process for that is started now: a scan that waited for it would look like a slow one.
        """
        if not self._ws.isolates:
            self._ws.isolates = True
            try:
                self._ws.slots.warm()
            except UnavailableError:
                self._ws.count("slot_unavailable")

    def _interval_ns(self) -> int:
        longest = max(int(self._config.watch_scan_s * S), SCANS_OF_TIME * self._took_ns)
        if self._notices.is_placed:
            return longest
        return min(max(int(self._config.watch_poll_s * S), POLLS_OF_TIME * self._took_ns), longest)

    def _place(self, folders: dict[str, Rules | None]) -> None:
        """Listen to these folders, unless they are those that are listened to; or poll, where that cannot be."""
        if self._is_deaf or self._scanned_ns < self._place_again_ns:
            self._poll("" if self._is_deaf else self._mode_told)
            return
        if self._notices.is_placed and not self._must_place and folders.keys() == self._placed:
            return
        try:
            count = self._notices.place(folders)
        except WatchLimit as e:
            self._ws.count("watch_WatchLimit")
            self._place_again_ns = self._scanned_ns + PLACE_AGAIN_NS
            self._poll(f"{e.message} {e.hint}")
        except OSError as e:
            if isinstance(e, (FileNotFoundError, NotADirectoryError)) and self._gone < FOLDERS_GONE:
                self._ws.count("watch_folder_gone")
                self._gone += 1
                self._must_scan = self._must_place = True
                return
            self._ws.count("watch_no_notices")
            self._place_again_ns = self._scanned_ns + PLACE_AGAIN_NS
            self._poll(f"The system gives no notices of changes: {e.strerror or e}.")
        else:
            self._placed, self._must_place, self._scans_placed, self._gone = frozenset(folders), False, 0, 0
            self._must_scan = True  # what changed between the walk and now was told to nobody
            self._set_mode(
                "events", f"The system tells of changes in {count:,} {'folder' if count == 1 else 'folders'}."
            )

    def _judge_notices(self, done: Synced) -> None:
        """Some systems that should tell of changes do not, and to ask them one would have to write into the vault."""
        if not self._notices.is_placed:
            return
        self._scans_placed += 1
        if self._notices.heard:
            self._blind = 0
        elif self._scans_placed > 1 and _has_changed(done):
            self._blind += 1
        if self._blind >= BLIND:
            self._ws.count("watch_no_notices")
            self._is_deaf = True
            self._poll("Notes change here, and the system never told of it.")

    def _poll(self, why: str) -> None:
        self._notices.close()
        self._must_place = False
        self._set_mode("polling", why or "This file system tells nobody of changes.")

    def _set_mode(self, mode: str, why: str) -> None:
        is_new = mode != self.mode or not self._mode_told
        self.mode = mode
        if is_new:
            self._mode_told = why
            self._due_ns = self._scanned_ns + self._interval_ns()
            often = f"{(self._due_ns - self._scanned_ns) / S:g} s"
            self._tell("watching", f"{why} All notes are looked at every {often}.")

    def _fail(self, error: Exception) -> None:
        """Try again later, sooner at first; told once for as long as it is the same trouble."""
        now = self._clock()
        if isinstance(error, VaultBusy):
            self._busy_ns, self._retry_ns = now + BUSY_NS, now + BUSY_NS // 10
            if error.message != self._waits_for:
                self._waits_for = error.message
                self._tell("waiting", error.message)
            return
        self._retry_ns = now + min(S << min(self._failures, 10), RETRY_MOST_NS)
        self._failures += 1
        event = "missing" if isinstance(error, VaultMissing) else "fault"
        is_ours = isinstance(error, HoldfastError)
        message = str(error) if is_ours else f"The sync failed: {type(error).__name__}: {error}."
        if (event, message) != self._trouble:
            self._trouble = (event, message)
            self._tell(event, message)

    def _recover(self) -> None:
        if self._clock() >= self._busy_ns:
            self._waits_for = ""
        if self._trouble is None:
            return
        is_back = self._trouble[0] == "missing"
        self._trouble, self._failures = None, 0
        # Only a scan proves that all is well again, and says so in its job.
        self._must_scan = self._must_scan or self._scanned_ns < self._tried_ns
        self._tell("back" if is_back else "recovered", "The vault is back." if is_back else "Syncs succeed again.")

    def _tell_change(self, done: Synced, paths: tuple[str, ...]) -> None:
        remarks = [_remark(path, reason) for path, reason in done.explained if reason in REMARKS]
        if _has_changed(done) or remarks:
            self._tell("change", "")
            self._untold[-1] = replace(
                self._untold[-1], scan=done.scan.kind, added=done.added, changed=done.changed, moved=done.moved,
                removed=done.removed, quarantined=done.quarantined, seconds=done.seconds,
                paths=tuple(map(show_path, paths[:PATHS_TOLD])), remarks=tuple(remarks),
            )  # fmt: skip

    def _tell(self, event: str, message: str) -> None:
        self._untold.append(Watched(rfc3339(self._ws.fs.time_ns()), event, self.mode, message))

    def _pass_on(self) -> None:
        """Outside of what catches errors: those of whoever listens are its own."""
        told, self._untold = self._untold, []
        if self._on_event is not None:
            for event in told:
                self._on_event(event)


def _has_changed(done: Synced) -> bool:
    return bool(done.added or done.changed or done.moved or done.removed)


def _remark(path: str, reason: str) -> dict[str, str]:
    folder, slash, name = path.rpartition("/")
    original = conflict_of(name) if reason == "conflict_copy" else None
    return {"path": path, "reason": reason, **({"of": folder + slash + original} if original else {})}
