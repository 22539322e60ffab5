"""Faults 2, 3, 20 to 22, 42 and 43, for vectors: killed anywhere, damaged, deleted, moved; nothing is embedded twice
while its vector can still be read, and no vector is ever of another text than its chunk's.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from holdfast import Config, Vault
from holdfast.engine.record import read_note
from holdfast.errors import HoldfastError, NotFound
from holdfast.index.sqlite import salvage
from holdfast.model import Input
from tests.dump import differences, dump
from tests.fake_embedder import (
    FakeEmbedder,
    assert_vectors_are_true,
    recount,
    stored_rows,
    use,
)
from tests.fault.vaults import Place, index_of, repository

KILLS = 30
TURNS = 30
CONFIG = Config(background=False, lock_wait_s=5.0, batch_notes=8, overlay_chunks=40, overlay_first=60, embed_batch=6)
TALK = "---\ntype: conversation\n---\n" + "".join(
    f"<!-- turn {n} {'Ana' if n % 2 else 'Bo'} -->\nWe spoke of tomatoes and beans {n}.\n" for n in range(TURNS)
)


@contextmanager
def opened(place: Place, fake: FakeEmbedder | None, config: Config = CONFIG) -> Iterator[Vault]:
    with place.open(config=config) as vault:
        yield use(vault, fake)


def filled(base: Path, notes: int = 40) -> Place:
    place = Place(base)
    place.fill(notes, words=60)
    place.put("talk.md", TALK)
    for n in range(3):
        place.put(f"same{n}.md", "# Same\n\nThree notes say this.\n")
    return place


def distinct_inputs(vault: Vault) -> int:
    rows: list[tuple[int]] = index_of(vault)._db.execute("select count(distinct input) from chunk").fetchall()
    return rows[0][0]


def embedded(fake: FakeEmbedder) -> int:
    return sum(fake.encoded.values())


def assert_equals_a_rebuild(place: Place, fake: FakeEmbedder) -> None:
    """Rows, vectors included, are those that a new index of the same notes has."""
    fresh = Place(f"{place.base}/fresh", has_id=False)
    fresh.root = place.root
    try:
        with opened(place, fake) as mine, opened(fresh, FakeEmbedder(fake.dimension, fake.name)) as other:
            other.sync()
            a, b = dump(index_of(mine)), dump(index_of(other))
            assert a == b, "\n".join(differences(a, b))
    finally:
        shutil.rmtree(fresh.base)


# Kill -9


class Zygote:
    """A process that has imported everything and forks a child for each sync: kills are real, starts are quick."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.test_vectors_kill"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=repository(),
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def kill_a_sync(self, place: Place, name: str, verb: str, delay_s: float) -> bool:
        """Sync with the embedder `name` and kill it after `delay_s`; whether it was still at work."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{place.root}\t{place.state}\t{name}\t{verb}\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        time.sleep(delay_s)
        os.kill(pid, signal.SIGKILL)  # nobody else reaps it, so the pid is its own
        self._process.stdin.write("reap\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline()) == signal.SIGKILL

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


def serve() -> None:
    """Fork a child for each line (root, state, embedder, verb), print its pid, reap it when told to."""
    for line in sys.stdin:
        root, state, name, verb = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            try:
                vault = Vault.open(root, state_dir=state, config=CONFIG)
                use(vault, FakeEmbedder(name=name, sleep_s=0.005))
                getattr(vault, verb)()
            finally:
                os._exit(0)
        print(pid, flush=True)
        sys.stdin.readline()
        _, status = os.waitpid(pid, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, flush=True)


def notice(place: Place, seen: dict[bytes, Input]) -> None:
    """Remember every input that the notes give now."""
    for path in Path(place.root).rglob("*.md"):
        data, name = path.read_bytes(), str(path.relative_to(place.root))
        seen |= {x.digest: x for x in read_note(data, name, CONFIG.chunk_tokens).inputs}


def assert_nothing_half_done(place: Place, seen: dict[bytes, Input]) -> None:
    """After a death, as the next process finds it: whole, and every vector is of the text that it says."""
    with opened(place, None) as vault:
        try:
            index = vault._ws.index()
        except HoldfastError as e:
            raise AssertionError("a kill damages nothing") from e
        if index is None:
            return
        assert index._db.execute("pragma integrity_check").fetchall() == [("ok",)]
        names = dict(index._db.execute("select identity, id from embedder").fetchall())
        for identity, id_ in names.items():
            fake = FakeEmbedder(name=identity.partition(":")[0])
            for input_, row in stored_rows(index, identity).items():
                assert row.is_whole
                assert row == fake.row(seen[input_])
            assert index.vectors.ready(id_) == recount(index, identity) == index.vectors.counts(id_)[0]
        blocks = index._db.execute(
            "select count(*) from vector v where not exists (select 1 from vector_block b "
            "where b.embedder = v.embedder and b.block = v.id >> 10)"
        ).fetchall()
        assert blocks == [(0,)], "a row that no reader would see"
        assert index._db.execute("select id from token where id not in (select id from vector)").fetchall() == []
        top, given = index._db.execute(
            "select (select max(id) from vector), (select value from meta where key = 'next_vector')"
        ).fetchall()[0]
        assert (top or 0) <= given, "an id would be given twice"


def test_kill_minus_nine_at_any_moment(tmp_path: Path) -> None:
    rng = random.Random(17)
    place = filled(tmp_path, 150)
    seen: dict[bytes, Input] = {}
    zygote = Zygote()
    killed = half_made = 0
    try:
        for n in range(2 * KILLS):
            if killed == KILLS:
                break
            name = f"fake{n // 3}"  # now and then another embedder, so that all is made anew
            verb = "rebuild" if n % 7 == 6 else "embed" if n % 7 == 3 else "sync"
            notice(place, seen)
            killed += zygote.kill_a_sync(place, name, verb, rng.uniform(0.005, 0.25))
            assert_nothing_half_done(place, seen)
            with opened(place, FakeEmbedder(name=name)) as vault:
                assert vault.recall("tomatoes", sync=False).receipt.in_scope.chunks
                index = vault._ws.index()
                if index is not None and (id_ := index.vectors.find(f"{name}:32")):
                    half_made += 0 < index.vectors.ready(id_) < index.counts().chunks
            if n % 6 == 5:
                fake = FakeEmbedder(name=name)
                with opened(place, fake) as vault:
                    done = vault.sync()
                    assert done.vectors.ready == done.vectors.total == done.chunks
                    assert_vectors_are_true(vault, fake)
            place.change(rng)
            place.fill(150, seed=n, words=60)
    finally:
        zygote.close()
    assert killed >= KILLS * 2 // 3, f"only {killed} were at work when they were killed"
    assert half_made >= KILLS // 6, "they are killed while they embed"
    fake = FakeEmbedder(name="last")
    with opened(place, fake) as vault:
        done = vault.sync()
        assert done.vectors.ready == done.chunks > 200
        assert_vectors_are_true(vault, fake)
        assert max(fake.encoded.values()) == 1
    assert_equals_a_rebuild(place, fake)


# Damage


def pages_of(path: str, table: str) -> list[int]:
    """The leaf pages of a table or index."""
    db = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found = db.execute("select pageno from dbstat where name = ? and pagetype = 'leaf'", (table,)).fetchall()
    except apsw.SQLError:
        pytest.skip("this SQLite has no dbstat: which pages hold vectors cannot be told")
    finally:
        db.close()
    return sorted(n for (n,) in found)


def spoil(path: str, pages: list[int], byte: bytes = b"\xa5") -> None:
    with open(path, "r+b") as f:
        for page in pages:
            f.seek((page - 1) * 4096)
            f.write(byte * 4096)


def refuse(path: str) -> None:
    """Let the index be another than its manifest names: the next sync sets it aside."""
    db = apsw.Connection(path)
    db.execute("update meta set value = 'x' where key = 'database'")
    db.close()


def readable(path: str) -> tuple[set[bytes], list[str]]:
    """The inputs whose vectors can be read in a database, one by one, and who gave them; by means of SQLite alone."""
    copy = path + "-copy"
    shutil.copyfile(path, copy)
    db = apsw.Connection(copy, flags=apsw.SQLITE_OPEN_READONLY)
    out: set[bytes] = set()
    names: list[str] = []
    for sql, into in [("select identity, dimension from embedder", names.append)] + [
        (f"select input from vector where id = {i}", out.add) for i in range(1, 3_000)
    ]:
        try:
            for value, *_ in db.execute(sql).fetchall():
                into(value)  # type: ignore[operator]
        except apsw.Error:
            continue
    db.close()
    for name in (copy, copy + "-wal", copy + "-shm"):
        if os.path.exists(name):
            os.unlink(name)
    return out, names


def heal(place: Place, fake: FakeEmbedder) -> None:
    """What people do: sync, rebuild if answers say that the index is damaged (no sync reads all of it), sync."""
    with opened(place, fake) as vault:
        vault.sync()
        answer = vault.recall("tomatoes beans", sync=False)
        if answer.hits[0].via == ("scan",) or answer.receipt.degraded:
            vault.rebuild()
        done = vault.sync()
        assert done.vectors.ready == done.vectors.total == done.chunks
        assert not done.degraded
        assert vault.recall("tomatoes", sync=False).hits[0].via[0] == "keyword"
        assert_vectors_are_true(vault, fake)
    assert_equals_a_rebuild(place, fake)


@pytest.fixture
def full(tmp_path: Path) -> Place:
    place = filled(tmp_path, 120)
    with opened(place, FakeEmbedder()) as vault:
        vault.sync()
    return place


@pytest.mark.parametrize("table", ["note", "file", "chunk", "doc"])
def test_damage_that_a_sync_meets_costs_no_vector(full: Place, table: str) -> None:
    """The notes' part of the index is overwritten; its vectors are read from what was set aside."""
    database = full.database
    spoil(database, pages_of(database, table))
    fake = FakeEmbedder()
    heal(full, fake)
    assert embedded(fake) == 0


