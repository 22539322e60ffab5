"""Ill Lance datasets, built by LanceDB itself: what is said of them, and that each cure heals and loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.app import run
from holdfast.clinic import lance as room
from holdfast.clinic.lance.dataset import read_dataset
from tests.clinic import lance_patients as patients
from tests.e2e.command import COMMAND

TIMEOUT_S = 120


def clinic(*args: object, limit: int | None = None, env: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON of `holdfast clinic lance`, run as a program."""

    command = [COMMAND, "clinic", "lance", *map(str, args), "--json"]
    if limit is not None:
        command = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *command]
    env = {**os.environ, **(env or {})}
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=env, check=False)
    return done.returncode, json.loads(done.stdout or done.stderr)


def inside(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, dict[str, Any]]:
    """As `clinic`, in this process: for what ends before Lance is needed."""
    code = run(["clinic", "lance", *map(str, args), "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out or said.err)


def kinds(report: dict[str, Any]) -> list[str]:
    return [f["kind"] for f in report["findings"]]


def one(report: dict[str, Any]) -> dict[str, Any]:
    (dataset,) = report["datasets"]
    return dict(dataset)


def tree(path: Path) -> dict[str, tuple[int, int]]:
    return {
        p: (os.lstat(p).st_size, os.lstat(p).st_mtime_ns)
        for folder, _, files in os.walk(path)
        for p in (os.path.join(folder, f) for f in files)
    }


def test_our_reader_says_what_lance_says(appended: str, upserted: str, tmp_path: Path) -> None:
    patients.lists(str(tmp_path), index=True)
    for path in (f"{appended}/t.lance", f"{upserted}/t.lance", f"{tmp_path}/t.lance"):
        assert read_dataset(path).dead_bytes == patients.removable_bytes(path)


def test_a_look_says_what_is_wrong_and_changes_nothing(patient: Path) -> None:
    before = tree(patient)
    code, report = clinic(patient)
    assert code == 3
    assert "bloated" in kinds(report)
    seen = one(report)
    assert (seen["rows"], seen["fragments"], seen["versions"]) == (patients.COUNT,) * 3
    assert seen["ratio"] > 25
    assert seen["manifest_share"] > 0.9
    assert seen["never_pruned"]
    assert seen["compacted_at"] is None
    assert report["done"] is False
    clinic(patient, "--prune")
    clinic(patient, "--compact")
    assert tree(patient) == before


@pytest.mark.parametrize("limit", [None, 256])
def test_a_prune_takes_appends_back(patient: Path, limit: int | None) -> None:
    before, weight = patients.rows(f"{patient}/t.lance"), patients.weight(str(patient))
    code, report = clinic(patient, "--prune", "--apply", limit=limit)
    assert code == 0, report
    assert one(report)["ratio"] <= 1.5
    assert report["freed_bytes"] == weight - patients.weight(str(patient))
    assert patients.weight(str(patient)) < weight / 20
    assert patients.rows(f"{patient}/t.lance") == before
    assert any("before and after" in r for r in report["remarks"])


@pytest.mark.parametrize("keeps_times", [True, False])
def test_a_prune_takes_upserts_back(upserted: str, tmp_path: Path, keeps_times: bool) -> None:
    """A copy whose files are younger than its manifests is one that Lance alone would leave as it is for a week."""
    copy = shutil.copytree(upserted, tmp_path / "db", copy_function=shutil.copy2 if keeps_times else shutil.copyfile)
    before = patients.rows(f"{copy}/t.lance")
    code, report = clinic(copy, "--prune", "--apply", "--force", limit=256)
    assert code == 0, report
    assert one(report)["ratio"] <= 1.5
    assert patients.rows(f"{copy}/t.lance") == before


def test_what_a_writer_may_want_is_left(upserted: str, tmp_path: Path) -> None:
    """Files that no version names are left while another process has Lance loaded."""
    copy = shutil.copytree(upserted, tmp_path / "db", copy_function=shutil.copyfile)
    program = "import lance, sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        _, report = clinic(copy, "--prune", "--apply")
        other.communicate(b"")
    assert one(report)["versions"] == 1
    assert one(report)["orphans"]["files"] > patients.COUNT / 2
    assert any("no version names were left" in r for r in report["remarks"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    where = tmp_path / "disk"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", where], check=True)
    yield where
    subprocess.run(["umount", "-l", where], check=True)


def fill(disk: Path) -> None:
    with open(disk / "filler", "wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    assert os.statvfs(disk).f_bavail == 0


def test_a_prune_works_on_a_disk_that_is_full_to_the_last_byte(small_disk: Path) -> None:
    patients.appends(str(small_disk / "db"), 500)
    before = patients.rows(f"{small_disk}/db/t.lance")
    fill(small_disk)
    code, report = clinic(small_disk / "db", "--prune", "--apply")
    assert code == 0, report
    assert one(report)["ratio"] <= 1.5
    assert patients.rows(f"{small_disk}/db/t.lance") == before
    assert os.statvfs(small_disk).f_bavail > 0


def test_compaction_without_room_says_so_and_the_prune_stands(small_disk: Path) -> None:
    patients.appends(str(small_disk / "db"), 400)
    with open(small_disk / "filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, os.statvfs(small_disk).f_bavail * 4096)
    shutil.move(str(small_disk / "db" / "t.lance" / "_transactions"), str(small_disk / "kept"))
    code, report = clinic(small_disk / "db", "--compact", "--apply")
    assert (code, one(report)["versions"]) in {(3, 1), (0, 1)}
    if code == 3:
        assert {"no_room", "compaction_failed"} & set(kinds(report))


def test_compaction_merges_fragments_and_keeps_rows(patient: Path) -> None:
    before = patients.rows(f"{patient}/t.lance")
    code, report = clinic(patient, "--compact", "--apply")
    assert code == 0, report
    assert (one(report)["fragments"], one(report)["rows"]) == (1, patients.COUNT)
    assert one(report)["ratio"] <= 1.5
    assert patients.rows(f"{patient}/t.lance") == before


def test_what_lance_asks_for_on_damaged_data_is_bounded(tmp_path: Path) -> None:
    """Damaged here, Lance asks for all memory of the machine, or waits for ever: it must not reach us."""
    patients.lists(str(tmp_path), 5)
    patients.spoil_offsets(str(tmp_path), 488)
    program = (
        "import resource, sys; from holdfast.clinic.lance.decode import Decoder, LanceStalled\n"
        "with Decoder(sys.argv[1], 100_000) as rows:\n"
        "    try: list(rows.batches('Reading', columns=['tags'], stall_s=10))\n"
        "    except LanceStalled as e: print(e.message)\n"
        "    print(sum(b.num_rows for b in rows.batches('Reading', columns=['text'])))\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    said, rows, peak_kib = patients.python(program, f"{tmp_path}/t.lance").splitlines()
    assert "Lance" in said
    assert rows == "50"  # The next question is answered by a fresh process.
    assert int(peak_kib) < 1_500_000


def test_a_list_column_that_compaction_dies_on_is_named_and_cured(tmp_path: Path) -> None:
    patients.lists(str(tmp_path))
    whole = patients.rows(f"{tmp_path}/t.lance")
    patients.spoil_offsets(str(tmp_path), 304)
    code, report = clinic(tmp_path, "--compact", "--apply")
    assert code == 3
    failed = next(f for f in report["findings"] if f["kind"] == "compaction_failed")
    assert "tags" in failed["message"]
    assert "--rewrite" in failed["cure"]
    assert one(report)["versions"] == 1  # The prune stands.

    code, told = clinic(tmp_path, "--rewrite")
    assert code == 3
    assert any("of tags cannot be read" in t for t in told["loses"]), told
    code, report = clinic(tmp_path, "--rewrite", "--apply")
    assert code == 3  # Values are lost, and that stays said.
    assert [t for t in report["loses"] if "tags" in t] == [t for t in told["loses"] if "tags" in t]
    after = patients.rows(f"{tmp_path}/t.lance")
    assert [{**r, "tags": 0} for r in after] == [{**r, "tags": 0} for r in whole]
    different = [(a["tags"], b["tags"]) for a, b in zip(after, whole, strict=True) if a["tags"] != b["tags"]]
    assert 0 < len(different) <= 10
    assert sum(a is None for a, _ in different) == sum(int(t.split()[1]) for t in told["loses"] if "tags" in t)
    code, report = clinic(tmp_path, "--compact", "--apply")
    assert code == 0, report
    assert len(list(tmp_path.glob("t.lance.before-rewrite-*"))) == 1


def test_a_rewrite_of_what_can_be_read_loses_nothing(tmp_path: Path) -> None:
    patients.lists(str(tmp_path), index=True)
    before, weight = patients.rows(f"{tmp_path}/t.lance"), patients.weight(str(tmp_path / "t.lance"))
    code, report = clinic(tmp_path, "--rewrite", "--apply")
    assert code == 0, report
    assert any("tags_idx" in t for t in report["loses"])
    assert report["freed_bytes"] == 0
    assert patients.rows(f"{tmp_path}/t.lance") == before
    (kept,) = tmp_path.glob("t.lance.before-rewrite-*")
    assert patients.weight(str(kept)) == weight
    assert patients.rows(str(kept)) == before
    _, report = clinic(tmp_path)
    assert len(report["datasets"]) == 1  # What was set aside is no patient.
    assert any("before a rewrite" in r for r in report["remarks"])


def test_a_rewrite_that_was_killed_between_its_renames_is_seen(tmp_path: Path) -> None:
    patients.lists(str(tmp_path))
    os.rename(tmp_path / "t.lance", tmp_path / "t.lance.before-rewrite-20260101-000000")
    code, report = clinic(tmp_path)
    assert code == 3
    assert kinds(report) == ["interrupted"]
    assert report["findings"][0]["cure"].startswith("mv ")


def test_held_files_stop_a_cure(patient: Path) -> None:
    before = tree(patient)
    (file,) = [p for p in before if p.endswith("latest_version_hint.json")] or [next(iter(before))]
    with open(file, "rb"):  # Held by this process, which is another one for the command.
        for option in ("--prune", "--rewrite"):
            code, error = clinic(patient, option, "--apply")
            assert code == 75
            assert error["error"]["kind"] == "VaultBusy"
            assert str(os.getpid()) in error["error"]["message"]
        assert tree(patient) == before
        code, _ = clinic(patient, "--prune", "--apply", "--force")
        assert code == 0


def test_tags_hold_their_version(tmp_path: Path) -> None:
    patients.lists(str(tmp_path))
    patients.python("import lance, sys; lance.dataset(sys.argv[1]).tags.create('keep', 5)", f"{tmp_path}/t.lance")
    code, report = clinic(tmp_path, "--prune", "--apply")
    assert code == 0, report
    assert one(report)["versions"] == 2
    assert one(report)["tags"] == ["keep"]
    assert (
        patients.python(
            "import lance, sys; print(lance.dataset(sys.argv[1], version=5).count_rows())", f"{tmp_path}/t.lance"
        )
        == "50\n"
    )


def test_damage_is_named(tmp_path: Path) -> None:
    patients.lists(str(tmp_path))
    first, second = sorted((tmp_path / "t.lance" / "data").iterdir())[:2]
    os.unlink(first)
    os.truncate(second, 100)
    code, report = clinic(tmp_path)
    assert code == 3
    assert {"missing_files", "cut_files"} <= set(kinds(report))
    assert first.name in json.dumps(report)

    newest = min((tmp_path / "t.lance" / "_versions").glob("*.manifest"))
    newest.write_bytes(b"nothing that ends as it should")
    code, report = clinic(tmp_path)
    assert code == 3
    assert "damaged" in kinds(report)
    assert one(report)["newest_version"] == 19
    for manifest in (tmp_path / "t.lance" / "_versions").glob("*.manifest"):
        manifest.write_bytes(b"")
    code, report = clinic(tmp_path)
    assert code == 3
    assert kinds(report) == ["damaged"]


def test_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "absent", tmp_path):
        for option in ((), ("--prune", "--apply"), ("--compact", "--apply"), ("--rewrite", "--apply")):
            code, report = inside(capsys, path, *option)
            assert code == 0
            assert report["summary"].startswith("Nothing to do")


def test_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for args in (
        ("--prune", "--compact"), ("--apply",), ("--watch", "--cap", "much"), ("--watch", "--every", "soon"),
        ("--ratio", "0.5"), ("--evict",), ("--watch", "--cap", "0"),
    ):  # fmt: skip
        code, error = inside(capsys, tmp_path, *args)
        assert code == 2, args
        assert error["error"]["hint"]


def test_without_pylance_a_look_works_and_a_cure_says_what_to_install(patient: Path, tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "lance.py").write_text("raise ImportError('no module named lance')")
    env = {"PYTHONPATH": str(tmp_path / "hidden")}
    code, report = clinic(patient, env=env)
    assert (code, one(report)["rows"]) == (3, patients.COUNT)
    code, report = clinic(patient, "--prune", "--apply", env=env)
    assert code == 2, report
    assert "holdfast[clinic]" in report["error"]["hint"]


def test_a_watch_keeps_its_cap_beside_a_writer(tmp_path: Path) -> None:
    """The full measure, two minutes and 20 MB, is part of `make bench`."""
    writer = patients.writer(str(tmp_path / "db"), 12, 0.04)
    while not (tmp_path / "db" / "t.lance").exists():
        time.sleep(0.05)
    cap = 3_000_000
    command = [
        COMMAND,
        "clinic",
        "lance",
        str(tmp_path / "db"),
        "--watch",
        "--apply",
        "--cap",
        "3MB",
        "--ratio",
        "1e6",
    ]
    command += ["--every", "2s", "--state-dir", str(tmp_path / "state"), "--json"]
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = 0
    while writer.poll() is None:
        peak = max(peak, patients.weight(str(tmp_path / "db")))
        time.sleep(0.2)
    out, err = writer.communicate()
    assert writer.returncode == 0, err
    time.sleep(2.5)
    watch.send_signal(signal.SIGTERM)
    said, err = watch.communicate(timeout=30)
    events = [json.loads(line) for line in said.splitlines()]
    assert watch.returncode == 0, (said, err)
    assert any(e["freed_bytes"] for e in events)
    assert peak <= cap
    assert len(patients.rows(f"{tmp_path}/db/t.lance")) == int(out)
    (state,) = (tmp_path / "state" / "clinic").iterdir()
    assert json.loads(state.read_text())["exit"] == 0


def test_a_watch_without_apply_only_says(patient: Path, tmp_path: Path) -> None:
    before = tree(patient)
    command = [COMMAND, "clinic", "lance", str(patient), "--watch", "--cap", "10MB", "--every", "0.2s", "--json"]
    watch = subprocess.Popen([*command, "--state-dir", str(tmp_path / "state")], stdout=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    first = json.loads(watch.stdout.readline())
    assert first["would_prune"]
    assert first["exit"] == 3
    watch.send_signal(signal.SIGTERM)
    watch.communicate(timeout=30)
    assert watch.returncode == 3
    assert tree(patient) == before


def test_a_failing_prune_stays_in_the_state_until_one_succeeds(patient: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from holdfast.clinic.lance import watch as module
    from holdfast.errors import DiskFull

    watcher = room.Watcher(
        str(patient), room.Bounds(10_000_000), str(tmp_path / "state.json"), every_s=0.001, apply=True
    )

    def fails(*_: object, **__: object) -> int:
        raise DiskFull("No room.")

    real = module.pruned
    monkeypatch.setattr(module, "pruned", fails)
    watcher.look()
    seen = watcher.look()
    assert (seen.failures, seen.error, seen.exit) == (2, "No room.", 3)
    assert json.loads((tmp_path / "state.json").read_text())["error"] == "No room."
    monkeypatch.setattr(module, "pruned", real)
    time.sleep(0.01)
    seen = watcher.look()
    assert (seen.failures, seen.error, seen.exit) == (0, None, 0)
    assert seen.freed_bytes > 10_000_000


def everos(root: Path, *, paths: tuple[str, ...]) -> None:
    """A memory root as EverOS lays it out, with rows that name their Markdown files."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("# A memory\n")
    code = (
        "import lance, pyarrow as pa, sys; lance.write_dataset(pa.table({'id': ['a', 'b'], 'md_path': sys.argv[2:4]}),"
        " sys.argv[1] + '/.index/lancedb/episode.lance')"
    )
    (root / ".index" / "lancedb").mkdir(parents=True)
    patients.python(code, str(root), *paths[:2])


PATHS = ("default_app/default_project/users/u1/episodes/2026-01-01.md", "default_app/default_project/agents/a/x.md")


def test_evict_sets_an_everos_index_aside_and_says_how_to_make_it_anew(tmp_path: Path) -> None:
    root = tmp_path / "everos"
    everos(root, paths=PATHS)
    index = root / ".index" / "lancedb"
    before = tree(root)
    code, report = clinic(index, "--evict")
    assert (code, tree(root)) == (0, before)
    code, report = clinic(root, "--evict", "--apply")
    assert code == 0, report
    assert list(index.iterdir()) == []
    (aside,) = (root / ".index").glob("lancedb.evicted-*")
    assert (aside / "episode.lance").is_dir()
    assert "everos cascade rebuild" in " ".join(report["remarks"])
    assert all((root / p).exists() for p in PATHS)


def test_evict_refuses_where_the_markdown_is_not_whole(tmp_path: Path) -> None:
    root = tmp_path / "everos"
    everos(root, paths=PATHS)
    os.unlink(root / PATHS[1])
    code, report = clinic(root, "--evict", "--apply")
    assert code == 3
    assert kinds(report) == ["markdown_missing"]
    assert PATHS[1] in json.dumps(report)
    os.unlink(root / PATHS[0])
    code, report = clinic(root, "--evict", "--apply", "--force")
    assert (code, "no_markdown" in kinds(report)) == (3, True)
    assert (root / ".index" / "lancedb" / "episode.lance").is_dir()
