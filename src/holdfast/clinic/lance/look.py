"""The first look at Lance datasets: what each weighs, what is wrong with it, and what would help."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.clinic.lance.dataset import SET_ASIDE, Dataset, find_datasets, find_set_aside, read_dataset
from holdfast.clinic.report import Chart, Report, Step, counted, nothing, shell, size
from holdfast.engine.times import rfc3339
from holdfast.files.fs import FileSystem
from holdfast.model import show_path
from holdfast.results import Finding

RATIO = 10.0
_SPARE_BYTES = 1 << 20
"""A dataset may weigh this much more than its live bytes before its ratio is anything to speak of."""
_FRAGMENTS, _ROWS_PER_FRAGMENT = 1_000, 100
_INDEX_FILES = 200
"""A search opens the files of an index; with the soft limit of 256 that macOS has, so many leave too few."""
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a directory of datasets may weigh: `cap_bytes` in all (0: no cap), `ratio` times its live bytes each."""

    cap_bytes: int = 0
    ratio: float = RATIO

    def passed(self, datasets: list[Dataset]) -> list[str]:
        """Which bounds are passed, in words."""
        total = sum(d.bytes for d in datasets)
        out = [f"{size(total)} is over the cap of {size(self.cap_bytes)}"] if 0 < self.cap_bytes < total else []
        return out + [
            f"{show_path(d.name)} weighs {d.ratio:.0f} times its live bytes, over {self.ratio:g}"
            for d in datasets
            if self.is_bloated(d)
        ]

    def is_bloated(self, d: Dataset) -> bool:
        """Whether a dataset weighs too much for what is alive in it, and a prune would help."""
        return d.ratio > self.ratio and d.dead_bytes > min(_SPARE_BYTES, self.cap_bytes or _SPARE_BYTES)


def examine(directory: str, *, bounds: Bounds | None = None) -> Report:
    """Look at every dataset below `directory`; nothing is changed."""
    if not os.path.isdir(directory):
        return nothing("lance", directory, f"there is no directory {show_path(directory)}.")
    datasets = all_below(directory)
    if not datasets and not find_set_aside(directory):
        return nothing("lance", directory, f"there is no Lance dataset below {show_path(directory)}.")
    chart = Chart("lance", directory, "datasets")
    look(chart, datasets, bounds or Bounds())
    return chart.report(summary(datasets))


def all_below(directory: str) -> list[Dataset]:
    """Every dataset below a directory."""
    return [read_dataset(path) for path in find_datasets(directory)]


def finish(chart: Chart, before: list[Dataset], *, done: bool) -> Report:
    """Look again and add what was done: what is wrong still is said, and what was freed is measured."""
    after = all_below(chart.path) if done else before
    steps, chart.plan = chart.plan, []
    look(chart, after, Bounds())
    chart.plan = steps
    chart.done = done
    chart.freed_bytes = max(0, sum(d.bytes for d in before) - sum(d.bytes for d in after)) if done else 0
    return chart.report(summary(after))


def summary(datasets: list[Dataset]) -> str:
    """One sentence of sizes."""
    total, live = sum(d.bytes for d in datasets), sum(d.live_bytes for d in datasets)
    count = f"{len(datasets):,} Lance dataset{'' if len(datasets) == 1 else 's'}"
    files = sum(len(d.files) for d in datasets)
    return (
        f"{count}: {size(total)} in {files:,} files for {size(live)} of live data ({total / max(1, live):.1f} times)."
    )


