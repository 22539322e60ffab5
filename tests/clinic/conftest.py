"""Patients that are dear to build: once for all test processes, copied for whoever changes them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.clinic import lance_patients


@pytest.fixture(scope="session")
def ward(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder that all test processes of one run share."""
    base = tmp_path_factory.getbasetemp()
    # With xdist each process has a folder of its own below the one of the run.
    return str((base.parent if base.name.startswith("popen-") else base) / "ward")


@pytest.fixture(scope="session")
def appended(ward: str) -> str:
    """Single-row appends; read only."""
    return lance_patients.built_once(ward, "appended", lance_patients.appends)


@pytest.fixture(scope="session")
def upserted(ward: str) -> str:
    """Upserts of 100 keys; read only."""
    return lance_patients.built_once(ward, "upserted", lance_patients.upserts)


@pytest.fixture
def patient(tmp_path: Path, appended: str) -> Path:
    """A copy of the appended one, times kept, to operate on."""
    return Path(shutil.copytree(appended, tmp_path / "lancedb"))
