"""Faults 32, 46 and 47 of the command `holdfast watch`: real processes, real signals, the system's own limits."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import check, is_time, maybe
from tests.fault.vaults import Place, assert_equals_a_rebuild, environment
from tests.fault.watches import NEVER, PATIENCE_S, Process, until

PROCESSES = 8
FILES = 5_000
QUIET: dict[str, Any] = {"embedder": "none", "watch_scan_s": NEVER}
EVENT = {
    "at": is_time, "event": str, "mode": str, "message": str, "scan": maybe(str), "added": int, "changed": int,
    "moved": int, "removed": int, "quarantined": int, "seconds": float, "paths": [str],
    "remarks": [{"path": str, "reason": str, "of?": str}],
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(10)
    return made


def finds(place: Place, word: str) -> bool:
    return bool(place.recall(word).hits)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_tells_what_happens_and_ends_when_told(place: Place, number: signal.Signals) -> None:
    with Process(place, **QUIET) as watch:
        watch.wait_for("watching")
        place.put("d0/n0.sync-conflict-20240131-101112.md", "# Quinces\n")
        until(lambda: finds(place, "quinces"))
        until(lambda: len(watch.told) >= 4)
        watch.send(number)
        assert watch.end() == (0, "")
    for event in watch.told:
        check(event, EVENT)
    assert [e["event"] for e in watch.told] == ["started", "change", "watching", "change", "ended"]
    first, last = watch.told[1], watch.told[3]
    assert (first["scan"], first["added"], first["mode"]) == ("first", 10, "events")
    # What comes right behind the folders' being watched is found by a scan, which names no paths.
    by_hint, by_scan = ("hinted", 1, ["d0/n0.sync-conflict-20240131-101112.md"]), ("full", 1, [])
    assert (last["scan"], last["added"], last["paths"]) in (by_hint, by_scan)
    assert last["remarks"][0]["of"] == "d0/n0.md"


def watch_for_people(place: Place) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "holdfast", "watch", "--vault", place.root, "--state-dir", place.state]
    env = {**environment(), "HOLDFAST_EMBEDDER": "none", "HOLDFAST_WATCH_SCAN_S": "3600"}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_for_people_it_is_one_line_a_change(place: Place) -> None:
    with watch_for_people(place) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(3)]
        place.put("d0/n0.md", "# Quinces\n")
        place.put("d0/n1 (conflicted copy).md", "# Quinces\n")
        lines += [child.stdout.readline() for _ in range(2)]
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate(timeout=PATIENCE_S)
    assert (child.returncode, errors) == (0, "")
    assert all(line[2] == line[5] == ":" and line[8:10] == "  " for line in lines)
    # What comes right behind the folders' being watched is found by a scan, which names no paths.
    assert [line[10:].rstrip("\n").partition("  d0/")[0] for line in [*lines, rest]] == [
        f"Watching {place.root}; all notes are looked at first.",
        "10 added",
        "The system tells of changes in 6 folders. All notes are looked at every 3600 s.",
        "1 added, 1 changed",
        "! d0/n1 (conflicted copy).md is a sync-conflict copy of d0/n1.md",
        "The watch has ended.",
    ]


def test_a_reader_who_goes_ends_it(place: Place) -> None:
    with watch_for_people(place) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for _ in range(3):
            child.stdout.readline()
        child.stdout.close()
        place.put("d0/n0.md", "# Quinces\n")
        assert child.wait(PATIENCE_S) == 0
        assert child.stderr.read() == ""


def test_of_many_at_once_one_works_and_the_others_say_who(place: Place) -> None:
    """Fault 32."""
    watches = [Process(place, **QUIET) for _ in range(PROCESSES)]
    try:
        until(lambda: sum(w.child.poll() is not None for w in watches) == PROCESSES - 1)
        (works,) = [w for w in watches if w.child.poll() is None]
        works.wait_for("watching")
        for watch in watches:
            if watch is not works:
                code, errors = watch.end()
                error = json.loads(errors)["error"]
                assert (code, error["kind"], error["retryable"]) == (75, "VaultBusy", True)
                assert f"Process {works.pid} watches this vault already (since 20" in error["message"]
                assert watch.told == []
    finally:
        for watch in watches:
            watch.__exit__()
    assert_equals_a_rebuild(place)


def test_kill_9_frees_the_vault(place: Place) -> None:
    with Process(place, **QUIET) as first:
        first.wait_for("watching")
        assert json.loads(place.cli("status", "--json").stdout)["jobs"]["watch"]["running"]
        first.send(signal.SIGKILL)
        first.child.wait(PATIENCE_S)
    assert "watch" not in json.loads(place.cli("status", "--json").stdout)["jobs"]
    with Process(place, **QUIET) as second:
        second.wait_for("watching")
        place.put("d0/n0.md", "# Quinces\n")
        until(lambda: finds(place, "quinces"))


@pytest.mark.parametrize("most", [1_000, 10**6], ids=["by-number", "by-the-gap"])
def test_a_watch_that_was_stopped_finds_what_happened_meanwhile(place: Place, most: int) -> None:
    """Fault 46: the system's queue is full and drops what comes; nobody says so. No scan by the clock helps here."""
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if queue > 4 * FILES:
        pytest.skip(f"the queue of this system holds {queue} events; {FILES} files do not fill it")
    with Process(place, watch_paths=most, **QUIET) as watch:
        watch.wait_for("watching")
        time.sleep(0.5)
        watch.send(signal.SIGSTOP)
        stopped = time.monotonic()
        for n in range(FILES):
            place.put(f"d{n % 5}/lost{n}.md", f"# Quinces {n}\n")
        # Told by the gap alone only if it was one; told by the number however short it was.
        time.sleep(max(0.0, 2.0 - (time.monotonic() - stopped)) if most > FILES else 0.0)
        watch.send(signal.SIGCONT)
        until(lambda: place.recall("quinces").receipt.in_scope.notes == FILES + 10)
        assert place.recall(f"quinces {FILES - 1}").hits
        watch.send(signal.SIGTERM)
        assert watch.end() == (0, "")


