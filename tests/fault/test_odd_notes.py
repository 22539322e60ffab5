"""Faults 50 to 55: files that are no notes, notes that are hardly text, and notes that break whoever reads them."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast import Config
from tests.fault.faulty_fs import FaultyFS
from tests.fault.vaults import CONFIG, Place, assert_equals_a_rebuild, index_of


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(5)
    return made


def found(place: Place, question: str) -> list[str]:
    return sorted({h.path for h in place.recall(question).hits})


def test_a_sparse_file_of_a_gigabyte_is_listed_and_never_opened(place: Place) -> None:
    place.put("big.md", "# Big\n\nzebra\n")
    place.sync()
    assert found(place, "zebra") == ["big.md"]
    os.truncate(f"{place.root}/big.md", 1 << 30)
    fs = FaultyFS()
    with place.open(fs) as vault:
        for _ in range(2):
            done = vault.sync()
            assert (done.notes, done.quarantined) == (6, 1)
        assert not [where for call, where in fs.trail if call == "open_read" and where.endswith("big.md")]
        assert [(n.path, n.digest) for n in vault.list().notes if n.path == "big.md"] == [("big.md", None)]
        status = vault.status()
        assert (status.health, status.quarantined["newest"][0]["path"]) == ("degraded", "big.md")
    assert found(place, "zebra") == []
    assert place.cli("sync").returncode == 3
    assert_equals_a_rebuild(place)
    os.rename(f"{place.root}/big.md", f"{place.root}/d1/bigger.md")
    place.sync()
    assert_equals_a_rebuild(place)
    place.put("d1/bigger.md", "# Small again\n\nzebra\n")
    assert place.sync().quarantined == 0
    assert found(place, "zebra") == ["d1/bigger.md"]
    assert_equals_a_rebuild(place)


def test_what_is_set_aside_moves_with_its_folder(place: Place) -> None:
    for n in range(6):
        place.put(f"f/n{n}.md", f"# {n}\n")
    os.truncate(f"{place.root}/f/n3.md", 1 << 30)
    with place.open() as vault:
        vault.sync()
        time.sleep(0.05)
        vault.sync()
        os.rename(f"{place.root}/f", f"{place.root}/g")
        done = vault.sync()
        assert (done.quarantined, done.moved) == (1, 5)
    assert_equals_a_rebuild(place)


def test_what_is_no_file_is_never_waited_for(place: Place) -> None:
    os.mkfifo(f"{place.root}/pipe.md")
    os.symlink(".", f"{place.root}/self")
    os.symlink("/etc", f"{place.root}/etc")
    os.symlink("/etc/hostname", f"{place.root}/host.md")
    os.symlink("/dev/zero", f"{place.root}/zero.md")
    os.symlink("pipe.md", f"{place.root}/to-pipe.md")
    os.symlink("nowhere.md", f"{place.root}/broken.md")
    os.symlink("loop-b.md", f"{place.root}/loop-a.md")
    os.symlink("loop-a.md", f"{place.root}/loop-b.md")
    os.symlink("d0/n0.md", f"{place.root}/good.md")
    os.mkdir(f"{place.root}/folder.md")
    with socket.socket(socket.AF_UNIX) as s:
        here = os.getcwd()
        os.chdir(place.root)
        try:
            s.bind("socket.md")
        finally:
            os.chdir(here)
        done = place.sync()
    assert done.notes == 6  # five, and one of them under a second name
    assert sum(done.skipped.values()) >= 8
    place.recall("tomatoes")
    assert_equals_a_rebuild(place)


def test_a_note_that_becomes_something_else_leaves(place: Place) -> None:
    for name in ("a", "b", "c", "d", "e"):
        place.put(f"{name}.md", f"# {name}\n\nzebra\n")
    place.put("f/inner.md", "# Inner\n\nzebra\n")
    place.sync()
    for name in ("a", "b", "c", "d"):
        os.unlink(f"{place.root}/{name}.md")
    os.mkfifo(f"{place.root}/a.md")
    os.mkdir(f"{place.root}/b.md")
    os.symlink("/etc/hostname", f"{place.root}/c.md")
    os.symlink("d.md", f"{place.root}/d.md")
    os.rename(f"{place.root}/f", f"{place.root}/.g")
    os.symlink(".g", f"{place.root}/f")
    assert place.sync().notes == 6
    assert found(place, "zebra") == ["e.md"]
    assert_equals_a_rebuild(place)


BYTES = {
    "latin.md": "# Grün\n\nzebra ünï\n".encode("latin-1"),
    "nul.md": b"# N\0ul\n\nze\0bra zebra\n\0\0\0",
    "bom.md": b"\xef\xbb\xbf---\ntitle: Bom\n---\nzebra\n",
    "crlf.md": b"---\r\ntitle: Crlf\r\n---\r\n# Head\r\n\r\nzebra\r\n- [tip] x\r\n",
    "cr.md": b"# Old Mac\rzebra\r",
    "utf16.md": "# Wide\n\nzebra\n".encode("utf-16"),
    "binary.md": bytes(range(256)) * 64 + b"\nzebra\n",
    "zeros.md": b"\0" * 100_000,
    "empty.md": b"",
    "blank.md": b"\n \n\t\n",
    "no-end.md": b"zebra",
    "surrogate.md": b"\xed\xa0\x80 zebra \xf8\x88\x80\x80\x80 \xc0\xaf\n",
    "yaml-bomb.md": b"---\na: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n---\nzebra\n",
    "yaml-deep.md": b"---\na: " + b"[" * 3_000 + b"\n---\nzebra\n",
    "yaml-date.md": b"---\nmodified: 2024-13-45\n---\nzebra\n",
    "yaml-twice.md": b"---\ntitle: a\ntitle: b\n---\nzebra\n",
    "yaml-huge.md": b"---\na: " + b"x" * 100_000 + b"\n---\nzebra\n",
    "fence.md": b"```\nzebra\n" * 500,
    "quotes.md": b">" * 5_000 + b" zebra\n",
    "brackets.md": b"[[" * 20_000 + b" zebra\n",
}


def test_odd_bytes_are_kept_searched_and_do_not_disturb_others(place: Place) -> None:
    for name, body in BYTES.items():
        place.put(name, body)
    done = place.sync()
    assert done.notes == len(BYTES) + 5
    silent = {"zeros.md", "empty.md", "blank.md", "utf16.md"}
    with place.open() as vault:
        hits = vault.recall("zebra", sync=False, k=200, budget=10**6, by="note").hits
        assert {h.path for h in hits} | silent >= set(BYTES) - {"cr.md"}
        assert all(h.text is not None and "\0" not in h.text for h in hits)
        for name in BYTES:
            vault.read(name, sync=False)
    for name, body in BYTES.items():
        assert Path(place.root, name).read_bytes() == body
    assert_equals_a_rebuild(place)


def test_names_that_are_no_utf8_are_notes_like_others(place: Place) -> None:
    for name in (
        "caf\udce9.md",
        "\udcff\udcfe/inner.md",
        "%E9.md",
        "caf%E9.md",
        "new\nline.md",
        "tab\t.md",
        "-dash.md",
        "é.md",
    ):
        place.put(name, f"# {name.encode('utf-8', 'replace').decode()}\n\nzebra\n")
    place.put("e\u0301.md", "# Decomposed\n\nzebra\n")
    assert place.sync().notes == 14
    with place.open() as vault:
        hits = vault.recall("zebra", sync=False, k=50, by="note", budget=10**5).hits
        assert len(hits) == 9
        assert [h.path for h in hits].count("caf%E9.md") == 2  # the byte that is no UTF-8, and the name that looks so
        assert vault.read("caf%E9.md", sync=False).text
        assert len(vault.list(sync=False).notes) == 14
    assert_equals_a_rebuild(place)


@pytest.mark.parametrize("path", ["long.md", "links.md", "tiny.md"])
def test_ten_megabytes_take_time_in_proportion(place: Place, path: str) -> None:
    """No ten seconds for ten times a second's work: a megabyte first, then ten."""
    size = 1_000_000
    bodies = {
        "long.md": lambda n: b"z" * n,
        "links.md": lambda n: b"".join(b"[[l%d]] " % i for i in range(n // 12)),
        "tiny.md": lambda n: b"".join(b"# a\n\nb\n\n" for _ in range(n // 8)),
    }
    body = bodies[path]
    # In this process, whose time is measured.
    config = Config(background=False, embedder="none", note_bytes=32 << 20, isolate_bytes=1 << 40)
    with place.open(config=config) as vault:
        vault.sync()
        times = []
        for factor in (1, 10):
            place.put(path, body(factor * size))
            began = time.process_time()
            vault.sync()
            times.append(time.process_time() - began)
        assert times[1] < 30 * times[0] + 1, times
        vault.recall("zebra tomatoes", sync=False)
        if path in ("tiny.md", "links.md"):
            assert vault.status().quarantined["count"] == 1  # a cap was reached, and is stated
    assert index_counts(place)[0] == 6


def index_counts(place: Place) -> tuple[int, int]:
    with place.open() as vault:
        counts = index_of(vault).counts()
        return counts.notes, counts.chunks


def test_a_batch_of_many_small_chunks_is_more_than_a_segment(place: Place) -> None:
    """One transaction with more chunks than a segment has room for."""
    body = b"".join(b"# a\n\nb\n\n" for _ in range(1_000))
    for n in range(90):
        place.put(f"many/n{n:02}.md", body + b"zebra%d\n" % n)
    with place.open(config=Config(background=False, embedder="none", batch_bytes=1 << 30)) as vault:
        done = vault.sync()
        assert done.chunks > 80_000
        assert next(h.path for h in vault.recall("zebra7", sync=False).hits) == "many/n07.md"


def test_a_large_note_and_a_small_one_in_one_batch(place: Place) -> None:
    """One transaction with more words than a segment is built from."""
    place.put("a.md", "# Small\n\nyak\n")
    place.put("b.md", b"zebra ox " * 900_000)
    with place.open() as vault:
        assert vault.sync().notes == 7
        assert [h.path for h in vault.recall("yak", sync=False, by="note").hits] == ["a.md"]
        assert [h.path for h in vault.recall("zebra", sync=False, by="note").hits] == ["b.md"]


class Poison:
    """A parser that fails for some notes, in some way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from holdfast.engine import apart

        self.real = apart.read_record
        self.fails: dict[str, type[Exception]] = {}
        monkeypatch.setattr(apart, "read_record", self)

    def __call__(self, data: bytes, path: str, *rest: Any) -> Any:
        if path in self.fails:
            raise self.fails[path]("poison")
        return self.real(data, path, *rest)


@pytest.mark.parametrize("error", [RecursionError, ValueError, IndexError, ZeroDivisionError])
def test_a_poisonous_note_is_set_aside_and_others_go_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    poison = Poison(monkeypatch)
    place.put("bad.md", "# Bad\n\nzebra\n")
    poison.fails["bad.md"] = error
    for tried in (1, 0):  # the same bytes are not tried again at once
        done = place.sync()
        assert (done.notes, done.quarantined, done.skipped.get("parser_failed", 0)) == (5, 1, tried)
    assert found(place, "zebra") == []
    assert found(place, "tomatoes")
    with place.open() as vault:
        newest = vault.status().quarantined["newest"][0]
        assert newest["path"] == "bad.md"
        assert error.__name__ in newest["reason"]
    poison.fails.clear()
    done = place.sync(checksum=True)
    assert (done.notes, done.quarantined) == (6, 0)
    assert found(place, "zebra") == ["bad.md"]
    assert_equals_a_rebuild(place)


def test_a_note_that_turns_poisonous_never_shows_what_it_no_longer_says(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = Poison(monkeypatch)
    full = place.put("bad.md", "# Bad\n\nzebra\n")
    place.sync()
    poison.fails["bad.md"] = ValueError
    Path(full).write_text("# Bad\n\nyak\n")
    place.sync()
    assert not [h for h in place.recall("zebra").hits if h.text and "zebra" in h.text]
    poison.fails.clear()
    place.sync(checksum=True)
    assert found(place, "yak") == ["bad.md"]
    assert found(place, "zebra") == []
    assert_equals_a_rebuild(place)


def test_a_note_that_was_unreadable_for_a_while_is_released(place: Place) -> None:
    from tests.fault.faulty_fs import Fault

    fs = FaultyFS(Fault("pread", "d1/n1.md", error=5, times=None))
    with place.open(fs) as vault:
        assert vault.sync().quarantined == 1
        fs.faults.clear()
        assert vault.sync().quarantined == 0
        assert vault.status().health == "ok"
        # Once more, with a note that the index has already, and that does not change.
        time.sleep(0.05)
        vault.sync()
        fs.faults.append(Fault("pread", "d1/n1.md", error=5, times=None))
        done = vault.sync(checksum=True)
        assert (done.quarantined, done.notes) == (1, 5)
        answer = vault.recall("note 1", sync=False)
        assert [h.stale for h in answer.hits if h.path == "d1/n1.md"] == [True]
        fs.faults.clear()
        done = vault.sync()
        assert (done.quarantined, done.changed, done.notes) == (0, 0, 5)
    assert_equals_a_rebuild(place)


def test_a_note_without_text_is_found_by_its_title_while_it_is_there(place: Place) -> None:
    full = place.put("Zebra crossing.md", "")
    other = place.put("Yak shaving.md", "---\ntags: [x]\n---\n")
    place.sync()
    assert [(h.path, h.text) for h in place.recall("zebra").hits] == [("Zebra crossing.md", "Zebra crossing")]
    os.unlink(full)
    Path(other).write_text("---\ntitle: Ox\n---\n")
    assert place.recall("zebra").hits == ()
    assert [h.text for h in place.recall("yak").hits] == []


def test_the_vault_itself_may_be_a_link(place: Place) -> None:
    os.symlink(place.root, place.base + "/link")
    place.sync()
    real = place.directory
    place.root = place.base + "/link"
    assert place.directory == real
    assert place.sync().unchanged + place.sync().unchanged > 0
    shutil.rmtree(place.base + "/state")
    assert place.sync().notes == 5


def test_the_configuration_of_these_tests_starts_no_process() -> None:
    assert not CONFIG.background
