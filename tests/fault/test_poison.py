"""Faults 7 and 55: notes that kill, hang or bloat whoever parses them, with real processes that really die.

The marks in the notes are those of poison/sitecustomize.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import Config, Vault
from holdfast.engine import apart, apply, late
from holdfast.engine.journal import Journal
from holdfast.engine.record import read_record
from holdfast.engine.slot import Slots
from holdfast.files.fs import FileSystem
from holdfast.model import sort_key
from tests.fault.faulty_fs import Fault, FaultyFS, Killed
from tests.fault.mortal_fs import Mortal
from tests.fault.test_slot import POISON, is_alive, wait_until_gone
from tests.fault.vaults import CONFIG, Place, assert_equals_a_rebuild, environment, index_of

S = 10**9
CONFIGURED = Config(background=False, lock_wait_s=2.0, look_ms=10_000, embedder="none", note_timeout_s=0.5)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(12)
    return made


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots of this process know the marks; this process does not, so it survives what it parses itself."""
    monkeypatch.setenv("PYTHONPATH", POISON)


def command(place: Place, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return place.cli(*args, env={"PYTHONPATH": POISON, "HOLDFAST_NOTE_TIMEOUT_S": "0.5", **env})


def journal(place: Place) -> Path:
    return Path(place.directory, "reading")


def suspects(place: Place) -> dict[bytes, int]:
    with Journal(FileSystem(), str(journal(place)), print, is_writer=False) as found:
        return found.suspects


def aside(place: Place) -> dict[str, str]:
    with place.open() as vault:
        return {x["path"]: x["reason"] for x in vault.status().quarantined["newest"]}


def found(place: Place, question: str) -> list[str]:
    return sorted({h.path for h in place.recall(question).hits})


# What dies in a process that parses notes itself


@pytest.mark.parametrize(("mark", "code"), [("EXIT", 7), ("ABORT", -signal.SIGABRT), ("SEGV", -signal.SIGSEGV)])
def test_a_crash_loop_ends_at_the_second_start(place: Place, mark: str, code: int) -> None:
    """Row 7. The first start dies. The second finishes: the bad notes are set aside, all others are there."""
    place.put("d1/bad.md", f"# Bad\n\nzebra POISON-{mark}\n")
    place.put("d3/worse.md", f"# Worse\n\nzebra POISON-{mark}\n")
    place.put("z.md", "# Last\n\nyak\n")
    assert command(place, "sync").returncode == code
    assert set(suspects(place).values()) == {1}
    done = command(place, "sync", "--explain")
    assert done.returncode == 3, done.stderr
    assert set(aside(place)) == {"d1/bad.md", "d3/worse.md"}
    assert all("The parser died" in reason for reason in aside(place).values())
    assert "The next try is due at" in done.stdout
    assert found(place, "yak") == ["z.md"]
    assert (journal(place).stat().st_size, suspects(place)) == (0, {})


def test_what_killed_once_harms_nobody_again(place: Place) -> None:
    """Wherever it is then, and whatever is done."""
    for path in ("d1/bad.md", "d3/worse.md"):
        place.put(path, "# Bad\n\nzebra POISON-EXIT\n")
    command(place, "sync")
    command(place, "sync")
    for args in (["sync"], ["sync", "--checksum"], ["rebuild"], ["recall", "zebra"], ["sync"]):
        assert command(place, *args).returncode in (0, 3), args
        assert set(aside(place)) == {"d1/bad.md", "d3/worse.md"}
    assert "POISON" in command(place, "read", "d1/bad.md").stdout
    os.rename(f"{place.root}/d1/bad.md", f"{place.root}/d2/moved.md")
    place.put("copy.md", Path(place.root, "d3/worse.md").read_bytes())
    assert command(place, "sync").returncode == 3
    assert set(aside(place)) == {"d2/moved.md", "d3/worse.md", "copy.md"}
    # Another content is read at once.
    for path in ("d2/moved.md", "d3/worse.md", "copy.md"):
        place.put(path, "# Good\n\nzebra\n")
    assert command(place, "sync").returncode == 0
    assert found(place, "zebra") == ["copy.md", "d2/moved.md", "d3/worse.md"]
    assert_equals_a_rebuild(place)


def test_a_crash_loop_outside_of_the_parser_ends_at_the_third_start(place: Place) -> None:
    """A note that only kills who stores it: the slot does not help, counting does."""
    place.put("d1/bad.md", "# POISON-STORE\n\nzebra\n")
    for deaths in (1, 2):
        assert command(place, "sync", HOLDFAST_TEST_STORE="1").returncode == 9
        assert suspects(place)[sort_key("d1/bad.md")] == deaths
    assert command(place, "sync", HOLDFAST_TEST_STORE="1").returncode == 3
    assert "2 times in a row" in aside(place)["d1/bad.md"]
    with place.open() as vault:
        assert vault.list(sync=False, limit=100).notes[-1].path == "d4/n9.md"
        assert index_of(vault).counts().notes == 12
    assert suspects(place) == {}


def test_a_retry_that_kills_is_not_tried_a_second_time(place: Place) -> None:
    place.put("d1/bad.md", "# POISON-STORE\n\nzebra\n")
    for _ in range(3):
        command(place, "sync", HOLDFAST_TEST_STORE="1")
    assert command(place, "sync", "--checksum", HOLDFAST_TEST_STORE="1").returncode == 9
    assert command(place, "sync", HOLDFAST_TEST_STORE="1").returncode == 3
    with place.open() as vault:
        kept = index_of(vault).aside(sort_key("d1/bad.md"))
        assert kept is not None
        assert kept.tries >= 1
    assert command(place, "sync", "--checksum").returncode == 0  # without the harm it comes in
    assert found(place, "zebra") == ["d1/bad.md"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_hangs_and_is_ended_does_not_hang_again(place: Place, how: signal.Signals) -> None:
    place.put("d1/bad.md", "# Bad\n\nzebra POISON-LOOP\n")
    child = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "sync", "--vault", place.root, "--state-dir", place.state],
        env={**environment(), "PYTHONPATH": POISON}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who runs in the background may ignore it
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and not (journal(place).exists() and journal(place).stat().st_size):
            time.sleep(0.01)
        time.sleep(0.2)
        child.send_signal(how)
        assert child.wait(60)
    finally:
        child.kill()
        child.wait()
    assert set(suspects(place).values()) == {1 if how == signal.SIGKILL else 0}
    assert command(place, "sync").returncode == 3
    assert aside(place) == {"d1/bad.md": "Parsing d1/bad.md took more than 0.5 s."}
    with place.open() as vault:
        assert index_of(vault).counts().notes == 12
    assert_others_equal_a_rebuild(place, "d1/bad.md")


def assert_others_equal_a_rebuild(place: Place, *bad: str) -> None:
    for path in bad:
        os.unlink(f"{place.root}/{path}")
    place.sync()
    assert_equals_a_rebuild(place)


def test_a_look_before_an_answer_ends_a_crash_loop_too(place: Place) -> None:
    place.put("d1/bad.md", "# Bad\n\nzebra POISON-EXIT\n")
    assert command(place, "recall", "tomatoes").returncode == 7
    done = command(place, "recall", "tomatoes", "--json", HOLDFAST_LOOK_MS="20000")
    assert done.returncode == 0, done.stderr
    assert '"path"' in done.stdout
    assert set(aside(place)) == {"d1/bad.md"}


def test_an_innocent_note_is_no_suspect_for_long(place: Place) -> None:
    """Killed without any fault of a note: what was being read comes in, and nothing is set aside."""
    place.put("z.md", "# POISON-STORE\n\nzebra\n")
    command(place, "sync", HOLDFAST_TEST_STORE="1")
    assert len(suspects(place)) == 13
    done = command(place, "sync", "--json")
    assert done.returncode == 0
    assert suspects(place) == {}
    assert_equals_a_rebuild(place)


# What slots keep away from a process that stays


def isolating(place: Place, fs: FileSystem | None = None, config: Config = CONFIGURED) -> Vault:
    vault = place.open(fs, config)
    vault._ws.isolates = True
    return vault


MARKS = {"EXIT": "exit code 7", "ABORT": "signal 6", "LOOP": "more than 3 s", "FAIL": "ValueError", "EAT": "MiB"}


def test_others_are_there_before_a_bad_note_is_waited_for(
    place: Place, poisoned: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 55: no bad note delays another: when its own time begins, all others are committed, removals too."""
    monkeypatch.setattr(apart, "PATIENCE_S", 0.2)
    place.put("gone.md", "# Gone\n")
    # Time enough to eat all memory, on a busy machine too.
    config = Config(**{**plain(CONFIGURED), "slot_bytes": 400 << 20, "note_timeout_s": 3.0})
    with isolating(place, config=config) as vault:
        vault.sync()
        os.unlink(f"{place.root}/gone.md")
        for n, mark in enumerate(MARKS):
            place.put(f"d{n}/bad-{mark}.md", f"# Bad\n\nzebra POISON-{mark}\n")
        place.put("d0/aa.md", "# New\n\nzebra\n")
        place.put("z.md", "# New\n\nzebra\n")
        seen = []
        real = apply.Apply.one

        def one(self: apply.Apply, *args: Any) -> bool:
            seen.append(index_of(vault).counts().notes)
            return real(self, *args)

        monkeypatch.setattr(apply.Apply, "one", one)
        done = vault.sync()
        assert (done.quarantined, done.notes, done.added, done.removed) == (5, 14, 2, 1)
        assert set(seen) == {14}
        assert seen, "nothing was put off"
        reasons = {x["path"]: x["reason"] for x in vault.status().quarantined["newest"]}
        for n, (mark, why) in enumerate(MARKS.items()):
            assert why in reasons[f"d{n}/bad-{mark}.md"]
        assert vault._ws.slots._idle
        pids = [slot.pid for slot in vault._ws.slots._idle]
        assert vault.sync().files_read <= 20
    assert not any(is_alive(pid) for pid in pids)
    with place.open() as vault:
        assert sorted({h.path for h in vault.recall("zebra", sync=False).hits}) == ["d0/aa.md", "z.md"]


def plain(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in Config.__dataclass_fields__}


def test_a_thousand_bad_notes_take_a_bounded_time(
    place: Place, poisoned: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few that never answer the others are set aside untried; each is tried in one of the next passes."""
    monkeypatch.setattr(apart, "PATIENCE_S", 0.1)
    monkeypatch.setattr(apart, "PATIENCE_LEAST_S", 0.01)
    for n in range(8):
        place.put(f"bad{n}.md", f"# Bad {n}\n\nPOISON-LOOP\n")
    with isolating(place, config=Config(**{**plain(CONFIGURED), "note_timeout_s": 0.1})) as vault:
        tried = [0]
        while not tried[-1] or any(x.retry_ns <= time.time_ns() for x in index_of(vault).quarantined(100)):
            done = vault.sync()
            assert (done.quarantined, done.notes) == (8, 12)
            reasons = [x.reason for x in index_of(vault).quarantined(100)]
            tried.append(sum("took more than 0.1 s" in r for r in reasons))
            assert 1 <= tried[-1] - tried[-2] <= late.FAILING
        assert tried[-1] == 8


def test_retries_come_when_they_are_due(place: Place, poisoned: None) -> None:
    """1 min, 5 min, 1 h, 1 day, and 1 day from then on; at once when the bytes change, and not when they do not."""
    full = place.put("bad.md", "# Bad\n\nPOISON-FAIL\n")
    key = sort_key("bad.md")
    fs = FaultyFS(clock_ns=time.time_ns() + 10 * S)
    with isolating(place, fs) as vault:
        vault.sync()
        for tries, wait_s in enumerate((60, 300, 3_600, 86_400, 86_400), 1):
            kept = index_of(vault).aside(key)
            assert kept is not None
            assert (kept.tries, kept.retry_ns - fs.clock_ns) == (tries, wait_s * S)
            assert "POISON" not in kept.reason
            fs.clock_ns += (wait_s - 1) * S
            os.utime(full, (tries, tries))  # touched, and not another
            assert vault.sync().quarantined == 1
            assert index_of(vault).aside(key) == kept
            fs.clock_ns += S
            assert vault.sync().quarantined == 1
        shown = vault.status().quarantined["newest"][0]
        assert shown["retry_at"] > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(fs.clock_ns // S))
        place.put("bad.md", "# Bad still\n\nPOISON-FAIL\n")
        vault.sync()
        kept = index_of(vault).aside(key)
        assert kept is not None
        assert (kept.tries, kept.retry_ns - fs.clock_ns) == (1, 60 * S)
        place.put("bad.md", "# Good\n\nzebra\n")
        assert vault.sync().quarantined == 0
    assert found(place, "zebra") == ["bad.md"]
    assert_equals_a_rebuild(place)


def test_what_is_due_comes_back_by_itself(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harm has ended, by an update say: the next sync after the wait brings the note in."""
    monkeypatch.setenv("PYTHONPATH", POISON)
    place.put("bad.md", "# Bad\n\nzebra POISON-EXIT\n")
    fs = FaultyFS(clock_ns=time.time_ns() + 10 * S)
    with isolating(place, fs) as vault:
        assert vault.sync().quarantined == 1
        vault._ws.slots.close()
        monkeypatch.delenv("PYTHONPATH")
        assert vault.sync().quarantined == 1
        fs.clock_ns += 60 * S
        assert vault.sync().quarantined == 0
    assert found(place, "zebra") == ["bad.md"]
    assert_equals_a_rebuild(place)


def test_a_parked_note_keeps_its_hits_without_words(place: Place, poisoned: None) -> None:
    full = place.put("bad.md", "# Bad\n\nzebra crossing\n")
    with isolating(place) as vault:
        vault.sync()
        Path(full).write_text("# Bad\n\nPOISON-FAIL zebra?\n")
        vault.sync()
        answer = vault.recall("zebra", sync=False)
        assert [(h.path, h.text, h.stale) for h in answer.hits] == [("bad.md", None, True)]
        assert any("ValueError" in said for said in answer.receipt.degraded)
        note = vault.read("bad.md", sync=False)
        assert (note.title, note.text, note.trust) == ("bad", "# Bad\n\nPOISON-FAIL zebra?\n", "external")


def test_large_notes_are_parsed_apart_in_every_command(place: Place, poisoned: None) -> None:
    place.put("large.md", "# Large\n\nzebra\n\n" + "the garden needs water\n\n" * 20_000 + "POISON-ABORT\n")
    with place.open(config=CONFIGURED) as vault:
        done = vault.sync()
        assert (done.quarantined, done.notes) == (1, 12)
        assert not vault._ws.slots._idle, "a slot ends with its pass"
    assert "signal 6" in aside(place)["large.md"]


def test_without_slots_all_goes_on_in_the_process(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    place.put("large.md", "# Large\n\nzebra\n\n" + "the garden needs water\n\n" * 20_000)
    with isolating(place) as vault:
        assert vault.sync().quarantined == 0
        assert vault.status().counters["slot_unavailable"] == 13
    monkeypatch.undo()
    assert_equals_a_rebuild(place)


def test_a_slot_ends_with_its_command(place: Place) -> None:
    """Killed while it waits for a slot: neither stays."""
    place.put("large.md", "# Large\n\n" + "the garden needs water\n\n" * 20_000 + "POISON-HANG\n")
    child = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "sync", "--vault", place.root, "--state-dir", place.state],
        env={**environment(), "PYTHONPATH": POISON}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with child:
        children: list[str] = []
        until = time.monotonic() + 60
        while time.monotonic() < until and not children:
            time.sleep(0.01)
            children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        time.sleep(0.2)
        child.kill()
        child.wait()
    assert children
    assert all(wait_until_gone(int(pid)) for pid in children)


def test_many_parked_notes_do_not_slow_a_sync_without_changes(place: Place, poisoned: None) -> None:
    place.fill(2_000)
    for n in range(1_000):
        place.put(f"p{n % 10}/n{n}.md", f"# N {n}\n")

    def cost() -> float:
        times = []
        with place.open(FaultyFS(clock_ns=time.time_ns() + 3_600 * S)) as vault:
            vault.sync()
            for _ in range(7):
                began = time.process_time()
                assert vault.sync().files_read == 0
                times.append(time.process_time() - began)
        return min(times)

    before = cost()
    with place.open() as vault, index_of(vault).begin() as tx:
        for n in range(1_000):
            key = sort_key(f"p{n % 10}/n{n}.md")
            tx.quarantine(key, "It was a test.", time.time_ns(), time.time_ns() + 10**15, b"x" * 16)
    assert cost() < 2.5 * before


# The journal dies with its process, at every step


def test_a_death_at_any_step_of_a_sync_harms_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slots, "read", lambda self, *args: read_record(*args[:4]))  # no processes: there are hundreds
    place = Place(tmp_path)
    config = Config(background=False, embedder="none", batch_notes=2, isolate_bytes=500)
    place.fill(5, words=20)
    place.put("d1/large.md", "# Large\n\n" + "garden water\n\n" * 50)
    place.sync()
    steps = 0
    while True:
        steps += 1
        assert steps < 2_000
        for n in range(5):
            place.put(f"d{n}/n{n}.md", f"# Note {n}\n\nstep {steps} tomatoes garden\n")
        place.put("d1/large.md", f"# Large\n\n{steps}\n\n" + "garden water\n\n" * 50)
        fs = Mortal(Fault(at=steps, kill=True))
        vault = place.open(fs=None, config=config)
        vault._ws.fs = fs
        try:
            vault.sync()
            died = False
        except Killed:
            died = True
        fs.bury()
        vault._ws._open = None
        assert sum(suspects(place).values()) <= 3, "no more than one batch can be suspect, once"
        done = place.sync()
        assert (done.quarantined, done.notes, done.behind) == (0, 6, 0)
        assert suspects(place) == {}
        if steps % 10 == 0 or not died:
            assert_equals_a_rebuild(place)
        if not died:
            break
    assert steps > 60


def test_an_error_of_the_machine_is_no_fault_of_a_note(place: Place) -> None:
    """What was being read when the disk was full is no suspect."""
    fs = FaultyFS()
    with place.open(fs) as vault:
        index_of_nothing = vault._ws.writable_index()

        def full(*args: Any) -> None:
            raise OSError(28, "No space left on device")

        original: Callable[..., Any] = index_of_nothing.begin
        index_of_nothing.begin = full  # type: ignore[method-assign,assignment]
        with pytest.raises(OSError, match="No space"):
            vault.sync()
        index_of_nothing.begin = original  # type: ignore[method-assign]
        assert suspects(place) == {}


def test_a_journal_that_cannot_be_written_stops_nothing(place: Place) -> None:
    fs = FaultyFS(Fault("open_lock", "/reading", error=28, times=None))
    with place.open(fs, CONFIG) as vault:
        assert vault.sync().notes == 12
        assert vault.status().counters["journal_failed"] >= 1
    assert_equals_a_rebuild(place)
