"""What is done again and again beside a watch, each in its own rhythm: in one thread, so that syncs never wait for it.

A duty that fails is counted, recorded as a job that failed, and done again when it is due.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from holdfast.engine.workspace import Workspace
from holdfast.errors import HoldfastError

RECORDED_S = 60.0
"""That all is well is written down at most so often."""


@dataclass(frozen=True, slots=True)
class Duty:
    """`call` every `every_s` seconds, first after one such time; `name` is its name as a job."""

    name: str
    every_s: float
    call: Callable[[], object]


class Duties(threading.Thread):
    """Does the duties until it is stopped."""

    def __init__(self, ws: Workspace, duties: Iterable[Duty]) -> None:
        super().__init__(name="holdfast-duties", daemon=True)
        self._ws, self._duties, self._ended = ws, list(duties), threading.Event()
        self._recorded_ns: dict[str, int] = {}

    def run(self) -> None:
        clock = self._ws.fs.monotonic_ns
        due = {duty: clock() + int(duty.every_s * 1e9) for duty in self._duties}
        while due:
            if self._ended.wait(max(0, min(due.values()) - clock()) / 1e9):
                return
            for duty in [d for d, at in due.items() if at <= clock()]:
                if self._ended.is_set():
                    return
                self._do(duty)
                due[duty] = clock() + int(duty.every_s * 1e9)

    def stop(self) -> None:
        """Returns once the duty at hand is done."""
        self._ended.set()
        if self.is_alive():
            self.join()

    def _do(self, duty: Duty) -> None:
        try:
            duty.call()
        except Exception as e:  # noqa: BLE001 - it is counted, recorded as a failed job, and tried again
            self._ws.count(f"duty_{duty.name}_failed")
            self._recorded_ns.pop(duty.name, None)
            record_job(self._ws, duty.name, str(e) or type(e).__name__)
            return
        now = self._ws.fs.monotonic_ns()
        if now - self._recorded_ns.get(duty.name, -(1 << 62)) >= RECORDED_S * 1e9:
            self._recorded_ns[duty.name] = now
            record_job(self._ws, duty.name)


def record_job(ws: Workspace, name: str, error: str = "") -> None:
    """Write down that a job ended well, or how it failed; where that cannot be written, it is counted."""
    try:
        index = ws.index()
        if index is not None:
            index.note_job(name, error, ws.fs.time_ns(), failed=bool(error))
    except (HoldfastError, OSError):
        ws.count("job_record_failed")
