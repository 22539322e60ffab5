"""Writing a small file of ours: the old or the new one, whole, whatever happens in between."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from holdfast.files.fs import TEMP_PREFIX, FileSystem
from tests.fault.faulty_fs import Fault, FaultyFS, Killed

OLD, NEW = b"old content", b"the new content, longer than a single write takes"
STEPS = ["open_new", "write", "fsync", "close", "replace", "open_read", "fsync", "close"]


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "manifest.json").write_bytes(OLD)
    return str(tmp_path / "manifest.json")


def strays(path: str) -> list[str]:
    return [name for name in os.listdir(os.path.dirname(path)) if name.startswith(TEMP_PREFIX)]


def test_the_steps_in_order(path: str) -> None:
    fs = FaultyFS()
    fs.write_new(path, NEW)
    assert [call for call, _ in fs.trail] == STEPS
    assert Path(path).read_bytes() == NEW
    assert not strays(path)
    fs.trail.clear()
    fs.write_new(path, OLD, durable=False)
    assert [call for call, _ in fs.trail] == ["open_new", "write", "close", "replace"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, len(STEPS) + 1))
def test_killed_at_any_step(path: str, at: int, after: bool) -> None:
    fs = FaultyFS(Fault(at=at, kill=not after, kill_after=after))
    with pytest.raises(Killed):
        fs.write_new(path, NEW)
    is_new = at > 5 or (at == 5 and after)
    assert Path(path).read_bytes() == (NEW if is_new else OLD)
    FileSystem().write_new(path, NEW)  # a stray file is in nobody's way
    assert Path(path).read_bytes() == NEW


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("at", range(1, len(STEPS) + 1))
def test_failed_at_any_step(path: str, at: int, number: int) -> None:
    with pytest.raises(OSError, match=os.strerror(number)):
        FaultyFS(Fault(at=at, error=number)).write_new(path, NEW)
    assert Path(path).read_bytes() == (NEW if at > 5 else OLD)
    assert not strays(path)


def test_a_failed_fsync_is_never_tried_again_on_the_same_file(path: str) -> None:
    fs = FaultyFS(Fault("fsync", error=errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        fs.write_new(path, NEW)
    assert fs.calls["fsync"] == 1
    fs.write_new(path, NEW)
    opened = [where for call, where in fs.trail if call == "open_new"]
    assert len(set(opened)) == 2


def test_short_writes_are_continued(path: str) -> None:
    fs = FaultyFS(Fault("write", short=7))
    fs.write_new(path, NEW)
    assert Path(path).read_bytes() == NEW
    assert fs.calls["write"] == 7


def test_a_tree_is_removed_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep/x").touch()
    (tmp_path / "gone/sub").mkdir(parents=True)
    (tmp_path / "gone/sub/link").symlink_to("../../keep")
    FileSystem().rmtree(str(tmp_path / "gone"))
    assert os.listdir(tmp_path) == ["keep"]
    assert os.listdir(tmp_path / "keep") == ["x"]
