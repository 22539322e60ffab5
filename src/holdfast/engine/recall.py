"""Answer a question from the notes, with a receipt.

question -> look -> parse -> candidates -> rank -> read the words from the notes -> budget -> answer. The index is never
a reason not to answer: what cannot be used is named in `degraded`, and the notes themselves are searched instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from holdfast.engine.budget import fit
from holdfast.engine.heal import set_aside
from holdfast.engine.look import look_first
from holdfast.engine.meaning import ESTIMATE_ERROR, ask_embedder, exactly
from holdfast.engine.passages import Passage, read_passages
from holdfast.engine.passes import UNVERIFIED
from holdfast.engine.question import Question, make_question
from holdfast.engine.rank import RECIPES, By, Mode, Ranked, rank
from holdfast.engine.scope import SHOWN, unmet
from holdfast.engine.stopgap import Stopgap, usable_index
from holdfast.engine.times import rfc3339
from holdfast.engine.workspace import Workspace
from holdfast.errors import IndexDamaged, IndexFault, QueryError, ResourceFault
from holdfast.index.asking import ChunkRow, Newest, Signals
from holdfast.index.base import Index, NoteRow
from holdfast.index.sqlite.db import decoding
from holdfast.model import Query, key_path, show_digest, show_path
from holdfast.results import Answer, Hit, Ready, Receipt, Scope
from holdfast.text.query import KEYS, parse_query

K_MAX = 1_000
# Hits whose note changed since are dropped, so a few more than asked are ranked.
SPARE = 8


@dataclass(slots=True)
class _Found:
    """What the index said, in one snapshot."""

    ranked: list[Ranked]
    chunks: list[ChunkRow | None]
    notes: dict[int, NoteRow]
    scope: Scope
    matched: int
    generation: int
    seq: int
    proven_at_ns: int | None
    vectors: Ready


def recall(
    ws: Workspace,
    stopgap: Stopgap,
    question: str,
    *,
    k: int | None = None,
    budget: int | None = None,
    by: By = "passage",
    look: bool = True,
    mode: Mode = "hybrid",
    min_similarity: float | None = None,
    explain: bool = False,
) -> Answer:
    """The best `k` hits within `budget` tokens. Raises QueryError and nothing else of the user's making.

    `mode` is how: by words and meaning, by words alone, by meaning alone, or by plain BM25 (for comparison). Hits whose
    cosine is below `min_similarity` are left out. `explain` says every signal of every hit.
    """
    k = ws.config.k if k is None else k
    budget = ws.config.budget_tokens if budget is None else budget
    if not 1 <= k <= K_MAX:
        raise QueryError(f"k is {k}.", hint=f"Ask for 1 to {K_MAX} hits.")
    if budget < 1:
        raise QueryError(f"The budget is {budget} tokens.", hint="Allow for at least one token.")
    if by not in ("passage", "note"):
        raise QueryError(f"Hits cannot be ranked by {by!r}.", hint="Rank by passage or by note.")
    if mode not in RECIPES:
        raise QueryError(f"There is no mode {mode!r}.", hint=f"Choose {', '.join(RECIPES)}.")
    if min_similarity is not None and not -1 <= min_similarity <= 1:
        raise QueryError(f"The similarity {min_similarity} is no cosine.", hint="Ask for one between -1 and 1.")
    wanted = _Wanted(k + SPARE, by, mode, min_similarity, explain)
    degraded: list[str] = []
    behind = look_first(ws, degraded) if look else None
    index, via = usable_index(ws, stopgap, degraded)
    if via == "scan":
        behind = stopgap.behind
    try:
        query, found = _ask(ws, index, question, wanted, degraded)
    except (IndexFault, ResourceFault) as e:
        # Damage that shows only while reading: the same question to the notes themselves.
        ws.count(f"index_{e.kind}", e)
        became = set_aside(ws, index, e) if via == "keyword" else ""
        degraded.append(f"{e.message} {became + ' ' if became else ''}The notes were searched instead.")
        index, via, behind = stopgap.index(degraded), "scan", stopgap.behind
        query, found = _ask(ws, index, question, wanted, degraded)
    if query.is_empty and not query.filters:
        degraded.append("nothing was asked; these are the newest notes")
    passages = read_passages(ws, found.notes, list(zip(found.ranked, found.chunks, strict=True)), k, degraded)
    is_said = any(remark.startswith("no note has") for remark in degraded)
    if not found.ranked and found.scope.notes == 0 and query.filters and not is_said:
        degraded.append("no note meets " + " and ".join(_as_typed(f.field, f.value, f.negated) for f in query.filters))
    hits = [_hit(p, found.notes[p.ranked.note], via) for p in passages]
    receipt = Receipt(
        generation=found.generation if via == "keyword" else 0,
        seq=found.seq,
        proven_at=rfc3339(found.proven_at_ns) if found.proven_at_ns else None,
        behind=behind,
        vectors=found.vectors,
        in_scope=found.scope,
        matched=found.matched,
        degraded=tuple(dict.fromkeys(degraded)),
    )
    return fit(Answer(question, tuple(hits), receipt, 0), budget)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """How to rank, and how many hits."""

    k: int
    by: By
    mode: Mode
    min_similarity: float | None
    explain: bool


def _ask(ws: Workspace, index: Index, question: str, wanted: _Wanted, degraded: list[str]) -> tuple[Query, _Found]:
    query = parse_query(question, index.has_field, ws.config.query_terms)
    degraded += _remarks(query, index)
    asked = ask_embedder(ws, index, query.plain, degraded) if wanted.mode in ("hybrid", "vector") else None
    floor = ws.config.min_similarity if wanted.min_similarity is None else wanted.min_similarity
    with index.snapshot():
        live = index.vectors.live()
        if asked is not None and (live is None or live.identity != asked.identity):
            # Exchanged since it was asked: vectors of one embedder say nothing to those of another.
            asked = None
            degraded.append("the vectors were exchanged for another embedder's just now; words were searched instead")
        if wanted.mode == "vector" and asked is None:
            degraded.append("there are no vectors to search by; words were searched instead")
        if asked is None and wanted.min_similarity is not None:
            wanted = replace(wanted, min_similarity=None)
            degraded.append("no similarity is known of an answer by words alone; none was asked of a hit")
        return query, _search(index, query, make_question(query, index, asked, floor), wanted, degraded)


def _remarks(query: Query, index: Index) -> list[str]:
    out = list(unmet(query, index))
    if query.cut:
        out.append("the question was too long; only its beginning was searched")
    for word in query.text.split():
        key, colon, value = word.lstrip("-").partition(":")
        if colon and value and key.isidentifier() and key.lower() not in KEYS and not index.has_field(key.lower()):
            out.append(f"no note has a field “{key[:SHOWN]}”; “{word[:SHOWN]}” was searched as words")
    return out


def _as_typed(field: str, value: str, negated: bool) -> str:
    return f"{'-' if negated else ''}{field}:{value[:SHOWN]}"


def _search(index: Index, query: Query, question: Question, wanted: _Wanted, degraded: list[str]) -> _Found:
    k, search = wanted.k, question.search
    with index.snapshot():
        said: Signals | Newest
        if query.is_empty:
            said = index.newest(search, k)
            ranked, matched = [Ranked(note, chunk, 0.0) for note, chunk in said.places], 0
        else:
            said = index.signals(search)
            ranked, matched = _rank(index, said, question, wanted), said.matched_chunks
            if len(ranked) < k and query.asks_beyond_phrases:
                # A question that quotes something, and few passages hold the quote: those with its words fill up.
                words = index.signals(replace(search, phrases=()))
                have = {(r.note, r.ord) for r in ranked}
                more = _rank(index, words, question, wanted)
                fill = [r for r in more if (r.note, r.ord) not in have][: k - len(ranked)]
                if fill:
                    hold = f"{len(ranked) or 'no'} passage{' holds' if len(ranked) < 2 else 's hold'}"
                    degraded.append(f"{hold} what was quoted; the others only have words of it")
                    ranked, matched = ranked + fill, words.matched_chunks
        degraded += said.remarks
        if wanted.min_similarity is not None and said.ready < said.chunks:
            degraded.append(f"{said.chunks - said.ready:,} passages have no vector yet and were left out")
        if aside := index.quarantined_count():
            notes = "1 note is" if aside == 1 else f"{aside:,} notes are"
            degraded.append(f"{notes} set aside; `holdfast sync --explain` says why")
        with decoding(index.path):
            proven = int(index.meta("proven_at_ns") or 0)
            if unseen := int(index.meta(UNVERIFIED) or 0):
                degraded.append(f"{unseen:,} files or folders could not be looked at; `holdfast check` says which")
        chunks, rows = index.chunks([(r.note, r.ord) for r in ranked]), index.notes({r.note for r in ranked})
        for r, chunk in zip(ranked, chunks, strict=True):
            # A note that was never opened has no passage; all others that were found have their rows, or it is damage.
            if r.note not in rows or (chunk is None and rows[r.note].digest):
                raise IndexDamaged(f"The index {index.path} is damaged: a passage that was found is not in it.")
        return _Found(
            ranked=ranked,
            chunks=chunks,
            notes=rows,
            scope=Scope(said.scope_notes, said.scope_chunks),
            matched=max(matched, 0 if query.is_empty else len(ranked[: k - SPARE])),
            generation=index.generation,
            seq=said.seq,
            proven_at_ns=proven or None,
            vectors=Ready(said.ready, said.chunks),
        )


def _rank(index: Index, said: Signals, question: Question, wanted: _Wanted) -> list[Ranked]:
    k, least = wanted.k, wanted.min_similarity
    if not said.is_exact and least is not None and question.asked is not None:
        k, least = max(k, K_MAX), least - ESTIMATE_ERROR / len(question.asked.vector) ** 0.5
    ranked = rank(said, question, k, wanted.by, index.keys, wanted.mode, explain=wanted.explain, least=least)
    if not said.is_exact:
        ranked = exactly(said, ranked, question.search.floor, wanted.min_similarity)[: wanted.k]
    return ranked


def _hit(p: Passage, note: NoteRow, via: str) -> Hit:
    at_ns = p.chunk.at_ns
    return Hit(
        path=show_path(key_path(note.key)), line=p.line, count=p.count, title=note.title, heading=p.chunk.heading,
        text=p.text, stale=p.text is None, score=round(p.ranked.score, 4), via=_via(p.ranked, via),
        similarity=p.ranked.similarity,
        why=p.ranked.why, type=note.type, modified=rfc3339(note.modified_ns), speaker=p.chunk.speaker,
        at=rfc3339(at_ns) if at_ns is not None else None, author=note.author, session=note.session, trust=note.trust,
        digest=show_digest(note.digest),
    )  # fmt: skip


def _via(ranked: Ranked, how: str) -> tuple[str, ...]:
    by_words = (how,) if ranked.has_words or ranked.similarity is None else ()
    return (*by_words, "vector") if ranked.similarity is not None and ranked.is_near else by_words
