"""Whatever is done to a vault, and however its syncs die: after the next sync the index is what a rebuild makes.

Vectors too: they are made by an embedder that gives every text its own bits, never twice for one text.

A hypothesis state machine over a real folder. `HOLDFAST_STEPS=20000 pytest tests/property` runs that many steps, with
another seed each time; the default is short and always the same.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from holdfast import Config, Vault
from holdfast.engine.check import REPAIRED
from holdfast.engine.question import make_question
from holdfast.engine.record import read_note
from holdfast.engine.sync import scan_into
from holdfast.errors import HoldfastError, PathNotAllowed, ResourceFault
from holdfast.files.fs import FileSystem
from holdfast.model import key_path, show_path
from holdfast.results import Answer
from holdfast.text.query import parse_query
from tests.dump import differences, dump
from tests.fake_embedder import FakeEmbedder, assert_vectors_are_true, stored_rows, use
from tests.fault.faulty_fs import Fault, FaultyFS, Killed
from tests.fault.mortal_fs import Mortal
from tests.memory_index import MemoryIndex, rank_all

CONFIG = Config(
    background=False, batch_notes=4, overlay_chunks=5, overlay_first=7, lock_wait_s=0.5, look_ms=5_000, embed_batch=3,
    embedder="none", min_similarity=0.0,
)  # fmt: skip
STEPS = int(os.environ.get("HOLDFAST_STEPS", "0"))
SHRINKS = os.environ.get("HOLDFAST_SHRINK", "0") != "0"
"""Making a failing history short takes minutes; by default it is printed as it came."""

FOLDERS = ["", "a/", "b/", "a/c/", "a-b/"]
NAMES = ["n1.md", "n2.md", "Plan.MD", "t.txt", "ünï.md", "pic.png", "\udcff.md"]
HEADERS = [
    b"",
    (
        b"---\ntitle: Plan\ntags: [home, work/desk]\naliases: [x/plan, y/plan]\npermalink: p/one\n"
        b"modified: 2024-05-01\n---\n"
    ),
    b"---\ntype: task\nauthor: Ana\nvalid_from: 2023-01\nvalid_to: 2025\nstatus: open\n---\n",
    (
        b"---\ntype: conversation\n---\n"
        b"<!-- turn 1 Ana 2024-05-01T10:00:00Z -->\nI planted tomatoes.\n<!-- turn 2 Bo -->\nWhy?\n"
    ),
    b"---\nbroken: [\n---\n",
    b"\xef\xbb\xbf# Marked\r\n",
]
PARTS = [
    b"# Garden\n\nTomatoes need sun and water.\n",
    b"## Beans\n- [tip] water early #garden (Ana)\n- part_of [[Plan]]\n- see [[n1]] and [[x/plan#Goals]]\n",
    b"Tomatoes and beans grow in the garden of Ana, slowly.\n\n" * 30,
    b"[link](../b/n2.md) and ![[pic.png]]\n",
    "日本語の全文検索。 Ünï côdé\n".encode(),
    b"\xff\xfe broken \x00 bytes tomatoes\n",
    b"```\n# no heading\n```\n",
    b"\n\n",
    b"Water.\n",
    b"w" * 5_000 + b" tomatoes\n",
]
IGNORES = [b"", b"*.txt\n", b"a/\n", b"n1.*\n!b/n1.md\n", b"c/\nPlan*\n", b"*\n"]
QUESTIONS = [
    "tomatoes garden", "water", "why beans", "tomatos", "gard*", '"tomatoes need"', "water -beans", "tag:home plan",
    "by:ana", "since:2024 tomatoes", "path:a water", "type:task", "全文検索", "status:open tomatoes",
    "as_of:2024-03 water",
    "as_of:2026 tomatoes",
]  # fmt: skip

MEANT = ["tomatoes in the garden", "water early"]

places = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)).map("".join)
bodies = st.builds(
    lambda header, parts: header + b"".join(parts),
    st.sampled_from(HEADERS),
    st.lists(st.sampled_from(PARTS), max_size=4),
)
numbers = st.integers(0, 1_000)
errors = st.sampled_from([errno.EIO, errno.EACCES, errno.ENOSPC, errno.EMFILE])


def _cut(directory: str, database: str, at: int) -> None:
    os.truncate(database, os.path.getsize(database) * at // 1_001)


def _flip(directory: str, database: str, at: int) -> None:
    with open(database, "r+b") as f:
        place = os.path.getsize(database) * at // 1_001
        f.seek(place)
        byte = f.read(1)[0]
        f.seek(place)
        f.write(bytes([byte ^ (1 << at % 8)]))


def _lose_rows(directory: str, database: str, at: int) -> None:
    table, column = [("chunk", "note"), ("note", "id"), ("vector", "id"), ("link", "note"), ("file", "id")][at % 5]
    with closing(apsw.Connection(database)) as db:
        db.execute(f"delete from {table} where {column} % 2 = {at % 2}")


DAMAGE: dict[str, Callable[[str, str, int], object]] = {
    "cut": _cut,
    "flip": _flip,
    "rows": _lose_rows,
    "no database": lambda directory, database, at: os.unlink(database),
    "no manifest": lambda directory, database, at: os.unlink(f"{directory}/manifest.json"),
    "nothing": lambda directory, database, at: shutil.rmtree(directory),
}


class LowDisk(FaultyFS):
    """The disk has `free` bytes left, as far as one asks it."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self._free = free

    def statvfs(self, path: str) -> os.statvfs_result:
        told = list(super().statvfs(path))
        told[3] = told[4] = self._free // told[1]  # f_bfree, f_bavail, in blocks of f_frsize
        return os.statvfs_result(told)


class SyncMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.base = tempfile.mkdtemp(prefix="holdfast-machine-")
        self.root = f"{self.base}/notes"
        os.mkdir(self.root)
        self.serial = 0
        self.vault: Vault | None = None
        self.fake = FakeEmbedder(16, "model 0")
        self.changes = 0
        self.seen: set[bytes] = set()
        """Every input that this embedder could be given."""

    @initialize(has_id=st.booleans())
    def begin(self, has_id: bool) -> None:
        if has_id:
            Vault.init(self.root)
        self.open()

    def open(self, fs: FileSystem | None = None) -> Vault:
        vault = Vault.open(self.root, state_dir=f"{self.base}/state", config=CONFIG, fs=fs, environ={"_": "_"})
        self.vault = use(vault, self.fake)
        return self.vault

    def teardown(self) -> None:
        if self.vault is not None:
            self.vault.close()
        shutil.rmtree(self.base, ignore_errors=True)

    # What there is

    def files(self) -> list[str]:
        found = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(f for f in folders if f != ".holdfast")
            found += [os.path.join(folder, n) for n in sorted(names) if n != ".gitignore"]
        return [f[len(self.root) + 1 :] for f in found]

    def pick(self, n: int) -> str | None:
        found = [f for f in self.files() if os.path.isfile(f"{self.root}/{f}")]
        return f"{self.root}/{found[n % len(found)]}" if found else None

    def at(self, path: str) -> str | None:
        """The full path, its folder made; None where a file is in the way."""
        full = f"{self.root}/{path}"
        try:
            os.makedirs(os.path.dirname(full), exist_ok=True)
        except OSError:
            return None
        return None if os.path.isdir(full) else full

    # What people do

    @rule(path=places, body=bodies)
    def write(self, path: str, body: bytes) -> None:
        if full := self.at(path):
            with suppress(OSError):  # a link to itself
                put(full, body)

    @rule(n=numbers, body=bodies)
    def edit_in_place(self, n: int, body: bytes) -> None:
        if full := self.pick(n):
            with open(full, "r+b") as f:
                f.write(body)
                f.truncate()

    @rule(n=numbers, body=bodies)
    def save_as_editors_do(self, n: int, body: bytes) -> None:
        if full := self.pick(n):
            put(full + "~", body)
            os.replace(full + "~", full)

    @rule(n=numbers, at=numbers, byte=st.sampled_from([b"x", b"\n", b"#", b" "]))
    def edit_and_restore_the_time(self, n: int, at: int, byte: bytes) -> None:
        full = self.pick(n)
        if full and (size := os.path.getsize(full)):
            st_ = os.stat(full)
            with open(full, "r+b") as f:
                f.seek(at % size)
                f.write(byte)
            os.utime(full, ns=(st_.st_atime_ns, st_.st_mtime_ns))

    @rule(n=numbers, part=st.sampled_from(PARTS))
    def append(self, n: int, part: bytes) -> None:
        if full := self.pick(n):
            with open(full, "ab") as f:
                f.write(part)

    @rule(n=numbers, when=st.sampled_from([0, -86_400, 10**9, 4 * 10**9]))
    def touch(self, n: int, when: int) -> None:
        if full := self.pick(n):
            os.utime(full, (when, when))

    @rule(n=numbers, path=places)
    def rename(self, n: int, path: str) -> None:
        if (full := self.pick(n)) and (new := self.at(path)):
            os.replace(full, new)

    @rule(old=st.sampled_from(FOLDERS[1:]), new=st.sampled_from(["a", "b", "d", "a/c", "d/e"]))
    def rename_folder(self, old: str, new: str) -> None:
        source, target = f"{self.root}/{old.rstrip('/')}", f"{self.root}/{new}"
        if os.path.isdir(source) and not os.path.lexists(target):
            try:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.rename(source, target)
            except OSError:
                return  # into itself

    @rule(n=numbers, m=numbers)
    def swap(self, n: int, m: int) -> None:
        a, b = self.pick(n), self.pick(m)
        if a and b and a != b:
            for source, target in ((a, a + "~"), (b, a), (a + "~", b)):
                os.rename(source, target)

    @rule(n=numbers, path=places)
    def copy(self, n: int, path: str) -> None:
        if (full := self.pick(n)) and (new := self.at(path)) and not os.path.lexists(new):
            shutil.copy2(full, new)

    @rule(n=numbers)
    def delete(self, n: int) -> None:
        if full := self.pick(n):
            os.unlink(full)

    @rule(n=numbers, path=places, body=bodies)
    def delete_one_and_move_in_an_old_one(self, n: int, path: str, body: bytes) -> None:
        full, new = self.pick(n), self.at(path)
        if full and new:
            put(f"{self.base}/outside", body)
            os.utime(f"{self.base}/outside", (1_000_000, 1_000_000))
            os.unlink(full)
            os.replace(f"{self.base}/outside", new)

    @rule(folder=st.sampled_from(FOLDERS))
    def delete_folder(self, folder: str) -> None:
        full = f"{self.root}/{folder}".rstrip("/")
        if folder and os.path.islink(full):
            os.unlink(full)
        elif folder and os.path.isdir(full):
            shutil.rmtree(full)

    @rule(folder=st.sampled_from(["a", "b", "d/e/f"]))
    def make_folder(self, folder: str) -> None:
        self.at(folder + "/x")

    @rule(folder=st.sampled_from(FOLDERS), text=st.sampled_from(IGNORES))
    def ignore(self, folder: str, text: bytes) -> None:
        if full := self.at(f"{folder}.gitignore"):
            put(full, text)

    @rule(n=numbers, path=places)
    def link(self, n: int, path: str) -> None:
        if (full := self.pick(n)) and (new := self.at(path)) and not os.path.lexists(new):
            os.symlink(full, new)

    @rule(folder=st.sampled_from(["a", "b"]))
    def put_a_link_in_the_place_of_a_folder(self, folder: str) -> None:
        full, aside = f"{self.root}/{folder}", f"{self.root}/moved-{folder}"
        if os.path.isdir(full) and not os.path.islink(full) and not os.path.lexists(aside):
            os.rename(full, aside)
            os.symlink(aside, full)

    @rule(n=numbers, size=st.sampled_from([CONFIG.note_bytes + 1, CONFIG.note_bytes * 3]))
    def grow_beyond_the_limit(self, n: int, size: int) -> None:
        if full := self.pick(n):
            os.truncate(full, size)

    # What Holdfast does

    @rule()
    def sync(self) -> None:
        assert self.vault is not None
        self.make_sure_there_is_something()
        done = self.vault.sync()
        assert not done.degraded
        assert (done.vectors.ready, done.vectors.total) == (done.chunks, done.chunks)
        self.compare_with_a_rebuild()

    @rule(checksum=st.booleans())
    def sync_twice(self, checksum: bool) -> None:
        self.sync()
        assert self.vault is not None
        done = self.vault.sync(checksum=checksum)
        assert (done.added, done.changed, done.removed, done.moved) == (0, 0, 0, 0)

    @rule(paths=st.lists(places, min_size=1, max_size=3, unique=True))
    def hinted_sync(self, paths: list[str]) -> None:
        assert self.vault is not None
        try:
            self.vault.sync(paths=tuple(paths), vectors=False)
        except PathNotAllowed:
            note("through a link")

    @rule(after=st.integers(1, 3))
    def embed_a_little(self, after: int) -> None:
        """Stopped after a few batches: what was made is kept, and is true."""
        assert self.vault is not None
        self.make_sure_there_is_something()
        self.vault.sync(vectors=False)
        stop = threading.Event()
        until = self.fake.encodes + after
        self.fake.hook = lambda inputs: stop.set() if self.fake.encodes == until else None
        try:
            done = self.vault.embed(stop=stop)
        finally:
            self.fake.hook = lambda inputs: None
        assert stop.is_set() or done.vectors.ready == done.vectors.total
        self.check_vectors(complete=not stop.is_set())

    @rule(at=st.integers(1, 3), where=st.sampled_from(["encode", "insert or ignore into vector", "commit", "delete"]))
    def embed_and_die(self, at: int, where: str) -> None:
        """The process dies while it embeds, before or within a transaction, or while it drops what it left behind."""
        assert self.vault is not None
        self.make_sure_there_is_something()
        self.vault.sync(vectors=False)
        left = at

        def die(sql: str) -> None:
            nonlocal left
            if where in sql:
                left -= 1
                if not left:
                    raise Killed(where)

        self.fake.hook = lambda inputs: die("encode")
        index = index_of(self.vault)
        index._writer.connection(grows=True).exec_trace = lambda cursor, sql, bindings: die(sql) or True
        try:
            self.vault.embed()
        except (Killed, HoldfastError) as e:
            note(f"died at {where} {at}: {e!r}")
            if not isinstance(e.__cause__ or e, Killed):
                raise
        finally:
            self.fake.hook = lambda inputs: None
            index.close()
            self.vault._stopgap.close()
            self.vault = None
            self.open()
        self.forgive(self.fake.last)
        self.check_vectors(complete=False)

    def forgive(self, lost: list[bytes]) -> None:
        """What may be embedded again: of the texts `lost` those that were not stored, and what a rebuild dropped as no
        note had it."""
        assert self.vault is not None
        try:
            index: Any = self.vault._ws.index()
        except HoldfastError:
            return
        have = stored_rows(index, self.fake.identity).keys() if index is not None else set()
        wanted = {x for (x,) in index._db.execute("select input from chunk").fetchall()} if index is not None else set()
        for digest in (self.fake.encoded.keys() - have) & (set(lost) | (self.fake.encoded.keys() - wanted)):
            self.fake.encoded[digest] = 0

    @rule(dimension=st.sampled_from([16, 16, 24]))
    def change_embedder(self, dimension: int) -> None:
        assert self.vault is not None
        self.changes += 1
        self.fake, self.seen = FakeEmbedder(dimension, f"model {self.changes}"), set()
        self.vault.close()
        self.open()

    @rule(question=st.sampled_from(QUESTIONS), look=st.booleans(), by=st.sampled_from(["passage", "note"]))
    def recall(self, question: str, look: bool, by: Any) -> None:
        assert self.vault is not None
        if look:
            self.make_sure_there_is_something()
        answer = self.vault.recall(question, by=by, sync=look, budget=100_000, k=30)
        self.check_texts(answer, is_fresh=look)

    @rule()
    def rebuild(self) -> None:
        assert self.vault is not None
        self.make_sure_there_is_something()
        self.vault.rebuild()
        self.forgive([])
        self.vault.sync()
        self.compare_with_a_rebuild()

    @rule()
    def reopen(self) -> None:
        assert self.vault is not None
        self.vault.close()
        self.open()

    @rule(
        at=st.integers(1, 120),
        kill=st.booleans(),
        error=errors,
        times=st.sampled_from([1, 1, None]),
        verb=st.sampled_from(["sync", "sync", "rebuild", "recall", "prune", "repair"]),
    )
    def fail(self, at: int, kill: bool, error: int, times: int | None, verb: str) -> None:
        """A step of the system fails, once or from there on, or the process dies there."""
        assert self.vault is not None
        self.make_sure_there_is_something()
        self.notice()
        self.vault.close()
        self.vault = None
        fs = Mortal(Fault(at=at, times=times, kill=kill, error=None if kill else error))
        vault = None
        try:
            vault = self.open(fs)
            getattr(vault, verb)(*(["tomatoes"] if verb == "recall" else []))
        except (Killed, HoldfastError) as e:
            note(f"{verb} at step {at}: {e!r}")
        finally:
            if vault is not None and vault._ws._open is not None:
                vault._ws._open.index.close()
            if vault is not None:
                vault._stopgap.close()
            fs.bury()
            self.vault = None
            self.open()
        self.forgive(self.fake.last)

    @rule(how=st.sampled_from(sorted(DAMAGE)), at=numbers)
    def damage(self, how: str, at: int) -> None:
        """Something happens to the index files. Questions are answered; a repair, if a sync does not see it, cures."""
        assert self.vault is not None
        self.make_sure_there_is_something()
        self.vault.sync()
        database = index_of(self.vault).path
        directory = os.path.dirname(database)
        self.vault.close()
        DAMAGE[how](directory, database, at)
        self.open()
        answer = self.vault.recall("tomatoes", sync=False, budget=100_000)
        self.check_texts(answer, is_fresh=False)
        self.vault.repair()
        # Vectors that are lost with the index are made again.
        self.fake.encoded.clear()
        self.vault.sync()
        self.fake.encoded.clear()
        self.check_index()
        self.compare_with_a_rebuild()

    @rule(days=st.sampled_from([-4_000, -1, 1, 4_000]))
    def jump_in_time(self, days: int) -> None:
        """The clock of the machine is wrong for a while."""
        assert self.vault is not None
        self.make_sure_there_is_something()
        self.vault.close()
        self.open(FaultyFS(clock_ns=time.time_ns() + days * 86_400 * 10**9))
        self.sync()
        self.reopen()
        self.sync()

    @rule(free=st.sampled_from([0, 1 << 20]))
    def run_out_of_disk(self, free: int) -> None:
        """The disk of the index is nearly full: the index stops, questions are answered, and it goes on later."""
        assert self.vault is not None
        self.make_sure_there_is_something()
        self.vault.close()
        vault = self.open(LowDisk(free))
        with suppress(ResourceFault):
            vault.sync()
        self.check_texts(vault.recall("tomatoes", budget=100_000), is_fresh=False)
        self.reopen()
        self.forgive(self.fake.last)

    @rule()
    def prune(self) -> None:
        """It changes no answer."""
        assert self.vault is not None
        self.sync()
        before = dump(index_of(self.vault))
        self.vault.prune()
        assert dump(index_of(self.vault)) == before
        self.check_index()
        self.forgive([])

    def make_sure_there_is_something(self) -> None:
        """A vault without any file counts as missing (fault/test_absence.py)."""
        if not os.path.isfile(f"{self.root}/always.md"):
            put(f"{self.root}/always.md~", b"# Always\n\nHere.\n")
            os.replace(f"{self.root}/always.md~", f"{self.root}/always.md")  # a link that leads nowhere is replaced

    # What must hold

    def compare_with_a_rebuild(self) -> None:
        self.serial += 1
        with Vault.open(
            self.root, state_dir=f"{self.base}/fresh-{self.serial}", config=CONFIG, environ={"_": "_"}
        ) as fresh:
            use(fresh, FakeEmbedder(self.fake.dimension, self.fake.name)).sync()
            self.compare(fresh)
        shutil.rmtree(f"{self.base}/fresh-{self.serial}")

    def compare(self, fresh: Vault) -> None:
        assert self.vault is not None
        mine, theirs = (dump(index_of(v)) for v in (self.vault, fresh))
        assert mine == theirs, "\n".join(differences(mine, theirs))
        self.check_vectors(complete=True)
        oracle = MemoryIndex()
        scan_into(fresh._ws, oracle, 60_000)  # type: ignore[arg-type]
        for question in QUESTIONS:
            for by in ("passage", "note"):
                how: Any = {"by": by, "sync": False, "budget": 100_000}
                answer = self.vault.recall(question, mode="keyword", **how)
                assert shown(answer) == shown(fresh.recall(question, mode="keyword", **how)), question
                self.check_texts(answer, is_fresh=True)
                self.compare_with_oracle(answer, oracle, question, by)
        for question in MEANT:
            answer, other = (v.recall(question, mode="vector", sync=False, budget=100_000) for v in (self.vault, fresh))
            assert [h.similarity for h in answer.hits] == pytest.approx([h.similarity for h in other.hits], abs=2e-4)
            self.check_texts(answer, is_fresh=True)

    def check_index(self) -> None:
        """Nothing is wrong with the index; notes that were set aside and links are what they are."""
        assert self.vault is not None
        found = self.vault.check(deep=True, vectors=False).findings
        assert not [f for f in found if f.kind in REPAIRED], found

    def notice(self) -> None:
        """Remember every input that the files could give now."""
        for path in self.files():
            full = f"{self.root}/{path}"
            if os.path.isfile(full) and os.path.getsize(full) <= CONFIG.note_bytes:
                with open(full, "rb") as f:
                    self.seen |= {x.digest for x in read_note(f.read(), path, CONFIG.chunk_tokens).inputs}

    def check_vectors(self, *, complete: bool) -> None:
        """All vectors are of the texts they say; no text was embedded twice, or that no note had."""
        assert self.vault is not None
        self.notice()
        assert_vectors_are_true(self.vault, self.fake, complete=complete)
        assert self.fake.encoded.keys() <= self.seen
        assert max(self.fake.encoded.values(), default=0) <= 1

    def compare_with_oracle(self, answer: Answer, oracle: MemoryIndex, question: str, by: Any) -> None:
        asked = make_question(parse_query(question, oracle.has_field), oracle, None, 0.0)  # type: ignore[arg-type]
        search = asked.search
        if not (search.words or search.prefixes or search.phrases):
            places = oracle.newest(search, 10).places
            assert [line(oracle, *p) for p in places] == [(h.path, h.line) for h in answer.hits]
            return
        tops = rank_all(oracle, asked, by)
        assert [t.score for t in tops[:10]] == pytest.approx([h.score for h in answer.hits], abs=2e-4), question
        scores: dict[tuple[str, int], list[float]] = {}
        for t in tops:
            scores.setdefault(line(oracle, t.note, t.ord), []).append(t.score)
        for hit in answer.hits:
            assert any(abs(s - hit.score) < 2e-4 for s in scores[hit.path, hit.line]), (question, hit)

    def check_texts(self, answer: Answer, *, is_fresh: bool) -> None:
        """Every text that is shown stands in a note that is there, where the hit says."""
        here = {show_path(path): path for path in self.files()}
        for hit in answer.hits:
            if hit.text is None:  # too large meanwhile, or a link that leads nowhere
                assert hit.stale and not is_fresh, hit  # noqa: PT018
                continue
            # A folder that a link has taken the place of since leads to the note still; a sync ends that.
            path = here[hit.path] if is_fresh else here.get(hit.path, hit.path)
            with open(f"{self.root}/{path}", "rb") as f:
                data = f.read()
            chunks = read_note(data, path, CONFIG.chunk_tokens).chunks
            if is_fresh:
                assert (hit.line, hit.count, hit.text) in [(c.line, c.count, c.text) for c in chunks], hit
            else:
                text = data.decode("utf-8", "replace").replace("\0", "").replace("\r\n", "\n")
                assert hit.text in text or hit.text in [c.text for c in chunks], hit


def line(oracle: MemoryIndex, note_: int, ord_: int) -> tuple[str, int]:
    chunk = oracle.chunks([(note_, ord_)])[0]
    assert chunk is not None
    return show_path(key_path(oracle.keys([note_])[note_])), chunk.line


def put(path: str, body: bytes) -> None:
    with open(path, "wb") as f:
        f.write(body)


def index_of(vault: Vault) -> Any:
    index = vault._ws.index()
    assert index is not None
    return index


def shown(answer: Answer) -> Any:
    """An answer without what differs between two indexes of the same notes."""
    r = answer.receipt
    return answer.hits, r.in_scope, r.matched, r.degraded


# A close that fails in a finalizer has nobody to tell.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_index_is_what_a_rebuild_makes() -> None:
    run_state_machine_as_test(
        SyncMachine,
        settings=settings(
            max_examples=max(1, STEPS // 50) if STEPS else 60,
            stateful_step_count=50 if STEPS else 30,
            deadline=None,
            derandomize=not STEPS,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink] if SHRINKS else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
