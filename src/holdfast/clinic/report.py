"""What every examination ends with: what was seen, what is wrong, what could be done, and what that would cost."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from holdfast.results import Finding, Result


@dataclass(frozen=True, slots=True)
class Step(Result):
    """One step of a plan: `bytes` is what it would free, or what it would write where it frees nothing."""

    action: str
    target: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Report(Result):
    """What was found in `path`, an index of this `kind` (lance, chroma, vault, mixed, none).

    `ok` is false where something is wrong. `seen` is what was looked at, one mapping for each dataset or collection;
    its key in JSON is `seen_as`. `plan` is what would be done, `done` says that it was; `loses` says what it loses, in
    words (nothing if empty), `unknown` what the files cannot tell, `remarks` what else is worth knowing.
    """

    kind: str
    path: str
    ok: bool
    summary: str
    seen_as: str = "seen"
    seen: tuple[Mapping[str, Any], ...] = ()
    findings: tuple[Finding, ...] = ()
    plan: tuple[Step, ...] = ()
    done: bool = False
    freed_bytes: int = 0
    loses: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        out = Result.to_dict(self)
        name = out.pop("seen_as")
        return {(name if key == "seen" else key): value for key, value in out.items()}


@dataclass(slots=True)
class Chart:
    """A report in the making."""

    kind: str
    path: str
    seen_as: str
    seen: list[Mapping[str, Any]] = field(default_factory=list)
    wrong: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    plan: list[Step] = field(default_factory=list)
    done: bool = False
    freed_bytes: int = 0
    loses: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def report(self, summary: str, *, ok: bool | None = None) -> Report:
        """The report; `ok` where nothing is wrong, unless it is given."""
        return Report(
            self.kind, self.path, not self.wrong if ok is None else ok, summary, self.seen_as, tuple(self.seen),
            (*self.wrong, *self.notes), tuple(self.plan), self.done, self.freed_bytes,
            unique(self.loses), unique(self.unknown), unique(self.remarks),
        )  # fmt: skip


def unique(texts: Sequence[str]) -> tuple[str, ...]:
    """Each text once, in order."""
    return tuple(dict.fromkeys(texts))


def nothing(kind: str, path: str, why: str) -> Report:
    """The report of a place where there is nothing to examine."""
    return Report(kind, path, ok=True, summary=f"Nothing to do: {why}")


def size(count: float) -> str:
    """Bytes for people, such as 12.5 MiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def shell(path: str) -> str:
    """A path as it can be typed into a shell."""
    return shlex.quote(path)


def counted(number: int, word: str) -> str:
    """A number with its word, in the plural where it is not 1."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def stamp() -> str:
    """This second in UTC as it stands in names, such as 20261231-235959."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
