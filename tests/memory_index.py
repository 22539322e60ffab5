"""An index in plain dictionaries: the oracle for every other one.

Slow and obvious on purpose. Nothing is shared with the real index but the port's values and the constants of the
formulas: scores come straight from the definitions (Okapi BM25 over chunks, over chunks with their neighbours' words,
and over whole notes; RM3 for feedback), in float64, with loops. It offers what SqliteIndex offers, so the engine runs
on it too; it holds no vectors, as an index that nothing was embedded for (tests/contract/test_vectors.py has those).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np

from holdfast.engine import forest, turns
from holdfast.engine.question import Question
from holdfast.index.asking import SPEAKER, ChunkRow, Condition, Detail, Newest, Search, Signals
from holdfast.index.base import Aside, Counts, FileRow, LinkRow, NameLevel, NameRow, NoteRecord, NoteRow
from holdfast.index.graph import Dated, Source, Step, Tie
from holdfast.model import Witness, fold, key_path, show_path, speaker_byte
from holdfast.text.tokens import stop_terms

# The definitions, written down a second time: a constant that changes in the index must be changed here with intent.
SELF = (0.9, 0.3)
NEAR = (0.9, 0.4)
NOTE = (1.6, 0.7)
LENT = {0: 20, -1: 10, 1: 7, -2: 3, 2: 3}
"""What the chunk at a distance lends of its words, in twentieths: -1 is the chunk before."""
TITLE_TIMES = 2
COUNT_MAX = 255
LEN_MAX = 65_535
COMMON = (4_096, 8)
TALKS_WHOLE = 40
FEEDBACK_TERMS = 30
SPEAKERS_MAX = 8

Place = tuple[int, int]
TITLE = -1
"""The `ord` of a note's title, which holds words and is no chunk."""


@dataclass
class _State:
    """Everything committed."""

    files: dict[bytes, tuple[Witness, int, int]] = field(default_factory=dict)
    notes: dict[int, NoteRecord] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    """The bytes of each note as it was put in; of notes that are gone too."""
    aside: dict[bytes, Aside] = field(default_factory=dict)
    meta: dict[str, str | int] = field(default_factory=dict)
    seq: int = 0
    last_id: int = 0

    def copy(self) -> _State:
        return _State(
            dict(self.files),
            dict(self.notes),
            dict(self.sizes),
            dict(self.aside),
            dict(self.meta),
            self.seq,
            self.last_id,
        )


class MemoryTx:
    """See index.base.Tx: works on a copy, which becomes the state when the block ends well."""

    def __init__(self, index: MemoryIndex) -> None:
        self._index = index

    def __enter__(self) -> MemoryTx:
        self._state = self._index.state.copy()
        self.seq = self._state.seq = self._state.seq + 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self._index.state = self._state

    def replace_note(self, witness: Witness, racy_ns: int, record: NoteRecord, id_: int | None = None) -> int:
        s = self._state
        known = s.files.get(witness[0])
        if id_ is None:
            id_ = known[1] if known else self._new_id()
        elif known is not None and known[1] != id_:
            s.notes.pop(known[1], None)
        for key in [k for k, (_, i, _) in s.files.items() if i == id_ and k != witness[0]]:
            del s.files[key]
            s.aside.pop(key, None)
        s.files[witness[0]] = (witness, id_, racy_ns)
        s.notes[id_], s.sizes[id_] = record, witness[1]
        s.aside.pop(witness[0], None)
        return id_

    def witness(self, key: bytes) -> Witness | None:
        return self._state.files[key][0] if key in self._state.files else None

    def set_file(self, witness: Witness, racy_ns: int) -> None:
        known = self._state.files.get(witness[0])
        self._state.files[witness[0]] = (witness, known[1] if known else self._new_id(), racy_ns)

    def move_file(self, old_key: bytes, witness: Witness, racy_ns: int) -> None:
        s = self._state
        _, id_, _ = s.files.pop(old_key)
        if witness[0] in s.files:
            s.notes.pop(s.files[witness[0]][1], None)
        s.files[witness[0]] = (witness, id_, racy_ns)
        if old_key in s.aside:
            s.aside[witness[0]] = replace(s.aside.pop(old_key), key=witness[0])

    def move_directory(self, old: bytes, new: bytes) -> None:
        s = self._state
        for key in [k for k in s.files if k.startswith(old)]:
            (_, *rest), id_, racy_ns = s.files.pop(key)
            name = new + key[len(old) :]
            s.files[name] = ((name, *rest), id_, racy_ns)
            if key in s.aside:
                s.aside[name] = replace(s.aside.pop(key), key=name)

    def delete_file(self, key: bytes) -> None:
        known = self._state.files.pop(key, None)
        if known is not None:
            self._state.notes.pop(known[1], None)
        self._state.aside.pop(key, None)

    def quarantine(self, key: bytes, reason: str, at_ns: int, retry_ns: int, digest: bytes = b"") -> None:
        before = self._state.aside.get(key)
        since = before.at_ns if before and before.reason == reason else at_ns
        tries = before.tries + 1 if before and before.digest == digest else 1
        self._state.aside[key] = Aside(key, reason, since, tries, retry_ns, digest)

    def release(self, key: bytes) -> None:
        self._state.aside.pop(key, None)

    def put_meta(self, key: str, value: str | int) -> None:
        self._state.meta[key] = value

    def _new_id(self) -> int:
        self._state.last_id += 1
        return self._state.last_id