@pytest.mark.parametrize("pages", [1, 3])
@pytest.mark.parametrize("table", ["vector", "vector_input", "token", "vector_block", "embedder"])
def test_damage_among_the_vectors_costs_these_and_is_mended_by_a_sync(full: Place, table: str, pages: int) -> None:
    database = full.database
    leaves = pages_of(database, table)
    before, _ = readable(database)
    rng = random.Random(pages)
    spoil(database, rng.sample(leaves, min(pages, len(leaves))))
    left, names = readable(database)
    fake = FakeEmbedder()
    full.put("new.md", "# New\n\nwords\n")
    heal(full, fake)
    # A vector that can be read is not made again; a turn's without its tokens is not whole. The new note's is made
    # twice where the first one cannot be stored.
    lost = len(before) - len(left) if names else len(before)
    assert embedded(fake) <= lost + (TURNS if table == "token" else 0) + 2
    if table == "vector":
        assert 0 < lost < len(before) + (pages > 1)


@pytest.mark.parametrize("seed", range(8))
def test_pages_overwritten_anywhere(full: Place, seed: int) -> None:
    database = full.database
    rng = random.Random(seed)
    count = os.path.getsize(database) // 4096
    spoil(database, rng.sample(range(1, count + 1), 6), rng.choice([b"\0", b"\xff", b"\xa5"]))
    left, names = readable(database)
    fake = FakeEmbedder()
    heal(full, fake)
    with opened(full, fake) as vault:
        wanted = distinct_inputs(vault)
    lost = wanted - len(left) if names else wanted  # where nobody can say whose they are, all are
    assert embedded(fake) <= min(wanted, lost + TURNS)


