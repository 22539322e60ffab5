"""The sample vault, copied and synced once a module, and the command for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import EXAMPLE, Command
from tests.e2e.warm import Warm


@pytest.fixture(autouse=True, scope="session")
def warm_command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A process that runs the command without starting an interpreter each time."""
    with Warm(tmp_path_factory.mktemp("warm")) as warm:
        Command.warm = warm
        yield
        Command.warm = None


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sample vault that the module's tests may read, not change."""
    vault = tmp_path_factory.mktemp("sample") / "vault"
    shutil.copytree(EXAMPLE, vault)
    return vault


@pytest.fixture(scope="module")
def holdfast(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command for the sample vault, which is synced."""
    command = Command(tmp_path_factory.mktemp("state"), sample)
    done = command("sync")
    assert done.exit == 0, done
    return command


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A small folder of notes of the test's own, no vault yet."""
    folder = tmp_path / "notes"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.md").write_text("# Alpha\n\nThe anchor holds.\n")
    (folder / "b.md").write_text("---\ntitle: Beta\ntags: [rope]\n---\nThe rope is new.\n")
    (folder / "deep" / "c.md").write_text("Gamma knows the harbour.\n")
    (folder / "deep" / "er" / "d.md").write_text("Delta, by the sea.\n")
    return folder


@pytest.fixture
def own(notes: Path, tmp_path: Path) -> Command:
    """The command for `notes`, with a state directory of its own; nothing is synced yet."""
    state = tmp_path / "state"
    state.mkdir()
    return Command(state, notes)
