"""What goes on in another process after an answer is done as the program said, whatever files and variables say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from holdfast import Config, Vault
from holdfast.config import as_environment, load
from tests.embed_server import Server, serving
from tests.fault.vaults import Place

KEY = "sk-canary-4711-do-not-tell"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(6)
    return made


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own settings file, which counts in this test; no variable of ours is set."""
    for name in ("HOLDFAST_CONFIG", "HOLDFAST_EMBEDDER", "HOLDFAST_BACKGROUND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    file = tmp_path / "config/holdfast/config.toml"
    file.parent.mkdir(parents=True)
    return file


def wait(vault: Vault) -> None:
    """Until what was started is done."""
    children = vault._detached._children
    assert children
    for child in children.values():
        assert child.wait(60) == 0


def names(server: Server) -> str:
    return f'embedder = "openai:{server.url}"\nembedder_model = "m"\n'


def test_texts_go_nowhere_that_the_program_excluded(place: Place, server: Server, user: Path) -> None:
    user.write_text(names(server))
    with place.open(config=Config(embedder="none")) as vault:
        assert "in the background" in str(vault.recall("tomatoes", sync=False).receipt.degraded)
        wait(vault)
        assert vault.status().index["chunks"] >= 6
    assert server.seen == []


def test_the_embedder_and_the_key_are_those_of_the_program(place: Place, server: Server, user: Path) -> None:
    """The file says none, the environment has no key: both are the program's, and no command line shows either."""
    user.write_text('embedder = "none"\n')
    config = Config(embedder=f"openai:{server.url}", embedder_model="m", embedder_key_variable="MY_KEY")
    with Vault.open(place.root, state_dir=place.state, config=config, environ={"MY_KEY": KEY}) as vault:
        vault.sync()
        before = vault.status().index
        place.put("new.md", "# New\n\nsome new words\n")
        sent = len(server.seen)
        vault.recall("new words")
        wait(vault)
        after = vault.status().index
        assert after["embedder"] == before["embedder"]
        assert after["vectors"]["ready"] == before["vectors"]["ready"] + 1 == after["vectors"]["total"]
        assert len(server.seen) > sent
        assert {r.headers["Authorization"] for r in server.seen} == {f"Bearer {KEY}"}
        for child in vault._detached._children.values():
            assert KEY not in str(child.args)
            assert server.url not in str(child.args)


def test_a_key_that_the_program_left_out_stays_out(
    place: Place, server: Server, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_EMBEDDER_KEY", KEY)
    monkeypatch.setenv("HOLDFAST_EMBEDDER_QUERY_PREFIX", "not the program's")
    config = Config(embedder=f"openai:{server.url}", embedder_model="m")
    with Vault.open(place.root, state_dir=place.state, config=config, environ={}) as vault:
        vault.recall("tomatoes", sync=False)
        wait(vault)
        identity = vault.status().index["embedder"]
        assert identity == vault._ws.embedder().identity  # type: ignore[union-attr]
    assert server.seen
    assert {r.headers["Authorization"] for r in server.seen} == {None}


def test_every_setting_survives_the_way() -> None:
    changed = {}
    for f in fields(Config):
        value = getattr(Config(), f.name)
        changed[f.name] = (not value) if isinstance(value, bool) else value + 3 if value != str(value) else "onnx:/ä 'x"
    config = Config(**changed)
    text = "".join(f"{f.name} = 1\n" for f in fields(Config) if f.type in ("int", "float", "bool"))
    assert load("", as_environment(config), text)[1] == config


def test_a_setting_that_no_variable_can_hold_is_said(place: Place) -> None:
    with place.open(config=Config(embedder="none", embedder_model="a\0b")) as vault:
        assert "could not be started" in str(vault.recall("tomatoes", sync=False).receipt.degraded)
        assert vault.status().counters["background_sync_failed"]
