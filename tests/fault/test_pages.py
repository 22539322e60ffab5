"""Vectors out of a database that SQLite cannot read: the pages that are left give what they hold, and nothing else."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from holdfast import Config
from holdfast.files.fs import FileSystem
from holdfast.index.sqlite.pages import rows_in_pages
from holdfast.index.sqlite.salvage import rows_of
from holdfast.index.vectors.codes import VectorRow, checksum
from tests.fake_embedder import FakeEmbedder, assert_vectors_are_true, stored_rows, use
from tests.fault.vaults import Place, index_of

CONFIG = Config(background=False, embedder="none")
COUNT = 120
PAGE = 4096
LONG = 2048
"""Numbers of a vector of which two do not fit into a leaf."""


def talk(turns: int) -> str:
    words = "I planted tomatoes in the garden by the shed"
    said = "".join(f"<!-- turn {n} Ana -->\n{words} {n} times\n" for n in range(turns))
    return f"---\ntype: conversation\n---\n{said}"


class Made:
    """A database with vectors, and what it held."""

    def __init__(self, base: Path, dimension: int) -> None:
        self.place = Place(base)
        self.place.fill(COUNT)
        self.place.put("talk.md", talk(60))
        self.fake = FakeEmbedder(dimension)
        with self.place.open(config=CONFIG) as vault:
            use(vault, self.fake).sync()
            self.rows = stored_rows(index_of(vault), self.fake.identity)
            index_of(vault).checkpoint()
        self.path = self.place.database
        db = apsw.Connection(self.path)
        self.roots = dict(db.execute("select name, rootpage from sqlite_master").fetchall())
        db.close()
        assert any(r.tokens for r in self.rows.values())

    def zero(self, *tables: str) -> None:
        with open(self.path, "r+b") as file:
            for page in [1 if t == "first" else self.roots[t] for t in tables]:
                file.seek((page - 1) * PAGE)
                file.write(bytes(PAGE))

    def found(self, meant: str = "") -> dict[bytes, VectorRow]:
        """What is salvaged; all of it is true."""
        out = {}
        for identity, dimension, row in rows_of(self.path, meant or self.fake.identity):
            assert (identity, dimension) == (self.fake.identity, self.fake.dimension)
            assert row == self.rows[row.input]
            assert row.input not in out, "each once"
            out[row.input] = row
        return out


@pytest.fixture(params=[384, LONG])
def made(tmp_path: Path, request: pytest.FixtureRequest) -> Made:
    return Made(tmp_path, request.param)


def test_pages_give_what_sqlite_gives(made: Made) -> None:
    rows = {r.input: r for _, _, r in rows_in_pages(FileSystem(), made.path, "")}
    assert rows == made.rows == made.found()


@pytest.mark.parametrize("tables", [("first",), ("vector",), ("token",), ("first", "vector")])
def test_a_root_that_is_gone_costs_nothing(made: Made, tables: tuple[str, ...]) -> None:
    made.zero(*tables)
    lost = len(made.rows) - len(made.found())
    # A table of one leaf is its root.
    assert lost <= (6 if "token" in tables else 0)


def test_a_name_that_is_gone_is_found_elsewhere(made: Made) -> None:
    """The embedder's row is lost: its index names it, and what the last pass noted."""
    made.zero("embedder")
    assert made.found() == made.rows
    made.zero("sqlite_autoindex_embedder_1")
    assert made.found() == made.rows


def test_nobody_elses_name_is_put_on_them(made: Made) -> None:
    made.zero("embedder")
    assert made.found("another:384") == {}


@pytest.mark.parametrize("share", [0.75, 0.9])
def test_a_file_that_is_cut_gives_what_is_left(made: Made, share: float) -> None:
    whole = os.path.getsize(made.path)
    os.truncate(made.path, int(whole * share) // PAGE * PAGE)
    assert 0 < len(made.found()) < len(made.rows)


@pytest.mark.parametrize("fill", [b"\r", b"\xff", b"\0"], ids=["leaf", "ones", "zeros"])
def test_nonsense_gives_nothing(tmp_path: Path, fill: bytes) -> None:
    path = tmp_path / "x.db"
    for body in (b"", fill * 100, fill * (20 * PAGE), os.urandom(20 * PAGE), (b"\r" + os.urandom(PAGE - 1)) * 20):
        path.write_bytes(body)
        assert list(rows_in_pages(FileSystem(), str(path), "fake:384")) == []
    assert list(rows_in_pages(FileSystem(), str(tmp_path / "none.db"), "fake:384")) == []


def test_what_is_still_in_the_log_is_found(tmp_path: Path) -> None:
    """Nothing was moved from the log into the database yet, and the database's first page is gone."""
    place, fake = Place(tmp_path), FakeEmbedder(384)
    place.fill(10)
    with place.open(config=CONFIG) as vault:
        use(vault, fake).sync()
        index = index_of(vault)
        rows = stored_rows(index, fake.identity)
        place.put("new.md", "# New\n\nsomething else\n")
        real, index.checkpoint = index.checkpoint, lambda: None  # type: ignore[method-assign]
        vault.sync()
        index.checkpoint = real  # type: ignore[method-assign]
        now = stored_rows(index, fake.identity)
        copied = str(tmp_path / "copy.db")
        for suffix in ("", "-wal"):
            Path(copied + suffix).write_bytes(Path(index.path + suffix).read_bytes())
    with open(copied, "r+b") as file:
        file.write(bytes(PAGE))
    found = {r.input: r for _, _, r in rows_in_pages(FileSystem(), copied, fake.identity)}
    assert len(now) == len(rows) + 1
    assert found == now


@pytest.mark.parametrize("damage", [("first",), ("vector",), ("embedder",)])
def test_a_sync_embeds_nothing_again(tmp_path: Path, damage: tuple[str, ...]) -> None:
    made = Made(tmp_path, 384)
    made.zero(*damage)
    fake = FakeEmbedder(384)
    with made.place.open(config=CONFIG) as vault:
        use(vault, fake)
        if damage != ("first",):
            vault._ws.set_aside("a test")
        vault.sync()
        assert_vectors_are_true(vault, fake)
    assert sum(fake.encoded.values()) == 0


def test_a_page_of_an_embedder_whose_id_is_used_again_is_not_taken_for_the_new_ones(tmp_path: Path) -> None:
    """Ids are used again once the last embedder was dropped, and what it left stands in free pages for a while."""
    place, first, second = Place(tmp_path), FakeEmbedder(384, "first"), FakeEmbedder(384, "second")
    third = FakeEmbedder(384, "third")
    place.fill(COUNT)
    with place.open(config=CONFIG) as vault:
        use(vault, first).sync()
        index = index_of(vault)
        inputs = {r.input: r for r in stored_rows(index, first.identity).values()}
        id_ = index.vectors.add_embedder(second.identity, 384)
        others = [replace(r, code=r.code[::-1], tokens=b"") for r in inputs.values()]
        index.vectors.put(id_, [replace(r, crc=checksum(r.input, r.code, r.bits, b"")) for r in others])
        index.vectors.switch(1)
        assert index.vectors.add_embedder(third.identity, 384) == id_
        index.checkpoint()
    found = list(rows_in_pages(FileSystem(), place.database, third.identity))
    assert found
    for identity, _, row in found:
        assert (identity, row) == (first.identity, inputs[row.input])
