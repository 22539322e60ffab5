"""The log: bounded, readable by machines, and no hindrance."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import pytest

from holdfast.engine import log as logs
from holdfast.engine.log import Log
from holdfast.files.fs import FileSystem
from tests.fault.faulty_fs import Fault, FaultyFS


def lines(path: str | Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_what_repeats_is_written_once_and_then_counted(tmp_path: Path) -> None:
    log = Log(FileSystem(), f"{tmp_path}/logs/a.jsonl")
    for _ in range(1_000):
        log.event("sync_failed", "The disk is full.")
    log.event("sync_failed", "Another cause.")
    found = lines(log.path)
    assert [(x["message"], x.get("times")) for x in found] == [
        ("The disk is full.", None), ("The disk is full.", 10), ("The disk is full.", 100),
        ("The disk is full.", 1_000), ("Another cause.", None),
    ]  # fmt: skip
    assert found[0]["pid"] == os.getpid()


def test_it_is_bounded_with_several_writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES", 20_000)

    def write(who: int) -> None:
        log = Log(FileSystem(), f"{tmp_path}/a.jsonl")
        for n in range(500):
            log.event("k", f"{who} {n} " + "x" * 100)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    names = sorted(os.listdir(tmp_path))
    assert names == ["a.jsonl", "a.jsonl.1", "a.jsonl.2"]
    assert sum(os.path.getsize(tmp_path / n) for n in names) <= 3 * 20_000 + 4 * 300
    for name in names:
        lines(tmp_path / name)


def test_where_it_cannot_be_written_nothing_else_is_hindered(tmp_path: Path) -> None:
    log = Log(FaultyFS(Fault(call="write", error=errno.ENOSPC, times=None)), f"{tmp_path}/a.jsonl")
    log.event("k", "m")
    assert log.failed == 1


def test_a_line_stays_a_line(tmp_path: Path) -> None:
    log = Log(FileSystem(), f"{tmp_path}/a.jsonl")
    log.event("k", "two\nlines \udcff \u2028 end")
    assert len(Path(log.path).read_bytes().splitlines()) == 1
