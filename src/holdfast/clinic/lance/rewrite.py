"""Copy the live rows of a Lance dataset into a fresh one, where compaction fails: what can be read is saved.

The fresh dataset is made beside the old one, compared with it, and takes its place by rename; the old one is kept. A
value that cannot be read alone, in its own row, is null in the fresh one, and is said before anything is done.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast.clinic.holders import refuse_if_held
from holdfast.clinic.lance.cures import row_digest
from holdfast.clinic.lance.dataset import Dataset, read_dataset
from holdfast.clinic.lance.decode import BATCH_ROWS, Decoder, LanceStalled
from holdfast.clinic.lance.library import LanceRefused, lance_errors, library
from holdfast.clinic.lance.look import all_below, examine, finish, free_bytes
from holdfast.clinic.lance.rows import RowDigest
from holdfast.clinic.report import Chart, Report, Step, counted, shell, size, stamp
from holdfast.errors import HoldfastError
from holdfast.files.fs import FileSystem
from holdfast.model import show_path
from holdfast.results import Finding

_RANGE_S = 5.0
_STALLS = 8
_SHARE = 1.1
_WHY_LETTERS = 200


@dataclass(slots=True)
class Readable:
    """What of a dataset can be read. `bad` maps a fragment to its columns that fail as a whole.

    `lost` counts values by column that cannot be read even alone, `rows_lost` rows of which nothing can be read. After
    some `stalls` of Lance what it fails on is given up whole, so that the time is bounded.
    """

    digest: RowDigest = field(default_factory=RowDigest)
    bad: dict[int, dict[str, str]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    rows_lost: int = 0
    stalls: int = 0

    @property
    def columns(self) -> dict[str, str]:
        """The columns that fail somewhere, each with what Lance says."""
        return {name: why for bad in self.bad.values() for name, why in bad.items()}


def rewrite(directory: str, *, apply: bool, force: bool) -> Report:
    """Copy the live rows of every dataset below `directory` into a fresh one that takes its place."""
    planned = examine(directory)
    if not planned.seen:
        return planned
    library()
    chart, before = Chart("lance", directory, "datasets"), all_below(directory)
    if apply:
        refuse_if_held(directory, force=force)
    for d in before:
        try:
            _rewrite_one(chart, d, apply=apply)
        except HoldfastError as e:
            chart.wrong.append(Finding("rewrite_failed", show_path(d.path), e.message, e.hint))
    # The old datasets are kept, so nothing is freed until they are removed.
    return replace(finish(chart, before, done=apply), freed_bytes=0)


def _rewrite_one(chart: Chart, d: Dataset, *, apply: bool) -> None:
    need = int(d.live_bytes * _SHARE)
    with Decoder(d.path, d.live_bytes) as rows:
        _rewritten(chart, d, rows, need, apply=apply)


def _rewritten(chart: Chart, d: Dataset, rows: Decoder, need: int, *, apply: bool) -> None:
    name = show_path(d.path)
    if blobs := [f.name for f in rows.schema if b"lance-encoding:blob" in (f.metadata or {})]:
        raise LanceRefused(f"{', '.join(blobs)} holds blobs, which are not copied.", hint="Prune it instead.")
    readable = Readable()
    for _ in _batches(rows, readable):
        pass
    _say(chart, d, readable, is_cured=apply and not readable.lost and not readable.rows_lost)
    if not apply:
        chart.plan.append(Step("rewrite", name, need))
        chart.remarks.append(
            f"{show_path(d.name)}: the copy needs {size(need)} free; the old dataset is kept beside it."
        )
        return
    if free_bytes(d.path) < need:
        message = f"The copy needs {size(need)} free, and there are {size(free_bytes(d.path))}."
        chart.wrong.append(Finding("no_room", name, message, "Prune it first, or free some space."))
        return
    when = stamp()
    fresh = f"{d.path}.rewrite-{when}"
    try:
        _copy(rows, d, fresh, readable)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    kept = f"{d.path}.before-rewrite-{when}"
    _swap(d.path, fresh, kept)
    chart.plan.append(Step("rewrite", name, read_dataset(d.path, history=False).bytes))
    chart.remarks.append(
        f"{show_path(d.name)}: {readable.digest.rows:,} rows with the digest {readable.digest.digest()} in both."
        f" The old dataset is {show_path(kept)} ({size(d.bytes)}); when all is well, remove it: `rm -r {shell(kept)}`."
    )


def _say(chart: Chart, d: Dataset, readable: Readable, *, is_cured: bool) -> None:
    name = show_path(d.path)
    for column, why in readable.columns.items():
        places = sum(column in bad for bad in readable.bad.values())
        message = f"The column {column} cannot be read in {counted(places, 'fragment')}: {why[:_WHY_LETTERS]}"
        (chart.notes if is_cured else chart.wrong).append(
            Finding("unreadable_column", name, message, "A rewrite saves each value that can be read alone.")
        )
    for column, count in readable.lost.items():
        chart.loses.append(
            f"{show_path(d.name)}: {counted(count, 'value')} of {column} cannot be read, and become null."
        )
    if readable.rows_lost:
        chart.loses.append(f"{show_path(d.name)}: of {counted(readable.rows_lost, 'row')} nothing can be read.")
    if len(d.versions) > 1 or d.tags:
        chart.loses.append(f"{show_path(d.name)}: older versions and tags stay in the old dataset only.")
    if indices := [i.name for i in d.manifest.indices] if d.manifest else []:
        chart.loses.append(
            f"{show_path(d.name)}: the indices {', '.join(dict.fromkeys(indices))} must be made again by its owner;"
            " until then searches read the rows."
        )


def _batches(rows: Decoder, out: Readable) -> Iterator[Any]:
    """All rows that can be read, in order, as batches; says in `out` what could not, and takes their digest there."""
    for fragment, count in rows.about.fragments:
        known = out.bad.get(fragment)
        if known is None:
            known = _failing(rows, fragment)
        if not known:
            for batch in rows.batches(
                "Rows that could be read a moment ago cannot be read any more", fragment=fragment
            ):
                out.digest.add(batch)
                yield batch
            continue
        out.bad[fragment] = known
        if len(known) == len(rows.schema.names):
            out.rows_lost += count
            continue
        for at in range(0, count, BATCH_ROWS):
            batch = _saved(rows, fragment, known, (at, min(count, at + BATCH_ROWS)), out)
            out.digest.add(batch)
            yield batch


def _failing(rows: Decoder, fragment: int) -> dict[str, str]:
    """The columns of a fragment that cannot be read whole, each with what Lance says."""
    names = list(rows.schema.names)
    if not (why := _tried(rows, fragment, names)):
        return {}
    found = {name: said for name in names if (said := _tried(rows, fragment, [name]))}
    return found or dict.fromkeys(names, why)


def _tried(rows: Decoder, fragment: int, names: list[str]) -> str:
    try:
        for _ in rows.batches("Lance says", fragment=fragment, columns=names):
            pass
    except LanceRefused as e:
        return e.message
    return ""


def _saved(rows: Decoder, fragment: int, bad: dict[str, str], span: tuple[int, int], out: Readable) -> Any:
    """The rows in `span` (first, end) of a fragment, value by value where a column fails."""
    import pyarrow as pa

    columns = []
    for each in rows.schema:
        if each.name in bad:
            columns.append(_values(rows, fragment, each, span, out))
        else:
            columns.append(_range(rows, fragment, each, span))
    return pa.record_batch(columns, schema=nullable(rows.schema, bad))


def _values(rows: Decoder, fragment: int, each: Any, span: tuple[int, int], out: Readable) -> Any:
    """The values of one column in these rows; halves what fails, down to the row."""
    import pyarrow as pa

    start, end = span
    if out.stalls < _STALLS:
        try:
            return _range(rows, fragment, each, span)
        except LanceStalled:
            out.stalls += 1
        except LanceRefused:
            # Counted as lost below, once it stands alone.
            pass
    if end - start == 1 or out.stalls >= _STALLS:
        out.lost[each.name] = out.lost.get(each.name, 0) + end - start
        return pa.nulls(end - start, each.type)
    middle = (start + end) // 2
    parts = [_values(rows, fragment, each, part, out) for part in ((start, middle), (middle, end))]
    return pa.concat_arrays(parts)


def _range(rows: Decoder, fragment: int, each: Any, span: tuple[int, int]) -> Any:
    """The values of one column in these rows; raises LanceRefused where not all of them come."""
    import pyarrow as pa

    start, end = span
    scan = rows.batches(
        "Lance says", fragment=fragment, columns=[each.name], offset=start, limit=end - start, stall_s=_RANGE_S
    )
    values = pa.concat_arrays([pa.nulls(0, each.type), *(b.column(0) for b in scan)])
    if len(values) != end - start:
        raise LanceRefused(f"Of {end - start} values of {each.name}, {len(values)} came.")
    return values


def nullable(schema: Any, names: Any) -> Any:
    """The schema in which these columns may be null."""
    for name in names:
        at = schema.get_field_index(name)
        schema = schema.set(at, schema.field(at).with_nullable(True))
    return schema


def _copy(rows: Decoder, d: Dataset, fresh: str, seen: Readable) -> None:
    """Write what can be read to `fresh`, and compare it with what was read before; raises LanceRefused."""
    import pyarrow as pa

    again = Readable(bad=seen.bad)
    schema = nullable(rows.schema, seen.columns)
    reader = pa.RecordBatchReader.from_batches(schema, (b.cast(schema) for b in _batches(rows, again)))
    with lance_errors(f"{fresh} cannot be written"):
        made = library().write_dataset(
            reader, fresh, mode="create", data_storage_version=rows.about.storage_version,
            enable_stable_row_ids=rows.about.stable_row_ids,
        )  # fmt: skip
        if rows.about.config:
            made.update_config(rows.about.config)
    with Decoder(fresh, d.live_bytes) as copied:
        held = row_digest(copied)
    digests = {seen.digest.digest(), again.digest.digest(), held.digest()}
    if len(digests) > 1:
        raise LanceRefused(
            f"The copy of {d.path} differs from it: {held.rows:,} rows, {seen.digest.rows:,} before.",
            hint="It was removed again and nothing was changed; report this.",
        )


def _swap(path: str, fresh: str, kept: str) -> None:
    """Put `fresh` in the place of `path`, which becomes `kept`; the copy is on disk before."""
    fs = FileSystem()
    for folder, _, names in os.walk(fresh):
        for each in names:
            fd = fs.open_read(f"{folder}/{each}")
            try:
                fs.fsync(fd)
            finally:
                fs.close(fd)
        fs.sync_directory(folder)
    fs.rename(path, kept)
    try:
        fs.rename(fresh, path)
    except BaseException:
        fs.rename(kept, path)
        raise
    fs.sync_directory(os.path.dirname(path) or ".")
