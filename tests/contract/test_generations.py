"""Generations of an index: published whole, kept while somebody reads them, set aside with their evidence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import ConfigError, IndexDamaged, IndexFault, IndexForeign, IndexTooNew, VaultMissing
from holdfast.files.fs import FileSystem
from holdfast.index.generations import Generations, OpenIndex
from holdfast.index.home import index_directory, read_manifest
from holdfast.index.quarantine import KEPT
from holdfast.index.sqlite.db import SCHEMA
from holdfast.index.sqlite.store import SqliteIndex
from tests.contract.test_index import ask, note, witness
from tests.fault.faulty_fs import Fault, FaultyFS, Killed
from tests.fault.mortal_fs import Mortal

VAULT = "11111111-2222-3333-4444-555555555555"


class Home:
    """One index directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)

    def generations(
        self, fs: FileSystem | None = None, *, vault: str | None = VAULT, reading: str = "1"
    ) -> Generations:
        return Generations(fs or FileSystem(), str(self.path), "/notes", vault, reading)

    def publish(self, *titles: str, fs: FileSystem | None = None) -> OpenIndex:
        g = self.generations(fs)
        opened, manifest = g.build()
        with opened.index.begin() as tx:
            for title in titles:
                tx.replace_note(witness(f"{title}.md"), 0, note("ant", title=title))
        g.publish(opened, manifest)
        return opened

    def titles(self, opened: OpenIndex | None) -> list[str] | None:
        if opened is None:
            return None
        return sorted(r.title for r in opened.index.list_notes(b"", b"\xff" * 5, b"", 99))

    def open(self) -> OpenIndex | None:
        return self.generations().open()

    def names(self, start: str = "gen-") -> list[str]:
        return sorted(n for n in os.listdir(self.path) if n.startswith(start))

    def manifest(self, **changes: Any) -> None:
        raw = json.loads((self.path / "manifest.json").read_text())
        (self.path / "manifest.json").write_text(json.dumps(raw | changes))

    def snapshot(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.path)): p.read_bytes() for p in sorted(self.path.rglob("*")) if p.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "index")


def test_what_is_not_published_is_not_there(home: Home) -> None:
    assert home.open() is None
    opened, manifest = home.generations().build()
    assert home.open() is None
    assert home.generations().stamp() is None
    home.generations().publish(opened, manifest)
    opened.close()
    again = home.open()
    assert again is not None
    assert again.index.generation == 1
    assert again.stamp == home.generations().stamp()
    again.close()


def test_a_reader_keeps_its_generation_until_it_lets_go(home: Home) -> None:
    home.publish("one").close()
    reader = home.open()
    assert reader is not None
    stamp = home.generations().stamp()
    home.publish("two").close()
    assert home.generations().stamp() != stamp
    assert home.titles(reader) == ["one"]
    assert list(reader.index.signals(ask("ant")).notes) == [1]
    assert home.generations().drop_old(2) == 0
    assert [n for n in home.names() if n.startswith("gen-000001")]
    reader.close()
    assert home.generations().drop_old(2) > 0
    assert [n for n in home.names() if n.startswith("gen-000001")] == []
    new = home.open()
    assert home.titles(new) == ["two"]
    assert new is not None
    new.close()