class NoVectors:
    """The part of index.vectors.port.VectorStore that syncs and questions use, of an index without any vector."""

    def live(self) -> None:
        return None

    def ready(self, embedder: int) -> int:
        return 0

    def remember_ready(self) -> None: ...


class MemoryGraph:
    """See index.graph.Graph."""

    def __init__(self, index: MemoryIndex) -> None:
        self._index = index

    def _ties(self) -> list[Tie]:
        return [
            Tie(n, i, x.line, x.target, x.name, x.heading, x.relative, x.relation)
            for n, r in sorted(self._index.now.notes.items())
            for i, x in enumerate(r.links)
        ]

    def _facts(self) -> list[Dated]:
        return [
            Dated(n, i, x.line, x.kind, x.label, x.valid_from, x.valid_to)
            for n, r in sorted(self._index.now.notes.items())
            for i, x in enumerate(r.facts)
        ]

    def names_of(self, notes: Iterable[int]) -> dict[int, list[str]]:
        known = self._index.now.notes
        return {n: sorted({k for k, _, _ in known[n].names}) for n in set(notes) if n in known and known[n].names}

    def named(self, names: Iterable[str]) -> dict[str, list[NameRow]]:
        return {name: found for name in set(names) if (found := self._index.named(name))}

    def sources(self, names: Iterable[str]) -> list[Source]:
        wanted = set(names)
        return [
            (self._index._key(t.note), t.ord, t.target, int(t.relative), t.note)
            for t in self._ties()
            if t.name in wanted
        ]

    def links(self, places: Sequence[Place]) -> list[LinkRow | None]:
        rows = [self._index.links_from(n) for n, _ in places]
        return [row[at] if 0 <= at < len(row) else None for row, (_, at) in zip(rows, places, strict=True)]

    def ties_from(self, notes: Iterable[int], most: int) -> list[Tie]:
        wanted = set(notes)
        return [t for t in self._ties() if t.note in wanted and t.ord < most]

    def ties_to(self, names: Sequence[str], most: int) -> list[list[Tie]]:
        return [[t for t in reversed(self._ties()) if t.name == name][:most] for name in names]

    def steps(self, after: Place, limit: int) -> list[tuple[Place, Step]]:
        return [
            ((t.note, t.ord), (t.note, t.line, t.target, t.name, int(t.relative)))
            for t in self._ties()
            if (t.note, t.ord) > after
        ][:limit]

    def note_keys(self) -> list[tuple[int, bytes]]:
        return [(r.id, r.key) for r in self._index._rows()]

    def other_keys(self) -> list[bytes]:
        named = {n for n, r in self._index.now.notes.items() if r.names}
        return [key for key, (_, i, _) in sorted(self._index.now.files.items()) if i not in named]

    def stamps(self, notes: Iterable[int]) -> dict[int, tuple[bytes, int]]:
        wanted = set(notes)
        return {r.id: (r.key, r.modified_ns) for r in self._index._rows() if r.id in wanted}

    def passages_at(self, places: Sequence[tuple[int, int]]) -> list[int]:
        out = []
        for note, line in places:
            record = self._index.now.notes.get(note)
            out.append(max((i for i, c in enumerate(record.chunks if record else ()) if c.line <= line), default=0))
        return out

    def labels(self) -> list[str]:
        return sorted({f.label for f in self._facts() if f.label is not None})

    def labelled(self, labels: Iterable[str]) -> list[Dated]:
        wanted = set(labels)
        return [f for f in self._facts() if f.label in wanted]

    def facts_of(self, notes: Iterable[int]) -> list[Dated]:
        wanted = set(notes)
        return [f for f in self._facts() if f.note in wanted]

    def dated(self, after: Place, limit: int) -> list[Dated]:
        return [f for f in self._facts() if (f.valid_from or f.valid_to) and (f.note, f.ord) > after][:limit]

    def stated(self, keys: Iterable[str], notes: Iterable[int] | None = None) -> list[tuple[int, str, str]]:
        wanted, asked = set(keys), None if notes is None else set(notes)
        return sorted(
            (n, k, v)
            for n, r in self._index.now.notes.items()
            for k, v in set(r.fields)
            if k in wanted and (asked is None or n in asked)
        )


