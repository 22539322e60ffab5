"""What the verbs return: frozen, with the names of the JSON they become (docs/interface.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.model import Value, plain


class Result:
    """A result with a JSON shape."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = plain(self)
        return out


@dataclass(frozen=True, slots=True)
class Ready(Result):
    """How many of how many chunks have a vector."""

    ready: int
    total: int


@dataclass(frozen=True, slots=True)
class Created(Result):
    """A vault with its id; `created` says that it is new."""

    vault: str
    id: str
    created: bool


@dataclass(frozen=True, slots=True)
class ScanReport(Result):
    """The look at the files: `kind` is first, full or hinted."""

    kind: str
    seconds: float
    files: int
    directories: int


@dataclass(frozen=True, slots=True)
class Synced(Result):
    """What a sync did. A moved note is in none of the other counts; `skipped` counts files by reason."""

    added: int
    changed: int
    removed: int
    moved: int
    unchanged: int
    quarantined: int
    files_read: int
    skipped: Mapping[str, int]
    notes: int
    chunks: int
    vectors: Ready
    seconds: float
    peak_rss_bytes: int
    scan: ScanReport
    generation: int
    seq: int
    behind: int | None = 0
    degraded: tuple[str, ...] = ()
    explained: tuple[tuple[str, str], ...] = ()
    stopped: HoldfastError | None = None
    """Why the index did not take in all that differs; `Vault.sync` raises it."""

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = plain(self)
        del out["stopped"]
        explained = out.pop("explained")
        if explained:
            out["explained"] = [{"path": p, "reason": r} for p, r in explained]
        return out


@dataclass(frozen=True, slots=True)
class Watched(Result):
    """Something that a watch did or met; docs/interface.md lists the values of `event`.

    `mode` says how changes are noticed: events or polling. The counts are those of the sync that was made, `scan` its
    kind. `paths` are those that were noticed, ten at most; `remarks` say of files with odd names what they are.
    """

    at: str
    event: str
    mode: str
    message: str = ""
    scan: str | None = None
    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    paths: tuple[str, ...] = ()
    remarks: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Embedded(Result):
    """What was embedded: chunks that have a vector now, vectors `made`, notes `left` for the next sync to look at, and
    what hindered."""

    vectors: Ready
    made: int
    left: int
    seconds: float
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Carried(Result):
    """Vectors that were `read` whole, and how many of them were `stored` (exported, or given to chunks without one)."""

    read: int
    stored: int


@dataclass(frozen=True, slots=True)
class Hit(Result):
    """One result. `text` is None where the note cannot be read now; `line` and `count` say where the words stand."""

    path: str
    line: int
    count: int
    title: str
    heading: str
    text: str | None
    stale: bool
    score: float
    via: tuple[str, ...]
    similarity: float | None
    why: Mapping[str, float]
    type: str
    modified: str
    speaker: str | None
    at: str | None
    author: str | None
    session: str | None
    trust: str
    digest: str


@dataclass(frozen=True, slots=True)
class Scope(Result):
    """What was searched, after filters."""

    notes: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Receipt(Result):
    """How fresh and how complete an answer is.

    `proven_at` is the time of the last full look at the notes, `behind` the number of notes known to be newer than the
    index (None: unknown), `matched` the number of chunks that had any of the words near them, or
    were near in meaning, or stand in a conversation that has most of the words.
    """

    generation: int
    seq: int
    proven_at: str | None
    behind: int | None
    vectors: Ready
    in_scope: Scope
    matched: int
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer(Result):
    """The hits for a question, best first, with the receipt; `tokens` is the size of all of it as JSON."""

    query: str
    hits: tuple[Hit, ...]
    receipt: Receipt
    tokens: int


@dataclass(frozen=True, slots=True)
class Note(Result):
    """A note, or some of its lines."""

    path: str
    title: str
    line: int
    count: int
    text: str
    digest: str
    frontmatter: Mapping[str, Value]
    modified: str
    trust: str


@dataclass(frozen=True, slots=True)
class Listed(Result):
    """A note as lists show it; without a digest if it is too large to be read."""

    path: str
    title: str
    type: str
    tags: tuple[str, ...]
    modified: str
    bytes: int
    digest: str | None


@dataclass(frozen=True, slots=True)
class Listing(Result):
    """Notes in path order; `next` is what to pass as `after` for the next page, None at the end."""

    notes: tuple[Listed, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Upkeep(Result):
    """What was planned for the index, and whether it was done."""

    plan: tuple[Mapping[str, Any], ...]
    done: bool
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class Finding(Result):
    """What `check` found: `path` is a note's, None for the index; `cure` the command that mends it."""

    kind: str
    path: str | None
    message: str
    cure: str


@dataclass(frozen=True, slots=True)
class Extent(Result):
    """How much was looked at."""

    notes: int
    chunks: int
    vectors: int


@dataclass(frozen=True, slots=True)
class Checked(Result):
    """What a check looked at and found. `ok` is false where something is wrong; what is only worth knowing is not."""

    ok: bool
    deep: bool
    checked: Extent
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Audited(Result):
    """What a look at some notes found: `found` in words, how many notes were `healed`, whether the index is built anew.

    `is_last` says that the next look begins at the start again.
    """

    notes: int
    found: tuple[str, ...]
    healed: int
    rebuilt: bool
    is_last: bool


@dataclass(frozen=True, slots=True)
class Reason(Result):
    """Why health is not ok, and what to do about it."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Status(Result):
    """Health and sizes; docs/interface.md has the keys of each part."""

    health: str
    reasons: tuple[Reason, ...]
    vault: Mapping[str, Any]
    index: Mapping[str, Any]
    history: Mapping[str, Any]
    disk_free_bytes: int
    descriptors: Mapping[str, int]
    behind: int | None
    proven_at: str | None
    quarantined: Mapping[str, Any]
    jobs: Mapping[str, Any]
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModeScores(Result):
    """How one way of searching did: means over all questions and over those of each tag, and CPU time a question."""

    all: Mapping[str, float]
    by_tag: Mapping[str, Mapping[str, float]]
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class GoldenProblem(Result):
    """A relevant unit that no hit can hold, as the vault is now; it counts as not found."""

    place: str
    id: str
    unit: str
    message: str


@dataclass(frozen=True, slots=True)
class Gate(Result):
    """A bound that was asked for, and whether it is met."""

    mode: str
    metric: str
    bound: float
    value: float
    met: bool


@dataclass(frozen=True, slots=True)
class Miss(Result):
    """A question none of whose relevant units is in the first ten ranks."""

    id: str
    query: str


@dataclass(frozen=True, slots=True)
class Evaluated(Result):
    """What golden questions say of the vault.

    `default` is the mode that `recall` uses here, `tags` counts questions by tag, `left_out` says why a mode was not
    measured, `remarks` what else hindered. `misses` is by mode, without `random`.
    """

    questions: int
    modes: Mapping[str, ModeScores]
    default: str
    tags: Mapping[str, int]
    left_out: Mapping[str, str]
    problems: tuple[GoldenProblem, ...]
    gates: tuple[Gate, ...]
    misses: Mapping[str, tuple[Miss, ...]]
    remarks: tuple[str, ...] = ()

    @property
    def is_passed(self) -> bool:
        """Whether every gate is met."""
        return all(g.met for g in self.gates)

    def without_misses(self) -> Evaluated:
        """The same in short."""
        return replace(self, misses={})

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = plain(self)
        if not self.misses:
            del out["misses"]
        return out