@pytest.mark.parametrize("mark", ["EXIT", "SEGV", "FAIL"])
def test_a_note_that_kills_its_parser_does_not_end_it(place: Place, monkeypatch: pytest.MonkeyPatch, mark: str) -> None:
    """Fault 55 in a program that stays: what is written while it runs is parsed in another process."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "poison"))
    with Process(place, **QUIET) as watch:
        watch.wait_for("watching")
        place.put("d0/bad.md", f"# Bad\n\nPOISON-{mark}\n")
        place.put("d0/good.md", "# Quinces\n")
        until(lambda: finds(place, "quinces"))
        until(lambda: json.loads(place.cli("status", "--json").stdout)["quarantined"]["count"] == 1)
        assert watch.child.poll() is None
        watch.send(signal.SIGTERM)
        assert watch.end() == (0, "")


def test_the_limit_of_watches(place: Place) -> None:
    """Fault 47: told once, then the vault is polled."""
    unshare = ["unshare", "-Ur", "sh", "-c", 'echo 3 >/proc/sys/user/max_inotify_watches && exec "$@"', "sh"]
    probe = subprocess.run([*unshare, "true"], capture_output=True, text=True) if shutil.which("unshare") else None
    if probe is None or probe.returncode:
        pytest.skip(f"needs user namespaces, to lower the limit of watches: {probe and probe.stderr}")
    with Process(place, *unshare, watch_poll_s=0.2, embedder="none") as watch:
        event = watch.wait_for("watching")
        assert event["mode"] == "polling"
        assert "6 folders are to be watched, more than the system allows." in event["message"]
        assert "fs.inotify.max_user_watches" in event["message"]
        for n in range(3):
            place.put(f"d0/n{n}.md", f"# Quinces{n}\n")
            until(lambda n=n: finds(place, f"quinces{n}"))
        watch.send(signal.SIGINT)
        assert watch.end() == (0, "")
    assert [e["event"] for e in watch.told].count("watching") == 1


def test_other_commands_beside_it(place: Place) -> None:
    with Process(place, embedder="none", watch_scan_s=0.5) as watch:
        watch.wait_for("watching")
        place.put("d0/n0.md", "# Quinces\n")
        for verb in (["sync"], ["rebuild"], ["recall", "tomatoes"], ["sync", "--checksum"], ["embed"], ["status"]):
            done = place.cli(*verb)
            assert done.returncode == 0, (verb, done.stdout, done.stderr)
        place.put("d0/n1.md", "# Medlars\n")
        until(lambda: finds(place, "medlars"))
        watch.send(signal.SIGTERM)
        assert watch.end() == (0, "")
        assert not [e for e in watch.told if e["event"] == "fault"]
    place.sync()
    assert_equals_a_rebuild(place)
