"""Our reader of manifests against bytes that nobody vouches for, and the digest of rows against how they are cut."""

from __future__ import annotations

import datetime
import decimal
import glob
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.clinic.holders import has_loaded, holders
from holdfast.clinic.lance.manifest import operation_of, read_manifest, version_of
from holdfast.clinic.lance.proto import DamagedMessageError, fields, numbers
from tests.clinic import lance_patients as patients


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    path = str(tmp_path_factory.mktemp("lists"))
    patients.lists(path, 5, index=True)
    patients.python("import lance, sys; lance.dataset(sys.argv[1]).delete('id < 13')", f"{path}/t.lance")
    return [Path(p).read_bytes() for p in sorted(glob.glob(f"{path}/t.lance/_versions/*.manifest"))]


def test_what_a_manifest_says(manifests: list[bytes]) -> None:
    newest = read_manifest(manifests[0])
    assert (newest.version, newest.rows, newest.deleted, len(newest.fragments)) == (7, 37, 3, 4)
    assert [i.name for i in newest.indices] == ["tags_idx"]
    assert newest.columns[newest.indices[0].fields[0]] == "tags"
    assert sum(p.path.startswith("_deletions/") for p in newest.pieces()) == 1
    assert not newest.is_newer_than_known


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    for read in (read_manifest, lambda d: list(fields(d)), lambda d: list(numbers(d)), operation_of):
        try:
            read(data)
        except DamagedMessageError:
            pass


@given(st.data())
def test_a_damaged_manifest_is_refused_or_read(manifests: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(manifests)))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))]) if data.draw(st.booleans()) else bytes(whole)
    try:
        read_manifest(cut)
    except DamagedMessageError:
        pass


def test_versions_of_names() -> None:
    assert version_of("3.manifest") == 3
    assert version_of(f"{2**64 - 1 - 3:020}.manifest") == 3
    for name in ("d3.manifest", ".manifest", "3.txt", "latest_version_hint.json", "-3.manifest", "३.manifest"):
        assert version_of(name) is None


def table(seed: int, rows: int) -> Any:
    import pyarrow as pa

    r = random.Random(seed)

    def some(make: Any) -> list[Any]:
        return [None if r.random() < 0.2 else make() for _ in range(rows)]

    def texts() -> list[str | None]:
        return [r.choice([None, "", "é", "ab"]) for _ in range(r.randrange(3))]

    return pa.table(
        {
            "int": pa.array(some(lambda: r.randrange(9)), pa.int32()),
            "text": pa.array(some(lambda: "é" * r.randrange(4)), pa.string()),
            "bool": pa.array(some(lambda: r.random() < 0.5), pa.bool_()),
            "list": pa.array(some(texts), pa.list_(pa.string())),
            "vector": pa.array(some(lambda: [r.random() for _ in range(4)]), pa.list_(pa.float32(), 4)),
            "struct": pa.array(some(lambda: {"a": r.choice([None, 1]), "b": [1, 2]})),
            "map": pa.array(some(lambda: [("k", 1), ("j", None)]), pa.map_(pa.string(), pa.int64())),
            "time": pa.array(some(lambda: datetime.datetime(2026, 1, 1 + r.randrange(20))), pa.timestamp("us", "UTC")),
            "decimal": pa.array(some(lambda: decimal.Decimal(r.randrange(99))), pa.decimal128(10, 2)),
            "fixed": pa.array(some(lambda: b"abcd"), pa.binary(4)),
            "word": pa.array(some(lambda: r.choice("abc")), pa.string()).dictionary_encode(),
            "null": pa.nulls(rows),
        }
    )


def digest(batches: Any) -> str:
    from holdfast.clinic.lance.rows import RowDigest

    out = RowDigest()
    for batch in batches:
        out.add(batch)
    return out.digest()


@given(seed=st.integers(0, 1000), rows=st.integers(1, 40), size=st.integers(1, 40))
def test_the_digest_of_rows_knows_no_batches(seed: int, rows: int, size: int) -> None:
    whole = table(seed, rows)
    assert digest(whole.to_batches(size)) == digest(whole.to_batches())


def test_the_digest_of_rows_sees_each_change() -> None:
    import pyarrow as pa

    whole = table(1, 30)
    seen = {digest(whole.to_batches()), digest(whole.slice(1).to_batches()), digest(whole.slice(0, 29).to_batches())}
    seen.add(digest(whole.take(list(reversed(range(30)))).to_batches()))
    for name in whole.schema.names[:-1]:
        values = whole[name].to_pylist()
        at = next(i for i, v in enumerate(values) if v not in (None, [], ""))
        values[at] = None
        column = pa.array(values, whole.schema.field(name).type)
        seen.add(digest(whole.set_column(whole.schema.get_field_index(name), name, column).to_batches()))
    assert len(seen) == 4 + len(whole.schema.names) - 1


def test_who_holds_a_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    file = tmp_path / "a b" / "held"
    file.write_bytes(b"x" * 5_000)
    program = "import mmap, sys; f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)"
    for also in ("; del m", "; f.close()"):  # Open, or only mapped.
        command = ["python3", "-c", f"{program}{also}; print(flush=True); sys.stdin.read()", str(file)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            assert [h.pid for h in holders(str(tmp_path)).found] == [other.pid]
            assert holders(str(tmp_path / "a")).found == ()
            other.communicate(b"")
    assert holders(str(tmp_path)).found == ()
    assert not has_loaded(("no-library-has-this-name",))
    with open(file, "rb"):
        assert os.getpid() not in [h.pid for h in holders(str(tmp_path)).found]
