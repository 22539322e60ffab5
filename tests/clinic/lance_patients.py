"""Builds real Lance datasets that are ill, each in a process of its own so that nothing of it stays open here."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

COUNT = 800
"""Commits of a patient here; `make bench` measures 2,000, as the field reports them."""

_APPENDS = """
import lancedb, sys
db = lancedb.connect(sys.argv[1])
row = lambda i: [{"id": str(i), "text": f"note number {i}", "vector": [float(i % 7)] * 64}]
table = db.create_table("t", row(0))
for i in range(1, int(sys.argv[2])):
    table.add(row(i))
"""

_UPSERTS = """
import lancedb, sys
db = lancedb.connect(sys.argv[1])
row = lambda i: [{"id": str(i % 100), "text": f"note number {i}", "vector": [float(i % 7)] * 64}]
table = db.create_table("t", row(0))
for i in range(1, int(sys.argv[2])):
    table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(row(i))
"""

_LISTS = """
import lance, pyarrow as pa, sys
fields = {"id": pa.int64(), "tags": pa.list_(pa.string()), "text": pa.string(), "vector": pa.list_(pa.float32(), 8)}
schema = pa.schema(list(fields.items()))
path = sys.argv[1] + "/t.lance"
for i in range(int(sys.argv[2])):
    columns = {
        "id": list(range(i * 10, i * 10 + 10)),
        "tags": [[f"t{i}-{j}-{k}" for k in range(3)] for j in range(10)],
        "text": [f"note {j} of {i}" for j in range(10)],
        "vector": [[float(i)] * 8] * 10,
    }
    table = pa.table(columns, schema=schema)
    lance.write_dataset(table, path, mode="append" if i else "create", data_storage_version="2.0")
if len(sys.argv) > 3:
    lance.dataset(path).create_scalar_index("tags", "LABEL_LIST")
"""

_WRITER = """
import lancedb, sys, time
db = lancedb.connect(sys.argv[1])
row = lambda i: [{"id": str(i), "text": f"note number {i}", "vector": [float(i % 7)] * 64}]
table = db.create_table("t", row(0), mode="overwrite")
until, pause, i = time.monotonic() + float(sys.argv[2]), float(sys.argv[3]), 1
while time.monotonic() < until:
    table.add(row(i))
    assert table.count_rows() == i + 1
    i += 1
    time.sleep(pause)
print(i)
"""

_ROWS = """
import json, lance, sys
rows = lance.dataset(sys.argv[1]).to_table().to_pylist()
print(json.dumps(sorted(rows, key=lambda r: int(r["id"]))))
"""

_EXPLAIN = """
import lance, sys
from datetime import timedelta
dataset = lance.dataset(sys.argv[1])
print(dataset.explain_cleanup_old_versions(older_than=timedelta(0), delete_unverified=True).stats.bytes_removed)
"""


def python(code: str, *args: str) -> str:
    """What a program prints; raises with what it said if it fails."""
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def built_once(shared: str, name: str, build: Callable[[str], object]) -> str:
    """The folder `name` below `shared`, built by whichever test process comes first."""
    os.makedirs(shared, exist_ok=True)
    with open(f"{shared}/{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(f"{shared}/{name}.ready"):
            shutil.rmtree(f"{shared}/{name}", ignore_errors=True)
            os.makedirs(f"{shared}/{name}")
            build(f"{shared}/{name}")
            open(f"{shared}/{name}.ready", "w").close()
    return f"{shared}/{name}"


def appends(path: str, count: int = COUNT) -> None:
    """A table `t` of rows that were appended one by one: each version names all fragments before it."""
    python(_APPENDS, path, str(count))


def upserts(path: str, count: int = COUNT) -> None:
    """A table `t` of 100 rows that were replaced again and again: old data stay with old versions."""
    python(_UPSERTS, path, str(count))


def lists(path: str, fragments: int = 20, *, index: bool = False) -> None:
    """A table `t` with a column `tags` of lists, ten rows a fragment, perhaps with an index on it."""
    python(_LISTS, path, str(fragments), *(["index"] if index else []))


def spoil_offsets(path: str, at: int, fragment: int = 3) -> None:
    """Damage eight bytes of the list offsets of one data file, as a bad disk or an encoder's bug leaves them."""
    file = sorted(glob.glob(f"{path}/t.lance/data/*.lance"))[fragment]
    with open(file, "r+b") as f:
        f.seek(at)
        old = f.read(8)
        f.seek(at)
        f.write(bytes(x ^ 0x7F for x in old))


def rows(dataset: str) -> list[dict[str, Any]]:
    """All rows as Lance reads them, by id."""
    found: list[dict[str, Any]] = json.loads(python(_ROWS, dataset))
    return found


def removable_bytes(dataset: str) -> int:
    """What Lance says that a cleanup would remove."""
    return int(python(_EXPLAIN, dataset))


def writer(path: str, seconds: float, pause: float) -> subprocess.Popen[str]:
    """A process that appends for so long and checks its count after each; prints how many rows it wrote."""
    command = [sys.executable, "-c", _WRITER, path, str(seconds), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def weight(path: str) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for folder, _, files in os.walk(path):
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, file)).st_size
    return total
