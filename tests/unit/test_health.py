"""Health is a pure function: the worst component wins, on the first failure."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from holdfast.engine.health import RANKS, Findings, judge
from holdfast.errors import DiskFull, HoldfastError, IndexDamaged

WELL = Findings(bound_bytes=100, size_bytes=50, free_bytes=1 << 40, disk_bytes=1 << 41)

ILL: list[tuple[str, str, Findings]] = [
    ("degraded", "IndexDamaged", replace(WELL, faults=(IndexDamaged("It is cut short."),))),
    ("failing", "DiskFull", replace(WELL, faults=(DiskFull("Full."),))),
    ("degraded", "index_missing", replace(WELL, has_index=False)),
    ("degraded", "index_incomplete", replace(WELL, is_full=False)),
    ("degraded", "quarantined", replace(WELL, aside=1)),
    ("failing", "index_over_bound", replace(WELL, size_bytes=101)),
    ("failing", "disk_low", replace(WELL, free_bytes=1 << 20)),
    ("failing", "job_sync", replace(WELL, jobs=(("sync", "It failed."),))),
    ("failing", "job_prune", replace(WELL, jobs=(("prune", "It failed."),))),
    ("degraded", "job_embed", replace(WELL, jobs=(("embed", "It does not answer."),))),
    ("failing", "descriptors", replace(WELL, open_files=95, open_files_limit=100)),
    ("degraded", "descriptors_few", replace(WELL, open_files=10, open_files_limit=64)),
]


def test_well() -> None:
    assert judge(WELL) == ("ok", ())


@pytest.mark.parametrize(("health", "code", "found"), ILL, ids=[code for _, code, _ in ILL])
def test_one_thing_is_enough(health: str, code: str, found: Findings) -> None:
    said, reasons = judge(found)
    assert (said, [r.code for r in reasons]) == (health, [code])
    assert reasons[0].message.endswith((".", "!"))
    assert reasons[0].hint.endswith(".")


def changed(found: Findings) -> dict[str, object]:
    return {n: getattr(found, n) for n in Findings.__slots__ if getattr(found, n) != getattr(WELL, n)}


ONE_OF = {"faults", "has_index", "is_full"}
"""An index that is not there, or cannot be used, is not incomplete besides."""


def go_together(a: Findings, b: Findings) -> bool:
    one, other = set(changed(a)), set(changed(b))
    return not one & other and len((one | other) & ONE_OF) < 2


PAIRS = [(a, b) for a, b in itertools.combinations(ILL, 2) if go_together(a[2], b[2])]


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=[f"{a[1]}-{b[1]}" for a, b in PAIRS])
def test_the_worst_wins_and_stands_first(a: tuple[str, str, Findings], b: tuple[str, str, Findings]) -> None:
    said, reasons = judge(replace(WELL, **changed(a[2]), **changed(b[2])))  # type: ignore[arg-type]
    ranks = sorted((a[0], b[0]), key=RANKS.index, reverse=True)
    assert said == ranks[0]
    of = {a[1]: a[0], b[1]: b[0]}
    assert [of[r.code] for r in reasons] == ranks


def test_every_fault_has_a_word_of_its_own() -> None:
    error = HoldfastError("Something else.")
    assert judge(replace(WELL, faults=(error,)))[1][0].code == "HoldfastError"