class MemoryIndex:
    """See index.base.Index."""

    generation = 0
    path = ":memory:"
    is_in_place = True

    def __init__(self) -> None:
        self.state = _State()
        self.vectors = NoVectors()
        self.graph = MemoryGraph(self)
        self._snapshots: list[_State] = []

    @property
    def now(self) -> _State:
        return self._snapshots[-1] if self._snapshots else self.state

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        self._snapshots.append(self.now)
        try:
            yield
        finally:
            self._snapshots.pop()

    def close(self) -> None: ...

    def flush(self, at_least: int = 0) -> None: ...

    def sweep(self) -> None: ...

    def discard_postings(self) -> None: ...

    def checkpoint(self) -> None: ...

    # Files

    def file_rows(self, after: bytes, limit: int) -> list[Witness]:
        rows = [_look(*self.now.files[key][::2]) for key in sorted(self.now.files) if key > after]
        return rows[:limit]

    def file_range(self, prefix: bytes) -> list[Witness]:
        keys = [k for k in sorted(self.now.files) if k.startswith(prefix)]
        return [_look(*self.now.files[key][::2]) for key in keys]

    def file_row(self, key: bytes) -> FileRow | None:
        return self._file(key) if key in self.now.files else None

    def find_moved(self, witness: Witness) -> list[FileRow]:
        return [
            self._file(k) for k, (w, _, _) in sorted(self.now.files.items()) if w[1:] == witness[1:] and k != witness[0]
        ]

    def find_digest(self, digest: bytes) -> list[FileRow]:
        rows = [self._file(k) for k in sorted(self.now.files)]
        return [r for r in rows if r.digest == digest]

    def find_similar(self, digests: Iterable[bytes], share: float) -> list[FileRow]:
        wanted = set(digests)
        shared = {n: len(wanted & {c.digest for c in r.chunks}) for n, r in self.now.notes.items()}
        good = [n for n, count in shared.items() if count and count >= share * len(wanted)]
        return [self._file(self._key(n)) for n in sorted(good, key=lambda n: (-shared[n], n))]

    def _file(self, key: bytes) -> FileRow:
        witness, id_, racy_ns = self.now.files[key]
        note = self.now.notes.get(id_)
        return FileRow(witness, id_, racy_ns, note.digest if note else None)

    def _key(self, note: int) -> bytes:
        return next(k for k, (_, i, _) in self.now.files.items() if i == note)

    # Writing

    def begin(self) -> MemoryTx:
        return MemoryTx(self)

    def put_meta(self, values: Mapping[str, str | int]) -> None:
        self.state.meta.update(values)

    def note_job(
        self, job: str, message: str, at_ns: int, values: Mapping[str, str | int] | None = None, *, failed: bool = False
    ) -> None:
        entry = self.jobs().get(job, {})
        entry |= {"last_failure_ns": at_ns, "error": message} if failed else {"last_success_ns": at_ns, "error": None}
        self.put_meta({**(values or {}), f"job:{job}": json.dumps(entry)})

    # Reading

    def meta(self, key: str) -> str | int | None:
        return self.now.seq if key == "seq" else self.now.meta.get(key)

    def jobs(self) -> dict[str, dict[str, Any]]:
        return {k.removeprefix("job:"): json.loads(str(v)) for k, v in self.now.meta.items() if k.startswith("job:")}

    def counts(self) -> Counts:
        chunks = sum(len(r.chunks) for r in self.now.notes.values())
        size = sum(self.now.sizes[i] for i in self.now.notes)
        return Counts(self.now.seq, len(self.now.notes), chunks, len(self.now.files), len(self.now.aside), size)

    def quarantined(self, limit: int) -> list[Aside]:
        return sorted(self.now.aside.values(), key=lambda x: (-x.at_ns, x.key))[:limit]

    def due(self, now_ns: int, limit: int) -> list[Aside]:
        found = [x for x in self.now.aside.values() if x.retry_ns <= now_ns]
        return sorted(found, key=lambda x: (x.retry_ns, x.key))[:limit]

    def aside(self, key: bytes) -> Aside | None:
        return self.now.aside.get(key)

    def chunks(self, places: Sequence[Place]) -> list[ChunkRow | None]:
        out: list[ChunkRow | None] = []
        for note, ord_ in places:
            record = self.now.notes.get(note)
            out.append(record.chunks[ord_] if record and 0 <= ord_ < len(record.chunks) else None)
        return out

    def notes(self, ids: Iterable[int]) -> dict[int, NoteRow]:
        wanted = set(ids)
        return {r.id: r for r in self._rows() if r.id in wanted}

    def keys(self, ids: Iterable[int]) -> dict[int, bytes]:
        wanted = set(ids)
        return {i: key for key, (_, i, _) in self.now.files.items() if i in wanted}

    def note_by_key(self, key: bytes) -> NoteRow | None:
        return next((r for r in self._rows() if r.key == key), None)

    def list_notes(self, lo: bytes, hi: bytes, after: bytes, limit: int) -> list[NoteRow]:
        return [r for r in self._rows() if lo <= r.key < hi and r.key > after][:limit]

    def _rows(self) -> list[NoteRow]:
        out = []
        for key, (witness, id_, _) in sorted(self.now.files.items()):
            r = self.now.notes.get(id_)
            if r is not None:
                when = self._modified(id_)
                out.append(
                    NoteRow(id_, key, r.digest, witness[1], r.title, r.type, r.permalink, r.trust, tuple(r.tags),
                            r.author, r.session, when)
                )  # fmt: skip
        return out

    def _modified(self, note: int) -> int:
        stated = self.now.notes[note].modified_ns
        return self.now.files[self._key(note)][0][2] if stated is None else stated

    def named(self, name: str) -> list[NameRow]:
        out = []
        for key, (_, id_, _) in sorted(self.now.files.items()):
            record = self.now.notes.get(id_)
            for tail, levels, whole in record.names if record else ():
                if tail == name:
                    out.append(NameRow(id_, key, NameLevel(levels), whole, record.permalink))
        return out

    def links_from(self, note: int) -> list[LinkRow]:
        return list(self.now.notes[note].links) if note in self.now.notes else []

    def links_to(self, names: Iterable[str]) -> list[tuple[int, LinkRow]]:
        wanted = set(names)
        return [(n, x) for n, r in sorted(self.now.notes.items()) for x in r.links if x.name in wanted]

    def field_values(self, key: str, limit: int) -> list[str]:
        return sorted({v for r in self.now.notes.values() for k, v in r.fields if k == key})[:limit]

    def speakers(self, name: str) -> list[str]:
        spoken = {v for r in self.now.notes.values() for k, v in r.fields if k == SPEAKER}
        return sorted(v for v in spoken if v == name or v.startswith(name + " "))[:SPEAKERS_MAX]

    def quarantined_count(self) -> int:
        return len(self.now.aside)

    def has_field(self, key: str, value: str | None = None) -> bool:
        return any(k == key and value in (None, v) for r in self.now.notes.values() for k, v in r.fields)

    # Asking

    def signals(self, search: Search) -> Signals:
        remarks: list[str] = []
        state = self.now
        words = _Words(state.notes)
        asked = self._asked(words, search, remarks)
        scope = [p for p in words.places if all(self._meets(p, c) for c in search.conditions)]
        allowed = {p for p in scope if self._says(words, p, search)}
        found = self._score(words, asked, search.names)
        present = {n: sum((SPEAKER, w) in r.fields for w in search.who) / max(1, len(search.who))
                   for n, r in state.notes.items()}  # fmt: skip
        whole = self._talks_looked_at_whole(found, present)
        candidates = sorted(
            p for p in allowed if found.near.get(p, 0) > 0 or (p[0] in whole and self._is_turn(p))
        )  # fmt: skip
        narrowed = bool(search.conditions or search.phrases or search.excluded)
        inside = {n for n, _ in allowed}
        notes = sorted(
            {n for n, v in found.note.items() if v > 0 and (not narrowed or n in inside)} | {n for n, _ in candidates}
        )
        at = {n: i for i, n in enumerate(notes)}
        content = [places for term, places, _ in asked if term not in search.names]
        wanted = {speaker_byte(name) for name in search.who}
        speaks = [self._is_turn(p) and speaker_byte(fold(str(self._chunk(p).speaker))) in wanted for p in candidates]
        return Signals(
            owner=np.array([at[n] for n, _ in candidates], dtype=np.int64),
            ord=np.array([o for _, o in candidates], dtype=np.int64),
            near=np.array([found.near.get(p, 0.0) for p in candidates], dtype=np.float32),
            own=np.array([found.own.get(p, 0.0) for p in candidates], dtype=np.float32),
            dense=np.zeros(len(candidates), dtype=np.float32),
            is_known=np.zeros(len(candidates), dtype=bool),
            is_turn=np.array([self._is_turn(p) for p in candidates], dtype=bool),
            speaks=np.array(speaks, dtype=np.float32),
            keyed=np.array([self._has_key(asked, p) for p in candidates], dtype=bool),
            notes=np.array(notes, dtype=np.int64),
            sizes=np.array([len(state.notes[n].chunks) for n in notes], dtype=np.int64),
            note=np.array([found.note.get(n, 0.0) for n in notes], dtype=np.float32),
            note_dense=np.zeros(len(notes), dtype=np.float32),
            is_talk=np.array([self._is_talk(n) for n in notes], dtype=bool),
            present=np.array([present[n] for n in notes], dtype=np.float32),
            matched_notes=len(notes), matched_chunks=len(candidates),
            scope_notes=len({n for n, _ in scope} if search.conditions else state.notes),
            scope_chunks=len(scope), chunks=len(words.places), ready=0, seq=state.seq, generation=self.generation,
            in_scope=lambda place, chunk: (notes[place], chunk) in allowed,
            similarity=lambda place, chunk: None,
            detail=lambda which: words.detail(
                state.notes, content, [candidates[i] for i in which.tolist()]
            ),
            feedback=lambda best, weights, pool, stop: words.feedback(
                dict(zip([notes[i] for i in best.tolist()], weights.tolist(), strict=True)),
                [notes[i] for i in pool.tolist()], stop,
            ),
            echo=lambda best, pool: np.zeros(len(pool), dtype=np.float32),
            remarks=tuple(remarks),
        )  # fmt: skip

    def _chunk(self, place: Place) -> ChunkRow:
        return self.now.notes[place[0]].chunks[place[1]]

    def _is_turn(self, place: Place) -> bool:
        return self._chunk(place).speaker is not None

    def _is_talk(self, note: int) -> bool:
        return bool(self.now.notes[note].chunks) and self._is_turn((note, 0))

    def _asked(self, words: _Words, search: Search, remarks: list[str]) -> list[_Asked]:
        """(term, which entries have it, how much it counts) of every word that any note has."""
        out: list[_Asked] = []
        unknown: list[str] = []
        for term, times in zip(search.words, search.repeats, strict=True):
            found = words.of([term])
            if not found and (others := words.nearest(term)):
                found = words.of(others)
                remarks.append(f"no note has “{term}”; searched {', '.join(f'“{t}”' for t in others)}")
            if found:
                out.append((term, found, float(times)))
            else:
                unknown.append(f"“{term}”")
        if unknown and not out and not search.prefixes:
            remarks.append(f"no note has {' or '.join(unknown[:8])}")
        begun = [(text + "*", words.of(words.beginning(text))) for text in search.prefixes]
        return out + [(text, found, 1.0) for text, found in begun if found]

    def _score(self, words: _Words, asked: Sequence[_Asked], names: Sequence[str]) -> _Found:
        """Turns, and notes that are conversations, are scored without the names, where other words are asked."""
        content = [x for x in asked if x[0] not in names]
        named = [x for x in asked if x[0] in names]
        if not (content and named):
            return words.score(asked)
        out, more = words.score(content), words.score(named)
        for mine, others in ((out.near, more.near), (out.own, more.own)):
            for place, value in others.items():
                if not self._is_turn(place):
                    mine[place] = mine.get(place, 0.0) + value
        for note, value in more.note.items():
            if not self._is_talk(note):
                out.note[note] = out.note.get(note, 0.0) + value
        return out

    def _talks_looked_at_whole(self, found: _Found, present: Mapping[int, float]) -> set[int]:
        """The conversations that have most of the words and of those who are asked for; ties go by path."""
        top = max([1e-6, *found.note.values()])
        value = {n: v / top + present[n] for n, v in found.note.items() if v > 0 and self._is_talk(n)}
        return set(sorted(value, key=lambda n: (-value[n], self._key(n)))[:TALKS_WHOLE])

    def _meets(self, place: Place, c: Condition) -> bool:
        record = self.now.notes[place[0]]
        return self._holds(place, record, record.chunks[place[1]], c) != c.negated

    def _holds(self, place: Place, record: NoteRecord, chunk: ChunkRow, c: Condition) -> bool:
        if c.kind == "field":
            mine = [v for k, v in record.fields if k == c.field]
            return any(v == m or (c.field == "tag" and m.startswith(v + "/")) for v in c.values for m in mine)
        if c.kind == "path":
            return _is_under(key_path(self._key(place[0])), c.values[0])
        if c.kind == "who":
            by = ("author", c.values[0]) in record.fields
            return by or (
                chunk.speaker is not None
                and fold(chunk.speaker) == c.values[0]
                and (SPEAKER, c.values[0]) in record.fields
            )
        if c.kind == "time":
            at = self._modified(place[0]) if chunk.at_ns is None else chunk.at_ns
            return c.lo_ns <= at < c.hi_ns
        since = record.valid_from_ns is None or record.valid_from_ns <= c.lo_ns
        return since and (record.valid_to_ns is None or c.lo_ns < record.valid_to_ns)

    def _has_key(self, asked: Sequence[_Asked], place: Place) -> bool:
        """A word with a digit, of four characters at least and no year, that stands in three chunks at most."""
        for term, places, _ in asked:
            chunks = [p for p in places if p[1] != TITLE]
            is_year = len(term) == 4 and term.isdigit() and term[:2] in ("19", "20")
            looks_so = len(term) >= 4 and any(c.isdigit() for c in term) and not is_year
            if looks_so and len(chunks) <= 3 and place in chunks:
                return True
        return False

    def _says(self, words: _Words, place: Place, search: Search) -> bool:
        title = (place[0], TITLE)
        return all(
            _has_run(words.text[place], p) or _has_run(words.text[title], p) for p in search.phrases
        ) and not any(_has_run(words.text[place], p) for p in search.excluded)

    def newest(self, search: Search, limit: int) -> Newest:
        words = _Words(self.now.notes)
        places = [
            p
            for p in words.places
            if all(self._meets(p, c) for c in search.conditions) and self._says(words, p, search)
        ]
        first: dict[int, int] = {}
        for note, ord_ in places:
            first[note] = min(ord_, first.get(note, ord_))
        order = sorted(first, key=lambda n: (-self._modified(n), self._key(n)))
        found = [(n, first[n]) for n in order][:limit]
        return Newest(found, len(first), len(places), len(words.places), 0, self.now.seq)


