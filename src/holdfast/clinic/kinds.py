"""What kind of index a folder holds, and the look that fits: one command answers whether a memory is sound."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from holdfast.clinic import chroma, lance
from holdfast.clinic.report import Report, Step, nothing
from holdfast.model import show_path
from holdfast.results import Checked

_NOTE = (".md", ".markdown")

Check = Callable[[str], Checked]


def examine(directory: str, check: Check) -> Report:
    """Look at everything of a kind that is known: a report of one kind, or of several as one of the kind `mixed`.

    `check` compares the index of a vault with its notes.
    """
    if not os.path.isdir(directory):
        return nothing("none", directory, f"there is no directory {show_path(directory)}.")
    found: list[Report] = []
    if os.path.isdir(f"{directory}/.holdfast"):
        found.append(examine_vault(directory, check))
    if chroma.find(directory) is not None:
        found.append(chroma.examine(directory))
    if lance.find_datasets(directory):
        found.append(lance.examine(directory))
    if not found and _has_notes(directory):
        found.append(examine_vault(directory, check))
    if not found:
        why = f"there is no vault, no Lance dataset and no Chroma database in {show_path(directory)}."
        return nothing("none", directory, why)
    return found[0] if len(found) == 1 else _mixed(directory, found)


def examine_vault(directory: str, check: Check) -> Report:
    """A check of a vault of ours as a report; raises as a check does, but a missing folder is nothing to do."""
    if not os.path.isdir(directory):
        return nothing("vault", directory, f"there is no directory {show_path(directory)}.")
    done = check(directory)
    looked = {"notes": done.checked.notes, "chunks": done.checked.chunks, "vectors": done.checked.vectors}
    plan = (Step("repair", show_path(directory), 0),) if not done.ok else ()
    state = "sound" if done.ok else "not sound"
    return Report(
        "vault", directory, done.ok, f"A vault of Holdfast; its index is {state}.", "checked", (looked,), done.findings,
        plan,
        remarks=("A sample was compared; `holdfast check --deep` compares everything.",),
    )  # fmt: skip


def _has_notes(directory: str) -> bool:
    return any(name.endswith(_NOTE) for name in os.listdir(directory))


def _mixed(directory: str, found: list[Report]) -> Report:
    first = Report("mixed", directory, all(r.ok for r in found), " ".join(r.summary for r in found), "reports")
    return replace(
        first,
        seen=tuple(r.to_dict() for r in found),
        findings=tuple(f for r in found for f in r.findings),
        plan=tuple(p for r in found for p in r.plan),
        loses=tuple(t for r in found for t in r.loses),
        unknown=tuple(t for r in found for t in r.unknown),
        remarks=tuple(t for r in found for t in r.remarks),
    )
