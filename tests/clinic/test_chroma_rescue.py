"""Every document comes back byte for byte with its id and all its metadata, counted and compared."""

from __future__ import annotations

import json
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import apsw
import pytest
import yaml

from holdfast.clinic import chroma
from holdfast.clinic.chroma import rescuing as module
from holdfast.clinic.chroma.notes import Row, notes_of, overlap, safe_name
from holdfast.errors import Conflict, DiskFull
from holdfast.text.frontmatter import read
from tests.clinic import chroma_patients as patients

Saved = dict[tuple[str, str], tuple[bytes | None, dict[str, Any]]]
OURS = ("title", "source", "trust", "chroma")


def saved(out: Path) -> Saved:
    """(collection, id) -> document and metadata, read from the notes as their header says."""
    found: Saved = {}
    for path in out.rglob("*.md"):
        content = path.read_bytes()
        assert content.startswith(b"---\n")
        end = content.index(b"\n---\n")
        head = yaml.safe_load(content[4:end].decode())
        assert not read(content.decode("utf-8", "replace").split("\n")).problems, path
        body = content[end + 5 :]
        known = head["chroma"]
        common = {k: v for k, v in head.items() if k not in OURS} | known.get("shared", {})
        for entry in known["entries"]:
            metadata = common | entry.get("metadata", {})
            if "metadata" in known:
                metadata = json.loads(path.with_suffix(".json").read_text())
            document = body[slice(*entry["at"])] if "at" in entry else None
            key = (known["collection"], entry["id"])
            assert key not in found
            found[key] = (document, metadata)
    return found


TEXT = "".join(f"Line {n} of a long text about nothing in particular, number {n * n}.\n" for n in range(120))
CHUNKS = [TEXT[n : n + 800].strip() for n in range(0, len(TEXT), 700)]

ODD = {
    "fences": "---\ntitle: not a header\n---\n\n# Heading\n---\n",
    "crlf": "one\r\ntwo\r\n",
    "no end": "no newline at the end",
    "ends": "\n\n  spaces and lines around  \n\n\n",
    "unicode": "日本語 😀 \u2028 \u0085 \ufeff é é",
    "control": "bell \x07 escape \x1b[31m null-free",
    "turn": "<!-- turn 1 user -->\ntext",
    "empty": "",
    "quotes": "'\"`: {a} [b] & *c !d %e @f",
}

METADATA: dict[str, dict[str, Any]] = {
    "i/../../etc": {"title": "theirs", "Tags": "a, b", "source": "not a path", "trust": "own", "chroma": "x"},
    "types": {"i": 2**53, "f": 1e20, "g": 0.1, "h": -0.0, "t": True, "u": False, "s": "true", "n": "null"},
    "texts": {"multi": "a\nb\n---\nc", "colon": "a: b", "empty": "", "hash": "# no", "tab": "\t", "e": "1e5"},
    "more texts": {"ctl": "\x1b\x85\u2028", "date": "2026-01-01", "line": "\n", "blanks": "  x  "},
    "odd keys": {"a: b": 1, "- x": "y", "x\"y": "quote", "Ключ": "значение", "with\nline": "v"},
    "CON": {"list": ["a", "b"], "numbers": [1, 2, 3]},
    "con": {"x": 1},
    ".hidden": {"x": 2},
    "x" * 300: {"x": 3},
    "dup/name.md": {"x": 4},
    "dup2/name.md": {"x": 5},
}  # fmt: skip


