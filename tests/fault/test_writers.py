"""Faults 1 and 34 with real processes: writers, an editor, kills; nothing acknowledged is lost, no note is half."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast import Config, Vault
from holdfast.history.rows import Kind

CONFIG = Config(background=False, embedder="none")
NOTES = 5

WRITER = """
import json, random, sys
from holdfast import Config, Vault, errors
root, state, name, count = sys.argv[1:]
vault = Vault.open(root, state_dir=state, config=Config(background=False, embedder="none"))
chance = random.Random(name)
print("ready", flush=True)
sys.stdin.readline()
for i in range(int(count)):
    note, token = f"shared/{chance.randrange(5)}.md", f"{name}-{i}"
    try:
        how = i % 3
        if how == 0:
            done = vault.edit(note, append=f"line {token}.", author=name)
        elif how == 1:
            done = vault.edit(note, section=("Middle", f"line {token}."), append_to_section=True, author=name)
        else:
            done = vault.edit(note, insert_after=("# Top", f"line {token}."), author=name)
        print(json.dumps([note, token, done.digest, done.indexed]), flush=True)
    except errors.Conflict:
        print(json.dumps([note, None, None, None]), flush=True)
print("done", flush=True)
"""


def place(tmp_path: Path) -> tuple[str, str, Vault]:
    root, state = str(tmp_path / "notes"), str(tmp_path / "state")
    os.makedirs(f"{root}/shared")
    for i in range(NOTES):
        Path(root, f"shared/{i}.md").write_text(
            f"# Top\n\nNote {i}.\n\n## Middle\n\nend of middle.\n\n## Last\n\nend.\n"
        )
    vault = Vault.open(root, state_dir=state, config=CONFIG)
    vault.sync(vectors=False)
    return root, state, vault


def started(root: str, state: str, names: list[str], count: int) -> list[subprocess.Popen[str]]:
    made = []
    for name in names:
        command = [sys.executable, "-c", WRITER, root, state, name, str(count)]
        made.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    for p in made:
        assert p.stdout is not None
        assert p.stdin is not None
        assert p.stdout.readline() == "ready\n"
    for p in made:
        p.stdin.write("\n")  # type: ignore[union-attr]
        p.stdin.flush()  # type: ignore[union-attr]
    return made


def acknowledged(out: str) -> list[list[Any]]:
    return [json.loads(line) for line in out.splitlines() if line.startswith("[") and line.endswith("]")]


def texts(root: str) -> dict[str, str]:
    return {f"shared/{i}.md": Path(root, f"shared/{i}.md").read_text() for i in range(NOTES)}


def assert_whole(root: str) -> None:
    """Every line is one that somebody wrote, and nobody's twice."""
    for text in texts(root).values():
        assert text.endswith("\n")
        assert text.count("end of middle.") == text.count("# Top") == 1
        tokens = re.findall(r"^line (\S+)\.$", text, re.M)
        assert len(tokens) == len(set(tokens)) == text.count("line ")


def test_eight_writers_lose_nothing(tmp_path: Path) -> None:
    root, state, vault = place(tmp_path)
    done = []
    for p in started(root, state, [f"w{i}" for i in range(8)], 24):
        out, err = p.communicate(timeout=120)
        assert p.returncode == 0, err
        done += acknowledged(out)
    assert len(done) == 8 * 24
    now = texts(root)
    for note, token, _, indexed in done:
        assert token is not None, "an edit that still applies is made again, not refused"
        assert f"line {token}.\n" in now[note]
        assert indexed
    assert_whole(root)
    for _, token, _, _ in random.Random(1).sample(done, 10):
        assert vault.recall(f'"line {token}"', sync=False).hits, "what was acknowledged is found at once"
    for i in range(NOTES):
        versions = vault.history(f"shared/{i}.md", limit=1_000).versions
        assert len(versions) == 1 + sum(note == f"shared/{i}.md" for note, *_ in done)
        assert {v.kind for v in versions[:-1]} == {"written"}
    vault.close()


