"""Paths from outside: inside the vault, or refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import PathNotAllowed
from holdfast.files.fs import FileSystem
from holdfast.files.paths import is_hidden, is_inside, safe_path
from holdfast.model import show_path
from tests.fault.faulty_fs import write_tree


@pytest.mark.parametrize(
    ("given_path", "clean"),
    [
        ("a.md", "a.md"),
        ("./a/b.md", "a/b.md"),
        ("a//b.md", "a/b.md"),
        ("new/folder/note.md", "new/folder/note.md"),
        ("Projects/Über uns.md", "Projects/Über uns.md"),
        ("50% more.md", "50% more.md"),
        ("caf%C3%A9.md", "caf%C3%A9.md"),
        ("a\\b.md", "a\\b.md"),
        ("a..md", "a..md"),
        ("...md/x.md", None),
    ],
)
def test_clean_paths(tmp_path: Path, given_path: str, clean: str | None) -> None:
    if clean is None:
        with pytest.raises(PathNotAllowed):
            safe_path(str(tmp_path), given_path)
    else:
        assert safe_path(str(tmp_path), given_path) == clean


REFUSED = ["", "/", ".", "..", "../x.md", "a/../../x.md", "a/../x.md", "/etc/passwd", "a\0b.md", ".git/config"]
REFUSED += [".holdfast/config.toml", ".trash/x.md", ".obsidian/x.md", "node_modules/x.md", "NODE_MODULES/x.md"]
REFUSED += ["a/.hidden.md", "a\\..\\..\\x.md", "a\\.git\\x", "\u200c.git/config", ".GIT/config", "x" * 256 + ".md"]
REFUSED += ["/".join("d" * 34), "\ud800.md", " .git/x", "../vault2/x.md"]


@pytest.mark.parametrize("path", REFUSED)
def test_refused_paths(tmp_path: Path, path: str) -> None:
    with pytest.raises(PathNotAllowed) as caught:
        safe_path(str(tmp_path), path)
    assert caught.value.message.endswith(".")
    caught.value.message.encode()  # can be printed


def test_an_absolute_path_in_the_vault_is_taken(tmp_path: Path) -> None:
    assert safe_path(str(tmp_path), f"{tmp_path}/a/b.md") == "a/b.md"
    with pytest.raises(PathNotAllowed):
        safe_path(str(tmp_path), f"{tmp_path}x/a.md")
    with pytest.raises(PathNotAllowed):
        safe_path(str(tmp_path), f"{tmp_path}/../a.md")


def test_bad_bytes_are_written_as_they_are_shown(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xa9.md")
    write_tree(str(tmp_path), {name: "x"})
    assert safe_path(str(tmp_path), show_path(name)) == name
    write_tree(str(tmp_path), {"100%FF.md": "literally"})
    assert safe_path(str(tmp_path), "100%FF.md") == "100%FF.md"


@given(st.binary(min_size=1, max_size=12).filter(lambda b: not set(b) & set(b"\0/%\\")))
def test_every_shown_path_leads_back(raw: bytes) -> None:
    path = "n" + os.fsdecode(raw)
    assert safe_path("/nonexistent-vault", show_path(path)) == path


def test_links_on_the_way_are_refused(tmp_path: Path) -> None:
    vault = tmp_path / "vault"
    write_tree(str(tmp_path), {"vault/a/x.md": "x", "outside/secret.md": "s", "vault/.trash/t.md": "t"})
    (vault / "out").symlink_to("../outside")
    (vault / "in").symlink_to("a")
    (vault / "secret.md").symlink_to("../outside/secret.md")
    (vault / "trash.md").symlink_to(".trash/t.md")
    (vault / "link.md").symlink_to("a/x.md")
    (vault / "loop.md").symlink_to("loop.md")
    for path in ["out/secret.md", "out/new.md", "in/x.md", "secret.md", "trash.md", "a/x.md/y.md"]:
        with pytest.raises(PathNotAllowed):
            safe_path(str(vault), path)
    assert safe_path(str(vault), "link.md") == "link.md"


def test_inside_means_below_and_not_hidden(tmp_path: Path) -> None:
    fs, root = FileSystem(), str(tmp_path / "v")
    write_tree(root, {"a/x.md": ""})
    (tmp_path / "other").symlink_to("v")
    assert is_inside(fs, root, f"{root}/a/x.md")
    assert is_inside(fs, str(tmp_path / "other"), f"{root}/a/x.md")
    assert not is_inside(fs, root, root)
    assert not is_inside(fs, root, f"{root}2/a/x.md")
    assert not is_inside(fs, root, f"{root}/.git/x")
    assert is_hidden("node_modules")
    assert not is_hidden("a.md")