def look(chart: Chart, datasets: list[Dataset], bounds: Bounds) -> None:
    """Put what is seen, wrong and worth knowing into the chart."""
    for d in datasets:
        chart.seen.append(describe(d))
        _damage(chart, d)
        _weight(chart, d, bounds)
        _remarks(chart, d, bounds)
    _set_aside(chart)
    total = sum(d.bytes for d in datasets)
    if 0 < bounds.cap_bytes < total:
        chart.wrong.append(
            Finding(
                "over_cap", None, f"{size(total)} is over the cap of {size(bounds.cap_bytes)}.", _cure(chart, "--prune")
            )
        )
    free = free_bytes(chart.path)
    if free < sum(d.live_bytes for d in datasets):
        message = (
            f"The disk has {size(free)} free, less than the live data: compaction has no room; a prune needs none."
        )
        chart.notes.append(Finding("disk_low", None, message, _cure(chart, "--prune")))


def describe(d: Dataset) -> Mapping[str, Any]:
    """One dataset as it stands in the JSON."""
    m = d.manifest
    return {
        "path": show_path(d.path),
        "bytes": d.bytes,
        "disk_bytes": d.disk_bytes,
        "live_bytes": d.live_bytes,
        "ratio": round(d.ratio, 2),
        "files": len(d.files),
        "versions": len(d.versions),
        "oldest_version": min(d.versions, default=None),
        "newest_version": m.version if m else None,
        "fragments": len(m.fragments) if m else None,
        "rows": m.rows if m else None,
        "deleted_rows": m.deleted if m else None,
        "manifest_bytes": d.weight("_versions"),
        "manifest_share": round(d.weight("_versions") / max(1, d.bytes), 3),
        "transaction_bytes": d.weight("_transactions"),
        "indices": [_index(d, i.uuid, i.name, i.fields) for i in m.indices] if m else [],
        "orphans": _orphans(d),
        "tags": list(d.tags),
        "branches": list(d.branches),
        "written_at": rfc3339(d.newest_ns()),
        "compacted_at": rfc3339(d.compacted_ns) if d.compacted_ns is not None else None,
        "never_pruned": min(d.versions, default=0) == 1,
        "pruned_not_before": rfc3339(d.oldest_ns) if d.oldest_ns is not None and min(d.versions) > 1 else None,
        "writer": m.writer if m else None,
    }  # fmt: skip


def _orphans(d: Dataset) -> Mapping[str, int] | None:
    if d.orphans is None:
        return None
    return {"files": len(d.orphans), "bytes": sum(d.files[p].bytes for p in d.orphans)}


def _index(d: Dataset, id_: str, name: str, columns: tuple[int, ...]) -> Mapping[str, Any]:
    files = [f for p, f in d.files.items() if p.startswith(f"_indices/{id_}/")]
    names = [d.manifest.columns.get(c, str(c)) for c in columns] if d.manifest else []
    return {"name": name, "columns": names, "files": len(files), "bytes": sum(f.bytes for f in files)}


def _cure(chart: Chart, option: str) -> str:
    return f"holdfast clinic lance {shell(chart.path)} {option} --apply"


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - _LISTED:,} more" if len(paths) > _LISTED else ""
    return ", ".join(show_path(p) for p in paths[:_LISTED]) + more


def _damage(chart: Chart, d: Dataset) -> None:
    name = show_path(d.path)
    newest = max(d.versions)
    if d.manifest is None:
        why = d.damaged.get(newest, "nothing is in it")
        chart.wrong.append(Finding("damaged", name, f"No manifest can be read: {why}.", "Restore it from a backup."))
        return
    if newest in d.damaged:
        message = (
            f"The manifest of version {newest:,} cannot be read ({d.damaged[newest]}); {d.manifest.version:,} can."
        )
        help_ = (
            f"Move {shell(f'{d.path}/{d.versions[newest]}')} aside: version {d.manifest.version:,} is the newest then."
        )
        chart.wrong.append(Finding("damaged", name, message, help_))
    if d.missing:
        message = f"{len(d.missing):,} files that the newest version needs are not there: {_some(d.missing)}."
        chart.wrong.append(
            Finding("missing_files", name, message, "Restore them from a backup, or rebuild the dataset.")
        )
    if d.cut:
        message = f"{len(d.cut):,} files are shorter than the manifest says: {_some(d.cut)}."
        chart.wrong.append(Finding("cut_files", name, message, _cure(chart, "--rewrite")))
    if d.unreadable:
        message = f"{len(d.unreadable):,} places cannot be read: {_some(d.unreadable)}."
        chart.wrong.append(Finding("unreadable", name, message, "Check permissions and the disk."))
    if d.manifest.is_newer_than_known:
        chart.unknown.append(f"{name} uses features of a newer Lance: its live bytes may be more than is said here.")


