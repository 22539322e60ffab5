"""A sync with vectors while another process asks, and what both take: together.py LIMIT_BYTES VAULT STATE COMMAND...

COMMAND is the sync. Prints JSON at the end. Where nothing else limits memory (LIMIT_BYTES is not 0), the proportional
set sizes of both are added up many times a second, and both are ended when that goes above it, as a limit would.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

EVERY_S = 0.05
CORES = 2
_HERE = Path(__file__)


def main(limit: int, root: str, state: str, command: list[str]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    asker = subprocess.Popen(
        [sys.executable, str(_HERE.with_name("asker.py")), root, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert asker.stdin is not None
    assert asker.stdout is not None
    asker.stdout.readline()
    began = time.monotonic()
    sync = subprocess.Popen(
        [sys.executable, "-S", str(_HERE.with_name("start.py")), "0", *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    asker.stdin.write(b"go\n")
    asker.stdin.flush()
    watch = Watch([sync.pid, asker.pid], limit)
    watch.start()
    lines: list[bytes] = []
    reading = threading.Thread(target=lambda: lines.extend(asker.stdout or ()))
    reading.start()
    out, err = sync.communicate()
    ended = time.monotonic()
    asker.stdin.close()
    code = asker.wait()
    reading.join()
    watch.stop()
    # A killed one says nothing of its cost.
    cost = json.loads(err.rpartition(b"\n\0")[2]) if b"\n\0" in err else {"cpu_s": 0.0, "peak_bytes": 0}
    said = [json.loads(line) for line in lines]
    report = {
        "wall_s": ended - began, "sync_code": sync.returncode, "asker_code": code, "sync_cpu_s": cost["cpu_s"],
        "sync_peak_bytes": cost["peak_bytes"], "asker_peak_bytes": said[-1].get("peak_bytes", 0) if said else 0,
        "together_bytes": watch.peak, "killed": watch.killed, "began": began,
        "answers": [s for s in said if "at" in s], "synced": json.loads(out) if out else None,
        "err": err.decode(errors="replace")[-500:] if sync.returncode else "",
    }  # fmt: skip
    print(json.dumps(report))


class Watch(threading.Thread):
    """`peak` of the memory of some processes and all that they started, the parts that they share counted once."""

    def __init__(self, pids: list[int], limit: int) -> None:
        super().__init__(daemon=True)
        self._pids, self._limit, self._ended = pids, limit, threading.Event()
        self.peak, self.killed = 0, False

    def run(self) -> None:
        while not self._ended.wait(EVERY_S):
            pids = [p for pid in self._pids for p in _family(pid)]
            now = sum(map(_pss, pids))
            self.peak = max(self.peak, now)
            if self._limit and now > self._limit:
                self.killed = True
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                return

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _family(pid: int) -> list[int]:
    """The process and its children, theirs too."""
    out = [pid]
    for at in out:
        try:
            for thread in Path(f"/proc/{at}/task").iterdir():
                out += map(int, (thread / "children").read_text().split())
        except OSError:
            continue
    return out


def _pss(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
