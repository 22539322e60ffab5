"""What the command costs beyond the bare interpreter: `--version`, and a cold `recall`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial

from tests.bench.measure import Row, holdfast_command, median, run, take_turns
from tests.bench.setup import Bench

FAMILY = "command"


def _cpu(command: list[str]) -> float:
    return run(command).cpu_s


def measure(bench: Bench) -> Iterator[Row]:
    notes = bench.size(10_000, 1_000)
    vault = bench.corpus("notes", notes)
    state, _ = bench.synced(vault)
    question = "which note says kalo and mirentor"
    commands = {
        "bare": [sys.executable, "-c", "pass"],
        "numpy": [sys.executable, "-c", "import numpy"],
        "version": [*holdfast_command(), "--version"],
        "asked": bench.command("recall", vault, state, question),
        "unlooked": bench.command("recall", vault, state, "--no-sync", question),
    }
    took = take_turns({n: partial(_cpu, c) for n, c in commands.items()}, bench.size(11, 3))
    ms = {name: 1000 * median(values) for name, values in took.items()}
    over = {name: value - ms["bare"] for name, value in ms.items()}
    beside = f"python -c pass: {ms['bare']:.0f} ms"
    yield Row(
        FAMILY, "holdfast --version", "<= 80 ms CPU beyond the bare interpreter", f"+ {over['version']:.0f} ms CPU",
        f"{beside}, ratio {ms['version'] / ms['bare']:.2f}", over["version"] <= 80, {"over_ms": over["version"]},
    )  # fmt: skip
    for name, what in (("asked", "with its look"), ("unlooked", "--no-sync")):
        yield Row(
            FAMILY,
            f"holdfast recall, cold, {notes:,} notes, {what}",
            "<= 350 ms CPU beyond the bare interpreter",
            f"+ {over[name]:.0f} ms CPU",
            f"{beside}; import numpy: + {over['numpy']:.0f} ms, ratio {over[name] / over['numpy']:.1f}",
            over[name] <= 350,
            {"over_ms": over[name], "numpy_ms": over["numpy"]},
        )


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(only=[FAMILY])
