"""Ignore files: the same answers as git's own, in linear time whatever they say."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from holdfast.files.fs import FileSystem
from holdfast.files.glob import parse_line
from holdfast.files.ignore import PATTERNS, Rules, read_own, rules_for
from holdfast.files.scan import scan
from holdfast.model import key_path
from tests.fault.faulty_fs import write_tree

FS = FileSystem()


def rules_of(tmp_path: Path, text: str | bytes, name: str = ".gitignore") -> Rules | None:
    write_tree(str(tmp_path), {name: text})
    return rules_for("", None, read_own(FS, str(tmp_path), [name]).spec)


def kept(root: Path) -> set[str]:
    """The files a consumer of the scan keeps: those of walked folders that no rule excludes."""
    out = set()
    for found in scan(FS, str(root)):
        for witness in found.files:
            path = key_path(witness[0])
            if not (found.rules and found.rules.ignores(path.rpartition("/")[2])):
                out.add(path)
    return out


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("*.md", "a.md", True),
        ("*.md", "a.txt", False),
        ("a.md  ", "a.md", True),
        ("a\\ ", "a ", True),
        ("a\\\\ ", "a\\", True),
        ("\\#a", "#a", True),
        ("#a", "#a", False),
        ("\\!a", "!a", True),
        ("[ab]x", "bx", True),
        ("[!ab]x", "bx", False),
        ("[^ab]x", "cx", True),
        ("[a-c]x", "bx", True),
        ("[c-a]x", "bx", False),
        ("[]]x", "]x", True),
        ("[]-]x", "-x", True),
        ("[[:digit:]]x", "7x", True),
        ("[[:nonsense:]]x", "7x", False),
        ("[a", "[a", False),
        ("[a&&b]", "&", True),
        ("[[a]", "[", True),
        ("[a||b--c~~d]", "~", True),
        ("a\\", "a\\", False),
        ("a?b", "aéb", True),
        ("**", "a", True),
        ("/*", "a", True),
        ("/", "a", False),
        ("!", "a", False),
        ("a.b", "axb", False),
        ("a+(b)$^{2}|", "a+(b)$^{2}|", True),
        ("été*", "été.md", True),
        ("\ufeffa", "a", True),
    ],
)
def test_one_line(tmp_path: Path, line: str, name: str, expected: bool) -> None:
    rules = rules_of(tmp_path, line + "\n")
    assert bool(rules and rules.ignores(name)) is expected


def test_line_ends_of_windows(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, "a.md\r\nb.md\r\n")
    assert rules is not None
    assert rules.ignores("a.md")
    assert rules.ignores("b.md")


def test_names_and_patterns_that_are_no_utf8(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, b"caf\xe9*\n")
    assert rules is not None
    assert rules.ignores(os.fsdecode(b"caf\xe9.md"))


def test_a_folder_pattern_is_about_folders_only(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, "a/\n")
    assert rules is not None
    assert not rules.ignores("a")
    assert rules.ignores("a", is_dir=True)


def test_a_line_back_about_a_folder_says_nothing_about_its_files(tmp_path: Path) -> None:
    """Matching parents again, as simple matchers do, would let `!sub/` take back sub/a.txt."""
    write_tree(str(tmp_path), {".gitignore": "*.txt\n", "d/.gitignore": "!sub/\n", "d/sub/a.txt": "", "d/sub/a.md": ""})
    assert kept(tmp_path) == {"d/sub/a.md"}


def test_own_ignore_files_come_after_gits(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {".gitignore": "*.txt\n", ".holdfastignore": "!keep.txt\n*.md\n"})
    write_tree(str(tmp_path), dict.fromkeys(["keep.txt", "drop.txt", "x.md", "x.markdown"], ""))
    assert kept(tmp_path) == {"keep.txt", "x.markdown"}


def test_digest_follows_the_content(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        write_tree(str(tmp_path), {".gitignore": text})
        return read_own(FS, str(tmp_path), [".gitignore"]).digest

    assert digest("a\n") == digest("a\n") != digest("b\n")


def test_what_cannot_be_used_is_reported(tmp_path: Path) -> None:
    big = "\n".join(f"n{n}" for n in range(PATTERNS + 1))
    write_tree(str(tmp_path), {"many/.gitignore": big, "huge/.gitignore": "x" * (1 << 20), "a/.gitignore": "x\n"})
    assert [name for name, _ in read_own(FS, str(tmp_path / "many"), [".gitignore"]).problems] == [".gitignore"]
    huge = read_own(FS, str(tmp_path / "huge"), [".gitignore"])
    assert huge.spec is None
    assert huge.problems
    found = {d.path: d for d in scan(FS, str(tmp_path))}
    assert [key for key, _ in found["huge"].unreadable] == [b"huge\0\0.gitignore"]


def test_a_linked_ignore_file_is_not_read(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {"rules": "*.md\n", "v/x.md": ""})
    (tmp_path / "v/.gitignore").symlink_to("../rules")
    assert kept(tmp_path / "v") == {"x.md"}


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("*a" * 30 + "*b", "a" * 255),
        ("?*" * 60 + "b", "a" * 255),
        ("**/a" * 30 + "/b", "/".join("a" * 100)),
        ("/**/" + "*a*a*a/**/" * 8 + "b", "/".join(["a" * 50] * 30)),
    ],
)
def test_hostile_patterns_take_no_time(line: str, path: str) -> None:
    pattern = parse_line(line)
    assert pattern
    began = time.process_time()
    assert not re.compile(pattern.source).match(path)
    assert time.process_time() - began < 0.5


PIECES = ["a", "b", "ab", "*", "a*", "*b", "?", "[ab]", "[!a]", "a?", "**", "*a*", "\\a", "[a-b]b", "***", "a**"]


def random_line(rng: random.Random) -> str:
    pieces = [rng.choice(PIECES) for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]
    # git reads `a**/b` as `a` and `**/b`, a side effect of how it skips literal beginnings; its manual does not.
    pieces = [p if p != "a**" or n == len(pieces) - 1 else "a*" for n, p in enumerate(pieces)]
    line = rng.choice(["", "", "", "/"]) + "/".join(pieces) + rng.choice(["", "", "", "/"])
    return rng.choice(["", "", "", "!"]) + line + rng.choice(["", "", " ", "\r"])


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed: nothing to compare with")
@pytest.mark.parametrize("seed", range(12))
def test_same_answers_as_git(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    names = ["a", "b", "ab", "ba", "aab", "abb"]
    for n in range(12):
        root = tmp_path / f"r{n}"
        root.mkdir()
        made = set()
        for _ in range(60):
            path = "/".join(rng.choice(names) for _ in range(rng.randint(1, 4)))
            try:
                write_tree(str(root), {path: ""})
            except (NotADirectoryError, IsADirectoryError, FileExistsError):
                continue
            made.add(path)
        folders = sorted({p.rpartition("/")[0] for p in made} | {""})
        for folder in rng.sample(folders, min(len(folders), 3)):
            text = "\n".join(random_line(rng) for _ in range(rng.randint(1, 4))) + "\n"
            write_tree(str(root), {f"{folder}/.gitignore" if folder else ".gitignore": text})
        subprocess.run(["git", "init", "-q", str(root)], env=env, check=True)
        listed = subprocess.run(
            ["git", "check-ignore", "--no-index", "--stdin", "-z"],
            cwd=root, env=env, input="\0".join(sorted(made)).encode(), capture_output=True,
        )  # fmt: skip
        assert listed.returncode in (0, 1), listed.stderr
        ignored = set(listed.stdout.decode().split("\0")) - {""}
        texts = {str(p.relative_to(root)): p.read_text() for p in root.rglob(".gitignore")}
        assert kept(root) == made - ignored, texts
