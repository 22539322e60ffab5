"""Fault 55: the process in which harmful notes are parsed: what it says, how it ends, and that it never stays."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.engine import slot
from holdfast.engine.record import read_record
from holdfast.engine.slot import Slot, Slots, SlowError, UnavailableError
from holdfast.engine.slot_child import LENGTH, pack, unpack
from holdfast.errors import NoteMalformed
from holdfast.files.notes import digest_of
from tests.fault.test_odd_notes import BYTES
from tests.fault.vaults import repository

POISON = str(Path(__file__).parent / "poison")
MEMORY = 1 << 30


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slot]:
    """A slot whose process knows the marks of poison/sitecustomize.py."""
    monkeypatch.setenv("PYTHONPATH", POISON)
    made = Slot(MEMORY)
    yield made
    made.close()


def read(own: Slot, data: bytes, limit_s: float = 60.0, path: str = "a.md") -> object:
    return own.read(data, path, 250, digest_of(data), limit_s)[0]


def is_alive(pid: int | None) -> bool:
    return pid is not None and os.path.exists(f"/proc/{pid}")


def children() -> set[str]:
    """The processes that this one started and that have not been waited for."""
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(entry)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def wait_until_gone(pid: int, most_s: float = 20.0) -> bool:
    """Whether the process ends; a zombie of somebody else's has ended."""
    until = time.monotonic() + most_s
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_it_says_what_is_said_here(own: Slot) -> None:
    examples = Path(repository(), "examples/vault")
    bodies = {**BYTES, **{str(p.relative_to(examples)): p.read_bytes() for p in examples.rglob("*.md")}}
    assert len(bodies) > 30
    for path, data in bodies.items():
        here = read_record(data, path, 250, digest_of(data))
        assert own.read(data, path, 250, digest_of(data), 60.0) == here, path
        assert unpack(*pickle.loads(pickle.dumps(pack(*here)))[1:]) == here
    assert own.read(b"# A\n", "caf\udce9.md", 250, b"", 60.0) == read_record(b"# A\n", "caf\udce9.md", 250, b"")


@pytest.mark.parametrize(
    ("mark", "how"),
    [("EXIT", "exit code 7"), ("ABORT", "signal 6"), ("SEGV", "signal 11"), ("FAIL", "ValueError: poison")],
)
def test_what_dies_is_only_the_slot(own: Slot, mark: str, how: str) -> None:
    read(own, b"# Good\n")
    pid = own.pid
    with pytest.raises(NoteMalformed, match=how) as caught:
        read(own, f"# Bad\n\nPOISON-{mark}\n".encode(), path="some/bad.md")
    assert "some/bad.md" in caught.value.message
    assert is_alive(pid) is (mark == "FAIL"), "neither it nor a zombie is left"
    assert read(own, b"# Good\n")
    assert (own.pid == pid) is (mark == "FAIL")


@pytest.mark.parametrize("mark", ["LOOP", "HANG"])
def test_what_does_not_answer_is_given_up(own: Slot, mark: str) -> None:
    read(own, b"# Good\n")
    pid = own.pid
    with pytest.raises(SlowError):
        read(own, f"POISON-{mark}\n".encode(), limit_s=0.2)
    assert own.pid is None
    assert not is_alive(pid)
    assert read(own, b"# Good\n")


def test_what_eats_memory_has_only_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", POISON)
    own = Slot(300 << 20)
    try:
        with pytest.raises(NoteMalformed, match="more than 300 MiB"):
            read(own, b"POISON-EAT")
        assert read(own, b"# Good\n")
    finally:
        own.close()


def test_an_answer_is_bounded(own: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "REPLY_SCALE", 0)
    monkeypatch.setattr(slot, "REPLY_BYTES", 1_000)
    assert read(own, b"# Good\n")
    with pytest.raises(NoteMalformed, match="more than the 1,000 allowed"):
        read(own, b"[[link]] " * 1_000)
    assert read(own, b"# Good\n")


def test_what_a_parser_prints_is_no_answer(own: Slot) -> None:
    assert read(own, b"# Loud\n\nPOISON-PRINT\n") == read_record(b"# Loud\n\nPOISON-PRINT\n", "a.md", 250, digest_of(
        b"# Loud\n\nPOISON-PRINT\n"))[0]  # fmt: skip