def test_a_row_whose_sum_is_wrong_is_not_salvaged(full: Place) -> None:
    """A flipped bit that SQLite does not see: the vector is made again."""
    database = full.database
    db = apsw.Connection(database)
    db.execute("update vector set code = zeroblob(length(code)) where id in (3, 40)")
    db.execute("update vector set input = ?1 where id = 41", (bytes(15) + b"x",))
    db.execute("update token set data = zeroblob(length(data)) where id = (select min(id) from token)")
    hurt = db.execute("select count(*) from vector where id in (3, 40, 41, (select min(id) from token))").fetchall()
    db.close()
    refuse(database)
    fake = FakeEmbedder()
    heal(full, fake)
    assert embedded(fake) == hurt[0][0]


@pytest.mark.parametrize("size", [0, 100, 4096, 40_960, -4096])
def test_a_database_that_is_cut(full: Place, size: int) -> None:
    database = full.database
    os.truncate(database, size if size >= 0 else os.path.getsize(database) + size)
    fake = FakeEmbedder()
    heal(full, fake)
    assert embedded(fake) <= len(fake.encoded)


def test_salvage_is_asked_once_for_each_generation(full: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(full.database)
    reads: list[str] = []
    real = salvage.rows_of
    monkeypatch.setattr("holdfast.engine.carry.rows_of", lambda path, meant: reads.append(path) or real(path, meant))
    fake = FakeEmbedder()
    heal(full, fake)
    full.put("new.md", "# New\n\nwords\n")
    heal(full, fake)
    assert len(reads) == 1


def test_a_name_that_is_no_text_any_more_keeps_nobody_from_embedding(full: Place) -> None:
    """One flipped bit in the identity of what was set aside: no UTF-8. Its vectors are of nobody known."""
    database = full.database
    data = Path(database).read_bytes()
    with opened(full, None) as vault:
        index_of(vault).checkpoint()
    data = Path(database).read_bytes()
    assert b"fake:32" in data
    Path(database).write_bytes(data.replace(b"fake:32", b"f\xe1ke:32"))
    refuse(database)
    fake = FakeEmbedder()
    heal(full, fake)
    with opened(full, fake) as vault:
        vault.salvage_vectors()
        vault.salvage_vectors(next(str(p) for p in (Path(vault._ws.directory) / "quarantine").glob("*.db")))


def test_an_id_beyond_all_others_does_not_make_salvage_endless(full: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flipped bit in the last row's id: ranges of ids without a row are not asked for one by one."""
    database = full.database
    db = apsw.Connection(database)
    db.execute("update vector set id = 1 << 31 where id = (select max(id) from vector)")
    db.close()
    refuse(database)
    asked = 0
    real = salvage._range

    def counted(*args: Any) -> Any:
        nonlocal asked
        asked += 1
        assert asked < 10_000, "it asks for every range of ids"
        return real(*args)

    monkeypatch.setattr(salvage, "_range", counted)
    assert len(list(salvage.rows_of(database))) >= len(readable(database)[0])


def test_salvage_changes_nothing_of_what_it_reads(full: Place, tmp_path: Path) -> None:
    """Evidence stays as it was found, also with a log beside it that nobody has written back."""
    with opened(full, None) as vault:
        index = index_of(vault)
        index.put_meta({"note": "in the log"})
        os.mkdir(tmp_path / "aside")
        for suffix in ("", "-wal"):
            shutil.copyfile(index.path + suffix, f"{tmp_path}/aside/gen.db{suffix}")
        assert os.path.getsize(f"{tmp_path}/aside/gen.db-wal")
        before = {p.name: p.read_bytes() for p in (tmp_path / "aside").iterdir()}
        assert vault.salvage_vectors(f"{tmp_path}/aside/gen.db").read > 100
        after = {p.name: p.read_bytes() for p in (tmp_path / "aside").iterdir()}
        assert {n: b for n, b in after.items() if not n.endswith("-shm")} == before


# Carried along


def test_a_lost_index_gets_all_back_from_an_export(full: Place, tmp_path: Path) -> None:
    export = str(tmp_path / "vectors")
    fake = FakeEmbedder()
    with opened(full, fake) as vault:
        done = vault.export_vectors(export)
        assert done.read == done.stored == distinct_inputs(vault)
    shutil.rmtree(full.state)
    with opened(full, fake) as vault:
        with pytest.raises(NotFound):
            vault.salvage_vectors(export)
        vault.sync(vectors=False)
        back = vault.salvage_vectors(export)
        assert (back.read, back.stored) == (done.read, done.read)
        assert vault.salvage_vectors(export).stored == 0
        assert_vectors_are_true(vault, fake)
    heal(full, fake)
    assert embedded(fake) == 0


def test_an_export_that_is_damaged_gives_back_what_is_whole(full: Place, tmp_path: Path) -> None:
    export = str(tmp_path / "vectors")
    fake = FakeEmbedder()
    with opened(full, fake) as vault:
        count = vault.export_vectors(export).stored
    data = bytearray(Path(export).read_bytes())
    rng = random.Random(3)
    for at in rng.sample(range(200, len(data)), 5):
        data[at] ^= 255
    Path(export).write_bytes(bytes(data))
    shutil.rmtree(full.state)
    with opened(full, fake) as vault:
        vault.sync(vectors=False)
        back = vault.salvage_vectors(export)
        assert count - 5 <= back.stored == back.read < count
    heal(full, fake)
    assert embedded(fake) == count - back.stored


def test_an_export_that_cannot_be_written_leaves_what_was_there(full: Place, tmp_path: Path) -> None:
    os.mkdir(tmp_path / "target")
    with opened(full, FakeEmbedder()) as vault:
        for path in (f"{tmp_path}/target", f"{tmp_path}/none/x"):
            with pytest.raises(HoldfastError):
                vault.export_vectors(path)
        assert not list(tmp_path.rglob(".holdfast-tmp*"))
        for path in (f"{tmp_path}/target", f"{tmp_path}/none.db", f"{tmp_path}/none", full.root + "/talk.md"):
            with pytest.raises(HoldfastError):
                vault.salvage_vectors(path)


def test_vectors_of_one_index_serve_another(full: Place, tmp_path: Path) -> None:
    """A copy of the notes elsewhere takes them from the first one's database."""
    other = Place(tmp_path / "other")
    shutil.copytree(full.root, other.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".holdfast"))
    fake = FakeEmbedder()
    with opened(other, fake) as vault:
        vault.sync(vectors=False)
        assert vault.salvage_vectors(full.database).stored == distinct_inputs(vault)
    heal(other, fake)
    assert embedded(fake) == 0


def test_a_rebuild_carries_all_vectors(full: Place) -> None:
    fake = FakeEmbedder()
    with opened(full, fake) as vault:
        before = stored_rows(index_of(vault), fake.identity)
        vault.rebuild()
        assert index_of(vault).generation == 2
        assert stored_rows(index_of(vault), fake.identity) == before
        assert_vectors_are_true(vault, fake)
        done = vault.sync()
        assert done.vectors.ready == done.chunks
    heal(full, fake)
    assert embedded(fake) == 0


def test_a_rebuild_lets_go_of_what_it_carried_from(full: Place) -> None:
    """No reference goes in a circle: the old generation is removed at once, not when the collector comes by."""
    with opened(full, FakeEmbedder()) as vault:
        vault.recall("tomatoes", sync=False)
        gc.collect()
        gc.disable()
        try:
            vault.rebuild()
            assert [n for n in os.listdir(vault._ws.directory) if n.endswith(".db")] == ["gen-000002.db"]
        finally:
            gc.enable()


def test_a_rebuild_in_the_middle_of_a_change_of_embedder_keeps_what_was_made(full: Place) -> None:
    fake = FakeEmbedder(name="second")
    fake.hook = lambda inputs: setattr(fake, "fail", HoldfastStop() if fake.encodes >= 10 else None)
    with opened(full, fake) as vault:
        with pytest.raises(HoldfastStop):
            vault.sync()
        made = embedded(fake)
        assert made > 50
        fake.fail, fake.hook = None, lambda inputs: None
        vault.rebuild()
        vault.sync()
        assert_vectors_are_true(vault, fake)
        assert embedded(fake) == distinct_inputs(vault)
        assert max(fake.encoded.values()) == 1


class HoldfastStop(BaseException):
    """As Ctrl-C."""


def test_a_rebuild_carries_no_row_that_is_damaged(full: Place) -> None:
    db = apsw.Connection(full.database)
    db.execute("update vector set code = zeroblob(length(code)) where id in (3, 4, 5)")
    db.close()
    fake = FakeEmbedder()
    with opened(full, fake) as vault:
        vault.rebuild()
    heal(full, fake)
    assert embedded(fake) == 3


def test_a_folder_that_is_renamed_costs_nothing(full: Place) -> None:
    fake = FakeEmbedder()
    for n in range(5):
        os.rename(f"{full.root}/d{n}", f"{full.root}/moved-{n}")
    heal(full, fake)
    os.mkdir(f"{full.root}/deep")
    for n in range(5):
        os.rename(f"{full.root}/moved-{n}", f"{full.root}/deep/{n}")
    heal(full, fake)
    assert embedded(fake) == 0


def test_a_checkout_back_and_forth_costs_nothing(full: Place, tmp_path: Path) -> None:
    """Notes go and come back with the same bytes, other inodes and times, as git does it."""
    fake = FakeEmbedder()
    shutil.copytree(full.root, tmp_path / "aside")
    for n in range(4):
        shutil.rmtree(f"{full.root}/d{n}")
    full.put("talk.md", "# Another branch\n\nwords\n")
    with opened(full, fake) as vault:
        assert vault.sync().removed > 80
        assert_vectors_are_true(vault, fake)
    made = embedded(fake)
    assert made == 1
    shutil.rmtree(full.root)
    shutil.copytree(tmp_path / "aside", full.root)
    heal(full, fake)
    assert embedded(fake) == made


def test_an_edit_costs_the_passages_it_changes(full: Place) -> None:
    fake = FakeEmbedder()
    parts = [f"## Part {n}\n\nwords {n}\n\n" for n in range(20)]
    full.put("long.md", "# Long\n\n" + "".join(parts))
    heal(full, fake)
    made = embedded(fake)
    parts[7] = "## Part 7\n\nother words\n\n"
    full.put("long.md", "# Long\n\n" + "".join(parts))
    heal(full, fake)
    assert embedded(fake) == made + 1
    full.put("talk.md", TALK.replace("beans 15", "rain 15"))
    heal(full, fake)
    assert embedded(fake) == made + 1 + 3  # a turn and its neighbours


def test_orphans_are_kept_and_bounded(full: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.engine.embed.ORPHANS_KEPT", 20)
    fake = FakeEmbedder()
    rng = random.Random(1)
    most = 0
    with opened(full, fake) as vault:
        for n in range(25):
            full.put("churn.md", f"# Churn {n}\n\n" + "".join(f"## P{i}\n\n{rng.random()}\n\n" for i in range(40)))
            vault.sync()
            stored = len(stored_rows(index_of(vault), fake.identity))
            most = max(most, stored - distinct_inputs(vault))
        ready = index_of(vault).vectors.ready(index_of(vault).vectors.live().id)  # type: ignore[union-attr]
        assert 40 < most <= 20 + ready // 2 + 3
        assert_vectors_are_true(vault, fake)


def test_orphans_are_bounded_where_many_chunks_share_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes made from one template: chunks are many, texts are few, and what is left over must not hide behind that."""
    monkeypatch.setattr("holdfast.engine.embed.ORPHANS_KEPT", 20)
    place = Place(tmp_path)
    for n in range(150):
        place.put(f"t{n}.md", "# Template\n\nTo be filled in.\n")
    fake = FakeEmbedder()
    with opened(place, fake) as vault:
        for n in range(12):
            place.put("churn.md", f"# Churn {n}\n\n" + "".join(f"## P{i}\n\n{n} {i}\n\n" for i in range(20)))
            vault.sync()
        stored = len(stored_rows(index_of(vault), fake.identity))
        assert stored - distinct_inputs(vault) <= 20 + recount(index_of(vault), fake.identity) // 2 + 21


def test_the_copy_in_the_making_of_a_process_that_died_goes_with_the_next_sync(full: Place) -> None:
    left = Path(full.directory) / ".holdfast-tmp-gen-000001.vec"
    left.write_bytes(bytes(10_000))
    fake = FakeEmbedder()
    full.put("new.md", "# New\n\nwords\n")
    heal(full, fake)
    assert not left.exists()


if __name__ == "__main__":
    serve()
