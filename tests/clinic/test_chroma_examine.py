"""`holdfast clinic chroma`: the right verdict on each patient, no false alarm, nothing changed, nothing run."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import apsw
import pytest

from holdfast.clinic import chroma
from holdfast.clinic.chroma import examining
from holdfast.clinic.report import Report
from tests.clinic import chroma_patients as patients


def only(report: Report) -> Any:
    """The one segment with a name of ours."""
    (seen,) = (s for s in report.seen if s["collection"] == "drawers")
    return seen


def test_twenty_healthy_ones_raise_no_alarm() -> None:
    assert len(patients.healthy()) == 20
    for shape, palace in patients.healthy().items():
        report = chroma.examine(str(palace), stale_seconds=1)
        assert report.ok, (shape, report.findings)
        assert {s["verdict"] for s in report.seen} <= {"healthy", "empty"}, shape
        assert not report.findings, shape
        for s in report.seen:
            assert (s["missing"], s["ghosts"]) == (0, 0), shape


def test_healthy_ones_are_seen_with_their_counts() -> None:
    report = chroma.examine(str(patients.healthy()["several collections"]))
    seen = {s["collection"]: s for s in report.seen}
    assert {n: (s["verdict"], s["rows"], s["entries"], s["queued"]) for n, s in seen.items()} == {
        "closets": ("healthy", 240, 240, 0) if seen["closets"]["entries"] == 240 else ("healthy", 240, 200, 40),
        "drawers": ("healthy", 160, seen["drawers"]["entries"], 160 - seen["drawers"]["entries"]),
        "nothing": ("empty", 0, 0, 0),
    }


def test_a_healthy_one_hours_old_stays_healthy(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    for file in patients.segment(palace).iterdir():
        os.utime(file, (1_000_000, 1_000_000))
    report = chroma.examine(str(palace), stale_seconds=3600)
    assert report.ok
    assert any("newer than its graph files (over the 3,600 s" in r for r in report.remarks)


def test_rows_that_wait_are_no_gap(tmp_path: Path) -> None:
    seen = only(chroma.examine(str(patients.flushed(tmp_path / "p"))))
    assert (seen["rows"], seen["entries"], seen["missing"], seen["queued"]) == (640, 600, 0, 40)
    # The row at the mark itself stays in the queue; all before it are in the graph files alone.
    assert seen["only_in_graph"] == 599


def cut(name: str, share: float) -> Any:
    def act(folder: Path) -> None:
        path = folder / name
        os.truncate(path, int(path.stat().st_size * share))

    return act


def patch(name: str, offset: int, layout: str, value: int) -> Any:
    def act(folder: Path) -> None:
        with open(folder / name, "r+b") as file:
            file.seek(offset)
            file.write(struct.pack(layout, value))

    return act


ELEMENT = 4 * 32 + 4 + 4 * patients.DIMENSION + 8

DAMAGE = {
    "data cut at 48 %": (cut("data_level0.bin", 0.48), "data_level0.bin is cut off: it holds 288 of 600 elements"),
    "id list deleted": (lambda f: (f / "index_metadata.pickle").unlink(), "index_metadata.pickle is missing"),
    "id list cut": (cut("index_metadata.pickle", 0.5), "it is cut off"),
    "id list empty": (cut("index_metadata.pickle", 0), "it is cut off"),
    "id list no pickle": (lambda f: (f / "index_metadata.pickle").write_bytes(b"\xff" * 90), "no pickle"),
    "header cut": (cut("header.bin", 0.5), "header.bin has 50 of 100 bytes"),
    "header deleted": (lambda f: (f / "header.bin").unlink(), "header.bin is missing"),
    "header of another version": (patch("header.bin", 0, "<i", 7), "version 7"),
    "header with a huge count": (patch("header.bin", 20, "<Q", 1 << 50), "contradict"),
    "header with huge counts": (
        lambda f: [patch("header.bin", at, "<Q", 1 << 40)(f) for at in (12, 20)], "data_level0.bin is cut off",
    ),
    "header with huge elements": (patch("header.bin", 28, "<Q", 1 << 40), "contradict"),
    "header with a bad entry point": (patch("header.bin", 56, "<I", 600), "contradict"),
    "lengths deleted": (lambda f: (f / "length.bin").unlink(), "length.bin is missing"),
    "lengths cut": (cut("length.bin", 0.3), "length.bin holds"),
    "links cut": (cut("link_lists.bin", 0.2), "link_lists.bin is cut off"),
    "links of an impossible size": (patch("link_lists.bin", 0, "<I", 0x7FFFFFF0), "which cannot be"),
    "a link that leads nowhere": (patch("data_level0.bin", 4, "<I", 4_000_000), "links that lead nowhere"),
    "more links than there is room": (patch("data_level0.bin", 0, "<H", 33), "links that lead nowhere"),
    "an element without its id": (patch("data_level0.bin", ELEMENT - 8, "<Q", 0), "1 ids have no element"),
    "an entry marked as deleted": (patch("data_level0.bin", 2, "<B", 1), "1 ids have no element"),
    "a folder that is a link": (
        lambda f: (f.rename(f.parent / "elsewhere"), f.symlink_to(f.parent / "elsewhere")), "a link is not followed",
    ),
    "a file that is a link": (
        lambda f: ((f / "header.bin").rename(f.parent / "h"), (f / "header.bin").symlink_to(f.parent / "h")),
        "header.bin cannot be opened",
    ),
    "a file that is a pipe": (
        lambda f: ((f / "length.bin").unlink(), os.mkfifo(f / "length.bin")), "length.bin is no file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_damage(kind: str, tmp_path: Path) -> None:
    harm, words = DAMAGE[kind]
    palace = patients.flushed(tmp_path / "p")
    harm(patients.segment(palace))
    report = chroma.examine(str(palace))
    seen = only(report)
    assert (report.ok, seen["verdict"]) == (False, "damaged"), seen
    assert words in seen["what"]
    (finding,) = report.findings
    assert finding.kind == "damaged"
    assert "--rescue" in finding.cure


def test_link_lists_that_are_bloated_cost_nothing_to_cut(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    links = patients.segment(palace) / "link_lists.bin"
    size = links.stat().st_size
    os.truncate(links, 1 << 40)
    report = chroma.examine(str(palace))
    seen = only(report)
    assert seen["verdict"] == "damaged"
    assert "bytes longer than its 600 elements can need" in seen["what"]
    assert seen["disk_bytes"] < 1 << 20 < seen["bytes"]
    assert f"truncate -s {size} " in report.findings[0].cure
    os.truncate(links, size)
    assert chroma.examine(str(palace)).ok


def test_a_folder_that_is_gone_took_the_flushed_vectors_along(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    shutil.rmtree(patients.segment(palace))
    seen = only(chroma.examine(str(palace)))
    assert (seen["verdict"], seen["missing"], seen["files"]) == ("lost", 599, False)
    assert "they are gone with it" in seen["what"]


def test_ghosts_and_gaps_are_found_by_id(tmp_path: Path) -> None:
    report = chroma.examine(str(patients.ghosts(tmp_path / "g")))
    seen = only(report)
    assert (seen["verdict"], seen["ghosts"], seen["missing"]) == ("ahead", 300, 0)
    seen = only(chroma.examine(str(patients.gaps(tmp_path / "m"))))
    assert (seen["verdict"], seen["ghosts"], seen["missing"]) == ("behind", 0, 300)
    # One row is still in the queue, in a part that is not read again.
    assert "1 of them still in a part of the queue" in seen["what"]


def test_ghosts_and_gaps_do_not_cancel(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    with apsw.Connection(str(palace / "chroma.sqlite3")) as db:
        db.execute("UPDATE embeddings SET embedding_id = 'x' || embedding_id WHERE id <= 7")
    seen = only(chroma.examine(str(palace)))
    assert (seen["verdict"], seen["missing"], seen["ghosts"]) == ("behind", 7, 7)
    assert seen["rows"] == 640


def test_a_delete_that_waits_is_no_ghost(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    patients.build({palace: [["delete", "drawers", 0, 9]]})
    seen = only(chroma.examine(str(palace)))
    assert (seen["verdict"], seen["rows"], seen["ghosts"]) == ("healthy", 631, 0)


def test_a_poisoned_mark_is_named(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    with apsw.Connection(str(palace / "chroma.sqlite3")) as db:
        db.execute("UPDATE max_seq_id SET seq_id = 1 << 60 WHERE segment_id = ?", (patients.segment(palace).name,))
    report = chroma.examine(str(palace))
    assert {f.kind for f in report.findings} == {"behind", "poisoned"}
    # All that waits is passed over from now on.
    assert only(report)["missing"] == 40


def test_the_old_class_is_read_as_plain_values(tmp_path: Path) -> None:
    seen = only(chroma.examine(str(patients.old_class(tmp_path / "p"))))
    assert (seen["verdict"], seen["entries"]) == ("healthy", 600)


def test_a_hostile_id_list_runs_nothing(tmp_path: Path) -> None:
    palace = patients.hostile(tmp_path / "p", tmp_path / "ran")
    pickle.loads((patients.segment(palace) / "index_metadata.pickle").read_bytes())
    assert (tmp_path / "ran").is_dir()  # It would.
    (tmp_path / "ran").rmdir()
    seen = only(chroma.examine(str(palace)))
    assert seen["verdict"] == "damaged"
    assert "could run code" in seen["what"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("delay_ms", [0, 6, 20])
def test_a_flush_killed_half_way(delay_ms: int, tmp_path: Path) -> None:
    """Healthy is only what survives the next flush of chromadb with all its rows."""
    palace = patients.torn(tmp_path / "p", delay_ms)
    seen = only(chroma.examine(str(palace)))
    rows = seen["rows"]
    said = patients.ask(palace, dimension=patients.TORN_DIMENSION, more=2500)
    survives = said["status"] == 0 and (said["exact"], said["found"]) == (rows, ["i1000003"])
    survives = survives and said["search"] in range(rows - 50, rows + 1)  # The search is approximate.
    survives = survives and (patients.segment(palace) / "link_lists.bin").stat().st_size < 1 << 20
    assert seen["verdict"] == "damaged" or survives, (seen, said)
    # What is cut off can do well by luck, for chromadb reads past the end what happens to be in memory.
    assert seen["verdict"] == "healthy" or not survives or "cut off" in seen["what"], (seen, said)


def test_nothing_is_written(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    before = patients.contents(palace)
    chroma.examine(str(palace))
    assert patients.contents(palace) == before


def test_a_log_that_was_left_is_read_and_not_touched(tmp_path: Path) -> None:
    """A WAL with rows of its own: SQLite would make or change files beside it, even if it only reads."""
    live = patients.flushed(tmp_path / "live")
    db = apsw.Connection(str(live / "chroma.sqlite3"))
    db.pragma("journal_mode", "wal")
    db.execute("DELETE FROM embeddings WHERE id = 1")
    palace = patients.copy(live, tmp_path / "p")
    db.close()
    (palace / "chroma.sqlite3-shm").unlink()
    assert (palace / "chroma.sqlite3-wal").stat().st_size
    before = patients.contents(palace)
    assert only(chroma.examine(str(palace)))["rows"] == 639
    assert patients.contents(palace) == before
    # A database in that mode at rest, without its log.
    (palace / "chroma.sqlite3-wal").unlink()
    before = patients.contents(palace)
    assert only(chroma.examine(str(palace)))["rows"] == 640
    assert patients.contents(palace) == before


def test_a_journal_that_was_left_is_rolled_back_in_a_copy(tmp_path: Path) -> None:
    """A process killed in a transaction: what it wrote half must not be read, and not be rolled back in place."""
    live = patients.flushed(tmp_path / "live")
    db = apsw.Connection(str(live / "chroma.sqlite3"))
    db.pragma("cache_size", 1)
    db.execute(
        "BEGIN IMMEDIATE; DELETE FROM embeddings WHERE id <= 500; UPDATE embedding_metadata SET string_value = 'x'"
    )
    assert (live / "chroma.sqlite3-journal").stat().st_size
    palace = patients.copy(live, tmp_path / "p")
    # Its owner is alive: read where it is, or wait for it; never as if it had been killed.
    db.execute("ROLLBACK")
    db.close()
    before = patients.contents(palace)
    assert only(chroma.examine(str(palace)))["rows"] == 640
    assert patients.contents(palace) == before


def test_a_database_at_work_is_read(tmp_path: Path) -> None:
    """Its journal is no left-over: the transaction is not copied half done, and nothing is said to be damaged."""
    palace = patients.flushed(tmp_path / "p")
    program = (
        "import apsw, sys; db = apsw.Connection(sys.argv[1]); db.execute('BEGIN IMMEDIATE');"
        "db.execute('DELETE FROM embeddings WHERE id <= 5'); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(palace / "chroma.sqlite3")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        owner.stdout.readline()
        assert (palace / "chroma.sqlite3-journal").exists()
        report = chroma.examine(str(palace))
        owner.kill()
    assert (report.ok, only(report)["rows"]) == (True, 640)
    assert any("has the files open" in u for u in report.unknown)


def test_a_directory_that_only_can_be_read(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    for path in (*palace.rglob("*"), palace):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for path in (tmp_path, *tmp_path.parents[:4]):
        if str(path).startswith(tempfile.gettempdir() + "/"):
            path.chmod(0o755)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            code = 0 if only(chroma.examine(str(palace)))["verdict"] == "healthy" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    palace.chmod(0o755)


def test_where_nothing_is_there_is_nothing_to_do(tmp_path: Path) -> None:
    for act in (
        lambda p: chroma.examine(p),
        lambda p: chroma.listed(p),
        lambda p: chroma.quarantine(p, apply=True, force=False),
        lambda p: chroma.refill(p, apply=True, force=False),
        lambda p: chroma.restore(p, "x", apply=True, force=False),
        lambda p: chroma.rescue(p, str(tmp_path / "out")),
    ):
        for path in (tmp_path, tmp_path / "missing"):
            report = act(str(path))
            assert report.ok
            assert report.summary.startswith("Nothing to do")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["palace", "chroma", "other"])
def test_the_database_is_found_one_folder_down(place: str, tmp_path: Path) -> None:
    patients.flushed(tmp_path / place)
    assert chroma.find(str(tmp_path)) == str(tmp_path / place)
    assert only(chroma.examine(str(tmp_path)))["verdict"] == "healthy"


def test_names_of_any_bytes(tmp_path: Path) -> None:
    palace = os.fsencode(tmp_path) + b"/p\xff?#%"
    shutil.copytree(patients.flushed(tmp_path / "p"), os.fsdecode(palace))
    assert chroma.examine(os.fsdecode(palace)).ok


def test_folders_left_by_deleted_collections_are_only_mentioned(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    shutil.copytree(patients.segment(palace), palace / "00000000-0000-0000-0000-00000000000f")
    report = chroma.examine(str(palace))
    assert report.ok
    assert any("belongs to no collection" in r for r in report.remarks)


def test_what_is_written_meanwhile_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between graph and rows a flush may move vectors: a verdict out of two moments would be a false alarm."""
    palace = patients.flushed(tmp_path / "p")
    looks: list[int] = []
    busy = [1]
    look = examining.look

    def flush_meanwhile(*arguments: Any) -> Any:
        looks.append(1)
        case = look(*arguments)
        if len(looks) <= busy[0]:
            os.utime(patients.segment(palace) / "header.bin", (busy[0], len(looks)))
        return case

    monkeypatch.setattr(examining, "look", flush_meanwhile)
    report = chroma.examine(str(palace))
    assert len(looks) == 2
    assert not any("was written to" in u for u in report.unknown)
    looks.clear()
    busy[0] = 9
    os.utime(patients.segment(palace) / "header.bin", (50, 50))
    report = chroma.examine(str(palace))
    assert len(looks) == 3
    assert any("was written to" in u for u in report.unknown)


def test_a_damaged_database_is_said(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    with open(palace / "chroma.sqlite3", "r+b") as file:
        file.seek(4096)
        file.write(os.urandom((palace / "chroma.sqlite3").stat().st_size - 4096))
    report = chroma.examine(str(palace))
    assert not report.ok
    assert report.findings[0].kind == "database"
    (palace / "chroma.sqlite3").write_bytes(b"no database at all" * 400)
    assert not chroma.examine(str(palace)).ok


def test_names_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    shutil.rmtree(patients.segment(palace))
    with apsw.Connection(str(palace / "chroma.sqlite3")) as db:
        db.execute("UPDATE collections SET name = 'a' || char(27) || '[2J' || char(10)")
    report = chroma.examine(str(palace))
    text = str(report.to_dict())
    assert "\x1b" not in text.encode().decode("unicode_escape").replace("\\x1b", "")
    assert report.seen[0]["collection"] == "a\\x1b[2J\\n"