def test_writers_and_an_editor_that_saves_by_rename(tmp_path: Path) -> None:
    """What an editor overwrites is in the history, and what it saves is never overwritten unseen."""
    root, state, vault = place(tmp_path)
    writers = started(root, state, [f"w{i}" for i in range(4)], 30)
    saved: list[tuple[str, bytes]] = []
    chance, n = random.Random(2), 0
    while any(p.poll() is None for p in writers):
        note = f"shared/{chance.randrange(NOTES)}.md"
        body = Path(root, note).read_bytes() + f"line editor-{n}.\n".encode()
        Path(root, "shared/.editing").write_bytes(body)
        os.replace(f"{root}/shared/.editing", f"{root}/{note}")
        saved.append((note, body))
        n += 1
        time.sleep(0.01)
    done = []
    for p in writers:
        out, err = p.communicate(timeout=120)
        assert p.returncode == 0, err
        done += acknowledged(out)
    vault.sync(vectors=False)
    assert_whole(root)
    now = texts(root)
    past = {note: kept(vault, note) for note in now}
    lost = 0
    for note, token, _, _ in done:
        if token is not None and f"line {token}.\n" not in now[note]:
            lost += 1  # The editor had read the note before that change and saved it after.
            assert any(f"line {token}.\n".encode() in body for body in past[note])
    assert lost < len(done) / 4
    for i, (note, _) in enumerate(saved):
        assert f"line editor-{i}.\n" in now[note] or any(f"line editor-{i}.\n".encode() in b for b in past[note])
    vault.close()


def kept(vault: Vault, note: str) -> list[bytes]:
    with vault._ws.past.store() as store:
        id_ = store.note_of(note)
        assert id_ is not None
        return [store.body(e.digest) for e in store.versions(id_, limit=10_000) if e.digest is not None]


def test_writers_that_are_killed(tmp_path: Path) -> None:
    root, state, vault = place(tmp_path)
    done: list[list[Any]] = []
    chance = random.Random(3)
    for round_ in range(4):
        writers = started(root, state, [f"r{round_}w{i}" for i in range(4)], 200)
        time.sleep(chance.uniform(0.2, 0.6))
        for p in writers:
            p.send_signal(signal.SIGKILL)
        for p in writers:
            done += acknowledged(p.communicate(timeout=60)[0])
    assert done
    vault.sync(vectors=False)
    assert_whole(root)
    now = texts(root)
    for note, token, _, _ in done:
        assert f"line {token}.\n" in now[note]
    assert not list(Path(root).rglob(".holdfast-tmp-*")), "a sync clears what they left"
    assert vault.check(deep=True).ok
    for note in now:
        assert kept(vault, note)[0] == now[note].encode()
    vault.close()


@pytest.mark.parametrize("swapped", [b"what an editor saved, and nobody else has\n", None])
def test_what_a_dead_writer_left_is_kept(tmp_path: Path, swapped: bytes | None) -> None:
    """The process died between the exchange and the look at what came out: that is nowhere else."""
    from holdfast.files.swap import temp_of

    root, _, vault = place(tmp_path)
    note = Path(root, "shared/0.md")
    left = temp_of(f"{root}/shared", "shared/0.md").replace(f"-{os.getpid()}-", "-", 1)
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = temp_of(f"{root}/shared", "shared/0.md").replace(str(os.getpid()), str(dead.pid), 1)
    Path(left).write_bytes(swapped if swapped is not None else note.read_bytes())
    vault.sync(vectors=False)
    assert not Path(left).exists()
    bodies = kept(vault, "shared/0.md")
    assert bodies[0] == note.read_bytes()
    assert (swapped in bodies) == (swapped is not None)
    alive = temp_of(f"{root}/shared", "shared/0.md")
    Path(alive).write_bytes(b"in the making")
    vault.sync(vectors=False)
    assert Path(alive).exists()
    vault.close()


def test_a_sync_and_a_write_make_one_version(tmp_path: Path) -> None:
    """Whoever is quicker: what was written through us has its author, and stands there once."""
    _, _, vault = place(tmp_path)
    done = vault.write("shared/0.md", "new\n", overwrite=True, author="ada")
    vault.sync(vectors=False, checksum=True)
    newest = vault.history("shared/0.md").versions[0]
    assert (newest.rev, newest.author, newest.kind) == (done.rev, "ada", "written")
    body = b"found first\n"
    Path(vault.root, "shared/1.md").write_bytes(body)
    vault.sync(vectors=False)
    with vault._ws.past.store() as store:
        from holdfast.history.rows import By, Change

        store.record([Change(Kind.WRITTEN, "shared/1.md", body, time.time_ns(), By("bo"))])
    assert [(v.kind, v.author) for v in vault.history("shared/1.md").versions] == [("written", "bo"), ("found", None)]
    vault.close()
