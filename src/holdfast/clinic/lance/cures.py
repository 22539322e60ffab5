"""Prune and compact Lance datasets: first the space that costs nothing, then the order that costs some.

A prune removes old versions without compaction, so it works where compaction fails and on a full disk. That the live
rows are what they were is proved by the digest of the very files that hold them, which needs no decoding.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from holdfast.clinic.holders import Holders, has_loaded, refuse_if_held
from holdfast.clinic.lance.dataset import Dataset, read_dataset
from holdfast.clinic.lance.decode import Decoder
from holdfast.clinic.lance.library import (
    LanceRefused,
    cleaned,
    lance_errors,
    library,
)
from holdfast.clinic.lance.look import all_below, examine, finish, free_bytes
from holdfast.clinic.lance.rows import RowDigest
from holdfast.clinic.report import Chart, Report, Step, shell, size
from holdfast.errors import DiskFull, HoldfastError
from holdfast.files.fs import READ_BLOCK
from holdfast.model import show_path
from holdfast.results import Finding

_COMPACTION_SHARE = 1.1
_LARGEST = 5
_LIBRARIES = ("lance", "_lancedb", "pylance")


@dataclass(frozen=True, slots=True)
class Proof:
    """What must be the same before and after: `rows` that are alive and the digest of the files that hold them."""

    rows: int
    digest: str


def proof(d: Dataset) -> Proof:
    """The proof of a dataset's live rows; raises LanceRefused where a live file cannot be read."""
    whole = hashlib.blake2b(digest_size=16)
    rows = d.manifest.rows if d.manifest is not None else 0
    for path in sorted(p for p in d.live if p.startswith(("data/", "_deletions/"))):
        whole.update(path.encode("utf-8", "surrogateescape") + b"\0")
        try:
            with open(f"{d.path}/{path}", "rb", buffering=0) as file:
                while block := file.read(READ_BLOCK):
                    whole.update(block)
        except OSError as e:
            raise LanceRefused(
                f"{d.path}/{path} cannot be read: {e.strerror}.", hint="Check the disk; nothing was changed."
            ) from e
    return Proof(rows, f"b2-{whole.hexdigest()}")


def prune(directory: str, *, apply: bool, force: bool) -> Report:
    """Remove all versions but the newest (and tagged ones) of every dataset below `directory`, without compaction."""
    planned = examine(directory)
    if not apply or not planned.seen:
        return planned
    library()  # Says at once, and in our words, that it is not installed.
    seen = refuse_if_held(directory, force=force)
    chart, before = Chart("lance", directory, "datasets"), all_below(directory)
    quiet = is_quiet(seen) or force
    for d in before:
        _pruned_into(chart, d, quiet=quiet)
    return finish(chart, before, done=True)


def compact(directory: str, *, apply: bool, force: bool) -> Report:
    """Prune, then merge small fragments of every dataset; what compaction cannot do leaves the prune standing."""
    planned = examine(directory)
    if not planned.seen:
        return planned
    chart, before = Chart("lance", directory, "datasets"), all_below(directory)
    if not apply:
        _plan_compaction(chart, before)
        return finish(chart, before, done=False)
    library()  # Says at once, and in our words, that it is not installed.
    seen = refuse_if_held(directory, force=force)
    quiet = is_quiet(seen) or force
    for d in before:
        if _pruned_into(chart, d, quiet=quiet) and _compacted_into(chart, d.path):
            _pruned_into(chart, read_dataset(d.path), quiet=quiet)
    return finish(chart, before, done=True)


def is_quiet(seen: Holders) -> bool:
    """Whether it is sure that nobody writes: all processes were seen, none has a file open, none has Lance loaded."""
    return not seen.found and not seen.unseen and not has_loaded(_LIBRARIES)


def _pruned_into(chart: Chart, d: Dataset, *, quiet: bool) -> bool:
    """Prune one dataset and prove its rows; says in the chart what came of it, and returns whether it went well."""
    name = show_path(d.path)
    try:
        before = proof(d)
        stats = pruned(d, older_than_s=0.0, quiet=quiet)
        after = read_dataset(d.path, history=False)
        held = proof(after)
    except HoldfastError as e:
        chart.wrong.append(Finding("prune_failed", name, e.message, e.hint))
        if isinstance(e, DiskFull):
            chart.remarks += by_hand(d)
        return False
    if stats:
        chart.plan.append(Step("prune", name, stats))
    same_version = (
        after.manifest is not None and d.manifest is not None and after.manifest.version == d.manifest.version
    )
    if held != before and same_version:
        message = (
            f"Before the prune {before.rows:,} rows had the digest {before.digest}, now {held.rows:,} {held.digest}."
        )
        chart.wrong.append(Finding("rows_differ", name, message, "Restore it from a backup, and report this."))
        return False
    chart.remarks.append(f"{show_path(d.name)}: {held.rows:,} rows with the digest {held.digest}, before and after.")
    if not quiet and (left := after.dead_bytes) > 0:
        chart.remarks.append(
            f"{show_path(d.name)}: {size(left)} that no version names were left, because a process may be about to use"
            " them; prune again when its owner has ended."
        )
    return True


