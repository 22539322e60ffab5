"""Faults 9, 10, 13, 17 and 18: few descriptors, little memory, a full disk, an index that cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.fault.vaults import Place, as_somebody_else, assert_equals_a_rebuild, environment, index_of, repository

LIMITED = """
import resource, sys
from holdfast.cli.app import run
name, limit, *args = sys.argv[1:]
resource.setrlimit(getattr(resource, name), (int(limit), int(limit)))
sys.exit(run(args))
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(60)
    return made


def limited(place: Place, name: str, limit: int, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, name, str(limit), *args, "--vault", place.root, "--state-dir", place.state],
        env=environment(), capture_output=True, text=True, timeout=300, cwd=repository(),
    )  # fmt: skip


def test_sixty_four_descriptors_are_enough(place: Place) -> None:
    for args in (["sync", "--json"], ["recall", "tomatoes", "--json"], ["rebuild", "--json"], ["status", "--json"]):
        done = limited(place, "RLIMIT_NOFILE", 64, *args)
        said = json.loads(done.stdout)
        if args[0] == "status":
            assert done.returncode == 3
            assert [r["code"] for r in said["reasons"]] == ["descriptors_few"]
        else:
            assert done.returncode == 0, done.stderr
    assert_equals_a_rebuild(place)


def test_without_descriptors_the_limit_is_named_and_the_index_kept(place: Place) -> None:
    place.sync()
    with place.open() as vault:
        database = index_of(vault).path
    kinds = set()
    for limit in range(4, 16):
        done = limited(place, "RLIMIT_NOFILE", limit, "sync", "--json")
        if done.returncode:
            assert done.stderr.startswith("{"), (limit, done.stderr)
            error = json.loads(done.stderr.splitlines()[-1])["error"]
            kinds.add(error["kind"])
            assert error["exit"] in (75, 70), error
        assert os.path.exists(database), f"a healthy index was set aside with {limit} descriptors"
    assert kinds
    assert "FileLimit" in kinds
    assert place.sync().changed == 0
    assert_equals_a_rebuild(place)


ON_A_SLOW_MOUNT = """
import resource, sys, time
from holdfast import Config, Vault
from holdfast.errors import FileLimit
from tests.fault.faulty_fs import SlowFS
limit, root, state = int(sys.argv[1]), *sys.argv[2:]

class Mount(SlowFS):
    # Files stay open for a while, so that many are at a time.
    def pread(self, fd, size, offset):
        time.sleep(0.01)
        return super().pread(fd, size, offset)

with Vault.open(root, state_dir=state, fs=Mount(0.006, 0.001), config=Config(background=False, embedder="none")) as v:
    import os
    v.status()  # opens what it needs
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    try:
        done = v.sync()
    except FileLimit as e:
        print(e)
        raise SystemExit(75)
    print(done.added, done.quarantined, done.skipped.get("unverified", 0), v._ws.fs.most, *done.degraded, sep="|")
    answer = v.recall("tomatoes", sync=False)
    assert answer.hits and not any(h.stale for h in answer.hits), answer
"""


