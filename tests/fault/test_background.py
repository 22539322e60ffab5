"""Work that goes on in a process of its own does as the program said, whatever the user's settings file says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from holdfast import Config, Vault
from holdfast.config import load
from holdfast.engine import detached
from tests.embed_server import Server, serving
from tests.fault.vaults import Place

PATIENCE_S = 60


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(6)
    return made


@pytest.fixture
def with_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server that the user's own settings name as the embedder."""
    with serving() as server:
        (tmp_path / "user.toml").write_text(f'embedder = "openai:{server.url}"\nembedder_model = "m"\n')
        monkeypatch.setenv("HOLDFAST_CONFIG", str(tmp_path / "user.toml"))
        monkeypatch.delenv("HOLDFAST_EMBEDDER")
        yield server


def wait_for(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until, "the process in the background did not come to an end"
        time.sleep(0.05)


def ended(vault: Vault) -> bool:
    return all(child.poll() is not None for child in vault._detached._children.values())


def test_no_text_goes_to_a_remote_that_the_program_excluded(place: Place, with_remote: Server) -> None:
    with place.open(config=Config(embedder="none")) as vault:
        vault.recall("tomatoes", sync=False)
        assert vault._detached._children
        wait_for(lambda: ended(vault))
        assert vault.status().index["chunks"] >= 6, "it did sync"
    assert with_remote.seen == []


def test_the_programs_embedder_makes_what_is_missing(place: Place, with_remote: Server) -> None:
    config = Config(embedder=f"openai:{with_remote.url}/theirs", embedder_model="theirs")
    with place.open(config=config) as vault:
        vault.sync()
        before = len(with_remote.seen)
        place.put("new.md", "# New\n\nwords of its own\n")
        vault.recall("words")
        wait_for(lambda: ended(vault))
        vectors = vault.status().index["vectors"]
        assert vectors["ready"] == vectors["total"]
        assert {r.payload["model"] for r in with_remote.seen[before:]} == {"theirs"}


def test_every_setting_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is the default, where a settings file says something else; and no file is asked for any."""
    odd = {}
    for f in fields(Config):
        known = getattr(Config(), f.name)
        odd[f.name] = not known if isinstance(known, bool) else known + 1 if not isinstance(known, str) else known + "x"
    for config in (Config(), replace(Config(), **odd), Config(min_similarity=0.1 + 0.2)):
        for file in ("", 'embedder = "openai:http://localhost"\nk = 3\nbackground = false\n'):
            assert load("k = 4", detached.environment(config, {}), file)[1] == config


def test_nothing_else_of_this_process_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that was given to `Vault.open` counts, with its key; this process's key stays here."""
    monkeypatch.setenv("HOLDFAST_EMBEDDER_KEY", "of the process")
    monkeypatch.setenv("MY_KEY", "of the process")
    monkeypatch.setenv("HOLDFAST_STATE", "/nowhere")
    config = Config(embedder_key_variable="MY_KEY")
    found = detached.environment(config, {"HOLDFAST_CONFIG": "/mine"})
    assert "of the process" not in found.values()
    assert "HOLDFAST_STATE" not in found
    assert (found["HOLDFAST_CONFIG"], found["PATH"]) == ("/mine", os.environ["PATH"])
    assert detached.environment(config, {"MY_KEY": "given"})["MY_KEY"] == "given"
