"""Health tells the truth within seconds: of a watch by its file, of everybody by `status`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast import Vault
from holdfast import vault as facade
from holdfast.engine.status import HEALTH_FILE
from holdfast.errors import DiskFull
from tests.fault.vaults import Place, index_of

WITHIN_S = 10.0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(20)
    made.sync()
    return made


@contextmanager
def watched(vault: Vault) -> Iterator[None]:
    stop = threading.Event()
    watch = threading.Thread(target=vault.watch, args=(stop,))
    watch.start()
    try:
        yield
    finally:
        stop.set()
        watch.join()


def until(vault: Vault, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the file says as soon as it is so; fails if it does not say so in time."""
    path, end = Path(vault._ws.directory, HEALTH_FILE), time.monotonic() + WITHIN_S
    said: dict[str, Any] = {}
    while time.monotonic() < end:
        if path.exists():
            said = json.loads(path.read_text())
            if is_so(said):
                return said
        time.sleep(0.05)
    raise AssertionError(said)


def test_a_monitor_sees_a_low_disk_and_its_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facade, "HEALTH_EVERY_S", 0.1)
    with place.open() as vault:
        free = [1 << 40]
        monkeypatch.setattr(vault._ws, "disk", lambda: (free[0], 1 << 41))
        with watched(vault):
            until(vault, lambda said: said["health"] == "ok")
            free[0] = 1 << 20
            said = until(vault, lambda said: said["health"] == "failing")
            assert "disk_low" in [r["code"] for r in said["reasons"]]
            place.put("new.md", "# New\n")
            until(vault, lambda said: "job_sync" in [r["code"] for r in said["reasons"]])
            free[0] = 1 << 40
            place.put("newer.md", "# Newer\n")
            until(vault, lambda said: said["health"] == "ok")


def test_the_first_failure_of_a_sync_is_red_and_its_end_is_seen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with place.open() as vault, monkeypatch.context() as m:
        place.put("new.md", "# New\n")
        m.setattr("holdfast.engine.growth.keep_within", lambda *_: (_ for _ in ()).throw(DiskFull("No room.")))
        with pytest.raises(DiskFull):
            vault.sync()
        assert vault.status().health == "failing"
        with place.open() as other:
            assert other.status().health == "failing", "every process sees it"
    with place.open() as vault:
        vault.sync()
        assert vault.status().health == "ok"


def test_a_watch_finds_and_heals_a_row_that_was_deleted_behind_its_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facade, "AUDIT_EVERY_S", 0.2)
    monkeypatch.setattr(facade, "AUDITED", 100)
    with place.open() as vault, watched(vault):
        end = time.monotonic() + WITHIN_S
        index = index_of(vault)
        with index.writing() as db:
            db.execute("delete from name where note = 3")
        while time.monotonic() < end and not index_of(vault)._all("select 1 from name where note = 3"):
            time.sleep(0.1)
        assert index_of(vault)._all("select 1 from name where note = 3")
        assert vault._ws.counters["audit_found"]
