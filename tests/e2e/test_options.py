"""Options before and after the verb, and how the vault is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.command import EXAMPLE, Command


@pytest.mark.parametrize("verb", [["sync"], ["recall", "anchor"], ["list"], ["status"], ["read", "a.md"], ["rebuild"]])
def test_options_stand_before_or_after_the_verb(own: Command, notes: Path, verb: list[str]) -> None:
    state = own.state / "elsewhere"
    options = ["--vault", str(notes), "--state-dir", str(state), "--json"]
    command = Command(own.state, None, own.state)
    assert command("sync", *options).exit == 0
    own.state.joinpath("none").mkdir()
    for args in ([*options, *verb], [*verb, *options], [*options[:2], *verb, *options[2:]]):
        done = command(*args)
        assert done.exit == 0, args
        assert isinstance(done.json, dict), args
    assert not [p for p in own.state.iterdir() if p.name not in ("elsewhere", "none")]


def test_the_option_after_the_verb_wins(own: Command, notes: Path) -> None:
    assert own("--vault", "/no/such", "list", "--vault", str(notes)).exit == 0
    assert own("--vault", str(notes), "list", "--vault", "/no/such").exit == 70


def test_the_flag_beats_the_environment_beats_the_folder(own: Command, notes: Path, tmp_path: Path) -> None:
    for name in ("flag", "variable", "folder"):
        (tmp_path / name / "in" / "side").mkdir(parents=True)
        (tmp_path / name / "in" / "side" / f"{name}.md").write_text(f"# {name}\n")
        assert own("init", str(tmp_path / name)).exit == 0

    def found(command: Command, *args: str) -> str:
        notes_found = command("list", "--json", *args).json["notes"]
        return "".join(Path(n["path"]).stem for n in notes_found)

    inside = Command(own.state, None, tmp_path / "folder" / "in" / "side")
    assert found(inside) == "folder"
    with_variable = Command(own.state, tmp_path / "variable", inside.cwd)
    assert found(with_variable) == "variable"
    assert found(with_variable, "--vault", str(tmp_path / "flag")) == "flag"
    unset = Command(own.state, None, inside.cwd, {"HOLDFAST_VAULT": ""})
    assert found(unset) == "folder"


def test_a_relative_vault_and_a_link_to_it_are_the_same_vault(own: Command, notes: Path, tmp_path: Path) -> None:
    own("sync")
    (tmp_path / "link").symlink_to(notes)
    relative = Command(own.state, None, notes.parent)
    assert relative("sync", "--vault", "notes/", "--json").json["unchanged"] == 4
    assert relative("sync", "--vault", str(tmp_path / "link"), "--json").json["unchanged"] == 4


def test_init_takes_a_folder_the_flag_or_here(own: Command, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    command = Command(own.state, None, tmp_path / "one")
    assert command("init", "--json").json["vault"] == str(tmp_path / "one")
    assert command("init", str(tmp_path / "two"), "--json").json["vault"] == str(tmp_path / "two")
    assert command("init", "--vault", str(tmp_path / "three"), "--json").json["vault"] == str(tmp_path / "three")
    assert len({p.read_text() for p in tmp_path.glob("*/.holdfast/config.toml")}) == 3


def test_init_keeps_settings_and_notes(own: Command, notes: Path) -> None:
    (notes / ".holdfast").mkdir()
    (notes / ".holdfast" / "config.toml").write_text("k = 3\n")
    before = {p: p.read_bytes() for p in notes.rglob("*.md")}
    assert own("init", str(notes)).exit == 0
    assert "k = 3" in (notes / ".holdfast" / "config.toml").read_text()
    assert len(own("recall", "the", "--json").json["hits"]) == 3
    assert {p: p.read_bytes() for p in notes.rglob("*.md")} == before


@pytest.mark.parametrize("args", [["--version"], ["-V"], ["--version", "--json"], ["--json", "--version", "sync"]])
def test_version(own: Command, args: list[str]) -> None:
    from holdfast.version import VERSION

    done = own(*args)
    assert (done.exit, done.out, done.err) == (0, f"holdfast {VERSION}\n", "")


def test_help(own: Command) -> None:
    for verb in ([], ["init"], ["sync"], ["recall"], ["read"], ["list"], ["status"], ["rebuild"], ["parse"]):
        done = own(*verb, "--help")
        assert done.exit == 0
        assert done.out.startswith("Usage: holdfast")
        assert "--vault" in done.out


def test_module_is_the_command(own: Command) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "list", "--json"], capture_output=True, env=own.env, check=True
    )
    assert b'"a.md"' in done.stdout


def test_two_vaults_with_one_id(own: Command, tmp_path: Path) -> None:
    """A clone has the id of its original, and an index of its own."""
    import shutil

    twins = [tmp_path / "first", tmp_path / "second"]
    for twin in twins:
        shutil.copytree(EXAMPLE / ".holdfast", twin / ".holdfast")
        (twin / "note.md").write_text(f"The {twin.name} lighthouse.\n")
    for twin in twins:
        assert own("sync", "--vault", str(twin)).exit == 0
    states = [own("status", "--vault", str(twin), "--json").json for twin in twins]
    assert states[0]["vault"]["id"] == states[1]["vault"]["id"]
    assert states[0]["index"]["path"] != states[1]["index"]["path"]
    for twin in twins:
        (hit,) = own("recall", "lighthouse", "--vault", str(twin), "--json").json["hits"]
        assert hit["text"] == f"The {twin.name} lighthouse."
        assert own("sync", "--vault", str(twin), "--json").json["unchanged"] == 1


def test_a_vault_that_moved_keeps_its_index(own: Command, notes: Path) -> None:
    own("init", str(notes))
    first = own("sync", "--json").json
    notes.rename(notes.with_name("moved"))
    again = own.on(notes.with_name("moved"))("sync", "--json").json
    assert (again["generation"], again["unchanged"], again["added"]) == (first["generation"], 4, 0)
