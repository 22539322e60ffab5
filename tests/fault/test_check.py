"""What `check` finds, and that it changes nothing: every deleted row, every kind of finding, and each cure cures it."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from holdfast import Config, Vault
from holdfast.engine import check as checking
from holdfast.errors import VaultMissing
from holdfast.files.fs import FileSystem
from holdfast.results import Checked
from tests.fake_embedder import FakeEmbedder, use
from tests.fault.faulty_fs import Fault, FaultyFS
from tests.fault.test_index_damage import ROWS, tree
from tests.fault.vaults import CONFIG, Place, index_of

SMALL = Config(
    background=False, embedder="none", look_ms=10_000, overlay_first=30, overlay_chunks=20, note_bytes=50_000
)
TALK = "---\ntype: conversation\n---\n<!-- turn 1 Ana -->\nHi there.\n<!-- turn 2 Bo -->\nHello.\n"
DAY_NS = 86_400 * 10**9


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(30)
    made.put("talk.md", TALK)
    made.sync()
    return made


def look(place: Place, *, deep: bool = True, config: Config = SMALL, **named: Any) -> Checked:
    with place.open(config=config) as vault:
        return vault.check(deep=deep, **named)


def kinds(found: Checked) -> set[str]:
    return {f.kind for f in found.findings}


def damage(place: Place, *statements: str) -> None:
    db = apsw.Connection(place.database)
    for statement in statements:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize("deep", [False, True])
def test_nothing_is_found_where_nothing_is_wrong(place: Place, deep: bool) -> None:
    found = look(place, deep=deep)
    assert found == Checked(True, deep, found.checked, ())
    assert found.checked.notes == 31
    assert found.checked.chunks > 31


def test_it_changes_nothing(place: Place) -> None:
    """Not a byte of notes or index, neither of a whole one nor of a damaged one; and it takes no lock."""
    damage(place, "delete from chunk where note = 3", "update note set title = 'x' where id = 4")
    before = tree(place.root), tree(place.state)
    for deep in (False, True):
        assert not look(place, deep=deep).ok
        # What was found is remembered beside the index, for `status`.
        after = {name: body for name, body in tree(place.state).items() if not name.endswith("/verdict.json")}
        assert (tree(place.root), after) == before
    with place.open() as vault, vault._ws.job("test", 0.0):
        assert not look(place).ok


TABLES = {
    "file": True, "note": True, "chunk": True, "doc": True, "segment": True, "total": True,
    "name": False, "link": False, "fact": False, "field": False, "term": False, "post": False,
    "vector": True, "vector_block": True, "embedder": True, "token": False,
}  # fmt: skip
"""Tables, and whether a row that is missing there is found without reading every note."""


@pytest.mark.parametrize("table", TABLES)
def test_every_deleted_row_is_found(tmp_path: Path, table: str) -> None:
    place = Place(tmp_path)
    place.fill(12)
    place.put("talk.md", TALK)
    with use(place.open(config=SMALL), FakeEmbedder()) as vault:
        vault.sync()
        db = apsw.Connection(place.database)
        rows = db.execute(f"select * from {table}").fetchall()
        columns = db.execute(f"pragma table_info({table})").fetchall()
        places, keys = [c[1] for c in columns], [c[1] for c in columns if c[5]]
        assert rows
        for row in {rows[0], rows[len(rows) // 2], rows[-1]}:
            wanted = [row[places.index(k)] for k in keys]
            db.execute(f"delete from {table} where {' and '.join(f'{k} is ?' for k in keys)}", wanted)
            for deep in (True, *([False] if TABLES[table] else [])):
                found = vault.check(deep=deep, vectors=False)
                assert not found.ok, (row, deep)
                assert "index_damaged" not in kinds(found) or table in ("total", "embedder"), found
            db.execute(f"insert into {table} values ({','.join('?' * len(row))})", row)
        db.close()
    with use(place.open(config=SMALL), FakeEmbedder()) as vault:
        assert vault.check(deep=True).ok


@pytest.mark.parametrize("rows", [r for r in ROWS if "rules" not in r and "grain_ns" not in r])
def test_it_survives_any_damage_and_finds_it(place: Place, rows: str) -> None:
    os.unlink(f"{place.root}/talk.md")
    place.put("image.md", "x" * 60_000)
    with place.open(config=SMALL) as vault:
        vault.sync()
    damage(place, rows)
    for deep in (False, True):
        found = look(place, deep=deep)
        assert not found.ok, deep
        assert all(f.cure and f.message.endswith(".") for f in found.findings)
    with place.open(config=SMALL) as vault:
        vault.repair()
        assert kinds(vault.check(deep=True)) <= {"set_aside"}


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 8191, 40_000])
def test_an_index_that_cannot_be_opened_is_one_finding(place: Place, size: int) -> None:
    os.truncate(place.database, size)
    found = look(place)
    assert [f.kind for f in found.findings] == ["index_damaged"]
    assert found.findings[0].cure == "holdfast repair"


def test_an_index_that_is_not_there_or_not_ours(place: Place, tmp_path: Path) -> None:
    manifest = Path(place.directory) / "manifest.json"
    raw = json.loads(manifest.read_text())
    said = {}
    for change in ({"vault": "1" * 8}, {"analyzer": "other"}, {"schema": 1}, {"schema": 99}, {"generation": 9}):
        manifest.write_text(json.dumps(raw | change))
        found = look(place)
        assert not found.ok
        said |= {f.kind: f.cure for f in found.findings}
    manifest.unlink()
    said |= {f.kind: f.cure for f in look(place).findings}
    assert said == {
        "index_foreign": "holdfast repair", "index_outdated": "holdfast sync", "index_damaged": "holdfast repair",
        "index_too_new": "pip install --upgrade holdfast", "index_missing": "holdfast sync",
    }  # fmt: skip


def test_what_is_newer_than_the_index_is_behind_and_no_damage(place: Place) -> None:
    place.put("d0/n0.md", "# Changed\n\nother words\n")
    place.put("fresh.md", "# Fresh\n")
    os.unlink(f"{place.root}/d1/n1.md")
    for deep in (False, True):
        found = look(place, deep=deep)
        assert found.ok
        assert {(f.kind, f.path, f.cure) for f in found.findings} == {
            ("behind", p, "holdfast sync") for p in ("d0/n0.md", "fresh.md", "d1/n1.md")
        }
    place.sync()
    assert look(place).findings == ()


def test_a_note_that_changes_while_it_is_checked_is_behind(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk saw it as the index knows it; then it was changed, and even synced by another process."""
    with place.open() as vault:
        proofs = index_of(vault).proofs
        real, done = proofs.differences, []

        def differences(*args: Any) -> list[str]:
            if not done:
                done.append(1)
                place.put("d0/n5.md", "# Changed\n\nwords of now\n")
                place.sync()
            return real(*args)

        monkeypatch.setattr(proofs, "differences", differences)
        found = vault.check(deep=True)
        assert done
        assert found.ok, found.findings