@cache
def palace() -> tuple[Path, Saved]:
    """A MemPalace-like directory, and what is in it."""
    drawers = [
        [
            f"drawer_{n}",
            c,
            {"wing": "w", "room": "r/1", "source_file": "/home/u/notes/long.md", "chunk_index": n, "hall": f"h{n % 3}"},
        ]
        for n, c in enumerate(CHUNKS)
    ]
    apart = [
        [f"apart_{n}", f"Chunk {n}.", {"wing": "w", "room": "r/1", "source_file": "/other/long.md", "chunk_index": n}]
        for n in (0, 1, 5)
    ]
    odd = [[name, text, {"kind": name}] for name, text in ODD.items()]
    told = [[key, f"document of {key}", metadata] for key, metadata in METADATA.items()]
    path = Path(patients._root()) / "rescue"
    script: patients.Script = [
        ["create", "mempalace_drawers", patients.SMALL], ["create", "odd", {}], ["create", "nothing", {}],
        ["rows", "mempalace_drawers", drawers], ["rows", "mempalace_drawers", apart], ["rows", "odd", odd],
    ]  # fmt: skip
    script += [["rows", "odd", [one]] for one in told]
    script += [
        ["rows", "odd", [["null document", None, {"why": "none"}]]],
        ["rows", "odd", [["null metadata", "text", None]]],
    ]
    script += [["rows", "odd", [["null both", None, None]]]]
    patients.build({path: script})
    expected: Saved = {("mempalace_drawers", k): (t.encode(), m) for k, t, m in drawers + apart}
    expected |= {("odd", k): (t.encode(), m) for k, t, m in odd + told}
    expected |= {("odd", "null document"): (None, {"why": "none"}), ("odd", "null metadata"): (b"text", {})}
    expected |= {("odd", "null both"): (None, {})}
    return path, expected


def test_everything_comes_back(tmp_path: Path) -> None:
    source, expected = palace()
    before = patients.contents(source)
    report = chroma.rescue(str(source), str(tmp_path / "out"))
    assert patients.contents(source) == before
    found = saved(tmp_path / "out")
    assert found.keys() == expected.keys()
    for key, (document, metadata) in expected.items():
        assert found[key][0] == document, key
        assert found[key][1] == metadata, key
        assert {k: type(v) for k, v in found[key][1].items()} == {k: type(v) for k, v in metadata.items()}, key
    counts = {s["collection"]: (s["rows"], s["without_document"], s["without_metadata"]) for s in report.seen}
    assert counts == {
        "mempalace_drawers": (len(CHUNKS) + 3, 0, 0),
        "odd": (len(ODD) + len(METADATA) + 3, 2, 2),
        "nothing": (0, 0, 0),
    }
    assert (report.done, report.ok) == (True, True)
    assert any("holdfast init" in r for r in report.remarks)


def test_neighbours_are_joined_into_the_text_they_came_from(tmp_path: Path) -> None:
    chroma.rescue(str(palace()[0]), str(tmp_path / "out"))
    folder = tmp_path / "out" / "mempalace_drawers" / "w" / "r-1"
    names = sorted(p.name for p in folder.iterdir())
    assert len(names) == 2  # Two sources of one name.
    (long,) = (p for p in folder.iterdir() if b"/home/u/notes" in p.read_bytes())
    body = long.read_bytes().partition(b"\n---\n")[2]
    assert body.decode() == TEXT
    (apart,) = (p for p in folder.iterdir() if p != long)
    assert apart.read_bytes().endswith(b"---\nChunk 0.\n\nChunk 1.\n\nChunk 5.\n")


