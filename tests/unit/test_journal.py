"""The journal of what is being read: what the next process learns from it, whatever it finds."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from holdfast.engine.journal import Journal
from holdfast.files.fs import FileSystem
from holdfast.model import sort_key
from tests.fault.faulty_fs import Fault, FaultyFS

A, B, C = sort_key("a.md"), sort_key("x/b\nc.md"), sort_key("d\udcff.md")


class Counted(list[str]):
    """The names that were counted."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "reading")


def journal(
    path: str, fs: FileSystem | None = None, *, counted: Counted | None = None, is_writer: bool = True
) -> Journal:
    return Journal(
        fs or FileSystem(), path, (counted if counted is not None else Counted()).append, is_writer=is_writer
    )


def die(path: str, *keys: bytes, is_trial: bool = False) -> None:
    """A process dies while it reads `keys`."""
    dead = journal(path)
    dead.__enter__()
    dead.begin(*keys, is_trial=is_trial)
    # Nothing is written at the end, as nobody is left to do it.
    assert dead._fd is not None
    FileSystem().close(dead._fd)


def suspects(path: str) -> dict[bytes, int]:
    with journal(path, is_writer=False) as found:
        return found.suspects


def test_what_was_read_is_suspect_and_deaths_are_counted(path: str) -> None:
    assert suspects(path) == {}
    die(path, A, B)
    assert suspects(path) == {A: 1, B: 1}
    die(path, C)
    assert suspects(path) == {A: 1, B: 1, C: 1}
    die(path, A, is_trial=True)
    assert suspects(path) == {A: 2, B: 1, C: 1}


def test_a_suspect_among_others_is_not_counted_again(path: str) -> None:
    die(path, A)
    die(path, A, B)
    assert suspects(path) == {A: 1, B: 1}


def test_a_death_before_anything_is_read_counts_for_nobody(path: str) -> None:
    die(path, A)
    for _ in range(3):
        dead = journal(path)
        dead.__enter__()
        assert dead.suspects == {A: 1}
        if dead._fd is not None:
            FileSystem().close(dead._fd)


def test_a_death_after_a_note_counts_for_nobody(path: str) -> None:
    dead = journal(path)
    dead.__enter__()
    dead.begin(A)
    dead.begin()
    assert dead._fd is not None
    FileSystem().close(dead._fd)
    assert suspects(path) == {}


def test_the_end_of_a_pass_forgets(path: str) -> None:
    die(path, A, B)
    with journal(path) as ended:
        ended.begin(C)
        ended.settle(A)
    assert suspects(path) == {B: 1}, "it was not met, and the pass did not see all"
    with journal(path) as ended:
        ended.is_done = True
    assert suspects(path) == {}
    assert Path(path).stat().st_size == 0


def end_badly(path: str, error: type[BaseException]) -> None:
    with journal(path) as ended:
        ended.begin(B)
        raise error


def test_an_error_blames_nobody_and_an_interrupt_counts_no_death(path: str) -> None:
    die(path, A)
    for error, left in ((ValueError, {A: 1}), (KeyboardInterrupt, {A: 1, B: 0})):
        with pytest.raises(error):
            end_badly(path, error)
        assert suspects(path) == left


def test_who_may_not_write_only_looks(path: str) -> None:
    die(path, A)
    before = Path(path).read_bytes()
    with journal(path, is_writer=False) as looking:
        assert looking.suspects == {A: 1}
        looking.begin(B)
        looking.is_done = True
    assert Path(path).read_bytes() == before


def test_whatever_is_left_of_it_is_read_or_is_nothing(path: str) -> None:
    """After a power loss: cut, torn, zeroed, of another time, or no journal at all."""
    die(path, A, B)
    whole = Path(path).read_bytes()
    known = ({}, {A: 1, B: 1})
    cases = [whole[:n] for n in range(len(whole))] + [whole + whole, whole + b"\0" * 4096, b"\0" * 99, b"5 0\nx" * 9]
    cases += [whole[:n] + b"\0" * (len(whole) - n) for n in range(len(whole))]
    cases += [b"2 223132457\n{}", b"4 2018365746\nnull", b"99999999999999999999 1\n"]
    for case in cases:
        Path(path).write_bytes(case)
        counted = Counted()
        with journal(path, counted=counted, is_writer=False) as found:
            assert found.suspects in known
        assert (found.suspects == known[1]) is case.startswith(whole)
        assert bool(counted) is (bool(case) and not case.startswith(whole))
        with journal(path) as ended:
            ended.is_done = True
        assert Path(path).read_bytes() == b""


def test_a_write_that_was_torn_is_nothing_known(path: str) -> None:
    """The beginning of one journal and the end of another, of the same length."""
    wholes = []
    for keys in ((A, B), (sort_key("e.md"), sort_key("y/b\nc.md"))):
        Path(path).write_bytes(b"")
        die(path, *keys)
        wholes.append((Path(path).read_bytes(), dict.fromkeys(keys, 1)))
    (old, before), (new, after) = wholes
    assert len(old) == len(new)
    for n in range(len(new) + 1):
        Path(path).write_bytes(new[:n] + old[n:])
        assert suspects(path) in (before, after, {})


@pytest.mark.parametrize("call", ["open_lock", "pwrite", "truncate"])
def test_a_full_disk_is_counted_and_stops_nothing(path: str, call: str) -> None:
    counted = Counted()
    with journal(path, FaultyFS(Fault(call, error=errno.ENOSPC, times=None)), counted=counted) as ended:
        ended.begin(A)
        ended.is_done = True
    assert set(counted) == {"journal_failed"}


def test_it_is_written_in_pieces_where_it_must_be(path: str) -> None:
    dead = journal(path, FaultyFS(Fault("pwrite", short=5)))
    dead.__enter__()
    dead.begin(A, B, C)
    assert suspects(path) == {A: 1, B: 1, C: 1}
    assert dead._fd is not None
    FileSystem().close(dead._fd)
