"""Faults 11, 12, 10 and 13: the growth report in a small size. `make soak` runs it in its own: 34 MB, 100,000 edits."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fault.vaults import Place
from tests.soak.growth import Churn, broken, on_tmpfs, ordinary
from tests.soak.mixed import mixed

MIB, EDITS = 1.0, 2_000


def test_an_index_forgets_its_history(tmp_path: Path) -> None:
    assert ordinary(Churn(Place(tmp_path), MIB, EDITS))["looks"] > 10


def test_nothing_that_fails_makes_it_grow_over_its_bound(tmp_path: Path) -> None:
    found = broken(Churn(Place(tmp_path), MIB, EDITS, index_bytes=8 << 20))
    assert found["refused"], "the reader that pins an old state stopped the writers"


def test_a_few_seconds_of_everything(tmp_path: Path) -> None:
    assert mixed(Place(tmp_path), 15.0)["questions"] > 20


def test_a_disk_that_fills() -> None:
    if not shutil.which("unshare"):
        pytest.skip("SKIPPED LOUDLY: unshare is missing: no small disk can be made")
    probe = on_tmpfs(1, ["true"])
    if probe.returncode:
        pytest.skip(f"SKIPPED LOUDLY: no file system may be mounted here: {probe.stderr}")
    done = on_tmpfs(20, [sys.executable, "-m", "tests.soak", "--only", "small-disk", "--scale", "0.4"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_few_descriptors() -> None:
    command = [sys.executable, "-m", "tests.soak", "--only", "descriptors", "--scale", "0.05"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