_Asked = tuple[str, Counter[Place], float]


@dataclass
class _Found:
    near: dict[Place, float]
    own: dict[Place, float]
    note: dict[int, float]


class _Words:
    """The words of all notes: which entry (chunk or title) has which, how often."""

    def __init__(self, notes: Mapping[int, NoteRecord]) -> None:
        self.text: dict[Place, list[str]] = {}
        for note, record in notes.items():
            for ord_, terms in enumerate(record.terms, TITLE):
                self.text[note, ord_] = list(terms[:LEN_MAX])
        self.places = [p for p in self.text if p[1] != TITLE]
        self.titles = [p for p in self.text if p[1] == TITLE]
        self.entries: dict[str, Counter[Place]] = {}
        for place, terms in self.text.items():
            for term in terms:
                self.entries.setdefault(term, Counter())[place] += 1

    def of(self, terms: Sequence[str]) -> Counter[Place]:
        """How often each entry has any of `terms`."""
        out: Counter[Place] = Counter()
        for term in terms:
            for place, count in self.entries.get(term, {}).items():
                out[place] += min(count, COUNT_MAX)
        return Counter({p: min(c, COUNT_MAX) for p, c in out.items()})

    def beginning(self, text: str, most: int = 256, best: int = 16) -> list[str]:
        """The most frequent of the first terms, in order, that begin with `text`."""
        found = self._frequent([t for t in sorted(self.entries) if t.startswith(text)][:most])[:best]
        shorter = [text[:end] for end in range(len(text) - 1, max(2, len(text) - 5), -1)]
        return found or [t for t in shorter if t in self.entries][:1]

    def _frequent(self, terms: list[str]) -> list[str]:
        return sorted(terms, key=lambda t: (-len(self.entries[t]), t))

    def nearest(self, term: str) -> list[str]:
        if len(term) < 4 or not term.isalpha():
            return []
        longer = [t for t in sorted(self.entries) if t.startswith(term)][:64]
        names = [t for t in longer if len(t) <= len(term) + 4]
        if not names:
            most = 0 if len(term) < 5 else 1 if len(term) < 7 else 2
            far = {t: _distance(term, t) for t in self.entries if t[0] == term[0] and abs(len(t) - len(term)) <= 2}
            best = min((d for d in far.values() if d <= most), default=None)
            names = [t for t, d in far.items() if d == best]
        return self._frequent(names)[:3]

    def score(self, asked: Sequence[_Asked]) -> _Found:
        """BM25 of every chunk and note; a word in most entries gives way to a rarer one."""
        found = _Found({}, {}, {})
        rare = [x for x in asked if len(x[1]) <= max(COMMON[0], len(self.places) // COMMON[1])]
        lens = {p: len(self.text[p]) for p in self.places}
        blended = {p: self._blend(lens, p) for p in self.places}
        whole = self._note_lengths()
        for _, counts, weight in rare or asked:
            tf = {p: c for p, c in counts.items() if p[1] != TITLE}
            _add(found.own, tf, lens, weight, SELF, 1)
            near = {p: b for p in self.places if (b := self._blend(tf, p))} if tf else {}
            _add(found.near, near, blended, weight, NEAR, 20)
            notes: Counter[int] = Counter()
            for place, count in counts.items():
                notes[place[0]] += count * (TITLE_TIMES if place[1] == TITLE else 1)
            _add(found.note, notes, whole, weight, NOTE, 1)
        return found

    def _note_lengths(self) -> Counter[int]:
        out: Counter[int] = Counter()
        for place, terms in self.text.items():
            out[place[0]] += len(terms) * (TITLE_TIMES if place[1] == TITLE else 1)
        return out

    def detail(self, notes: Mapping[int, NoteRecord], words: Sequence[Counter[Place]], places: list[Place]) -> Detail:
        """What stands in and around each of `places`; `words` has the entries of each word of the question."""

        def has(word: Counter[Place], place: Place, steps: Sequence[int]) -> bool:
            return any(place[1] + step >= 0 and word[place[0], place[1] + step] > 0 for step in steps)

        def lengths(step: int) -> Any:
            found = [len(self.text[n, o + step]) if o + step >= 0 else 0 for n, o in places]
            return np.array(found, dtype=np.int64)

        df = [len([p for p in word if p[1] != TITLE]) for word in words]
        return Detail(
            rows=[notes[n].chunks[o] for n, o in places],
            words=lengths(0), words_before=lengths(-1),
            in_pair=np.array([[has(w, p, (-1, 0)) for p in places] for w in words], dtype=bool).reshape(
                len(words), len(places)
            ),
            in_near=np.array([[has(w, p, (-2, -1, 0, 1, 2)) for p in places] for w in words], dtype=bool).reshape(
                len(words), len(places)
            ),
            idf=np.array([_idf(n, len(self.places)) for n in df], dtype=np.float32),
            before=np.zeros(len(places), dtype=np.float32), tokens=[None] * len(places),
        )  # fmt: skip

    def feedback(self, best: Mapping[int, float], pool: Sequence[int], stop: Collection[str]) -> Any:
        """RM3: BM25 of each note of `pool` for the words that stand out in the `best`, each with its weight."""
        counts: dict[int, Counter[str]] = {n: Counter() for n in (*best, *pool)}
        for (note, ord_), terms in self.text.items():
            for term in terms if note in counts else ():
                counts[note][term] += TITLE_TIMES if ord_ == TITLE else 1
        said: dict[str, float] = {}
        for note, weight in best.items():
            share = weight / max(1, counts[note].total())
            for term, count in counts[note].items():
                if term not in stop:
                    said[term] = said.get(term, 0.0) + share * count
        chosen = sorted(said, key=lambda t: (-said[t], t))[:FEEDBACK_TERMS]
        whole, out = self._note_lengths(), dict.fromkeys(pool, 0.0)
        mean = sum(whole.values()) / len(whole)
        k1, b = NOTE
        for term in chosen:
            df = len({n for n, _ in self.entries[term]})
            gain = said[term] / sum(said[t] for t in chosen) * _idf(df, len(whole))
            for note in pool:
                f = counts[note][term]
                out[note] += gain * (k1 + 1) * f / (f + k1 * (1 - b + b * whole[note] / mean))
        return np.array([out[n] for n in pool], dtype=np.float32)

    @staticmethod
    def _blend(values: Mapping[Place, int], place: Place) -> int:
        note, ord_ = place
        return sum(times * values.get((note, ord_ + step), 0) for step, times in LENT.items() if ord_ + step >= 0)


def _add(
    into: dict[Any, float], tf: Mapping[Any, int], lens: Mapping[Any, int], weight: float, k1_b: tuple[float, float],
    scale: int,
) -> None:  # fmt: skip
    """BM25 of one word, added to `into`; counts and lengths in units of 1/scale."""
    k1, b = k1_b
    mean = sum(lens.values()) / len(lens) / scale if lens else 1.0
    idf = _idf(len(tf), len(lens))
    for place, count in tf.items():
        f, length = count / scale, lens[place] / scale
        into[place] = into.get(place, 0.0) + weight * idf * (k1 + 1) * f / (f + k1 * (1 - b + b * length / mean))


def _idf(df: int, total: int) -> float:
    return math.log(1 + (total - df + 0.5) / (df + 0.5))


def _look(witness: Witness, racy_ns: int) -> Witness:
    return (witness[0], -1, *witness[2:]) if racy_ns else witness


def _has_run(text: Sequence[str], phrase: Sequence[str]) -> bool:
    n = len(phrase)
    return any(list(text[i : i + n]) == list(phrase) for i in range(len(text) - n + 1))


def _is_under(path: str, value: str) -> bool:
    value = value.strip("/")
    if "*" in value or "?" in value:
        return fnmatchcase(fold(show_path(path)), fold(value))
    return value == "" or path == value or path.startswith(value + "/")


def _distance(a: str, b: str) -> int:
    """Optimal string alignment by its recursive definition, with a table."""
    d = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            same = a[i - 1] == b[j - 1]
            d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (not same))
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                d[i, j] = min(d[i, j], d[i - 2, j - 2] + 1)
    return d[len(a), len(b)]


# The weights, written down a second time like the constants above: of passages, of turns among each other, of notes;
# what feedback counts in words and in meaning, and whether turns are looked at again.
_WORDS_OF_TURNS = {"near": 1.0, "own": 0.2, "note": 0.3}
_WHO = {"speaker": 0.4, "present": 0.7}
_Weights = dict[str, float]
WEIGHTS: dict[str, tuple[_Weights, _Weights, _Weights, float, float, bool]] = {
    "hybrid": (
        {"near": 1.0, "own": 0.5, "note": 1.0, "dense": 1.5}, {**_WORDS_OF_TURNS, "dense": 1.0, **_WHO},
        {"note": 1.0, "dense": 1.0}, 0.75, 1.0, True,
    ),
    "keyword": (
        {"near": 1.0, "own": 0.5, "note": 1.0}, {**_WORDS_OF_TURNS, **_WHO}, {"note": 1.0}, 0.75, 0.0, True,
    ),
    "vector": ({"dense": 1.0}, {}, {"dense": 1.0}, 0.0, 0.0, False),
    "bm25": ({"own": 1.0}, {}, {"note": 1.0}, 0.0, 0.0, False),
}  # fmt: skip
POOL = {"passage": 100, "note": 300}
FEEDBACK_FROM, FEEDBACK_POOL = 3, 50
TALK_NOTE, TALK_PRESENT = np.float32(0.5), np.float32(0.7)


@dataclass(frozen=True)
class Top:
    """One passage as the naive ranking has it."""

    score: float
    key: bytes
    ord: int
    note: int


def rank_all(
    index: Any, asked: Search | Question, by: Literal["passage", "note"] = "passage", mode: str = "keyword"
) -> list[Top]:
    """Every chunk in scope (or one of every note) in order of its score, by plain loops over the signals.

    How the second look judges one turn beside another is the engine's own (tests/unit/test_turns.py, test_forest.py);
    which turns it looks at and what becomes of its judgement is worked out here again.
    """
    question = asked if isinstance(asked, Question) else _question(index, asked)
    s = index.signals(question.search)
    return _Naive(s, question, mode, index.keys(s.notes.tolist())).tops(by) if len(s.notes) else []


def _question(index: Any, search: Search) -> Question:
    content = len(search.words) + len(search.prefixes) - len(search.names)
    return Question(" ".join(search.words), search, content, (), index.counts().chunks, None)


class _Naive:
    def __init__(self, s: Signals, question: Question, mode: str, keys: Mapping[int, bytes]) -> None:
        self.s, self.question, self.mode = s, question, mode
        self.key = [keys[n] for n in s.notes.tolist()]
        near, note = _normal(s.near), _normal(s.note)
        words = near if mode != "vector" else [0.0] * len(near)
        dense = [d if known else n for d, n, known in zip(_normal(s.dense), words, s.is_known.tolist(), strict=True)]
        self.note_parts = {"note": note, "dense": _normal(s.note_dense)}
        self.owner = s.owner.tolist()
        self.parts = {
            "near": near, "own": _normal(s.own), "note": [note[o] for o in self.owner], "dense": dense,
            "speaker": list(s.speaks), "present": [s.present[o] for o in self.owner],
        }  # fmt: skip
        passages, turns_, self.of_notes, self.of_feedback, self.of_echo, self.looks_again = WEIGHTS[mode]
        total = sum(passages.values())
        self.base = [np.float32(passages.get("note", 0.0) / total) * x for x in note]
        self.first, self.talk = [], []
        for i in range(len(self.owner)):
            first, talk = np.float32(0), np.float32(0)
            for name, weight in passages.items():
                first += np.float32(weight / total) * self.parts[name][i]
            for name, weight in turns_.items():
                talk += np.float32(weight) * self.parts[name][i]
            self.first.append(first)
            self.talk.append(talk if s.is_turn[i] else np.float32(0))

    def tops(self, by: Literal["passage", "note"]) -> list[Top]:
        found = [i for i in range(len(self.owner)) if self.s.is_turn[i]] if self.looks_again else []
        found.sort(key=lambda i: (-self.talk[i], self.key[self.owner[i]], int(self.s.ord[i])))
        pool = found[: POOL[by]]
        judged = self._judge(pool) if len(pool) > 1 else {}
        out = self._passages(judged) if by == "passage" else self._notes(judged)
        return sorted(out, key=lambda t: (-t.score, t.key, t.ord))

    def _judge(self, pool: list[int]) -> dict[int, np.float32]:
        """What the second look says of each turn, in the order of the pool."""
        parts = {name: np.array(values, dtype=np.float32) for name, values in self.parts.items()}
        talk, at = np.array(self.talk, dtype=np.float32), np.array(pool, dtype=np.int64)
        columns = turns.signals_of(self.s, parts, talk, at, self.question)
        with_vectors = "turns" if "late" in columns else "turns-pooled"
        name = "turns-keyword" if self.question.asked is None else with_vectors
        return dict(zip(pool, forest.load(name).judge(columns, talk[at]), strict=True))

    def _passages(self, judged: dict[int, np.float32]) -> list[Top]:
        final = dict(enumerate(self.first))
        better = sorted(judged, key=lambda i: -judged[i])
        places = sorted((self.first[i] for i in judged), reverse=True)
        final |= dict(zip(better, places, strict=True))
        scores = {(self.owner[i], int(self.s.ord[i])): value for i, value in final.items()}
        for place, size in enumerate(self.s.sizes.tolist()):
            for ord_ in range(size):
                if (place, ord_) not in scores and self.base[place] > 0 and self.s.in_scope(place, ord_):
                    scores[place, ord_] = self.base[place]
        return [self._top(value, place, ord_) for (place, ord_), value in scores.items()]

    def _notes(self, judged: dict[int, np.float32]) -> list[Top]:
        score = []
        total = np.float32(sum(self.of_notes.values()))
        for place in range(len(self.key)):
            value = np.float32(0)
            for name, weight in self.of_notes.items():
                value += np.float32(weight) / total * self.note_parts[name][place]
            score.append(value)
        score = [a + b for a, b in zip(score, self._feedback(score), strict=True)]
        if judged:
            score = self._deal_notes(score, judged)
        return [self._top(value, place, self._speaks_for(place, judged)) for place, value in enumerate(score)]

    def _feedback(self, score: list[np.float32]) -> list[np.float32]:
        out = [np.float32(0)] * len(score)
        pool = [p for p in range(len(score)) if not self.s.is_talk[p]]
        pool = sorted(pool, key=lambda p: (-score[p], self.key[p]))[:FEEDBACK_POOL]
        best = pool[:FEEDBACK_FROM]
        if self.of_feedback and len(pool) > FEEDBACK_FROM and min(score[p] for p in best) > 0:
            weights = np.array([score[p] for p in best], dtype=np.float32)
            said = self.s.feedback(np.array(best), weights / weights.sum(), np.array(pool), stop_terms())
            for p, value in zip(pool, _normal(said), strict=True):
                out[p] = np.float32(self.of_feedback / sum(self.of_notes.values())) * value
            if self.of_echo and self.question.asked is not None:
                for p, value in zip(pool, _normal(self.s.echo(np.array(best), np.array(pool))), strict=True):
                    out[p] += np.float32(self.of_echo / sum(self.of_notes.values())) * value
        return out

    def _deal_notes(self, score: list[np.float32], judged: dict[int, np.float32]) -> list[np.float32]:
        said = np.exp(np.array([judged[i] - max(judged.values()) for i in judged], dtype=np.float32))
        mass = np.zeros(len(score), dtype=np.float32)
        for i, value in zip(judged, said, strict=True):
            mass[self.owner[i]] += value
        with np.errstate(divide="ignore"):
            value = np.log(mass)
        for p in range(len(score)):
            value[p] += TALK_NOTE * (self.note_parts["note"][p] + TALK_PRESENT * self.s.present[p])
        talks = [p for p in range(len(score)) if self.s.is_talk[p]]
        places = sorted((score[p] for p in talks), reverse=True)
        out = list(score)
        for p, place in zip(sorted(talks, key=lambda p: (-value[p], -score[p], self.key[p])), places, strict=True):
            out[p] = place
        return out

    def _speaks_for(self, place: int, judged: dict[int, np.float32]) -> int:
        """The chunk that a note shows: the best of the turns looked at again, else its best, else its first."""
        mine = [i for i in range(len(self.owner)) if self.owner[i] == place]
        if not mine:
            return next((o for o in range(int(self.s.sizes[place])) if self.s.in_scope(place, o)), 0)
        best = min(mine, key=lambda i: (i not in judged, -judged.get(i, self.first[i]), int(self.s.ord[i])))
        return int(self.s.ord[best])

    def _top(self, score: np.float32, place: int, ord_: int) -> Top:
        return Top(float(score), self.key[place], ord_, int(self.s.notes[place]))


def _normal(values: Any) -> list[np.float32]:
    top = max(values.tolist(), default=0.0)
    return [np.float32(v) / np.float32(top) if top > 0 else np.float32(0) for v in values]
