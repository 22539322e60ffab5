"""One pass over the vault: walk, compare, bring in; then removals, then what others did not wait for, then postings.

Removals wait for the end of the walk, when it is known that the vault is there and which files only moved. Everything
is committed in batches: a pass that dies is continued by the next.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from holdfast.config import Config
from holdfast.engine.apply import Apply
from holdfast.engine.bounds import at_limit
from holdfast.engine.counts import Counts
from holdfast.engine.diff import Difference, diff, is_note_key
from holdfast.engine.growth import Growth
from holdfast.engine.hints import look_at_paths
from holdfast.engine.journal import NAME, Journal
from holdfast.engine.late import explain, finish_late
from holdfast.engine.memory import peak_rss_bytes
from holdfast.engine.prove import audit_slice
from holdfast.engine.strays import clear_strays
from holdfast.engine.workspace import Workspace
from holdfast.errors import (
    DiskFull,
    HoldfastError,
    IndexFault,
    IndexOverBudget,
    ResourceFault,
    VaultMissing,
)
from holdfast.files.ignore import Rules
from holdfast.files.mounts import grain_ns
from holdfast.files.scan import WIDTH, Scan, scan
from holdfast.files.wide import FEW_FILES, Pool, few_files
from holdfast.index.base import Index
from holdfast.index.sqlite.db import decoding
from holdfast.model import Witness, key_path, show_path
from holdfast.results import Ready, ScanReport, Synced

Progress = Callable[[int, int], None]
"""Called with (files brought in so far, files seen so far)."""

STOPPED = "stopped"
"""Why the index does not hold all notes, and how many are left: JSON, or "" if it does."""

UNVERIFIED = "unverified"
"""How many files and folders the last full sync could not look at."""

EXPLAINED = 1_000

# On a mount that is shared with other machines the clock that stamps the files is not ours.
NETWORK_GRAIN_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """How to sync. `deadline_ms` bounds a look before an answer: what is not settled by then stays for later.

    `wait_s` is how long to wait for another process that scans; a dict as `folders` is filled as by a Scan.
    """

    checksum: bool = False
    accept_empty: bool = False
    deadline_ms: int | None = None
    paths: tuple[str, ...] = ()
    wait_s: float | None = None
    folders: dict[str, Rules | None] | None = None


def note_failure(ws: Workspace, index: Index, error: Exception, values: Mapping[str, str | int] | None = None) -> None:
    """Record that a sync failed, where `status` and every other process see it."""
    ws.log.event("sync_failed", str(error))
    try:
        index.note_job("sync", str(error), ws.fs.time_ns(), values, failed=True)
    except (IndexFault, ResourceFault, OSError):
        ws.count("job_record_failed")  # the error itself is on its way to the user


def known_grain_ns(ws: Workspace, index: Index) -> int:
    """The grain of the file system's times as known so far; 0 lets the first batch tell."""
    if ws.traits.network:
        return NETWORK_GRAIN_NS
    with decoding(index.path):
        return int(index.meta("grain_ns") or 0)