def test_names_are_safe_and_used_once(tmp_path: Path) -> None:
    chroma.rescue(str(palace()[0]), str(tmp_path / "out"))
    names = [p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.md")]
    assert len({n.casefold() for n in names}) == len(names)
    for name in names:
        for part in name.split("/"):
            assert not part.startswith(".")
            assert len(part.encode()) < 120
            assert part.isprintable()
    assert not (tmp_path / "etc").exists()


def test_a_graph_in_ruins_does_not_matter(tmp_path: Path) -> None:
    sick = patients.flushed(tmp_path / "p")
    shutil.rmtree(patients.segment(sick))
    report = chroma.rescue(str(sick), str(tmp_path / "out"))
    found = saved(tmp_path / "out")
    assert len(found) == 640
    assert all(found["drawers", f"i{n}"] == (f"text {n}".encode(), {"n": n}) for n in range(640))
    assert report.ok


def test_what_only_waits_in_the_queue_is_saved_too(tmp_path: Path) -> None:
    """A process killed after the queue was written and before the rows were: measured to happen."""
    sick = patients.flushed(tmp_path / "p")
    topic = "(SELECT topic FROM embeddings_queue LIMIT 1)"
    insert = (
        "INSERT INTO embeddings_queue (operation, topic, id, vector, encoding, metadata)"
        f" VALUES (?, {topic}, ?, ?, 'FLOAT32', ?)"
    )
    with apsw.Connection(str(sick / "chroma.sqlite3")) as db:
        for operation, key, metadata in (
            (0, "late", {"chroma:document": "late text", "a": 1}),
            (1, "i7", {"chroma:document": "new text", "b": 2, "n": None}),
            (2, "i8", {"c": 3}),
            (3, "i9", None),
            (0, "i10", {"chroma:document": "an add of what is there changes nothing"}),
            (1, "never", {"d": 4}),
            (2, "gone", {"chroma:document": "x"}),
            (3, "gone", None),
        ):
            db.execute(insert, (operation, key, bytes(32), None if metadata is None else json.dumps(metadata)))
    report = chroma.rescue(str(sick), str(tmp_path / "out"))
    found = saved(tmp_path / "out")
    assert found["drawers", "late"] == (b"late text", {"a": 1})
    assert found["drawers", "i7"] == (b"new text", {"b": 2})
    assert found["drawers", "i8"] == (b"text 8", {"n": 8, "c": 3})
    assert found["drawers", "i10"] == (b"text 10", {"n": 10})
    assert {k for _, k in found} == {f"i{n}" for n in range(640) if n != 9} | {"late"}
    assert report.seen[0]["from_queue"] == 8
    # The verdict knows them too.
    seen = chroma.examine(str(sick)).seen[0]
    assert (seen["verdict"], seen["rows"]) == ("healthy", 640)


def test_texts_in_no_encoding_come_back(tmp_path: Path) -> None:
    sick = patients.flushed(tmp_path / "p")
    with apsw.Connection(str(sick / "chroma.sqlite3")) as db:
        db.execute(
            "UPDATE embedding_metadata SET string_value = CAST(x'fffe41' AS TEXT) WHERE id = 1 AND key LIKE 'chroma%'"
        )
        db.execute(
            "UPDATE embedding_metadata SET string_value = CAST(x'ff41' AS TEXT), int_value = NULL"
            " WHERE id = 2 AND key = 'n'"
        )
    assert chroma.rescue(str(sick), str(tmp_path / "out")).ok
    found = saved(tmp_path / "out")
    assert found["drawers", "i0"][0] == b"\xff\xfeA"
    assert found["drawers", "i1"][1] == {"n": "\\xffA"}


def test_a_damaged_database_gives_what_can_be_read(tmp_path: Path) -> None:
    sick = patients.flushed(tmp_path / "p")
    with apsw.Connection(str(sick / "chroma.sqlite3")) as db:
        pages = [
            n for (n,) in db.execute("SELECT pageno FROM dbstat WHERE name = 'embeddings' AND pagetype = 'leaf'")
        ] if _has_dbstat(db) else _leaves(db)  # fmt: skip
        size = db.pragma("page_size")
    with open(sick / "chroma.sqlite3", "r+b") as file:
        file.seek((pages[2] - 1) * size)
        file.write(b"\xff" * size)
    report = chroma.rescue(str(sick), str(tmp_path / "out"))
    found = saved(tmp_path / "out")
    assert 300 < len(found) < 640
    for (_, key), (document, metadata) in found.items():
        assert (document, metadata) == (f"text {key[1:]}".encode(), {"n": int(key[1:])})
    assert not report.ok
    unread = sum(
        int(f.message.split("damaged: ")[1].split()[0].replace(",", "")) for f in report.findings if "rows" in f.message
    )
    assert unread >= 640 - len(found)


def _has_dbstat(db: apsw.Connection) -> bool:
    try:
        db.execute("SELECT 1 FROM dbstat LIMIT 1")
    except apsw.SQLError:
        return False
    return True


def _leaves(db: apsw.Connection) -> list[int]:
    """The leaf pages of table `embeddings`, from its root page, as the file format has them."""
    root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'embeddings'").get
    size = db.pragma("page_size")
    content = Path(db.filename).read_bytes()[(root - 1) * size : root * size]
    assert content[0] == 5
    count = int.from_bytes(content[3:5], "big")
    cells = [int.from_bytes(content[12 + 2 * n : 14 + 2 * n], "big") for n in range(count)]
    return [int.from_bytes(content[c : c + 4], "big") for c in cells]


@pytest.mark.parametrize("kind", ["file", "full", "link", "inside"])
def test_out_must_be_new_or_empty(kind: str, tmp_path: Path) -> None:
    sick = patients.flushed(tmp_path / "p")
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("x")
    elif kind == "full":
        (out / "x").mkdir(parents=True)
    elif kind == "link":
        (tmp_path / "there").mkdir()
        out.symlink_to(tmp_path / "there")
    else:
        out = sick / "out"
    before = patients.contents(tmp_path)
    with pytest.raises(Conflict):
        chroma.rescue(str(sick), str(out))
    assert patients.contents(tmp_path) == before


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert chroma.rescue(str(patients.flushed(tmp_path / "p")), str(tmp_path / "out")).done
    assert len(saved(tmp_path / "out")) == 640


def test_out_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sick = patients.flushed(tmp_path / "p")
    write = module._Writer._write
    written = []

    def fail(self: Any, path: str, content: bytes) -> None:
        written.append(path)
        if len(written) > 100:
            raise OSError(28, "No space left on device")
        assert not (tmp_path / "out").exists()
        write(self, path, content)

    monkeypatch.setattr(module._Writer, "_write", fail)
    with pytest.raises(DiskFull):
        chroma.rescue(str(sick), str(tmp_path / "out"))
    assert sorted(os.listdir(tmp_path)) == ["p"]


def test_a_header_never_outgrows_its_limit() -> None:
    rows = [Row(f"id{n}", b"text %d" % n, {"a": "x" * 900, "n": n, "b": f"{n}" * 200}, n) for n in range(300)]
    notes = notes_of(rows, "c", "/s")
    assert len(notes) > 1
    assert [r.key for note in notes for r in note.rows] == [r.key for r in rows]
    (huge,) = notes_of([Row("id", b"text", {"a": "y" * 100_000})], "c", None)
    assert json.loads(huge.companion) == {"a": "y" * 100_000}
    for note in (*notes, huge):
        lines = note.content.decode().split("\n")
        assert not read(lines).failed


def test_one_long_row_is_written_with_its_companion(tmp_path: Path) -> None:
    sick = patients.flushed(tmp_path / "p")
    with apsw.Connection(str(sick / "chroma.sqlite3")) as db:
        db.execute("INSERT INTO embedding_metadata (id, key, string_value) VALUES (1, 'long', ?)", ("z" * 90_000,))
    chroma.rescue(str(sick), str(tmp_path / "out"))
    assert saved(tmp_path / "out")["drawers", "i0"] == (b"text 0", {"n": 0, "long": "z" * 90_000})


@pytest.mark.parametrize(
    ("before", "after", "shared"),
    [
        (b"a" * 50 + b"0123456789" * 5, b"0123456789" * 5 + b"b" * 50, 50),
        (b"x" * 30, b"x" * 30, 30),
        (b"short tail", b"short tail and more", 0),
        (b"", b"", 0),
        (b"y" * 2000, b"y" * 2000, 1000),
    ],
)
def test_overlaps(before: bytes, after: bytes, shared: int) -> None:
    assert overlap(before, after) == shared


@pytest.mark.parametrize(
    "name", ["", ".", "..", "...", "/", "a/b", "CON", "nul.txt", "\x00\n", "é" * 200, " x ", "node_modules"]
)
def test_safe_names(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert safe not in (".", "..", "node_modules", "CON")
    assert "/" not in safe
    assert len(safe.encode()) <= 90
    assert safe.isprintable()