def test_damage_in_a_note_whose_stat_differs_is_damage_all_the_same(place: Place) -> None:
    """Its bytes are those that the index knows: the stat excuses nothing."""
    os.utime(f"{place.root}/d0/n0.md", (1, 1))
    damage(
        place,
        "delete from name where note = (select id from file where key = cast('d0' || x'0000' || 'n0.md' as blob))",
    )
    found = look(place)
    assert [(f.kind, f.path) for f in found.findings if f.kind in checking.WRONG] == [("differs", "d0/n0.md")]


def test_an_edit_that_hides_from_the_stat(place: Place) -> None:
    """No stat tells it; where ctime does not show it either (or the digest in the index is wrong) only reading does."""
    damage(place, "update note set digest = zeroblob(16) where id = 3")
    found = look(place)
    assert kinds(found) == {"hidden_change"}
    assert found.findings[0].cure == "holdfast sync --checksum"
    place.sync(checksum=True)
    assert look(place).findings == ()


def test_notes_set_aside_are_findings_with_their_reason(place: Place) -> None:
    place.put("huge.md", "x" * 60_000)
    with place.open(config=SMALL) as vault:
        vault.sync()
    for deep in (False, True):
        found = look(place, deep=deep)
        assert [(f.kind, f.path, f.cure) for f in found.findings] == [
            ("set_aside", "huge.md", "holdfast sync --checksum")
        ]
        assert "50,000" in found.findings[0].message
    place.put("huge.md", "# Small\n")
    with place.open(config=SMALL) as vault:
        vault.sync(checksum=True)
    assert look(place).findings == ()


def test_the_reason_that_a_note_is_set_aside_for_is_compared_too(place: Place) -> None:
    place.put("huge.md", "x" * 60_000)
    with place.open(config=SMALL) as vault:
        vault.sync()
    damage(place, "update quarantine set reason = 'huge.md has 60,001 bytes.'")
    assert "differs" in kinds(look(place))


def test_a_file_that_cannot_be_read_now(place: Place) -> None:
    fs = FaultyFS(Fault("open_read", "d0/n0.md", times=None, error=5))
    with place.open(fs) as vault:
        found = vault.check(deep=True)
    assert [(f.kind, f.path) for f in found.findings] == [("unreadable", "d0/n0.md")]
    fs = FaultyFS(Fault("scandir", "/d0", times=None, error=13))
    with place.open(fs) as vault:
        found = vault.check()
    assert [(f.kind, f.path) for f in found.findings] == [("unreadable", "d0")]


