"""Fault 2 and 3: a sync that is killed anywhere, for real, is continued by the next; nothing half done is ever seen."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from holdfast.files.fs import FileSystem
from holdfast.files.locks import JobLock
from tests.fault.vaults import Place, answers, assert_equals_a_rebuild, environment

KILLS = 20

# Small batches and early flushes, so that there is a lot to be interrupted.
HASTE = {"HOLDFAST_BATCH_NOTES": "4", "HOLDFAST_OVERLAY_CHUNKS": "20", "HOLDFAST_OVERLAY_FIRST": "30"}


def start(place: Place, verb: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "holdfast", verb, "--vault", place.root, "--state-dir", place.state],
        env={**environment(), **HASTE}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def kill_while_working(place: Place, child: subprocess.Popen[bytes], rng: random.Random) -> bool:
    """Kill the child a moment after it took the job lock; False if it was done before that."""
    until = time.monotonic() + 30
    is_working = False
    while time.monotonic() < until and child.poll() is None and not is_working:
        locks = Path(place.state).glob("*/job.lock")
        holders = [JobLock(FileSystem(), str(path)).holder() for path in locks]
        is_working = any(holder is not None and holder.pid == child.pid for holder in holders)
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.15))
    child.send_signal(signal.SIGKILL)
    return child.wait() == -signal.SIGKILL and is_working


def test_kill_minus_nine_at_any_moment(tmp_path: Path) -> None:
    rng = random.Random(11)
    place = Place(tmp_path)
    place.fill(150)
    killed = 0
    for n in range(KILLS):
        died = kill_while_working(place, start(place, "rebuild" if n % 5 == 4 else "sync"), rng)
        killed += died
        with place.open() as vault:
            answers(vault)  # whatever is published answers
        if n % 4 == 3 or n < 2:
            done = place.sync()
            assert done.behind == 0
            assert_equals_a_rebuild(place)
        place.change(rng)
        place.fill(150, seed=n)
    assert killed >= KILLS // 2, f"only {killed} of {KILLS} were at work when they were killed"
    place.sync()
    assert_equals_a_rebuild(place)
    with place.open() as vault:
        vault.rebuild()
        names = os.listdir(vault._ws.directory)
    assert len([n for n in names if n.endswith(".db")]) == 1  # no generation of a dead build is left
