"""The whole content of an index in a form that does not depend on its history: ids as paths, no change numbers."""

from __future__ import annotations

from typing import Any

from holdfast.index.sqlite.store import SqliteIndex
from holdfast.model import key_path

_TABLES = {
    "file": "size, mtime_ns, ctime_ns, inode",
    "note": (
        "hex(digest), title, type, permalink, trust, tags, author, session, modified_ns, valid_from_ns, valid_to_ns"
    ),
    "chunk": "ord, start, size, line, count, heading, hex(digest), speaker, at_ns, hex(input), traits",
    "name": "key, levels, whole",
    "link": "ord, line, target, name, heading, block, embed, relative, relation",
    "fact": "ord, line, kind, label, valid_from, valid_to",
    "field": "key, value",
}


def dump(index: SqliteIndex) -> dict[str, Any]:
    """Every row that is derived from the notes, by table, sorted."""
    db = index._db
    with index.snapshot():
        paths = {i: key_path(key) for key, i in db.execute("select key, id from file").fetchall()}
        out: dict[str, Any] = {}
        for table, columns in _TABLES.items():
            owner = "id" if table in ("file", "note") else "note"
            rows = db.execute(f"select {owner}, {columns} from {table}").fetchall()
            out[table] = sorted(((paths.get(r[0], f"orphan {r[0]}"), *r[1:]) for r in rows), key=repr)
        words = dict(db.execute("select id, t from term").fetchall())
        out["words"] = {
            paths.get(n, f"orphan {n}"): (lens, [words[i] for i in _ids(ids)])
            for n, lens, ids in db.execute("select note, lens, ids from doc").fetchall()
        }
        out["quarantine"] = sorted(
            (key_path(k), r) for k, r in db.execute("select key, reason from quarantine").fetchall()
        )
        out["vectors"] = _vectors(db)
    return out


def _vectors(db: Any) -> dict[Any, Any]:
    """By (embedder, digest of the input) what is stored for a text that a note has; and whose vectors answer."""
    rows = db.execute(
        "select e.identity, hex(v.input), v.code, v.bits, t.data, v.crc from vector v left join token t on t.id = v.id "
        "left join embedder e on e.id = v.embedder where v.input in (select input from chunk)"
    ).fetchall()
    live = db.execute("select identity from embedder where id = (select value from meta where key = 'embedder')")
    # Of whose vectors there are none, it does not matter who would have made them.
    return {(who, input_): rest for who, input_, *rest in rows} | {"live": live.fetchall() if rows else []}


def _ids(data: bytes) -> list[int]:
    """LEB128, the plain way."""
    out, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            out.append(value)
            value = shift = 0
    return out


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What stands in one dump only, for the message of a failing test."""
    out = []
    for table in a:
        if a[table] != b[table]:
            left, right = (x[table].items() if isinstance(x[table], dict) else x[table] for x in (a, b))
            out += [f"{table} - {r!r}" for r in left if r not in right] + [
                f"{table} + {r!r}" for r in right if r not in left
            ]
    return out