@pytest.fixture
def odd(place: Place) -> Iterator[Place]:
    root = place.root
    os.symlink("nothing.md", f"{root}/dangling.md")
    os.symlink("/etc/passwd", f"{root}/outside.md")
    os.symlink("loop.md", f"{root}/loop.md")
    os.symlink("d0", f"{root}/folder.md")
    os.mkfifo(f"{root}/fifo.md")
    place.put("a.sync-conflict-20260101-120000-ABCDEFG.md", "# A\n")
    place.put("b (Ana's conflicted copy 2026-01-01).md", "# B\n")
    place.put("c (conflicted copy).md", "# C\n")
    place.put("Case.md", "# Case 1\n")
    place.put("case.md", "# Case 2\n")
    place.put("Up/x.md", "# Up\n")
    place.put("up/y.md", "# up\n")
    place.put(f"{unicodedata.normalize('NFC', 'é')}.md", "# e\n")
    place.put(f"{unicodedata.normalize('NFD', 'é')}.md", "# e\n")
    for name, ns in (("later.md", 4 * 10**18), ("first.md", 0), ("before.md", -DAY_NS)):
        os.utime(place.put(name, f"# {name}\n"), ns=(ns, ns))
    place.sync()
    return place


def test_what_is_only_worth_knowing_does_not_fail_a_check(odd: Place) -> None:
    for deep in (False, True):
        found = look(odd, deep=deep)
        assert found.ok
        assert {(f.kind, f.path) for f in found.findings} == {
            ("symlink_broken", "dangling.md"), ("symlink_outside", "outside.md"), ("symlink_loop", "loop.md"),
            ("symlink_directory", "folder.md"), ("not_regular", "fifo.md"),
            ("conflict_copy", "a.sync-conflict-20260101-120000-ABCDEFG.md"),
            ("conflict_copy", "b (Ana's conflicted copy 2026-01-01).md"), ("conflict_copy", "c (conflicted copy).md"),
            ("name_collision", "case.md"), ("name_collision", "up"),
            ("name_collision", max(p for p in os.listdir(odd.root) if p.startswith("e\u0301") or p == "é.md")),
            ("odd_time", "later.md"), ("odd_time", "first.md"), ("odd_time", "before.md"),
        }  # fmt: skip
        cures = {f.path: f.cure for f in found.findings}
        assert cures["later.md"] == "touch -- later.md"
        assert cures["b (Ana's conflicted copy 2026-01-01).md"].endswith(
            """'b (Ana'"'"'s conflicted copy 2026-01-01).md'"""
        )


def test_what_ignore_rules_leave_out_is_not_spoken_of(odd: Place) -> None:
    odd.put(".holdfastignore", "*conflict*\nlater.md\ncase.md\n")
    odd.sync()
    paths = {f.path for f in look(odd).findings}
    assert not {p for p in paths if p and ("conflict" in p or p in ("later.md", "case.md"))}


def test_the_list_is_bounded_and_says_how_much_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "FINDINGS", 10)
    place = Place(tmp_path)
    place.fill(40)
    place.sync()
    damage(place, "delete from field")
    place.put("new.md", "# New\n")
    found = look(place)
    assert len(found.findings) == 10
    assert found.findings[-1].kind == "more"
    assert found.findings[-1].message == "There are 32 more findings."
    assert not found.ok


def test_a_vault_that_is_empty_or_gone(place: Place) -> None:
    for name in os.listdir(place.root):
        if name != ".holdfast":
            full = f"{place.root}/{name}"
            shutil.rmtree(full) if os.path.isdir(full) else os.unlink(full)
    found = look(place, deep=False)
    assert [(f.kind, f.cure) for f in found.findings] == [("vault_empty", "holdfast sync --accept-empty")]
    with place.open() as vault:
        shutil.rmtree(place.root)
        with pytest.raises(VaultMissing):
            vault.check()


def test_a_first_sync_that_has_not_ended(place: Place) -> None:
    damage(place, "delete from meta where key = 'full'")
    assert kinds(look(place)) == {"index_incomplete"}
    place.sync()
    assert look(place).ok


