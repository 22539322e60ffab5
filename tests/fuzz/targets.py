"""What is fuzzed: one function of bytes each, which raises nothing but what it may, and the seeds to start from.

An input that breaks a target belongs into tests/fuzz/found/TARGET/, where the test replays it for ever.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import cache
from pathlib import Path

from holdfast.errors import IndexFault, PathNotAllowed, QueryError, UserError
from holdfast.files.fs import FileSystem
from holdfast.files.paths import safe_path
from holdfast.index.home import MANIFEST, Manifest, read_manifest
from holdfast.index.sqlite.pages import rows_in_pages
from holdfast.index.vectors.archive import read_head, read_rows, write_head, write_row
from holdfast.index.vectors.codes import VectorRow, checksum, own_crc
from holdfast.text import frontmatter
from holdfast.text.note import parse
from holdfast.text.query import parse_query
from tests.property.test_parse_properties import check_chunks, check_parsed

FS = FileSystem()
EXAMPLES = Path(__file__).parents[2] / "examples" / "vault"
FOUND = Path(__file__).parent / "found"


@cache
def _folder() -> str:
    return tempfile.mkdtemp(prefix="holdfast-fuzz-")


def header(data: bytes) -> None:
    """The YAML at the top of a note."""
    lines = data.decode("utf-8", "replace").split("\n")
    for given in (lines, ["---", *lines, "---"]):
        found = frontmatter.read(given)
        assert 0 <= found.body <= len(given)
        json.dumps([asdict(problem) for problem in found.problems]).encode()


def note(data: bytes) -> None:
    """A whole note: what is parsed and cut."""
    document = parse(data, "a/Note.md")
    check_parsed(document, data)
    check_chunks(document, data, 60)


def query(data: bytes) -> None:
    """A question as typed."""
    try:
        found = parse_query(data.decode("utf-8", "surrogateescape"), lambda key: key.startswith("a"))
    except QueryError:
        return
    json.dumps(asdict(found), ensure_ascii=False).encode()


def path(data: bytes) -> None:
    """A path from outside: inside the vault, or refused."""
    root = _folder()
    try:
        found = safe_path(root, os.fsdecode(data), FS)
    except PathNotAllowed:
        return
    assert os.path.realpath(f"{root}/{found}").startswith(root + "/")
    assert "\0" not in found


def manifest(data: bytes) -> None:
    """The file that says which generation is live."""
    Path(_folder(), MANIFEST).write_bytes(data)
    try:
        found = read_manifest(FS, _folder())
    except IndexFault:
        return
    assert found is not None
    assert found.generation > 0


def archive(data: bytes) -> None:
    """An export of vectors: a record is whole or not there."""
    file = io.BytesIO(data)
    try:
        read_head(file)
    except UserError:
        return
    for row in read_rows(file):
        assert row.is_whole


def pages(data: bytes) -> None:
    """The pages of a damaged database, read without SQLite: a vector proves itself or is not there."""
    name = f"{_folder()}/pages.db"
    Path(name).write_bytes(data)
    for _, dimension, row in rows_in_pages(FS, name, "fake"):
        assert len(row.code) == dimension
        assert row.is_whole


def _archive_seed() -> bytes:
    out = io.BytesIO()
    write_head(out, "fake", 8)
    for n in range(3):
        parts = bytes([n]) * 16, bytes([n + 1]) * 8, bytes([n]) * 8, b""
        write_row(out, VectorRow(*parts, checksum(*parts)))
    return out.getvalue()


def _pages_seed() -> bytes:
    """A small database with the two tables that are looked for, and a vector that is whole."""
    name = f"{_folder()}/seed.db"
    if not os.path.exists(name):
        code, bits, input_ = bytes(range(16)), bytes(8), bytes(range(16))
        with closing(sqlite3.connect(name)) as db, db:
            db.execute("create table embedder (id integer primary key, identity text, dimension integer)")
            db.execute("create table vector (id integer primary key, embedder, input, code, bits, crc, own)")
            db.execute("insert into embedder values (1, 'fake', 16)")
            row = (input_, code, bits, checksum(input_, code, bits, b""), own_crc(0, input_, code, bits))
            db.execute("insert into vector values (1, 1, ?, ?, ?, ?, ?)", row)
    return Path(name).read_bytes()


def _notes() -> list[bytes]:
    return [p.read_bytes() for p in sorted(EXAMPLES.rglob("*.md"))[:12]]


def _manifest_seed() -> bytes:
    return json.dumps(asdict(Manifest("v", "/notes", 3, "d", "a"))).encode()


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "header": (header, lambda: [b"title: x\ntags: [a, b]\na: &x {b: *x}\nc: |\n  d\n", *_notes()]),
    "note": (note, _notes),
    "query": (query, lambda: [b'"a b" -c d* tag:e since:2024-01-05 -path:"f g" \xc3\xa9 a:b', b"until:2024-02-30"]),
    "path": (path, lambda: [b"a/../b.md", b"/etc/passwd", b"a\0b", b"caf\xe9.md", b"./x//y.md", b"~/.ssh"]),
    "manifest": (manifest, lambda: [_manifest_seed()]),
    "archive": (archive, lambda: [_archive_seed()]),
    "pages": (pages, lambda: [_pages_seed()]),
}


def found(target: str) -> list[Path]:
    """Inputs that once broke the target."""
    return sorted((FOUND / target).glob("*"))
