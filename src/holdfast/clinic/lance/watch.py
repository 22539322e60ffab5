"""Watch Lance datasets and prune them whenever a bound is passed, beside their owner, who goes on writing.

Nothing that a writer may be about to name is removed, and versions of the last seconds stay while the bound allows it.
A file of state and the exit code tell a monitor how things are; a failure stays in both until a prune succeeds.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.clinic.lance.cures import pruned
from holdfast.clinic.lance.dataset import Dataset, find_datasets, read_dataset
from holdfast.clinic.lance.look import Bounds
from holdfast.engine.places import default_state_dir
from holdfast.engine.times import rfc3339
from holdfast.errors import ConfigError, HoldfastError
from holdfast.files.fs import FileSystem
from holdfast.results import Result

OUT_OF_BOUNDS = 3
_GRACE_S = 10.0
"""Versions younger than this stay if the bounds allow it: a reader may be at work on one."""
_LOOKS = 6
_LOOK_S = 1.0
_EARLY = 0.8


@dataclass(frozen=True, slots=True)
class Watch(Result):
    """One look: sizes, the bounds that are `passed`, what a prune freed, and the failure that is still to be mended.

    `would_prune` says that a bound is passed (or about to be) and nothing may be changed.
    """

    at: str
    bytes: int
    live_bytes: int
    ratio: float
    cap_bytes: int
    ratio_limit: float
    passed: tuple[str, ...]
    freed_bytes: int
    would_prune: bool
    pruned_at: str | None
    failures: int
    error: str | None
    exit: int
    pid: int
    state: str


def state_file(directory: str, state_dir: str | None) -> str:
    """Where a watch of this directory keeps what a monitor reads."""
    state = state_dir or os.environ.get("HOLDFAST_STATE") or default_state_dir(os.environ)
    real = os.path.realpath(directory)
    digest = hashlib.blake2b(os.fsencode(real), digest_size=4).hexdigest()
    return os.path.join(os.path.realpath(state), "clinic", f"{os.path.basename(real)}-{digest}.json")


class Watcher:
    """Looks every so often, prunes at most once in `every_s`, and keeps the file `state`."""

    def __init__(self, directory: str, bounds: Bounds, state: str, *, every_s: float, apply: bool) -> None:
        if every_s <= 0:
            raise ConfigError("--every must be more than nothing.", hint="Give seconds or minutes, such as 60s.")
        if not os.path.isdir(directory):
            raise ConfigError(f"There is no directory {directory}.", hint="Name the folder that is to be watched.")
        self.directory, self.bounds, self.state = directory, bounds, state
        self.every_s, self.apply = every_s, apply
        self._fs = FileSystem()
        self._pruned_ns = 0
        self._next_s = 0.0
        self._seen: tuple[float, int] | None = None
        self._pace = 0.0
        self._failures, self._error = 0, ""

    def run(self, stop: threading.Event, tell: Callable[[Watch], None]) -> Watch:
        """Look until `stop` is set; `tell` gets each look that changes something. Returns the last one."""
        last = self.look()
        tell(last)
        while not stop.wait(max(_LOOK_S, self.every_s / _LOOKS) if self.every_s > _LOOK_S else self.every_s):
            now = self.look()
            if now.freed_bytes or (now.exit, now.error, now.would_prune) != (last.exit, last.error, last.would_prune):
                tell(now)
            last = now
        return last

    def look(self) -> Watch:
        """Look once, prune where it is due, and write the file of state."""
        freed, would = 0, False
        datasets = self._read()
        if self._is_due(datasets):
            would = not self.apply
            if self.apply and time.monotonic() >= self._next_s:
                self._next_s = time.monotonic() + self.every_s
                freed = self._prune(datasets)
                datasets = self._read()
                self._seen = None
        total, live = sum(d.bytes for d in datasets), sum(d.live_bytes for d in datasets)
        passed = tuple(self.bounds.passed(datasets))
        seen = Watch(
            rfc3339(time.time_ns()), total, live, round(total / max(1, live), 2), self.bounds.cap_bytes,
            self.bounds.ratio, passed, freed, would, rfc3339(self._pruned_ns) if self._pruned_ns else None,
            self._failures, self._error or None, OUT_OF_BOUNDS if passed or self._error else 0, os.getpid(), self.state,
        )  # fmt: skip
        self._write(seen)
        return seen

    def _read(self) -> list[Dataset]:
        out = []
        for path in find_datasets(self.directory):
            try:
                out.append(read_dataset(path, history=False))
            except FileNotFoundError:
                continue  # Its owner dropped it between the two looks.
        return out

    def _is_due(self, datasets: list[Dataset]) -> bool:
        """Whether a bound is passed, or the cap would be before the next prune is allowed, at the present pace."""
        total, now = sum(d.bytes for d in datasets), time.monotonic()
        before, self._seen = self._seen, (now, total)
        self._pace = max(0.0, (total - before[1]) / max(1e-3, now - before[0])) if before is not None else 0.0
        if self.bounds.passed(datasets):
            return True
        cap = self.bounds.cap_bytes
        if not cap or total <= sum(d.live_bytes for d in datasets):
            return False
        return total >= _EARLY * cap or (self._pace > 0 and total + self._pace * self.every_s > cap and total > cap / 4)

    def _prune(self, datasets: list[Dataset]) -> int:
        freed, cap = 0, self.bounds.cap_bytes
        grace_s = 0.0 if cap and self._pace * _GRACE_S > cap / 4 else _GRACE_S
        try:
            for d in datasets:
                freed += pruned(d, older_than_s=grace_s, quiet=False)
            left = self._read()
            if grace_s and self.bounds.passed(left):
                for d in left:
                    freed += pruned(d, older_than_s=0.0, quiet=False)
        except (HoldfastError, OSError) as e:
            self._failures += 1
            self._error = e.message if isinstance(e, HoldfastError) else f"{e.strerror} ({e.filename})"
            return freed
        self._failures, self._error, self._pruned_ns = 0, "", time.time_ns()
        return freed

    def _write(self, seen: Watch) -> None:
        value: dict[str, Any] = seen.to_dict()
        try:
            self._fs.makedirs(os.path.dirname(self.state))
            temp = f"{self.state}.{os.getpid()}.tmp"
            with open(temp, "w", encoding="utf-8") as file:
                json.dump(value, file)
            self._fs.replace(temp, self.state)
        except OSError as e:
            self._failures += 1
            self._error = f"{self.state} cannot be written: {e.strerror}"
