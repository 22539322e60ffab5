"""A question to an index, and what comes back: the values that cross the port when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the process that only parses notes does without numpy, which takes longer to load than all else
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]

SPEAKER = ":speaker"
"""The field that holds who speaks in a note; no frontmatter key and no filter can be called so."""


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """One chunk without its text; `start` and `size` in bytes of the note, `at_ns` the time of a turn.

    `input` is the digest of what an embedder is given for it (text.inputs), `traits` what a turn holds (text.traits).
    """

    start: int
    size: int
    line: int
    count: int
    heading: str
    digest: bytes
    speaker: str | None = None
    at_ns: int | None = None
    input: bytes = bytes(16)
    traits: int = 0


@dataclass(frozen=True, slots=True)
class Condition:
    """What narrows the scope before ranking.

    kind `field`: the note has `field` with one of `values` (folded); for `tag` a parent counts, `home` for `home/desk`.
    kind `path`: the note is `values[0]` or under it, or matches it where it holds `*` or `?`.
    kind `who`: the turn's speaker or the note's author is `values[0]` (folded).
    kind `time`: lo_ns <= time of the turn, else of the note's last change, < hi_ns.
    kind `valid`: the note's valid_from and valid_to, where it has them, hold `lo_ns` between them.
    """

    kind: Literal["field", "path", "who", "time", "valid"]
    field: str = ""
    values: tuple[str, ...] = ()
    lo_ns: int = -(1 << 62)
    hi_ns: int = 1 << 62
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """A question as the index takes it: terms, not text (model.Query has the meaning of the first five).

    `names` are those of `words` that name a speaker of a conversation, `who` their names as folded there: turns are
    searched without them, since who is talked to is not what is talked about. `question` is the question as a unit
    vector of the live embedder, or None; the `nearest` chunks by it are candidates too, where their cosine is at least
    `floor`.
    """

    words: tuple[str, ...] = ()
    repeats: tuple[int, ...] = ()
    prefixes: tuple[str, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    excluded: tuple[tuple[str, ...], ...] = ()
    conditions: tuple[Condition, ...] = ()
    typed: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    who: tuple[str, ...] = ()
    question: Floats | None = None
    nearest: int = 400
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Detail:
    """What a second look at some candidates costs to know; arrays have a place for each of them.

    `rows` their chunks. `words` terms of the chunk, `words_before` of the one before it. `in_pair`, `in_near` bool
    (words of the question, names aside, candidates): whether a word stands in the chunk or the one before, or within
    two chunks of it; `idf` of each such word. `before` the exact cosine of the chunk before (0 where there is none).
    `tokens` the token vectors, int8 (tokens, dimension), or None.
    """

    rows: Sequence[ChunkRow | None]
    words: Ints
    words_before: Ints
    in_pair: NDArray[np.bool_]
    in_near: NDArray[np.bool_]
    idf: Floats
    before: Floats
    tokens: Sequence[NDArray[np.int8] | None]


@dataclass(frozen=True, slots=True)
class Signals:
    """What a question says of every chunk in scope that has any of its words in or beside it, or is near in meaning.

    Per candidate: `owner` (place in the per-note arrays), `ord` (chunk of the note), `near`, `own`, `dense`,
    `is_known` whether it has a vector, `is_turn`, `speaks` 1 for a turn of one of `who` (or 1 in 256 others), `keyed`
    whether it holds a key that the question names (see index.sqlite.ask.is_key). Per note
    in scope with any of the words or a candidate: `notes` id, `sizes` chunks, `note` score, `note_dense` the best
    cosine of its chunks, `is_talk` whether it begins with a turn, `present` the share of `who` that speaks in it.
    Candidates are in order of (owner, ord). Scores are raw BM25 sums, not normalised; cosines are estimates where
    `dense` was not worth computing for all (see index.vectors.scan), 0 without a vector.
    """

    owner: Ints
    ord: Ints
    near: Floats
    own: Floats
    dense: Floats
    is_known: NDArray[np.bool_]
    is_turn: NDArray[np.bool_]
    speaks: Floats
    keyed: NDArray[np.bool_]
    notes: Ints
    sizes: Ints
    note: Floats
    note_dense: Floats
    is_talk: NDArray[np.bool_]
    present: Floats
    matched_notes: int
    matched_chunks: int
    scope_notes: int
    scope_chunks: int
    chunks: int
    ready: int
    seq: int
    generation: int
    in_scope: Callable[[int, int], bool]
    """(place in `notes`, chunk) -> whether that chunk is in scope; for chunks that are no candidates."""
    similarity: Callable[[int, int], float | None]
    """(place in `notes`, chunk) -> its exact cosine, None without a vector; for chunks that are no candidates."""
    detail: Callable[[Ints], Detail]
    """Places of candidates -> what a second look needs. Within the same snapshot only."""
    feedback: Callable[[Ints, Floats, Ints, Collection[str]], Floats]
    """(places of the best notes, their weights, places of notes, terms that say nothing) -> what the best say of the
    others (see index.sqlite.feedback). Within the same snapshot only."""
    echo: Callable[[Ints, Ints], Floats]
    """(places of the best notes, places of notes) -> the best cosine of each with the middle of what the best notes
    have nearest to the question (Rocchio's feedback, for vectors). Within the same snapshot only."""
    remarks: tuple[str, ...] = ()
    is_exact: bool = True
    """Whether every cosine is exact; if not, `similarity` says what one is."""


@dataclass(frozen=True, slots=True)
class Newest:
    """(note id, its first chunk in scope), newest first; and what there was in scope, and in all."""

    places: Sequence[tuple[int, int]]
    scope_notes: int
    scope_chunks: int
    chunks: int
    ready: int
    seq: int
    remarks: tuple[str, ...] = ()