class Pass:
    """One pass over the vault."""

    def __init__(
        self,
        ws: Workspace,
        index: Index,
        options: Options,
        progress: Progress | None,
        known_notes: int = 0,
        *,
        is_alone: bool = True,
    ) -> None:
        """`known_notes` is how many notes another index of this vault has; `is_alone` that nobody else fills this one:
        by the job lock, but for an index in memory, whose generation is 0."""
        self.known_notes, self.is_alone = known_notes, is_alone
        self.journal = Journal(ws.fs, f"{ws.directory}/{NAME}", ws.count, is_writer=is_alone and index.generation > 0)
        self.ws, self.index, self.options, self.progress = ws, index, options, progress
        self.config: Config = ws.config
        self.started_ns = ws.fs.monotonic_ns()
        self.look_ns = ws.fs.time_ns()
        self.is_first = not index.meta("full")
        self.few_before = ws.counters.get(FEW_FILES, 0)
        self.pool: Pool | None = None
        self.growth = Growth(ws, index, is_alone=is_alone)
        self.counts = Counts()

    def run(self) -> Synced:
        index = self.index
        self.ws.prove_vault()
        if self.is_alone:
            index.sweep()
        with decoding(index.path):
            seen = dict(json.loads(str(index.meta("rules") or "{}")))
        was_slow = bool(index.meta("slow"))
        deadline = None
        if self.options.deadline_ms is not None:
            deadline = self.started_ns + self.options.deadline_ms * 1_000_000
        self.pool = Pool(WIDTH) if was_slow else None
        try:
            with self.journal:
                return self._kept_within(lambda: self._run(was_slow, seen, deadline))
        finally:
            if self.pool is not None:
                self.pool.close()
            if not self.ws.isolates:
                self.ws.slots.close()

    def _kept_within(self, work: Callable[[], Synced]) -> Synced:
        """What `work` reports; where the room ends after the notes were brought in, that it stopped, and why."""
        try:
            return work()
        except (DiskFull, IndexOverBudget) as e:
            if self.growth.stopped is not None or self.index.generation == 0:
                raise
            self.growth.stopped = at_limit(self.ws, self.index, e)
            self._stop(self.growth.stopped, None)
            return self._report(self.counts, "hinted" if self.options.paths else "full", None, None)

    def _run(self, was_slow: bool, seen: dict[str, str], deadline: int | None) -> Synced:
        apply = Apply(self.ws, self.index, known_grain_ns(self.ws, self.index), self.pool, self.journal)
        self.counts = apply.counts
        if self.options.paths:
            return self._at_paths(apply)
        walk = scan(
            self.ws.fs, self.ws.root, rules_seen=seen, deadline_ns=deadline, wide=was_slow,
            inode_mask=self.ws.inode_mask,
        )  # fmt: skip
        walk.folders = self.options.folders
        left = self._walk(apply, walk, deadline)
        if self.growth.stopped is not None:
            self._stop(self.growth.stopped, left)
        elif not walk.incomplete and not left:
            left = self._finish(apply, walk, deadline)
        return self._report(apply.counts, "first" if self.is_first else "full", walk, left)

    def _at_paths(self, apply: Apply) -> Synced:
        """Look at the given paths only."""
        self.growth.within(lambda: look_at_paths(self.ws, self.index, apply, self.options.paths))
        if self.growth.stopped is not None:
            self._stop(self.growth.stopped, None)
            return self._report(apply.counts, "hinted", None, None)
        self._bring_in(apply, {}, len(self.options.paths))
        self._finish_late(apply)
        return self._report(apply.counts, "hinted", None, 0)

    def _walk(self, apply: Apply, walk: Scan, deadline: int | None) -> int | None:
        """Apply what differs; returns how many files are known to differ and were left, None if that is unknown."""
        counts, late = apply.counts, 0
        removed: list[bytes] = []
        excluded: list[bytes] = []
        waiting: dict[bool, list[Witness]] = {True: [], False: []}
        pending = 0
        for found in diff(self.index, walk):
            self._count(counts, found)
            if walk.was_slow and self.pool is None:
                apply.pool = self.pool = Pool(WIDTH)
            removed += found.removed
            excluded += found.excluded
            if deadline is not None and self.ws.fs.monotonic_ns() > deadline:
                late += len(found.added) + len(found.suspect)
                continue
            if found.is_all_new and apply.move_directory(found.prefix, found.added):
                continue
            for is_new, part in ((True, found.added), (False, found.suspect)):
                waiting[is_new] += part
                pending += sum(w[1] for w in part)
            if (
                pending >= self.config.batch_bytes
                or len(waiting[True]) + len(waiting[False]) >= self.config.batch_notes
            ):
                late += self._bring_in(apply, waiting, walk.files)
                pending = 0
        late += self._bring_in(apply, waiting, walk.files)
        if walk.incomplete:
            if deadline is None:
                raise VaultMissing(f"The vault {self.ws.root} went away, or cannot be read; nothing was removed.")
            return None
        if not self._is_there(walk):
            raise VaultMissing(f"The vault {self.ws.root} has no notes any more; the index still has them.")
        if deadline is not None and self.ws.fs.monotonic_ns() > deadline:
            return late + len(removed) + len(excluded) + len(apply.late)
        if removed or excluded:
            self.ws.prove_vault()
        apply.remove(removed)
        apply.drop(excluded)
        return late

    def _count(self, counts: Counts, found: Difference) -> None:
        counts.unchanged += found.unchanged
        if found.unverified:
            counts.skip("unverified", count=found.unverified)
        elif found.unreadable:
            # The index has nothing of it, and cannot tell what it lacks.
            counts.skip("unverified", found.unreadable[0], len(found.unreadable))
        for key in found.ignored:
            counts.skip("ignored", key_path(key))
        for key in found.twins:
            counts.explain("name_collision", key_path(key))

    def _bring_in(self, apply: Apply, waiting: dict[bool, list[Witness]], seen: int) -> int:
        """Bring in what waits; returns how many files were left, because the index may not grow any more."""
        count, before = sum(map(len, waiting.values())), apply.counts.dealt_with
        self.growth.within(lambda: self._apply_all(apply, waiting))
        for part in waiting.values():
            part.clear()
        if self.progress is not None:
            self.progress(apply.counts.added + apply.counts.changed + apply.counts.moved, seen)
        return count - (apply.counts.dealt_with - before) if self.growth.stopped is not None else 0

    def _apply_all(self, apply: Apply, waiting: dict[bool, list[Witness]]) -> None:
        for is_new, part in waiting.items():
            while part:
                # What was brought in is not brought in again if room has to be made in between.
                batch, part[:] = part[: self.config.batch_notes], part[self.config.batch_notes :]
                try:
                    apply.files(batch, is_new=is_new)
                except (DiskFull, IndexOverBudget):
                    part[:0] = batch
                    raise
        self._flush()

    def _flush(self) -> None:
        if self.is_alone:
            # While a vault comes in for the first time, whole segments are filled, so that nothing is written twice.
            self.index.flush(self.config.overlay_first if self.is_first else self.config.overlay_chunks)

    def _finish_late(self, apply: Apply, deadline: int | None = None) -> int:
        return finish_late(
            self.ws, self.index, apply, self._flush, deadline, is_full=not self.options.paths,
            is_forced=self.options.checksum,
        )  # fmt: skip

    def _is_there(self, walk: Scan) -> bool:
        known = self.known_notes or self.index.counts().notes
        return bool(walk.files or self.options.accept_empty or not known)

    def _stop(self, error: HoldfastError, left: int | None) -> None:
        """Keep for others why the index is not complete: they say so in each answer."""
        note_failure(self.ws, self.index, error, {STOPPED: json.dumps({"message": error.message, "left": left})})

    def _finish(self, apply: Apply, walk: Scan, deadline: int | None) -> int:
        """Do what comes after the walk; returns how many notes were left all the same."""
        self._scrub(apply)
        if self.options.deadline_ms is None:
            audit_slice(self.ws, self.index, apply, self.look_ns, is_first=self.is_first)
        if left := self._finish_late(apply, deadline):
            return left
        self.index.flush(1 if self.is_first else self.config.overlay_chunks)
        done_ns = self.ws.fs.time_ns()
        values: dict[str, str | int] = {
            "rules": json.dumps(walk.rules_found, sort_keys=True),
            "slow": int(walk.was_slow),
            "grain_ns": self._observed_grain(),
            "full": 1,
            UNVERIFIED: apply.counts.skipped.get("unverified", 0),
            "proven_at_ns": self.look_ns,
            STOPPED: "",
        }
        if self.is_alone and self.index.generation > 0:
            self.ws.past.keep_within(self.index.counts().note_bytes)
        clear_strays(self.ws, [p for p, reason in walk.skipped_paths if reason == "temporary"])
        self.index.note_job("sync", "", done_ns, values)
        self.index.vectors.remember_ready()
        self.growth.settle()
        if self.is_first:
            self.index.checkpoint()
        self.journal.is_done = True
        return 0

    def _observed_grain(self) -> int:
        rows = self.index.file_rows(b"", 512)
        return grain_ns(row[3] for row in rows)

    def _scrub(self, apply: Apply) -> None:
        """Hash the slice of unchanged notes that is due: all of them within `scrub_days`."""
        if self.options.deadline_ms is not None and not self.options.checksum:
            return
        if self.options.checksum:
            self._scrub_from(apply, b"", sys.maxsize, sys.maxsize)
            return
        with decoding(self.index.path):
            last = int(self.index.meta("scrub_ns") or 0)
            after = bytes.fromhex(str(self.index.meta("scrub_key") or ""))
        total = self.index.counts().files
        due = total if not last else math.floor(total * (self.look_ns - last) / (self.config.scrub_days * 86_400e9))
        if self.is_first or last > self.look_ns:
            # Everything was read just now; or the clock was set back.
            self.index.put_meta({"scrub_ns": self.look_ns})
        elif due >= 1:
            key = self._scrub_from(apply, after, min(due, total), self.config.scrub_slice_bytes)
            self.index.put_meta({"scrub_ns": self.look_ns, "scrub_key": key.hex()})

    def _scrub_from(self, apply: Apply, after: bytes, count: int, size: int) -> bytes:
        """Hash up to `count` files or `size` bytes of them behind `after`; returns the last key, b"" at the end."""
        while count > 0 and size > 0:
            rows = self.index.file_rows(after, min(count, self.config.batch_notes))
            if not rows:
                return b""
            apply.scrub(r for r in rows if is_note_key(r[0]) and r[1] >= 0)
            after = rows[-1][0]
            count -= len(rows)
            size -= sum(max(r[1], 0) for r in rows)
        return after

    def _ready(self, chunks: int) -> Ready:
        live = self.index.vectors.live()
        return Ready(self.index.vectors.ready(live.id) if live is not None else 0, chunks)

    def _report(self, counts: Counts, kind: str, walk: Scan | None, left: int | None) -> Synced:
        seconds = (self.ws.fs.monotonic_ns() - self.started_ns) / 1e9
        counted = self.index.counts()
        skipped = dict(counts.skipped)
        explained = list(counts.explained)
        few = self.ws.counters.get(FEW_FILES, 0) > self.few_before or (walk is not None and walk.is_short)
        if walk is not None:
            for reason, count in walk.skipped.items():
                skipped[reason] = skipped.get(reason, 0) + count
            explained += walk.skipped_paths
        explained += [(show_path(key_path(x.key)), explain(x)) for x in self.index.quarantined(EXPLAINED)]
        return Synced(
            added=counts.added, changed=counts.changed, removed=counts.removed, moved=counts.moved,
            unchanged=counts.unchanged, quarantined=counted.quarantined, files_read=counts.files_read, skipped=skipped,
            notes=counted.notes, chunks=counted.chunks, vectors=self._ready(counted.chunks), seconds=round(seconds, 4),
            peak_rss_bytes=peak_rss_bytes(),
            scan=ScanReport(kind, round(seconds, 4), walk.files if walk else 0, walk.directories if walk else 0),
            generation=self.index.generation, seq=counted.seq, behind=left, stopped=self.growth.stopped,
            degraded=(few_files(self.ws.fs),) if few else (),
            explained=tuple(dict.fromkeys(explained)),
        )  # fmt: skip
