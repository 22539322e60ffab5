"""The past of notes: read as it was, taken back, bounded, committed; and that losing it loses no note."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast import Config, Conflict, NotFound, QueryError, Vault
from holdfast.errors import DiskFull
from holdfast.history.rows import Change, Kind
from holdfast.history.store import History
from holdfast.history.thin import thin

CONFIG = Config(background=False, embedder="none")
DAY_NS = 86_400 * 10**9


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    (tmp_path / "v").mkdir()
    return Vault.open(tmp_path / "v", state_dir=tmp_path / "s", config=CONFIG)


def test_a_note_is_read_as_it_was(vault: Vault) -> None:
    first = vault.write("a.md", "# One\n\nfirst\n")
    vault.edit("a.md", replace=("first", "second"))
    assert vault.read(f"a.md@{first.rev}").text == "# One\n\nfirst\n"
    assert vault.read(f"One@{first.rev}", line=3, count=1).text == "first"
    assert vault.read("a.md@2999-01-01").text == "# One\n\nsecond\n"
    vault.delete("a.md")
    assert vault.read(f"a.md@{first.rev}").digest == first.digest
    for name in ("a.md", "a.md@999", "a.md@1999-01-01", "b.md@1"):
        with pytest.raises(NotFound):
            vault.read(name)
    Path(vault.root, "x@42.md").write_text("its own name\n")
    assert vault.read("x@42").text == "its own name\n"


def test_a_path_means_that_path_alone(vault: Vault) -> None:
    """What reads may look for the nearest name; what changes, deletes or forgets takes the note that was named."""
    first = vault.write("plan.md", "# Plan\n\nmine\n")
    vault.delete("plan.md")
    others = {"archive/plan.md": "# Plan\n\nanother\n", "plan.md.md": "# Plan\n\nthird\n"}
    for name, text in others.items():
        vault.write(name, text)
    vault.sync(vectors=False)
    for refused in (
        lambda: vault.delete("plan.md"),
        lambda: vault.edit("plan.md", append="x"),
        lambda: vault.move("plan.md", "new.md"),
    ):
        with pytest.raises(NotFound):
            refused()
    assert {v.path for v in vault.history("plan.md").versions} == {"plan.md"}
    vault.restore(f"plan.md@{first.rev}")
    assert Path(vault.root, "plan.md").read_text() == "# Plan\n\nmine\n"
    vault.forget("plan.md")
    assert {n: Path(vault.root, n).read_text() for n in others} == others
    assert not Path(vault.root, "plan.md").exists()
    with pytest.raises(NotFound):
        vault.history("plan.md")


def test_the_last_note_of_a_vault_can_be_forgotten(vault: Vault) -> None:
    vault.write("only.md", "# Only\n\nunrepeatable words\n")
    vault.sync(vectors=False)
    assert vault.forget("only.md").traces == ()
    assert list(Path(vault.root).iterdir()) == []
    with vault._ws.past.store() as store:
        assert list(store.digests()) == []


def test_undo_takes_back_what_nobody_touched(vault: Vault) -> None:
    vault.write("kept.md", "one\n", session="before")
    vault.edit("kept.md", append="two", session="s")
    vault.write("new.md", "new\n", session="s")
    vault.write("gone.md", "old\n", session="before")
    vault.delete("gone.md", session="s")
    vault.write("others.md", "x\n", session="before")
    vault.edit("others.md", append="mine", session="s")
    Path(vault.root, "others.md").write_text("theirs\n")
    vault.sync(vectors=False)
    assert len(vault.undo("s", dry_run=True).undone) == 3
    done = vault.undo("s", author="ada")
    assert sorted(done.undone) == ["gone.md", "kept.md", "new.md"]
    assert [x.split(":")[0] for x in done.left] == ["others.md"]
    texts = {p.name: p.read_text() for p in Path(vault.root).iterdir()}
    assert texts == {"kept.md": "one\n", "gone.md": "old\n", "others.md": "theirs\n"}
    with pytest.raises(NotFound):
        vault.undo("never")


def test_the_history_is_kept_within_bytes_and_age(tmp_path: Path) -> None:
    history = History(str(tmp_path / "history.db"))
    noise = [os.urandom(3_000) for _ in range(300)]
    for i, body in enumerate(noise):
        history.record([Change(Kind.WRITTEN, f"{i % 3}.md", body, i * DAY_NS)])
    history.record([Change(Kind.DELETED, "2.md", None, 300 * DAY_NS)])
    assert thin(history, max_bytes=1 << 30, before_ns=100 * DAY_NS) == 100
    assert history.counts()[1] == 201
    gone = thin(history, max_bytes=200_000, before_ns=0)
    assert gone
    assert history.live_bytes() <= 200_000
    for i in range(3):
        note = history.note_of(f"{i}.md")
        assert note is not None
        newest = next(e for e in history.versions(note, limit=1_000) if e.digest is not None)
        assert history.body(newest.digest or b"") == noise[297 + i]
    history.close()


def test_a_sync_keeps_it_within_its_bound(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    vault = Vault.open(tmp_path / "v", state_dir=tmp_path / "s", config=replace(CONFIG, history_bytes=300_000))
    for _ in range(120):
        vault.write("a.md", os.urandom(4_000).hex(), overwrite=True)
    assert vault.status().history["bytes"] > 300_000
    vault.sync(vectors=False)
    vault._ws.past.close()
    assert 0 < vault.status().history["bytes"] <= 400_000


def test_losing_it_loses_no_note(vault: Vault) -> None:
    vault.write("a.md", "one\n")
    shutil.rmtree(vault._ws.past.directory)
    vault.edit("a.md", append="two")
    assert vault.read("a.md").text == "one\ntwo\n"
    assert [v.kind for v in vault.history("a.md").versions] == ["written", "found"]
    Path(vault._ws.past.directory, "history.db").write_bytes(b"no database " * 1000)
    vault._ws.past.close()
    assert vault.edit("a.md", append="three").rev is None
    assert vault.status().counters["history_failed"]
    assert vault.sync(vectors=False).notes == 1


def test_a_full_history_fails_no_write_and_no_deletion_without_it(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DiskFull("The disk of the history is full.")

    vault.write("a.md", "one\n")
    Path(vault.root, "a.md").write_text("changed by hand\n")
    monkeypatch.setattr(History, "record", full)
    with pytest.raises(DiskFull):
        vault.delete("a.md")
    assert Path(vault.root, "a.md").exists()
    assert vault.edit("a.md", append="two").rev is None
    assert vault.status().counters["history_failed"]


def test_none_keeps_none(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    vault = Vault.open(tmp_path / "v", state_dir=tmp_path / "s", config=replace(CONFIG, history="none"))
    assert vault.write("a.md", "one\n").rev is None
    assert vault.edit("a.md", append="x").rev is None
    with pytest.raises(QueryError):
        vault.history("a.md")
    with pytest.raises(Conflict):
        vault.edit("a.md", append="x", expect="b2-" + "0" * 32, merge=True)
    assert not os.path.exists(vault._ws.past.directory)


def test_a_moved_vault_takes_its_history_along(tmp_path: Path) -> None:
    Vault.init(tmp_path / "v")
    with Vault.open(tmp_path / "v", state_dir=tmp_path / "s", config=CONFIG) as vault:
        vault.write("a.md", "one\n", author="ada")
    os.rename(tmp_path / "v", tmp_path / "w")
    with Vault.open(tmp_path / "w", state_dir=tmp_path / "s", config=CONFIG) as vault:
        vault.edit("a.md", append="two", author="bo")
        assert [v.author for v in vault.history("a.md").versions] == ["bo", "ada"]


def test_history_of_a_thousand_versions_is_quick_and_small(vault: Vault, tmp_path: Path) -> None:
    body = "".join(f"line {i} of the note, as it was written first\n" for i in range(60))
    changes = []
    for i in range(1_000):
        body = body.replace(f"line {i % 60} of", f"line {i % 60} (edit {i}) of", 1)
        changes.append(Change(Kind.WRITTEN, "a.md", body.encode(), time.time_ns() + i))
        body = body.replace(f" (edit {i})", "", 1)
    Path(vault.root, "a.md").write_bytes(changes[-1].body or b"")
    with vault._ws.past.store() as store:
        for change in changes:
            store.record([change])
        first = store.entry(1)
        assert first is not None
        assert store.body(first.digest or b"") == changes[0].body
    began = time.process_time()
    assert len(vault.history("a.md", limit=1_000).versions) == 1_000
    assert time.process_time() - began < 1.0  # Measured: see docs/writing.md.
    vault._ws.past.close()
    assert vault.status().history["bytes"] < 1_000 * 300


@pytest.mark.skipif(shutil.which("git") is None, reason="SKIPPED LOUDLY: no git here")
def test_with_commit_each_change_is_one_in_the_vaults_repository(tmp_path: Path) -> None:
    root = tmp_path / "v"
    root.mkdir()
    env = {"GIT_CONFIG_GLOBAL": os.devnull, "PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, check=True, env=env
        ).stdout

    git("init", "-q", "-b", "main")
    (root / "half.md").write_text("not ready\n")
    (root / ".git" / "hooks").mkdir(exist_ok=True)
    hook = root / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    vault = Vault.open(root, state_dir=tmp_path / "s", config=replace(CONFIG, history="commit"))
    vault.write("a b.md", "one\n", author="Ada", reason="because", session="s1")
    vault.edit("a b.md", append="two", author="Bo")
    vault.move("a b.md", "c/d.md", author="Bo")
    vault.delete("c/d.md", author="Ada")
    log = [line for line in git("log", "--format=%an|%s|%b").split("\n") if line]
    assert log[0] == "Ada|deleted c/d.md|"
    assert log[1].startswith("Bo|move of a b.md|Session: move-")
    assert log[2:] == ["Bo|written a b.md|", "Ada|because|Session: s1"]
    assert git("status", "--porcelain") == "?? half.md\n"
    assert "commit_failed" not in vault.status().counters
