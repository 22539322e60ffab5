"""A watch in a thread of the test, or as a process of its own; and waiting for what it tells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from holdfast.engine.duties import Duty
from holdfast.engine.watch import Watch
from holdfast.files.fs import FileSystem
from holdfast.results import Watched
from tests.fault.vaults import CONFIG, Place, environment

NEVER = 3_600.0
PATIENCE_S = 30.0
"""Only a failing test waits so long."""


def until(is_so: Callable[[], Any], what: str = "", patience_s: float = PATIENCE_S) -> Any:
    """What `is_so` returns as soon as it is true."""
    end = time.monotonic() + patience_s
    while not (found := is_so()):
        assert time.monotonic() < end, f"waited {patience_s} s for nothing: {what}"
        time.sleep(0.02)
    return found


class Watching:
    """A watch of `place` in a thread, with everything it told."""

    def __init__(self, place: Place, fs: FileSystem | None, duties: Iterable[Duty], config: dict[str, Any]) -> None:
        self.place = place
        self.vault = place.open(fs, replace(CONFIG, **config))
        self.told: list[Watched] = []
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self.watch = Watch(self.vault._ws, duties=duties, on_event=self.told.append)
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.watch.run(self.stop)
        except BaseException as e:
            self.error = e

    def of(self, event: str) -> list[Watched]:
        return [e for e in self.told if e.event == event]

    def wait_for(self, event: str, count: int = 1) -> Watched:
        """The last of at least `count` such events."""
        found: list[Watched] = until(lambda: self.of(event)[count - 1 :], f"{event} in {self.told}")
        return found[-1]

    def settle(self) -> None:
        """Until nothing is left to be done."""
        w = self.watch

        def is_settled() -> bool:
            is_idle = not (w._must_scan or w._must_place or w._dirty or w._trouble)
            return self.error is not None or bool(is_idle and (w.mode == "polling" or w._scans_placed))

        until(is_settled, f"a settled watch; told: {self.told}")
        assert self.error is None, self.error

    def finds(self, word: str, path: str) -> bool:
        """Whether `path` is found by `word`, by another reader who does not look at the notes himself."""
        return path in [hit.path for hit in self.place.recall(word).hits]

    def changes(self, since: int = 0) -> dict[str, int]:
        """The sums of all changes that were told."""
        names = ("added", "changed", "moved", "removed")
        return {n: sum(getattr(e, n) for e in self.told[since:]) for n in names}


@contextmanager
def watching(
    place: Place, fs: FileSystem | None = None, duties: Iterable[Duty] = (), **config: Any
) -> Iterator[Watching]:
    """A watch that has settled. Scans by the clock are off unless `watch_scan_s` is given."""
    watch = Watching(place, fs, duties, {"watch_scan_s": NEVER, "watch_poll_s": 0.2, **config})
    watch.thread.start()
    try:
        watch.settle()
        yield watch
        assert watch.error is None, watch.error
    finally:
        watch.stop.set()
        watch.watch._wake.set()
        watch.thread.join(PATIENCE_S)
        watch.vault.close()
    assert not watch.thread.is_alive()


class Process:
    """`holdfast watch --json` as a process; `before` are words to put before the command, such as those of unshare."""

    def __init__(self, place: Place, *before: str, **settings: Any) -> None:
        env = {**environment(), **{f"HOLDFAST_{k.upper()}": str(v) for k, v in settings.items()}}
        command = [sys.executable, "-W", "error", "-m", "holdfast", "watch", "--json"]
        self.child = subprocess.Popen(
            [*before, *command, "--vault", place.root, "--state-dir", place.state],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.place = place
        self.told: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.told.append(json.loads(line))

    @property
    def pid(self) -> int:
        return self.child.pid

    def wait_for(self, event: str) -> dict[str, Any]:
        found: dict[str, Any] = until(
            lambda: next((e for e in self.told if e["event"] == event), None) or self._has_ended(), event
        )
        return found

    def _has_ended(self) -> None:
        assert self.child.poll() is None, self.child.stderr and self.child.stderr.read()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self) -> tuple[int, str]:
        """Its exit code and what it said on stderr, once it has ended."""
        assert self.child.stderr is not None
        errors = self.child.stderr.read()
        code = self.child.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code, errors

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
            os.kill(self.pid, signal.SIGCONT)
        self.child.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        for stream in (self.child.stdout, self.child.stderr):
            assert stream is not None
            stream.close()