@pytest.mark.parametrize("limit", [1_000, 40])
def test_few_descriptors_read_fewer_files_at_a_time(place: Place, limit: int) -> None:
    """Row 13, on a mount where 64 files are read side by side."""
    place.fill(300)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ON_A_SLOW_MOUNT, str(limit), place.root, place.state],
        env=environment(), capture_output=True, text=True, timeout=300, cwd=repository(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    added, quarantined, unverified, most, *degraded = done.stdout.strip().split("|")
    assert (added, quarantined, unverified) == ("300", "0", "0")
    if limit == 40:
        assert len(degraded) == 1
        assert "the limit of open files is 40" in degraded[0]
        assert "ulimit -n" in degraded[0]
    else:
        assert not degraded
        assert int(most) > 40, "it would have been more"
    assert_equals_a_rebuild(place)


def test_half_a_gigabyte_is_enough(place: Place) -> None:
    place.fill(1_500, words=300)
    done = limited(place, "RLIMIT_AS", 512 << 20, "sync", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["peak_rss_bytes"] < 150 << 20
    done = limited(place, "RLIMIT_AS", 512 << 20, "recall", "tomatoes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hits"]
    assert_equals_a_rebuild(place)


ON_A_SMALL_DISK = """
import os, sys
from holdfast import Config, Vault
from holdfast.errors import HoldfastError, ResourceFault
from tests.fault.vaults import Place, assert_equals_a_rebuild
print("started", flush=True)
base = sys.argv[1]
disk = base + "/disk"
place = Place(base)
place.state = disk + "/state"
config = Config(background=False, embedder="none")

def fill_up(left):
    with open(disk + "/filler", "wb", buffering=0) as f:
        st = os.statvfs(disk)
        size = max(0, st.f_bavail * st.f_frsize - left)
        for _ in range(size // 65536):
            f.write(b"x" * 65536)
        try:
            for _ in range(40 if not left else 0):
                f.write(b"x" * 4096)
        except OSError:
            pass

def truth():
    return {os.path.join(d, n): open(os.path.join(d, n), "rb").read() for d, _, ns in os.walk(place.root) for n in ns}

place.fill(400, words=120)
before = truth()

# First sync with too little room: it stops with a word, and the notes are searched instead.
fill_up(200_000)
try:
    place.sync()
    raise SystemExit("a full disk went unnoticed")
except ResourceFault as e:
    assert e.exit == 75, e
    print(type(e).__name__, flush=True)
with place.open() as vault:
    answer = vault.recall("tomatoes")
    assert answer.hits, answer
    assert answer.receipt.degraded
    status = vault.status()
    assert status.health == "failing", status
os.unlink(disk + "/filler")
place.sync()
assert_equals_a_rebuild(place)

# A published index on a disk with no byte left: it answers, or the notes do; a sync says what is wrong.
place.put("new.md", "# New\\n\\nzebra\\n")
fill_up(0)
with place.open() as vault:
    answer = vault.recall("tomatoes", sync=False)
    assert answer.hits
    assert vault.recall("zebra").receipt is not None
    try:
        for n in range(40):
            place.put("more%d.md" % n, "# More\\n\\n" + "yak %d " % n * 2000)
        vault.sync()
        print("it fitted")
    except ResourceFault as e:
        print(type(e).__name__, flush=True)
    assert vault.recall("tomatoes").hits
    vault.status()
os.unlink(disk + "/filler")
place.sync()
assert_equals_a_rebuild(place)
after = truth()
assert {k: v for k, v in after.items() if k in before} == before
print("ended")
"""


def test_a_full_disk_stops_the_index_and_nothing_else() -> None:
    if not shutil.which("unshare"):
        pytest.skip("unshare is missing: no small disk can be made")
    with tempfile.TemporaryDirectory() as base:
        os.mkdir(base + "/disk")
        probe = ["unshare", "-Urm", "sh", "-c", f"mount -t tmpfs -o size=20m tmpfs {base}/disk"]
        if os.geteuid() == 0:
            probe[1] = "-m"
        made = subprocess.run(probe, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"mounting a small disk is not allowed here: {made.stderr.strip()}")
        command = probe[-1] + ' && exec "$0" -W error -c "$1" "$2"'
        done = subprocess.run(
            [*probe[:-1], command, sys.executable, ON_A_SMALL_DISK, base],
            cwd=repository(), env=environment(), capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.split()[0] == "started"
        assert done.stdout.split()[-1] == "ended"
        assert "DiskFull" in done.stdout


READ_ONLY = """
import os, sys
from holdfast import Config, Vault
from holdfast.errors import HoldfastError
print("started", flush=True)
base = sys.argv[1]
with Vault.open(base + "/notes", state_dir=base + "/state", config=Config(background=False, embedder="none")) as vault:
    for look in (False, True):
        answer = vault.recall("tomatoes", sync=look)
        assert len(answer.hits) == 10, answer
        assert not any(h.stale for h in answer.hits)
    print(answer.hits[0].via[0], len(answer.receipt.degraded))
    assert len(vault.list().notes) == 50
    assert vault.read("d0/n0.md").text
    print(vault.status().health)
    for verb in (vault.sync, vault.rebuild):
        try:
            verb()
            print("written?")
        except HoldfastError as e:
            print(type(e).__name__, e.exit)
print("ended")
"""


@pytest.mark.parametrize("state", ["index", "nothing"])
def test_an_index_that_may_not_be_written_still_answers(state: str) -> None:
    with tempfile.TemporaryDirectory() as base:
        place = Place(base)
        place.fill(60)
        if state == "index":
            place.sync()
        else:
            os.makedirs(place.state)
        os.chmod(base, 0o755)
        for folder, folders, names in os.walk(base):
            for name in folders:
                os.chmod(f"{folder}/{name}", 0o555)
            for name in names:
                os.chmod(f"{folder}/{name}", 0o444)
        said = as_somebody_else(READ_ONLY, base).split("\n")
        assert said[0] == "started"
        assert said[-2] == "ended"
        assert said[3:5] == ["ResourceFault 75", "ResourceFault 75"], said
        assert said[2] in ("degraded", "failing"), said
