"""The verbs that change notes, as programs: shapes, exit codes, and that nothing is changed when they refuse."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.command import COMMAND, Command

WRITTEN = {"path", "digest", "seq", "indexed", "rev"}


@pytest.fixture
def place(tmp_path: Path) -> Command:
    (tmp_path / "notes").mkdir()
    return Command(tmp_path / "state", tmp_path / "notes")


def tree(place: Command) -> dict[str, bytes]:
    assert place.vault is not None
    return {str(p.relative_to(place.vault)): p.read_bytes() for p in place.vault.rglob("*") if p.is_file()}


def write(place: Command, path: str, text: bytes, *more: str) -> subprocess.CompletedProcess[bytes]:
    command = [COMMAND, "write", path, "--json", *more]
    return subprocess.run(command, input=text, capture_output=True, env=place.env, cwd=place.vault, check=False)


def test_a_note_from_writing_to_undo(place: Command) -> None:
    first = write(place, "a/tea.md", b"# Tea\n\nAda likes tea.\n", "--session", "s1")
    made = json.loads(first.stdout)
    assert set(made) == WRITTEN
    assert made["indexed"]
    assert place("recall", "likes tea", "--no-sync", "--json").json["hits"][0]["path"] == "a/tea.md"
    done = place("edit", "Tea", "--append", "Bo does not.", "--author", "bo", "--session", "s2", "--json").json
    assert set(done) == WRITTEN
    versions = place("history", "a/tea.md", "--json").json
    assert set(versions) == {"path", "versions", "next"}
    assert [(v["kind"], v["author"], v["session"]) for v in versions["versions"]] == [
        ("written", "bo", "s2"), ("written", versions["versions"][1]["author"], "s1"),
    ]  # fmt: skip
    assert "+Bo does not." in place("diff", "Tea", "--json").json["diff"]
    undone = place("undo", "--session", "s2", "--json").json
    assert undone == {"session": "s2", "undone": ["a/tea.md"], "left": [], "done": True}
    assert tree(place)["a/tea.md"] == b"# Tea\n\nAda likes tea.\n"
    assert place("delete", "Tea", "--json").json["digest"] is None
    assert place("restore", "a/tea.md", "--json").json["digest"] == made["digest"]
    assert place("recent", "--limit", "2", "--json").json["versions"][0]["kind"] == "restored"
    remembered = place("remember", "The", "kettle", "is", "new", "--json").json
    assert remembered["stored"]
    assert place("remember", "The kettle is new", "--json").json["duplicate"]["line"] == remembered["line"]
    moved = place("move", "a/tea.md", "b/", "--json").json
    assert (moved["old_path"], moved["path"], moved["done"]) == ("a/tea.md", "b/tea.md", True)


def test_conflicts_say_what_is_there(place: Command) -> None:
    made = json.loads(write(place, "a.md", b"one\ntwo\nthree\n").stdout)
    place("edit", "a.md", "--replace", "three", "drei")
    before = tree(place)
    refused = place("edit", "a.md", "--replace", "three", "tres", "--expect", made["digest"], "--json")
    assert refused.exit == 5
    error = json.loads(refused.err)["error"]
    assert error["current_digest"] != made["digest"]
    assert "drei" in error["diff"]
    again = write(place, "a.md", b"other\n")
    assert (again.returncode, json.loads(again.stderr)["error"]["kind"]) == (5, "Conflict")
    assert tree(place) == before
    assert place("edit", "a.md", "--replace", "one", "eins", "--expect", made["digest"], "--merge").exit == 0
    assert tree(place)["a.md"] == b"eins\ntwo\ndrei\n"
    assert write(place, "a.md", b"all new\n", "--overwrite").returncode == 0


@pytest.mark.parametrize(
    ("args", "exit_code"),
    [
        (("write", "../out.md"), 6),
        (("write", ".holdfast/x.md"), 6),
        (("write", ".git/x.md"), 6),
        (("write", "x" * 300 + ".md"), 6),
        (("write", "a.exe"), 2),
        (("edit", "a.md", "--replace", "nothing like it", "x"), 2),
        (("edit", "a.md", "--replace", "o", "x"), 2),
        (("edit", "a.md"), 2),
        (("edit", "a.md", "--append", "x", "--prepend", "y"), 2),
        (("edit", "a.md", "--section", "Nowhere", "--text", "x"), 4),
        (("edit", "a.md", "--section", "Nowhere"), 2),
        (("edit", "a.md", "--text", "x"), 2),
        (("edit", "a.md", "--field", "no equals sign"), 2),
        (("edit", "a.md", "--append", "x", "--expect", "not a digest"), 2),
        (("edit", "nothing.md", "--append", "x"), 4),
        (("delete", "nothing.md"), 4),
        (("move", "a.md", "../b.md"), 6),
        (("history", "nothing.md"), 4),
        (("restore", "a.md@999"), 4),
        (("restore", "a.md@1999-01-01"), 4),
        (("restore", "a.md"), 2),
        (("diff", "a.md", "soon"), 2),
        (("undo", "--session", "nobody"), 4),
        (("recent", "--since", "yesterday-ish"), 2),
        (("remember", "   "), 2),
        (("end", "a.md:1", "--at", "2026"), 4),
        (("end", "a.md", "--at", "2026"), 2),
        (("facts", "nothing"), 4),
        (("facts", "a.md", "--as-of", "soon"), 2),
        (("timeline", "--since", "soon"), 2),
        (("context", "nothing"), 4),
        (("links", "nothing"), 4),
        (("links", "--out"), 2),
        (("history", "export", "--git", "."), 5),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(place: Command, args: tuple[str, ...], exit_code: int) -> None:
    write(place, "a.md", b"one\ntwo\nfour\n")
    before = tree(place)
    done = place(*args, "--json")
    assert done.exit == exit_code, done
    error = json.loads(done.err)["error"]
    assert error["message"].endswith((".", "?"))
    assert error["hint"]
    assert tree(place) == before


def test_text_that_is_no_utf8_is_refused(place: Command) -> None:
    done = write(place, "a.md", b"caf\xe9\n")
    assert (done.returncode, tree(place)) == (2, {})


def test_the_history_as_a_repository(place: Command, tmp_path: Path) -> None:
    write(place, "a.md", b"one\n", "--author", "Ada <x>", "--reason", "why not")
    write(place, "b c.md", "zwei ü\n".encode())
    place("move", "a.md", "d/e.md")
    place("delete", "b c.md")
    assert place("history", "export", "--git", str(tmp_path / "git")).exit == 0
    log = subprocess.run(
        ["git", "-C", str(tmp_path / "git"), "log", "--format=%an|%s"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert log[-1] == "Ada x|why not"
    assert len(log) == 4
    kept = {str(p.relative_to(tmp_path / "git")) for p in (tmp_path / "git").rglob("*.md")}
    assert kept == {"d/e.md"}
    assert place("history", "backup", str(tmp_path / "copy.db")).exit == 0
    assert place("history", "backup", str(tmp_path / "copy.db")).exit == 5


def test_secrets_are_refused_masked_or_stored(place: Command) -> None:
    key = "AKIA" + "IOSFODNN7" + "QRSTUVW"  # The form of a key, and none.
    line = f"aws_access_key_id = {key}\n"
    refused = write(place, "a.md", line.encode())
    error = json.loads(refused.stderr)["error"]
    assert (refused.returncode, error["kind"]) == (2, "SecretFound")
    assert key not in refused.stderr.decode()
    assert tree(place) == {}
    assert write(place, "a.md", line.encode(), "--redact").returncode == 0
    assert key.encode() not in tree(place)["a.md"]
    assert write(place, "b.md", line.encode(), "--allow-secret").returncode == 0
    assert place("edit", "b.md", "--append", "another line").exit == 0  # What stood there is not asked for again.
    found = place("check", "--secrets", "--json")
    assert found.exit == 3
    assert [(f["kind"], f["path"]) for f in found.json["findings"] if f["kind"] == "secret"] == [("secret", "b.md")]
    assert key not in found.out