def _weight(chart: Chart, d: Dataset, bounds: Bounds) -> None:
    if d.manifest is None or d.damaged.get(max(d.versions)):
        return
    name = show_path(d.path)
    if d.dead_bytes > 0:
        chart.plan.append(Step("prune", name, d.dead_bytes))
    if bounds.is_bloated(d):
        message = (
            f"It weighs {size(d.bytes)} for {size(d.live_bytes)} of live data ({d.ratio:.0f} times) in"
            f" {counted(len(d.versions), 'version')}; a prune frees {size(d.dead_bytes)} and loses no row."
        )
        chart.wrong.append(Finding("bloated", name, message, _cure(chart, "--prune")))
    fragments = len(d.manifest.fragments)
    if fragments >= _FRAGMENTS and d.manifest.rows < fragments * _ROWS_PER_FRAGMENT:
        message = f"{fragments:,} fragments hold {d.manifest.rows:,} rows; each version and each search needs them all."
        chart.notes.append(Finding("fragmented", name, message, _cure(chart, "--compact")))
    files = sum(_index(d, i.uuid, i.name, i.fields)["files"] for i in d.manifest.indices)
    if files >= _INDEX_FILES:
        limit = FileSystem().open_files_limit()
        message = (
            f"Its indices have {files:,} files; maintenance opens most of them, and the soft limit here is {limit:,}."
        )
        chart.notes.append(Finding("many_index_files", name, message, "Raise it for its owner: `ulimit -n 8192`."))


def _remarks(chart: Chart, d: Dataset, bounds: Bounds) -> None:
    name = show_path(d.name)
    if d.tags:
        chart.remarks.append(f"{name}: a prune keeps what its tags hold: {', '.join(d.tags[:_LISTED])}.")
    if d.branches:
        chart.remarks.append(f"{name}: it has branches ({', '.join(d.branches[:_LISTED])}); their files count as live.")
    if d.elsewhere:
        chart.unknown.append(f"{name}: {d.elsewhere:,} of its files lie in another dataset, and were not looked at.")
    is_ill = bounds.is_bloated(d) or (d.manifest is not None and len(d.manifest.fragments) >= _FRAGMENTS)
    if d.compacted_ns is None and is_ill:
        first = f" (version {min(d.versions):,} is the oldest)" if min(d.versions) > 1 else ""
        chart.unknown.append(f"{name}: no trace of a compaction is left in its files{first}.")
    if d.orphans is None:
        chart.unknown.append(f"{name}: its manifests are too many to tell orphaned files from old ones.")


def _set_aside(chart: Chart) -> None:
    """What a rewrite left: the old dataset to remove when all is well, or a copy that never took its place."""
    for path in find_set_aside(chart.path):
        name, weight = show_path(path), sum(f.bytes for f in read_dataset(path, history=False).files.values())
        owner = SET_ASIDE.sub("", path)
        if ".before-rewrite-" in path and not os.path.exists(owner):
            message = f"A rewrite was interrupted half way: {show_path(owner)} is not there."
            chart.wrong.append(Finding("interrupted", name, message, f"mv {shell(path)} {shell(owner)}"))
        else:
            kind = "The dataset before a rewrite" if ".before-rewrite-" in path else "A copy that was not finished"
            chart.remarks.append(f"{kind} takes {size(weight)}; when all is well, remove it: `rm -r {shell(path)}`.")


def free_bytes(path: str) -> int:
    """What a process of this user may still write to the disk of `path`."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize
