"""Every JSON document of the interface, field by field. Fields may be added here; none is renamed or dropped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import (
    EXAMPLE,
    Command,
    Each,
    check,
    fits,
    is_digest,
    is_number,
    is_time,
    is_value,
    maybe,
    misfits,
    one_of,
)

READY = {"ready": int, "total": int}
CREATED = {"vault": str, "id": str, "created": bool}
SYNCED = {
    "added": int,
    "changed": int,
    "removed": int,
    "moved": int,
    "unchanged": int,
    "quarantined": int,
    "files_read": int,
    "skipped": Each(int),
    "notes": int,
    "chunks": int,
    "vectors": READY,
    "seconds": is_number,
    "peak_rss_bytes": int,
    "scan": {"kind": one_of("first", "full", "hinted"), "seconds": is_number, "files": int, "directories": int},
    "generation": int,
    "seq": int,
    "behind?": maybe(int),
    "degraded": [str],
    "explained?": [{"path": str, "reason": str}],
}
EMBEDDED = {"vectors": READY, "made": int, "left": int, "seconds": is_number, "degraded": [str]}
CARRIED = {"read": int, "stored": int}
HIT = {
    "path": str,
    "line": int,
    "count": int,
    "title": str,
    "heading": str,
    "text": maybe(str),
    "stale": bool,
    "score": is_number,
    "via": [one_of("keyword", "vector", "link", "time", "scan")],
    "similarity": maybe(is_number),
    "why": Each(is_number),
    "type": str,
    "modified": is_time,
    "speaker": maybe(str),
    "at": maybe(is_time),
    "author": maybe(str),
    "session": maybe(str),
    "trust": one_of("own", "imported", "agent", "external"),
    "digest": is_digest,
}
ANSWER = {
    "query": str,
    "hits": [HIT],
    "receipt": {
        "generation": int,
        "seq": int,
        "proven_at": maybe(is_time),
        "behind": maybe(int),
        "vectors": READY,
        "in_scope": {"notes": int, "chunks": int},
        "matched": int,
        "degraded": [str],
    },
    "tokens": int,
}
NOTE = {
    "path": str,
    "title": str,
    "line": int,
    "count": int,
    "text": str,
    "digest": is_digest,
    "frontmatter": Each(is_value),
    "modified": is_time,
    "trust": one_of("own", "imported", "agent", "external"),
}
LISTED = {
    "path": str,
    "title": str,
    "type": str,
    "tags": [str],
    "modified": is_time,
    "bytes": int,
    "digest": is_digest,
}
LISTING = {"notes": [LISTED], "next": maybe(str)}
STATUS = {
    "health": one_of("ok", "degraded", "failing"),
    "reasons": [{"code": str, "message": str, "hint": str}],
    "vault": {"path": str, "id": maybe(str), "notes": int, "bytes": int},
    "index": {
        "path": str,
        "bytes": int,
        "bound_bytes": int,
        "ratio": maybe(is_number),
        "files": int,
        "generation": maybe(int),
        "seq": maybe(int),
        "chunks": int,
        "vectors": READY,
        "embedder": maybe(str),
        "has_embedder": bool,
    },
    "history": {"bytes": int, "versions": int},
    "disk_free_bytes": int,
    "descriptors": {"open": int, "soft_limit": int},
    "behind": maybe(int),
    "proven_at": maybe(is_time),
    "quarantined": {"count": int, "newest": [{"path": str, "reason": str, "retry_at": maybe(is_time)}]},
    "jobs": Each(
        {"last_success": maybe(is_time), "last_failure": maybe(is_time), "error": maybe(str), "running": bool}
    ),
    "counters?": Each(int),
}
REBUILT = {"plan": [{"action": str, "target": str, "bytes": int}], "done": bool, "freed_bytes": int}
DATED = {"context": maybe(str), "from": maybe(str), "to": maybe(str)}
PARSED = {
    "title": str,
    "type": str,
    "permalink": str,
    "tags": [str],
    "aliases": [str],
    "frontmatter": Each(is_value),
    "observations": [{"line": int, "category": maybe(str), "content": str, "tags": [str], **DATED}],
    "relations": [{"line": int, "type": str, "target": str, **DATED}],
    "links": [{"line": int, "target": str, "heading": maybe(str), "block": maybe(str), "embed": bool}],
    "turns": [{"line": int, "n": int, "speaker": str, "at": maybe(str)}],
    "problems": [{"line": int, "message": str}],
}


def test_shapes_can_fail() -> None:
    assert not fits({"ready": 1}, READY)
    assert not fits({"ready": 1, "total": True}, READY)
    assert not fits({"ready": 1, "total": 2, "more": 3}, READY)
    assert list(misfits({"a": [1, "x"]}, {"a": [int], "b?": str}, "$")) == ["$.a[1]: 'x' is no int"]
    assert not is_digest("b2-12")
    assert not is_time("2026-11-20")


def test_init(own: Command, notes: Path) -> None:
    first = own("init", str(notes), "--json").json
    check(first, CREATED)
    assert (first["vault"], first["created"]) == (str(notes), True)
    again = own("init", str(notes), "--json").json
    assert again == {**first, "created": False}
    assert f'id = "{first["id"]}"' in (notes / ".holdfast" / "config.toml").read_text()


def test_sync(own: Command, notes: Path) -> None:
    first = own("sync", "--json").json
    check(first, SYNCED)
    assert (first["added"], first["notes"], first["unchanged"]) == (4, 4, 0)
    assert first["scan"]["kind"] == "first"
    (notes / "a.md").write_text("# Alpha\n\nThe anchor dragged.\n")
    (notes / "b.md").rename(notes / "deep" / "beta.md")
    (notes / "deep" / "er" / "d.md").unlink()
    (notes / "e.md").write_text("Epsilon.\n")
    second = own("sync", "--json").json
    check(second, SYNCED)
    assert second["scan"]["kind"] == "full"
    counts = {k: second[k] for k in ("added", "changed", "removed", "moved", "unchanged", "notes")}
    assert counts == {"added": 1, "changed": 1, "removed": 1, "moved": 1, "unchanged": 1, "notes": 4}
    assert second["seq"] > first["seq"]
    assert second["generation"] == first["generation"]


def test_other_files_are_in_no_count(own: Command, notes: Path) -> None:
    for name in ("pic.png", "deep/sheet.csv"):
        (notes / name).write_bytes(b"\x89PNG")
    assert own("sync", "--json").json["added"] == 4
    assert own("sync", "--json").json["unchanged"] == 4


def test_sync_explained(own: Command, notes: Path) -> None:
    (notes / "loop").symlink_to(notes)
    (notes / ".holdfastignore").write_text("deep/\n")
    done = own("sync", "--explain", "--json").json
    check(done, SYNCED)
    assert done["skipped"]
    assert {"path": "loop", "reason": "symlink"} in done["explained"] or "loop" in {
        x["path"] for x in done["explained"]
    }
    assert "explained" not in own("sync", "--json").json


@pytest.mark.parametrize(
    "question",
    ["espresso", "espresso by:assistant", "", "zzyzx-nothing", 'type:conversation "the lease"', "Elin --by note"],
)
def test_recall(holdfast: Command, question: str) -> None:
    words, _, by = question.partition(" --by ")
    answer = holdfast("recall", words, "--json", "--by", by or "passage").json
    check(answer, ANSWER)
    assert answer["query"] == words
    assert answer["tokens"] <= 4000
    assert len(answer["hits"]) <= 10
    assert answer["receipt"]["in_scope"]["notes"] > 0
    for hit in answer["hits"]:
        lines = (holdfast.vault or Path()).joinpath(hit["path"]).read_text(encoding="utf-8").split("\n")
        # The range names the lines of the file that hold the words (a carriage return at a line's end is no word).
        there = "\n".join(x.removesuffix("\r") for x in lines[hit["line"] - 1 :][: hit["count"]])
        assert hit["text"].split("\n")[0].strip() in there


def test_a_turn_names_its_speaker_and_time(holdfast: Command) -> None:
    hits = holdfast("recall", "duplicate shipments by:assistant", "--json").json["hits"]
    assert hits
    assert all(h["speaker"] == "assistant" and is_time(h["at"]) and h["trust"] == "imported" for h in hits)
    assert all("<!-- turn" not in h["text"] for h in hits)


def test_read(holdfast: Command) -> None:
    whole = holdfast("read", "profile.md", "--json").json
    check(whole, NOTE)
    path = EXAMPLE / "profile.md"
    assert whole["text"] == path.read_text(encoding="utf-8")
    assert (whole["line"], whole["count"]) == (1, len(path.read_text(encoding="utf-8").splitlines()))
    assert whole["frontmatter"]["aliases"] == ["profile", "Marta", "me"]
    assert whole["modified"].startswith("2026-11-1")
    part = holdfast("read", "profile.md:3:2", "--json").json
    check(part, NOTE)
    assert (part["line"], part["count"]) == (3, 2)
    assert part["text"] == "\n".join(whole["text"].split("\n")[2:4])
    assert part == holdfast("read", "profile.md", "--line", "3", "--count", "2", "--json").json


def test_list(holdfast: Command) -> None:
    page = holdfast("list", "--json", "--limit", "3").json
    check(page, LISTING)
    assert len(page["notes"]) == 3
    assert page["next"] == page["notes"][-1]["path"]
    assert holdfast("list", "--json", "--limit", "1000").json["next"] is None


def test_status(holdfast: Command) -> None:
    found = holdfast("status", "--json").json
    check(found, STATUS)
    assert found["health"] == "ok"
    assert found["vault"]["id"] == "b3f1c2d4-5a6e-4f70-8a91-0c2d4e6f8a1b"
    assert isinstance(found["index"]["generation"], int)
    assert Path(found["index"]["path"]).is_dir()
    assert found["index"]["bytes"] <= found["index"]["bound_bytes"]
    assert found["jobs"]["sync"]["last_success"]


def test_status_says_whether_there_is_an_embedder(own: Command) -> None:
    assert own("sync", "--no-vectors").exit == 0
    assert "(no embedder)" in own("status").out
    assert "(none made yet)" in replace(own, more={"HOLDFAST_EMBEDDER": "local"})("status").out


def test_status_without_an_index(own: Command) -> None:
    done = own("status", "--json")
    check(done.json, STATUS)
    assert done.exit == 3
    assert done.json["health"] == "degraded"
    assert done.json["reasons"]


def test_rebuild(own: Command) -> None:
    before = own("sync", "--json").json
    done = own("rebuild", "--json").json
    check(done, REBUILT)
    assert done["done"] is True
    after = own("sync", "--json").json
    assert after["generation"] > before["generation"]
    assert (after["notes"], after["chunks"]) == (before["notes"], before["chunks"])


def parsed(holdfast: Command, *paths: Path) -> list[dict[str, Any]]:
    done = holdfast("parse", *map(str, paths), "--json")
    assert done.exit == 0, done
    return [json.loads(line) for line in done.out.splitlines()]


def test_parse_of_the_sample_vault_has_no_problems(holdfast: Command) -> None:
    paths = sorted(p for p in EXAMPLE.rglob("*") if p.suffix in (".md", ".txt"))
    assert len(paths) > 40
    for path, found in zip(paths, parsed(holdfast, *paths), strict=True):
        check(found, PARSED)
        assert found["problems"] == [], path


def test_the_sample_vault_shows_every_construct(holdfast: Command) -> None:
    found = parsed(holdfast, *sorted(EXAMPLE.rglob("*.md")))
    for key in ("tags", "aliases", "observations", "relations", "links", "turns"):
        assert sum(len(note[key]) for note in found) > 5, key
    kinds = {"conversation", "episode", "profile", "plan", "case", "skill", "journal", "note"}
    assert kinds <= {note["type"] for note in found}
    assert any(o["from"] and o["to"] for note in found for o in note["observations"])
    assert any(link["embed"] for note in found for link in note["links"])
    assert any(link["block"] for note in found for link in note["links"])


def test_parse_of_what_cannot_be_read(holdfast: Command, tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("# Good\n")
    done = holdfast("parse", str(tmp_path / "none.md"), str(tmp_path / "good.md"), str(tmp_path), "--json")
    assert done.exit == 3
    missing, good, folder = (json.loads(line) for line in done.out.splitlines())
    check(good, PARSED)
    for found in (missing, folder):
        check(found, {"problems": [{"line": one_of(0), "message": str}]})
        assert len(found["problems"]) == 1


def test_parse_of_a_bad_header(holdfast: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.md").write_text("---\ntitle: [never closed\n---\n# Body\n")
    done = holdfast("parse", str(tmp_path / "bad.md"))
    assert done.exit == 0
    check(done.json, PARSED)
    assert done.json["title"] == "Body"
    assert done.json["problems"]


@pytest.mark.parametrize(
    ("args", "kind", "exit_code"),
    [
        (["sync", "--json", "--nosuch"], "UserError", 2),
        (["--json", "nosuch"], "UserError", 2),
        (["--json"], "UserError", 2),
        (["recall", "--json"], "UserError", 2),
        (["recall", "x", "--json", "-k", "many"], "UserError", 2),
        (["recall", "x", "-k", "0", "--json"], "QueryError", 2),
        (["recall", "x", "--by", "colour", "--json"], "UserError", 2),
        (["recall", "since:whenever", "--json"], "QueryError", 2),
        (["list", "--jsonl", "--limit", "0"], "QueryError", 2),
        (["status", "--vault", "", "--json"], "UserError", 2),
        (["read", "no such note", "--json"], "NotFound", 4),
        (["read", "../../etc/passwd", "--json"], "PathNotAllowed", 6),
        (["read", "/etc/passwd", "--json"], "PathNotAllowed", 6),
        (["list", "nosuch", "--json"], "NotFound", 4),
        (["status", "--vault", "/no/such/folder", "--json"], "VaultMissing", 70),
    ],
)
def test_an_error_is_one_line_of_json(holdfast: Command, args: list[str], kind: str, exit_code: int) -> None:
    done = holdfast(*args)
    assert done.exit == exit_code
    assert done.error["kind"] == kind
    assert done.error["message"]
    assert done.error["hint"]
    assert done.error["retryable"] is False


def test_an_error_without_json_is_one_sentence(holdfast: Command) -> None:
    done = holdfast("read", "no such note")
    assert (done.exit, done.out) == (4, "")
    assert done.err == "holdfast: There is no note “no such note”. Run `holdfast list` to see what there is.\n"


def test_embed_and_vectors_without_an_embedder(own: Command, tmp_path: Path) -> None:
    """What they print with one: test_meaning.py."""
    assert own("vectors", "salvage", "--json").error["kind"] == "NotFound"
    nothing = {"vectors": {"ready": 0, "total": 0}, "made": 0, "left": 0, "seconds": 0.0, "degraded": []}
    assert own("embed", "--json").json == nothing
    assert own("sync").exit == 0
    done = own("embed", "--json").json
    check(done, EMBEDDED)
    assert done["vectors"]["total"] == 4
    assert own("vectors", "salvage", "--json").json == {"read": 0, "stored": 0}
    assert own("vectors", "export", str(tmp_path / "v"), "--json").error["kind"] == "NotFound"
    assert not (tmp_path / "v").exists()


def test_embed_and_vectors(own: Command, tmp_path: Path) -> None:
    local = replace(own, more={"HOLDFAST_EMBEDDER": "local"})
    assert local("sync", "--no-vectors").exit == 0
    done = local("embed", "--json").json
    check(done, EMBEDDED)
    assert done["vectors"] == {"ready": 4, "total": 4}
    assert (done["made"], done["left"]) == (4, 0)
    file = str(tmp_path / "kept.vectors")
    kept = local("vectors", "export", file, "--json").json
    check(kept, CARRIED)
    assert kept == {"read": 4, "stored": 4}
    (tmp_path / "other").mkdir()
    other = replace(local, state=tmp_path / "other")
    assert other("sync", "--no-vectors").exit == 0
    assert other("vectors", "salvage", file, "--json").json == {"read": 4, "stored": 4}
    status = other("status", "--json").json["index"]
    assert status["vectors"] == {"ready": 4, "total": 4}
    assert status["embedder"].startswith("onnx:")
    hit = other("recall", "anchor", "--explain", "--json").json["hits"][0]
    check(hit, HIT)
    assert {"keyword", "vector"} == set(hit["via"])
    assert 0 < hit["similarity"] <= 1