def test_large_notes_go_through(own: Slot) -> None:
    data = b"The garden needs water, and [[Tomatoes]] grow.\n\n" * 40_000
    assert read(own, data) == read_record(data, "a.md", 250, digest_of(data))[0]


PARENT = """
import sys
from holdfast.engine.slot import Slot
slot = Slot(1 << 30)
slot.read(b"# Good", "a.md", 250, b"", 60.0)
print(slot.pid, flush=True)
slot.read(sys.argv[1].encode(), "a.md", 250, b"", 600.0)
"""


@pytest.mark.parametrize("mark", ["", "POISON-LOOP", "POISON-HANG"])
def test_it_does_not_outlive_who_started_it(mark: str) -> None:
    """Killed while the slot is idle, or busy with a note that never ends."""
    script = PARENT if mark else PARENT.replace("slot.read(sys.argv[1]", "import time; time.sleep(600); (sys.argv[1]")
    parent = subprocess.Popen(
        [sys.executable, "-c", script, mark], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": POISON}
    )
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.3)  # until it is at the note; earlier it ends all the more
        assert is_alive(pid)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()  # type: ignore[union-attr]
    assert wait_until_gone(pid)


def test_it_ends_by_itself_where_nobody_gives_it_up() -> None:
    script = "from holdfast.engine import slot_child as c; c.GRACE_S = 0.1; c.serve(1 << 30)"
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": POISON},
    )  # fmt: skip
    with child:
        assert child.stdin is not None
        body = pickle.dumps((b"POISON-LOOP", "a.md", 250, b"", 0.1))
        child.stdin.write(LENGTH.pack(len(body)) + body)
        child.stdin.flush()
        assert child.wait(60) == -signal.SIGALRM


def test_an_interrupt_at_the_terminal_is_not_for_it(own: Slot) -> None:
    read(own, b"# Good\n")
    assert own.pid is not None
    assert os.getsid(own.pid) != os.getsid(0)
    os.kill(own.pid, signal.SIGINT)
    pid = own.pid
    assert read(own, b"# Good\n")
    assert own.pid == pid


def test_nothing_in_the_current_folder_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("yaml", "pickle", "Stemmer", "holdfast"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(3)\n")
    monkeypatch.chdir(tmp_path)
    own = Slot(MEMORY)
    try:
        assert read(own, b"---\na: b\n---\nwords\n")
    finally:
        own.close()


def test_whoever_forgets_to_close_leaves_nothing(own: Slot) -> None:
    forgotten = Slot(MEMORY)
    read(forgotten, b"# Good\n")
    pid = forgotten.pid
    assert is_alive(pid)
    del forgotten
    assert not is_alive(pid)


def test_where_no_process_can_be_started_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots(MEMORY)
    for program in ("/nowhere/python", "/bin/false", ""):
        monkeypatch.setattr(sys, "executable", program)
        with pytest.raises(UnavailableError):
            slots.read(b"# Good\n", "a.md", 250, b"", 60.0)
        with pytest.raises(UnavailableError, match="a moment ago"):
            slots.read(b"# Good\n", "a.md", 250, b"", 60.0)
        slots.close()
    monkeypatch.undo()
    with pytest.raises(UnavailableError):
        Slot(10 << 20).read(b"# Good\n", "a.md", 250, b"", 60.0)  # too little memory even to start
    try:
        assert slots.read(b"# Good\n", "a.md", 250, b"", 60.0)
    finally:
        slots.close()


def test_no_descriptor_and_no_process_is_left_behind(own: Slot) -> None:
    others = children()  # of tests before this one
    read(own, b"# Good\n")
    before = sorted(os.listdir("/proc/self/fd"))
    for mark in ["EXIT", "LOOP", "FAIL", "EXIT"]:
        with pytest.raises((NoteMalformed, SlowError)):
            read(own, f"POISON-{mark}".encode(), limit_s=60.0 if mark != "LOOP" else 0.05)
    read(own, b"# Good\n")
    assert sorted(os.listdir("/proc/self/fd")) == before
    own.close()
    assert len(os.listdir("/proc/self/fd")) == len(before) - 3
    assert children() <= others, "no zombie, and no child at all"
