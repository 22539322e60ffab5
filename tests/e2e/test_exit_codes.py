"""Exit codes, and that what is broken ends in a sentence."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from holdfast.files.fs import FileSystem
from holdfast.files.locks import JobLock
from tests.e2e.command import Command


def index_directory(command: Command) -> Path:
    return Path(command("status", "--json").json["index"]["path"])


def test_0_when_nothing_is_found(own: Command) -> None:
    done = own("recall", "zzyzx")
    assert done.exit == 0
    assert done.out.startswith("No hits.\n")
    assert done.err == ""


@pytest.mark.parametrize(
    "args",
    [
        ["nosuch"],
        ["recall"],
        ["read"],
        ["parse"],
        ["sync", "--nosuch"],
        ["sync", "surplus"],
        ["recall", "x", "-k", "-1"],
        ["recall", "x", "-k", "1.5"],
        ["recall", "x", "--budget", "0"],
        ["recall", "until:32-13-2026"],
        ["read", "a.md", "--line", "0"],
        ["read", "a.md", "--count", "-1"],
        ["list", "--limit", "-3"],
        ["--vault", "", "sync"],
        ["--state-dir", "", "sync"],
    ],
)
def test_2_when_the_request_is_wrong(own: Command, args: list[str]) -> None:
    done = own(*args)
    assert done.exit == 2
    assert done.out == ""
    assert done.err.startswith("holdfast: ")
    assert done.err.count("\n") == 1


def test_2_when_a_setting_is_wrong(own: Command, notes: Path) -> None:
    (notes / ".holdfast").mkdir()
    settings = notes / ".holdfast" / "config.toml"
    for text in ("k = 'many'\n", "k = [1\n", "id = 7\n", "k = -1\n"):
        settings.write_text(text)
        done = own("recall", "anchor", "--json")
        assert done.exit == 2, text
        assert done.error["kind"] == "ConfigError"
    settings.write_text("")
    assert own("recall", "anchor", HOLDFAST_K="none").exit == 2


def test_2_when_a_name_means_several_notes(own: Command, notes: Path) -> None:
    for name in ("x.md", "y.md"):
        (notes / name).write_text("# Same title\n")
    done = own("read", "Same title", "--json")
    assert done.exit == 2
    assert "x.md" in done.error["hint"]
    assert "y.md" in done.error["hint"]


def test_the_command_alone_shows_what_there_is(own: Command) -> None:
    done = own()
    assert (done.exit, done.out) == (2, "")
    for word in ("Usage: holdfast", "recall", "--vault"):
        assert word in done.err


def test_a_word_with_a_minus_gets_a_hint(own: Command) -> None:
    done = own("recall", "rope", "-old")
    assert done.exit == 2
    assert "`--`" in done.err
    assert own("recall", "--", "rope", "-old").exit == 0
    assert own("recall", "rope -old").exit == 0


def test_3_when_a_note_is_set_aside(own: Command, notes: Path) -> None:
    (notes / "large.md").write_text("word " * 1000)
    done = own("sync", "--json", HOLDFAST_NOTE_BYTES="2000")
    assert done.exit == 3
    assert done.json["quarantined"] == 1
    assert done.json["notes"] == 5
    assert "large.md" in {n["path"] for n in own("list", "--json", HOLDFAST_NOTE_BYTES="2000").json["notes"]}
    assert own("sync").exit == 0, "a limit that was raised takes the note back"
    (notes / "large.md").write_text("word " * 1001)
    assert own("sync", HOLDFAST_NOTE_BYTES="2000").exit == 3
    status = own("status", "--json", HOLDFAST_NOTE_BYTES="2000")
    assert status.exit == 3
    newest = status.json["quarantined"]["newest"]
    assert [q["path"] for q in newest] == ["large.md"]
    assert newest[0]["reason"]
    assert own("recall", "anchor").exit == 0


def test_3_when_a_file_cannot_be_parsed(own: Command) -> None:
    assert own("parse", "/no/such/file.md").exit == 3


def test_3_when_the_index_is_newer(own: Command) -> None:
    own("sync")
    directory = index_directory(own)
    manifest = directory / "manifest.json"
    newer = json.loads(manifest.read_text())
    newer["schema"] += 1
    manifest.write_text(json.dumps(newer))
    before = {p.name: p.read_bytes() for p in directory.iterdir() if p.is_file()}
    done = own("sync", "--json")
    assert done.exit == 3
    assert done.error["kind"] == "IndexTooNew"
    answer = own("recall", "anchor", "--json")
    assert answer.exit == 0
    assert [h["path"] for h in answer.json["hits"]] == ["a.md"]
    assert answer.json["hits"][0]["via"] == ["scan"]
    assert "newer" in " ".join(answer.json["receipt"]["degraded"])
    assert own("status").exit == 3
    after = {p.name: p.read_bytes() for p in directory.iterdir() if p.is_file()}
    assert {n: before[n] for n in before if n != "job.lock"} == {n: after[n] for n in after if n != "job.lock"}
    other = own.state / "beside"
    assert own("sync", "--state-dir", str(other)).exit == 0


def test_4_when_there_is_no_such_note(own: Command) -> None:
    for name in ("nosuch", "nosuch.md", "memory://no/such", "deep/nosuch.md:1:2", "deep", "a.md:99", "\x1b[2J"):
        assert own("read", name).exit == 4, name
    assert own("list", "nosuch").exit == 4


def test_4_when_there_is_no_vault(own: Command, tmp_path: Path) -> None:
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    command = Command(own.state, None, lonely)
    for verb in (["sync"], ["recall", "x"], ["list"], ["status"], ["rebuild"], ["read", "x"]):
        done = command(*verb)
        assert done.exit == 4
        assert "holdfast init" in done.err
        assert "--vault" in done.err


@pytest.mark.parametrize(
    "path", ["../x.md", "/etc/passwd", "deep/../../x.md", ".git/config", ".holdfast/config.toml", "deep\\..\\..\\x.md"]
)
def test_6_when_a_path_is_outside(own: Command, path: str) -> None:
    assert own("read", path).exit == 6
    assert own("list", path).exit == 6
    assert own("list", "--after", path).exit == 6


def test_6_when_a_link_leads_out(own: Command, notes: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("# Secret\nhunter2\n")
    (notes / "out.md").symlink_to(tmp_path / "secret.md")
    (notes / "outdir").symlink_to(tmp_path)
    for path in ("out.md", "outdir/secret.md", "outdir"):
        done = own("read", path)
        assert done.exit in (4, 6)
        assert "hunter2" not in done.out
    assert own("recall", "hunter2 secret", "--json").json["hits"] == []


def test_6_when_a_folder_cannot_become_a_vault(own: Command, notes: Path) -> None:
    assert own("init", str(notes / "a.md")).exit == 6


def test_70_when_the_vault_is_gone_or_empty(own: Command, notes: Path) -> None:
    own("sync")
    kept = notes.with_name("kept")
    notes.rename(kept)
    done = own("sync", "--json")
    assert done.exit == 70
    assert done.error["kind"] == "VaultMissing"
    notes.mkdir()
    done = own("sync", "--json")
    assert done.exit == 70
    assert done.error["kind"] == "VaultMissing"
    assert "--accept-empty" in done.error["hint"]
    assert own("status", "--json").json["vault"]["notes"] == 4
    notes.rmdir()
    kept.rename(notes)
    back = own("sync", "--json")
    assert back.exit == 0
    assert (back.json["added"], back.json["removed"], back.json["notes"]) == (0, 0, 4)
    shutil.rmtree(notes)
    notes.mkdir()
    believed = own("sync", "--accept-empty", "--json")
    assert believed.exit == 0
    assert (believed.json["removed"], believed.json["notes"]) == (4, 0)


def test_75_when_another_process_is_at_work(own: Command) -> None:
    own("sync")
    lock = JobLock(FileSystem(), str(index_directory(own) / "job.lock"))
    lock.acquire("rebuild", 1.0)
    try:
        done = own("sync", "--json", HOLDFAST_LOCK_WAIT_S="0.1")
        assert done.exit == 75
        assert done.error["kind"] == "VaultBusy"
        assert done.error["retryable"] is True
        assert f"pid {os.getpid()}" in done.error["message"]
        answer = own("recall", "anchor", "--json")
        assert answer.exit == 0
        assert answer.json["hits"]
        assert answer.json["receipt"]["behind"] is None
        assert answer.json["receipt"]["degraded"]
    finally:
        lock.release()
    assert own("sync").exit == 0


def test_75_when_the_state_directory_cannot_be_used(own: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = own("sync", "--state-dir", str(tmp_path / "file"), "--json")
    assert done.exit == 75
    assert done.error["hint"]
    answer = own("recall", "anchor", "--state-dir", str(tmp_path / "file"), "--json")
    assert answer.exit == 0
    assert answer.json["hits"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="SKIPPED LOUDLY: no /dev/full on this system")
def test_75_when_the_output_cannot_be_written(own: Command) -> None:
    import subprocess

    from tests.e2e.command import COMMAND

    with open("/dev/full", "wb") as full:
        done = subprocess.run([COMMAND, "list"], stdout=full, stderr=subprocess.PIPE, env=own.env, check=False)
    assert done.returncode == 75
    assert done.stderr.count(b"\n") == 1
    assert b"No space left" in done.stderr


def test_a_folder_that_was_deleted_under_the_shell(own: Command, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    import subprocess

    from tests.e2e.command import COMMAND

    script = f'cd "{gone}" && rmdir "{gone}" && exec "{COMMAND}" list --json'
    env = {k: v for k, v in own.env.items() if k != "HOLDFAST_VAULT"}
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=env, check=False)
    assert done.returncode in (4, 70, 75)
    assert done.stderr.count("\n") == 1
    json.loads(done.stderr)