def test_the_lock_of_a_reader_that_was_killed_is_gone(home: Home) -> None:
    home.publish("one").close()
    script = f"""
        import sys
        from tests.contract.test_generations import Home
        from pathlib import Path
        opened = Home(Path({str(home.path)!r})).open()
        print("ready", flush=True)
        sys.stdin.readline()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    home.publish("two").close()
    assert home.generations().drop_old(2) == 0
    child.kill()
    child.communicate()
    assert home.generations().drop_old(2) > 0


def test_a_generation_that_came_meanwhile_is_what_is_opened(home: Home) -> None:
    """Between reading the manifest and locking, another one may be published and ours removed."""
    home.publish("one").close()

    def publish_once() -> None:
        fs.faults.clear()
        home.publish("two").close()

    fs = FaultyFS(Fault("open_lock", "gen-000001.lock", hook=publish_once))
    opened = home.generations(fs).open()
    assert home.titles(opened) == ["two"]
    assert opened is not None
    opened.close()


def test_a_foreign_index_is_refused_and_left_alone(home: Home) -> None:
    home.publish("one").close()
    before = home.snapshot()
    with pytest.raises(IndexForeign):
        home.generations(vault="99999999-2222-3333-4444-555555555555").open()
    with pytest.raises(IndexForeign):
        home.generations(vault=None).open()
    assert home.snapshot() == before


def test_a_folder_without_an_id_is_known_by_its_path(home: Home) -> None:
    g = home.generations(vault=None)
    opened, manifest = g.build()
    g.publish(opened, manifest)
    opened.close()
    mine = g.open()
    assert mine is not None
    mine.close()
    with pytest.raises(IndexForeign):
        Generations(FileSystem(), str(home.path), "/elsewhere", None, "1").open()


@pytest.mark.parametrize("change", [{"schema": SCHEMA + 1}, {"format": 2}])
def test_a_newer_index_is_refused_and_left_alone(home: Home, change: dict[str, Any]) -> None:
    home.publish("one").close()
    home.manifest(**change, unheard_of=1)
    before = home.snapshot()
    with pytest.raises(IndexTooNew) as e:
        home.open()
    assert e.value.exit == 3
    assert home.snapshot() == before


@pytest.mark.parametrize("change", [{"schema": SCHEMA - 1}, {"analyzer": "other"}])
def test_an_index_made_in_another_way_is_to_be_rebuilt(home: Home, change: dict[str, Any]) -> None:
    home.publish("one").close()
    home.manifest(**change)
    with pytest.raises(IndexDamaged):
        home.open()


BAD_MANIFESTS = [
    b"", b"{", b"null", b"[]", b"5", b'"x"', b"\xff\xfe", b"\0" * 400, b"{}", b'{"format": 1}', b"[" * 100_000,
    b'{"format": "x", "schema": 1}', b'{"format": 1, "schema": [], "vault": ""}',
]  # fmt: skip


@pytest.mark.parametrize("data", BAD_MANIFESTS, ids=lambda b: repr(b[:20]))
def test_a_damaged_manifest_is_damage(home: Home, data: bytes) -> None:
    home.publish("one").close()
    (home.path / "manifest.json").write_bytes(data)
    with pytest.raises(IndexDamaged):
        home.open()
    home.generations().set_aside("damaged")
    assert home.open() is None


@pytest.mark.parametrize(
    "change", [{"generation": "1"}, {"generation": 7}, {"generation": None}, {"generation": 1.5}, {"generation": -1},
               {"database": "other"}, {"database": None}, {"vault": VAULT, "surplus": 1}],
)  # fmt: skip
def test_a_manifest_that_names_what_is_not_there_is_damage(home: Home, change: dict[str, Any]) -> None:
    home.publish("one").close()
    home.manifest(**change)
    with pytest.raises(IndexDamaged):
        home.open()


def test_each_cut_of_a_database_is_noticed(home: Home) -> None:
    home.publish(*(f"note {n}" for n in range(30))).close()
    database = home.path / "gen-000001.db"
    whole = database.read_bytes()
    sizes = [
        0,
        1,
        15,
        99,
        100,
        512,
        4095,
        4096,
        4097,
        *range(8192, len(whole), 4096),
        len(whole) // 2 + 1,
        len(whole) - 1,
    ]
    for size in sizes:
        database.write_bytes(whole[:size])
        with pytest.raises(IndexDamaged):
            home.open()
    database.unlink()
    with pytest.raises(IndexDamaged):
        home.open()
    database.mkdir()
    with pytest.raises(IndexDamaged):
        home.open()
    database.rmdir()
    database.write_bytes(b"\xff" * len(whole))
    with pytest.raises(IndexDamaged):
        home.open()
    database.write_bytes(whole)
    opened = home.open()
    assert opened is not None
    opened.close()


def test_another_database_under_the_name_is_noticed(home: Home, tmp_path: Path) -> None:
    home.publish("one").close()
    other = Home(tmp_path / "other")
    other.publish("two").close()
    (home.path / "gen-000001.db").write_bytes((other.path / "gen-000001.db").read_bytes())
    with pytest.raises(IndexDamaged):
        home.open()


def test_what_is_set_aside_stays_with_its_reason_and_readers_keep_it(home: Home) -> None:
    home.publish("one").close()
    reader = home.open()
    home.generations().set_aside("bit rot")
    assert home.open() is None
    assert home.names() == ["gen-000001.lock"]
    assert home.titles(reader) == ["one"]
    assert reader is not None
    reader.close()
    aside = sorted(os.listdir(home.path / "quarantine"))
    evidence = json.loads((home.path / "quarantine" / next(n for n in aside if n[20:] == ".json")).read_text())
    assert evidence["reason"] == "bit rot"
    assert evidence["files"]["gen-000001.db"] > 0
    assert {"-manifest.json", "-gen-000001.db", ".json"} <= {n[20:] for n in aside}
    new = home.publish("two")
    assert new.index.generation == 2  # a number is never given twice
    new.close()


def test_setting_aside_nothing_is_no_error(home: Home) -> None:
    home.generations().set_aside("why not")
    home.generations().set_aside("why not")
    assert home.open() is None


@pytest.mark.parametrize("clock", ["runs", "stands", "goes back"])
def test_quarantine_is_bounded_and_nothing_collides(home: Home, clock: str) -> None:
    fs = FaultyFS(clock_ns=None if clock == "runs" else 5 * 10**18)
    for n in range(5):
        home.publish(f"n{n}").close()
        home.generations(fs).set_aside(f"reason {n}")
        if clock == "goes back":
            assert fs.clock_ns is not None
            fs.clock_ns -= 10**15
        kept = os.listdir(home.path / "quarantine")
        reasons = {json.loads((home.path / "quarantine" / k).read_text())["reason"] for k in kept if k[20:] == ".json"}
        assert reasons == {f"reason {m}" for m in range(max(0, n + 1 - KEPT), n + 1)}
        databases = [k for k in kept if k.endswith(".db")]
        assert len(databases) == min(n + 1, KEPT)
        assert f"-gen-{n + 1:06d}.db" in {k[20:] for k in databases}


def count_calls(home: Home, verb: str) -> int:
    fs = FaultyFS()
    act(home, verb, fs)
    return sum(fs.calls.values())


def act(home: Home, verb: str, fs: FileSystem) -> None:
    if verb == "publish":
        home.publish("new", fs=fs).close()
    else:
        home.generations(fs).set_aside("test")


@pytest.mark.parametrize("verb", ["publish", "set_aside"])
@pytest.mark.parametrize("how", ["dies", "fails"])
def test_a_death_at_any_step_leaves_the_old_or_the_new_or_nothing(tmp_path: Path, verb: str, how: str) -> None:
    total = count_calls(made(tmp_path / "count"), verb)
    assert total > 5
    for at in range(1, total + 1):
        home = made(tmp_path / f"{verb}-{at}")
        fs = Mortal(Fault(at=at, kill=how == "dies", error=None if how == "dies" else 5))
        try:
            act(home, verb, fs)
        except (Killed, OSError):
            pass
        fs.bury()
        try:
            opened = home.open()
        except IndexFault:
            assert verb == "set_aside", "publishing leaves no damage at any moment"
            opened = None
        if opened is not None:
            assert home.titles(opened) in (["old"], ["new"])
            opened.close()
        elif verb == "publish":
            raise AssertionError("the old generation is lost")
        home.generations().set_aside("start over")
        home.publish("again").close()
        opened = home.open()
        assert home.titles(opened) == ["again"]
        assert opened is not None
        home.generations().drop_old(opened.index.generation)
        assert {n[:10] for n in home.names()} == {f"gen-{opened.index.generation:06d}"}
        opened.close()


def made(path: Path) -> Home:
    home = Home(path)
    home.publish("old").close()
    return home


def test_where_the_index_of_a_vault_lies(tmp_path: Path) -> None:
    fs, state = FileSystem(), str(tmp_path / "state")
    root = str(tmp_path / "notes")
    here = index_directory(fs, state, root, VAULT)
    assert here.startswith(f"{state}/{VAULT}-")
    assert index_directory(fs, state, root + "2", VAULT) != here  # one id at two roots has two indexes
    assert index_directory(fs, state, root, None).startswith(f"{state}/folder-")
    for inside in (root, root + "/state"):
        with pytest.raises(ConfigError):
            index_directory(fs, inside, root, VAULT)


def test_a_moved_vault_takes_its_index_along_and_a_copy_does_not(tmp_path: Path) -> None:
    fs, state = FileSystem(), str(tmp_path / "state")
    os.makedirs(state)
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    os.makedirs(old)
    directory = index_directory(fs, state, old, VAULT)
    g = Generations(fs, directory, old, VAULT, "1")
    os.makedirs(directory)
    opened, manifest = g.build()
    g.publish(opened, manifest)
    opened.close()
    os.makedirs(new)
    assert index_directory(fs, state, new, VAULT) != directory
    assert read_manifest(fs, directory) is not None
    os.rmdir(old)
    moved = index_directory(fs, state, new, VAULT)
    assert read_manifest(fs, moved) is not None
    assert not os.path.exists(directory)
    again = Generations(fs, moved, new, VAULT, "1").open()
    assert again is not None
    again.close()


def test_a_vault_whose_id_is_gone_is_not_taken_for_a_new_folder(tmp_path: Path) -> None:
    fs, state, root = FileSystem(), str(tmp_path / "state"), str(tmp_path / "notes")
    os.makedirs(index_directory(fs, state, root, VAULT))
    with pytest.raises(VaultMissing):
        index_directory(fs, state, root, None)


def test_an_index_that_nobody_uses_is_closed_with_its_lock(home: Home) -> None:
    home.publish("one").close()
    opened = home.open()
    assert opened is not None
    index: SqliteIndex | None = opened.index
    del opened
    assert index is not None
    assert home.generations().drop_old(9) == 0
    index.close()
    del index
    assert home.generations().drop_old(9) > 0