class TestVectors:
    """Vectors: damage, gaps, another embedder, and a right vector of a wrong text."""

    @pytest.fixture
    def vault(self, place: Place) -> Iterator[Vault]:
        with use(place.open(config=CONFIG), FakeEmbedder()) as vault:
            vault.sync()
            yield vault

    def test_whole_ones(self, vault: Vault) -> None:
        found = vault.check(deep=True)
        assert found.ok
        assert not found.findings
        assert found.checked.vectors > 30
        assert vault._ws.embedder().encoded.total() == 2 * found.checked.vectors  # type: ignore[union-attr]
        vault.check(deep=True, vectors=False)
        assert vault._ws.embedder().encoded.total() == 2 * found.checked.vectors  # type: ignore[union-attr]

    def test_a_vector_of_another_text(self, vault: Vault) -> None:
        """Its checksum holds; only making it again tells."""
        from holdfast.index.vectors.codes import checksum, own_crc, seed

        live = index_of(vault).vectors.live()
        assert live is not None
        db = index_of(vault)._writer.connection(grows=True)
        (a, input_), (_, _) = db.execute("select id, input from vector limit 2").fetchall()
        code, bits = db.execute("select code, bits from vector where id = (select max(id) from vector)").fetchall()[0]
        db.execute("delete from token where id = ?", (a,))
        own = own_crc(seed(live.identity), input_, code, bits)
        db.execute("update vector set code = ?, bits = ?, crc = ?, own_crc = ? where id = ?",
                   (code, bits, checksum(input_, code, bits, b""), own, a))  # fmt: skip
        assert vault.check(deep=True, vectors=False).ok
        found = vault.check(deep=True)
        assert [(f.kind, f.cure) for f in found.findings] == [("vector", "holdfast repair")]
        assert found.findings[0].path

    def test_vectors_that_are_missing_are_worth_knowing(self, vault: Vault, place: Place) -> None:
        place.put("more.md", "# More\n\nsome words\n")
        vault.sync(vectors=False)
        found = vault.check(deep=True)
        assert found.ok
        assert [(f.kind, f.cure) for f in found.findings] == [("vector_missing", "holdfast embed")]
        vault.embed()
        assert not vault.check(deep=True).findings

    def test_another_embedder(self, vault: Vault) -> None:
        use(vault, FakeEmbedder(name="other"))
        found = vault.check(deep=True)
        assert found.ok
        assert [(f.kind, f.cure) for f in found.findings] == [("embedder_changed", "holdfast embed")]
        vault.embed()
        assert not vault.check(deep=True).findings

    def test_an_embedder_that_fails_is_no_damage(self, vault: Vault) -> None:
        from holdfast.errors import EmbedderDown

        vault._ws.embedder().fail = EmbedderDown("It is down.")  # type: ignore[union-attr]
        found = vault.check(deep=True)
        assert found.ok
        assert kinds(found) == {"embedder_down"}

    def test_texts_do_not_leave_the_machine_for_a_check(self, vault: Vault) -> None:
        fake = vault._ws.embedder()
        assert isinstance(fake, FakeEmbedder)
        fake.is_remote = True  # type: ignore[misc]
        before = fake.encoded.total()
        assert vault.check(deep=True).ok
        assert fake.encoded.total() == before


def test_progress_is_told(place: Place) -> None:
    told: list[tuple[int, int]] = []
    look(place, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (31, 31)


def test_no_note_is_opened_but_the_sample_by_a_fast_check(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.fill(200)
    place.sync()
    fs = FaultyFS()
    with place.open(fs) as vault:
        assert vault.check().ok
    opened = [where for call, where in fs.trail if call == "open_read" and where.endswith(".md")]
    assert len(set(opened)) <= 32
    assert isinstance(fs, FileSystem)


def test_what_a_check_found_is_in_the_health_until_it_is_mended(place: Place) -> None:
    with place.open() as vault:
        assert vault.status().health == "ok"
    damage(place, "delete from chunk where note = 3")
    with place.open() as vault:
        assert not vault.check(deep=True).ok
        found = vault.status()
        assert found.health == "failing"
        assert [r.code for r in found.reasons] == ["check_found"]
        assert "holdfast repair" in found.reasons[0].hint
    with place.open() as vault:
        assert vault.status().health == "failing", "another process sees it too"
        vault.repair()
        found = vault.status()
        assert (found.health, found.counters["index_set_aside"]) == ("ok", 1)
    kept = place.cli("status").stdout
    assert "kept       1 damaged index in quarantine, until `holdfast prune`" in kept
    assert place.cli("prune").returncode == 0
    assert "kept" not in place.cli("status").stdout


def test_a_check_that_finds_nothing_takes_back_what_one_found(place: Place) -> None:
    with place.open() as vault:
        vault._ws.fs.write_new(f"{vault._ws.directory}/verdict.json", b"not json")
        assert vault.status().health == "ok"
        stamp = vault._ws.generations.stamp()
        said = json.dumps({"of": stamp and [*stamp], "findings": 2, "first": "x"}).encode()
        vault._ws.fs.write_new(f"{vault._ws.directory}/verdict.json", said)
        assert vault.status().reasons[0].message == "The last check found damage: x and 1 more"
        assert vault.check().ok
        assert vault.status().health == "ok"


def test_a_wrong_setting_is_in_the_health(place: Place) -> None:
    done = place.cli("status", "--json", env={"HOLDFAST_EMBEDDER": "bogus"})
    assert json.loads(done.stdout)["reasons"][0]["code"] == "ConfigError"
    assert done.returncode == 75
