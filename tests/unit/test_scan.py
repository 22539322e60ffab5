"""The walk: exactly the files that are there, in key order, cheaply."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.files.fs import FileSystem
from holdfast.files.scan import Directory, Scan, is_note, scan
from holdfast.model import key_path, sort_key
from tests.fault.faulty_fs import FaultyFS, write_tree

FS = FileSystem()


def walk(root: Path | str, fs: FileSystem = FS, **named: object) -> tuple[Scan, dict[str, Directory]]:
    walked = scan(fs, str(root), **named)  # type: ignore[arg-type]
    return walked, {d.path: d for d in walked}


def paths(root: Path | str, fs: FileSystem = FS, **named: object) -> list[str]:
    _, found = walk(root, fs, **named)
    return [key_path(f[0]) for d in found.values() for f in d.files]


def reasons(found: dict[str, Directory]) -> dict[str, str]:
    return {path: reason for d in found.values() for path, reason in d.skipped_paths}


@pytest.mark.parametrize(
    ("expected", "names"),
    [
        (True, ["a.md", "A.MD", "x.markdown", "x.Txt", b"\xff.md"]),
        (False, [".a.md", "a.pdf", "md", ".md", "a.md.swp", "a.md~"]),
    ],
)
def test_notes_are_known_by_their_suffix(expected: bool, names: list[str | bytes]) -> None:
    assert [is_note(name) for name in names] == [expected] * len(names)


def test_files_come_before_folders_and_folders_in_byte_order(tmp_path: Path) -> None:
    names = ["b.md", "a/x.md", "a/z/deep.md", "a.md", "a-b/y.md", "a/b.pdf", "é/n.md", "Z/q.md"]
    write_tree(str(tmp_path), dict.fromkeys(names, "x"))
    assert paths(tmp_path) == ["a.md", "b.md", "Z/q.md", "a/b.pdf", "a/x.md", "a/z/deep.md", "a-b/y.md", "é/n.md"]


def test_a_witness_is_the_files_stat(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {"a/x.md": "twelve bytes"})
    _, found = walk(tmp_path)
    stat = os.lstat(tmp_path / "a/x.md")
    assert found["a"].key_prefix == b"a\0\0"
    assert found["a"].files == [(sort_key("a/x.md"), 12, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)]


def test_hidden_and_reserved_names_are_left_out(tmp_path: Path) -> None:
    tree = [".git/config", ".obsidian/a.md", ".trash/a.md", "node_modules/a.md", ".holdfast/config.toml"]
    tree += [".hidden.md", ".cache/x.md", "sub/.draft.md", "sub/keep.md", ".holdfast-tmp-12-0"]
    write_tree(str(tmp_path), dict.fromkeys(tree, "x"))
    walked, found = walk(tmp_path)
    assert [key_path(f[0]) for d in found.values() for f in d.files] == ["sub/keep.md"]
    assert reasons(found) == {
        ".hidden.md": "hidden",
        ".cache": "hidden",
        "sub/.draft.md": "hidden",
        ".holdfast-tmp-12-0": "temporary",
    }
    assert walked.skipped == {"hidden": 3, "temporary": 1}


def test_links_are_files_only_inside_the_vault(tmp_path: Path) -> None:
    vault, outside = tmp_path / "vault", tmp_path / "outside"
    write_tree(str(vault), {"a/real.md": "real", ".trash/gone.md": "x", "sub/n.md": "x"})
    write_tree(str(outside), {"secret.md": "secret"})
    links = {
        "link.md": "a/real.md",
        "absolute.md": str(vault / "a/real.md"),
        "out.md": "../outside/secret.md",
        "out": "../outside",
        "sub/up": "..",
        "self.md": "self.md",
        "broken.md": "nowhere.md",
        "trash.md": ".trash/gone.md",
        "link2.md": "link.md",
    }
    for name, target in links.items():
        (vault / name).symlink_to(target)
    _, found = walk(vault)
    target = os.stat(vault / "a/real.md")
    expected = (target.st_size, target.st_mtime_ns, target.st_ctime_ns, target.st_ino)
    files = {key_path(f[0]): f[1:] for d in found.values() for f in d.files}
    assert files.keys() == {"link.md", "absolute.md", "link2.md", "a/real.md", "sub/n.md"}
    assert files["link.md"] == files["link2.md"] == expected
    assert reasons(found) == {
        "out.md": "symlink_outside",
        "out": "symlink_outside",
        "sub/up": "symlink_outside",
        "self.md": "symlink_loop",
        "broken.md": "symlink_broken",
        "trash.md": "symlink_outside",
    }


def test_a_link_to_a_folder_of_the_vault_is_not_followed(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {"a/x.md": "x"})
    (tmp_path / "b").symlink_to("a")
    _, found = walk(tmp_path)
    assert reasons(found) == {"b": "symlink_directory"}
    assert "b" not in found


def test_what_is_no_file_is_reported_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.md")
    (tmp_path / "real.md").touch()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "socket.md"))
        _, found = walk(tmp_path)
    assert reasons(found) == {"fifo.md": "not_regular", "socket.md": "not_regular"}
    assert [f[0] for f in found[""].files] == [b"\0real.md"]


def test_folders_deeper_than_the_limit_are_reported(tmp_path: Path) -> None:
    path = "/".join(f"d{n}" for n in range(34))
    write_tree(str(tmp_path), {f"{path}/x.md": "x", "/".join(path.split("/")[:32]) + "/ok.md": "x"})
    _, found = walk(tmp_path)
    assert [key_path(f[0]) for d in found.values() for f in d.files] == ["/".join(path.split("/")[:32]) + "/ok.md"]
    assert reasons(found) == {"/".join(path.split("/")[:33]): "too_deep"}


def test_a_missing_root_is_an_error_and_incomplete(tmp_path: Path) -> None:
    walked, found = walk(tmp_path / "none")
    assert isinstance(found[""].error, FileNotFoundError)
    assert walked.incomplete


def test_a_finished_walk_is_complete_and_an_abandoned_one_is_not(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {"a/x.md": "x", "b/y.md": "y"})
    walked, _ = walk(tmp_path)
    assert not walked.incomplete
    assert (walked.directories, walked.files, walked.opens) == (3, 2, 0)
    abandoned = scan(FS, str(tmp_path))
    next(iter(abandoned))
    assert abandoned.incomplete


def test_rules_are_handed_out_and_their_change_is_seen(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {".gitignore": "*.log.md\nbuild/\n", "a/x.md": "x", "a/y.log.md": "", "build/z.md": ""})
    write_tree(str(tmp_path), {"b/.holdfastignore": "!y.log.md\n", "b/y.log.md": "", "b/c/y.log.md": ""})
    first, found = walk(tmp_path)
    assert list(found) == ["", "a", "b", "b/c"]
    assert found[""].skipped == {"ignored": 1}
    ignored = {(d.path, n) for d in found.values() for n in ("x.md", "y.log.md") if d.rules and d.rules.ignores(n)}
    assert ignored == {("", "y.log.md"), ("a", "y.log.md")}
    assert all(d.rules_changed for d in found.values())
    assert first.rules_found.keys() == {"", "b"}
    assert first.opens == 2

    _, found = walk(tmp_path, rules_seen=first.rules_found)
    assert not any(d.rules_changed for d in found.values())
    (tmp_path / "b/.holdfastignore").unlink()
    _, found = walk(tmp_path, rules_seen=first.rules_found)
    assert {path for path, d in found.items() if d.rules_changed} == {"b", "b/c"}


def test_no_rules_means_none(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {"a/x.md": "x"})
    _, found = walk(tmp_path)
    assert all(d.rules is None and not d.rules_changed for d in found.values())


def test_names_that_are_no_utf8_keep_their_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9/\xff\xfe.md")
    write_tree(str(tmp_path), {name: "x", "cafz/a.md": "x"})
    _, found = walk(tmp_path)
    assert [f[0] for d in found.values() for f in d.files] == [b"cafz\0\0a.md", b"caf\xe9\0\0\xff\xfe.md"]
    assert paths(tmp_path)[1] == name


NAMES = st.text("aAb.-é\udcff\U0001f600", min_size=1, max_size=3).filter(lambda n: n not in (".", ".."))
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.integers(0, 3), min_size=1, max_size=25
)


@settings(max_examples=80, deadline=None)
@given(TREES, st.booleans())
def test_any_tree_comes_in_key_order_and_whole(tree: dict[str, int], wide: bool) -> None:
    with tempfile.TemporaryDirectory() as root:
        made = set()
        for path, size in tree.items():
            try:
                write_tree(root, {path: b"x" * size})
            except (NotADirectoryError, IsADirectoryError, FileExistsError):
                continue
            made.add(path)
        expected = sorted(sort_key(p) for p in made if not any(part.startswith(".") for part in p.split("/")))
        _, found = walk(root, wide=wide)
        keys = [f[0] for d in found.values() for f in d.files]
        assert keys == expected
        assert all(a < b for a, b in pairwise(d.key_prefix for d in found.values()))
        assert all(f[0].startswith(d.key_prefix) for d in found.values() for f in d.files)
        assert all(sort_key(f"{d.path}/n" if d.path else "n") == d.key_prefix + b"n" for d in found.values())


def test_one_stat_a_file_and_one_listing_a_folder(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {f"d{n % 7}/f{n}.md": "x" for n in range(50)})
    fs = FaultyFS()
    assert len(paths(tmp_path, fs)) == 50
    assert fs.calls == {"entry_stat": 50, "scandir": 8, "stat": 2}


def test_the_walk_costs_little_more_than_a_bare_one(tmp_path: Path) -> None:
    """A ratio in one run; the figure itself is 1.2, the bound leaves room for a busy machine."""
    write_tree(str(tmp_path), {f"d{n % 20}/f{n:05}.md": "" for n in range(4000)})

    def bare(path: str) -> None:
        with os.scandir(path) as it:
            for entry in it:
                if entry.is_dir(follow_symlinks=False):
                    bare(entry.path)
                else:
                    entry.stat(follow_symlinks=False)

    took: dict[str, list[float]] = {"bare": [], "scan": []}
    for _ in range(7):
        for name, call in (("bare", lambda: bare(str(tmp_path))), ("scan", lambda: [*scan(FS, str(tmp_path))])):
            began = time.process_time()
            call()
            took[name].append(time.process_time() - began)
    assert min(took["scan"]) < 2 * min(took["bare"])
