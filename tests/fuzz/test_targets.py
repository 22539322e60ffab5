"""A bounded run of each fuzz target: mutations of its seeds, the same each time. `make fuzz` looks for longer."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.fuzz.__main__ import NAMES
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS, found

RUNS = 20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 5_000
LIMIT_S = 2.0
"""CPU time of one input of at most 20 KB."""


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_the_bytes_are(name: str) -> None:
    run, seeds = TARGETS[name]
    start, chance = seeds(), random.Random(f"holdfast {name}")
    for n in range(RUNS):
        data = mutated(start, chance) if n >= len(start) else start[n]
        began = time.process_time()
        try:
            run(data)
        except BaseException as e:
            e.add_note(f"input {n} of {name}: {data!r:.500}")
            raise
        assert time.process_time() - began < LIMIT_S, (n, data[:500])


def test_all_are_run_for_longer() -> None:
    assert list(NAMES) == list(TARGETS)


CASES = [(name, path) for name in TARGETS for path in found(name)]


@pytest.mark.parametrize(("name", "path"), CASES)
def test_what_once_broke_it(name: str, path: Path) -> None:
    TARGETS[name][0](path.read_bytes())