def pruned(d: Dataset, *, older_than_s: float, quiet: bool) -> int:
    """Remove old versions and what only they need; the bytes that it freed. `quiet` says that nobody writes."""
    cleaned(d.path, older_than_s=older_than_s, unverified=quiet)
    if quiet:
        _remove_transactions(d.path)
    return max(0, d.bytes - read_dataset(d.path, history=False).bytes)


def _remove_transactions(path: str) -> None:
    """Remove transactions whose version is gone: Lance keeps those that look younger, as in a copy, for a week."""
    d = read_dataset(path, history=False)
    if d.manifest is None or len(d.versions) > 1 or d.branches:
        return
    for file in [p for p in d.files if p.startswith("_transactions/") and p not in d.live]:
        os.unlink(f"{path}/{file}")


def by_hand(d: Dataset) -> list[str]:
    """What to remove first where the disk is so full that nothing can be: largest and safest first."""
    old = sorted((d.files[p] for v, p in d.versions.items() if p not in d.live), key=lambda f: -f.bytes)
    if not old:
        return []
    names = " ".join(shell(f"{d.path}/{f.path}") for f in old[:_LARGEST])
    weight = size(sum(f.bytes for f in old))
    text = (
        f"{show_path(d.name)}: if this file system cannot even remove a file now, empty some old manifests, which are"
        f" the largest that are safe to lose ({weight} in all): `truncate -s 0 {names}`. Then prune again."
    )
    return [text]


def _plan_compaction(chart: Chart, datasets: list[Dataset]) -> None:
    for d in datasets:
        name, need = show_path(d.path), int(d.live_bytes * _COMPACTION_SHARE)
        if d.dead_bytes:
            chart.plan.append(Step("prune", name, d.dead_bytes))
        chart.plan.append(Step("compact", name, need))
        chart.remarks.append(
            f"{show_path(d.name)}: compaction writes its live data anew and needs {size(need)} free for it."
        )


def row_digest(rows: Decoder) -> RowDigest:
    """The digest of all live rows in their order, decoded; raises LanceRefused."""
    out = RowDigest()
    for batch in rows.batches("Its rows cannot be read"):
        out.add(batch)
    return out


def _compacted_into(chart: Chart, path: str) -> bool:
    name, d = show_path(path), read_dataset(path, history=False)
    need = int(d.live_bytes * _COMPACTION_SHARE)
    if (free := free_bytes(path)) < need:
        message = f"Compaction needs {size(need)} free, and there are {size(free)}; the prune stands."
        chart.wrong.append(Finding("no_room", name, message, "Free some space and try again."))
        return False
    try:
        with Decoder(path, d.live_bytes) as rows:
            before = row_digest(rows)
            rows.compact()
        with Decoder(path, d.live_bytes) as rows:
            after = row_digest(rows)
    except HoldfastError as e:
        column = failing_column(d, e.message)
        about = f" The column that cannot be read is {column}." if column else ""
        message = f"{e.message}{about} Nothing is lost, and the prune stands."
        chart.wrong.append(
            Finding("compaction_failed", name, message, f"holdfast clinic lance {shell(path)} --rewrite --apply")
        )
        return False
    if (before.rows, before.digest()) != (after.rows, after.digest()):
        with lance_errors("The version before compaction cannot be restored"):
            library().dataset(path, version=d.manifest.version if d.manifest else None).restore()
        message = "Compaction changed its rows; the version before it was restored."
        chart.wrong.append(Finding("rows_differ", name, message, "Do not compact it with this Lance, and report this."))
        return False
    chart.plan.append(Step("compact", name, 0))
    return True


def failing_column(d: Dataset, message: str) -> str:
    """The columns that Lance fails on, or "" if every one can be read and the message names none."""
    failing = []
    with Decoder(d.path, d.live_bytes) as rows:
        fields = list(rows.schema)
        for field in fields:
            try:
                for _ in rows.batches(field.name, columns=[field.name]):
                    pass
            except LanceRefused:
                failing.append(field.name)
    names = [f.name for f in fields]
    failing = failing or [n for n in names if f"'{n}'" in message or f'"{n}"' in message or f"`{n}`" in message]
    if not failing and "exceeds length of values" in message:
        failing = [f.name for f in fields if "list" in str(f.type)]
    return ", ".join(failing)
