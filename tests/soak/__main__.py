"""Long runs with hard limits: python -m tests.soak [--minutes M] [--only NAME] [--scale S].

`ordinary`, `broken`, `descriptors` and `small-disk` replay the growth report, in its size with --scale 1; `mixed` fills
the rest of the time. Prints the figures of each as a line of JSON; exits with 1 if a promise did not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fault.vaults import Place
from tests.soak.growth import Churn, broken, few_descriptors, on_tmpfs, ordinary, small_disk
from tests.soak.mixed import mixed

NOTES_MIB = 34
EDITS = 100_000
DISK_MIB = 20
DESCRIPTORS = 64


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--only", action="append", choices=["ordinary", "broken", "descriptors", "small-disk", "mixed"])
    parser.add_argument("--scale", type=float, default=1.0, help="of the growth report's 34 MB and 100,000 edits")
    options = parser.parse_args()
    began, is_whole = time.monotonic(), True

    def churn(mib: float, edits: int, base: str) -> Churn:
        return Churn(Place(base), max(0.3, mib * options.scale), max(500, int(edits * options.scale)))

    def apart(name: str, runner: Callable[[list[str]], subprocess.CompletedProcess[str]]) -> dict[str, Any]:
        command = [sys.executable, "-m", "tests.soak", "--only", name, "--scale", str(options.scale)]
        done = runner(command)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])[name]
        return found

    def descriptors(base: str) -> dict[str, Any]:
        if os.environ.get("APART"):
            return broken(churn(NOTES_MIB / 4, EDITS // 10, base))
        return apart("descriptors", lambda command: subprocess.run(
            command, preexec_fn=few_descriptors(DESCRIPTORS), env={**os.environ, "APART": "1"},
            capture_output=True, text=True,
        ))  # fmt: skip

    def disk(base: str) -> dict[str, Any]:
        place = os.environ.get("TMPFS")
        if not place:
            return apart("small-disk", lambda command: on_tmpfs(DISK_MIB, command))
        given = churn(NOTES_MIB / 2, EDITS // 20, base)
        given.place.state = f"{place}/state"
        return small_disk(given, DISK_MIB << 20)

    runs: dict[str, Callable[[str], dict[str, Any]]] = {
        "ordinary": lambda base: ordinary(churn(NOTES_MIB, EDITS, base)),
        "broken": lambda base: broken(churn(NOTES_MIB, EDITS, base)),
        "descriptors": descriptors,
        "small-disk": disk,
        "mixed": lambda base: mixed(Place(base), max(20.0, options.minutes * 60 - (time.monotonic() - began))),
    }
    for name in options.only or runs:
        with tempfile.TemporaryDirectory(prefix="holdfast-soak-") as base:
            start = time.monotonic()
            try:
                figures = runs[name](str(Path(base).resolve()))
            except Exception:
                traceback.print_exc()
                is_whole = False
                figures = {"FAILED": True}
        print(json.dumps({name: figures, "seconds": round(time.monotonic() - start)}), flush=True)
    sys.exit(not is_whole)


if __name__ == "__main__":
    main()
