"""The vault is the user's: no verb but `init` writes into it, and a vault that cannot be written is as good as any."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.command import EXAMPLE, Command

Tree = dict[str, tuple[int, int, int, bytes]]


def tree(root: Path) -> Tree:
    """Mode, size, time and bytes of everything below `root`, and `root` itself."""
    found: Tree = {}
    for path in (root, *sorted(root.rglob("*"))):
        st = path.lstat()
        body = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (st.st_mode, st.st_size, st.st_mtime_ns, body)
    return found


VERBS = [
    ["sync"],
    ["sync", "--checksum"],
    ["recall", "espresso"],
    ["recall", "espresso", "--no-sync"],
    ["read", "profile.md"],
    ["list"],
    ["status"],
    ["rebuild"],
    ["parse", "profile.md"],
]


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    copy = tmp_path / "vault"
    shutil.copytree(EXAMPLE, copy)
    return copy


@pytest.mark.parametrize("has_id", [True, False], ids=["vault", "folder"])
def test_no_verb_writes_into_the_vault(vault: Path, tmp_path: Path, has_id: bool) -> None:
    if not has_id:
        shutil.rmtree(vault / ".holdfast")
    (tmp_path / "state").mkdir()
    command = Command(tmp_path / "state", vault, vault)
    before = tree(vault)
    for verb in VERBS:
        assert command(*verb).exit == 0, verb
    assert tree(vault) == before


def test_a_vault_that_cannot_be_written(vault: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    command = Command(tmp_path / "state", vault, vault)
    folders = [vault, *(p for p in vault.rglob("*") if p.is_dir())]
    try:
        for path in vault.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        vault.chmod(0o555)
        before = tree(vault)
        for verb in VERBS:
            assert command(*verb).exit == 0, verb
        assert tree(vault) == before
        again = command("init", "--json").json
        assert again["created"] is False
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="SKIPPED LOUDLY: root ignores permissions")
def test_init_of_a_folder_that_cannot_be_written(notes: Path, own: Command) -> None:
    notes.chmod(0o555)
    try:
        assert own("init", str(notes)).exit == 6
    finally:
        notes.chmod(0o755)


def test_the_index_is_under_the_state_directory_and_nowhere_else(own: Command, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    own("sync", HOME=str(home))
    assert list(home.iterdir()) == []
    assert [p.name for p in own.state.iterdir()]


def test_the_state_directory_follows_xdg(notes: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    command = Command(tmp_path / "home", notes, None, {"HOLDFAST_STATE": "", "XDG_STATE_HOME": str(tmp_path / "xdg")})
    assert command("sync").exit == 0
    assert command("status", "--json").json["index"]["path"].startswith(str(tmp_path / "xdg" / "holdfast"))
