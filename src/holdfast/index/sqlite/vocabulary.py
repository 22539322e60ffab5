"""Words of a question against the words that notes have: prefixes, and the nearest known word for an unknown one.

Expansion looks at the vocabulary, never at chunks. Which candidates are taken depends on the notes alone (document
frequency, then spelling), not on the order in which terms were first seen.
"""

from __future__ import annotations

from collections.abc import Iterable

import apsw

from holdfast.index.lexical.corpus import Corpus, Postings, union
from holdfast.index.sqlite.db import first, rows

EXPANSIONS = 16
CANDIDATES = 64
NEAREST = 3
STEMMED = 4

Found = tuple[str, Postings]


def postings(db: apsw.Connection, corpus: Corpus, term: str) -> Postings | None:
    """Where `term` stands in live notes, or None if it stands nowhere."""
    row = first(db, "select id from term where t = ?", (term,))
    found = corpus.postings(row[0]) if row else None
    return found if found is not None and len(found[0]) else None


def prefix(db: apsw.Connection, corpus: Corpus, text: str) -> Postings | None:
    """The first terms that begin with `text`, counted as one; at most EXPANSIONS of them, the most frequent.

    Terms are stems and can be shorter than what was typed (`duplicates*`): where none begins so, the longest known
    beginning of `text` counts, up to STEMMED letters shorter.
    """
    ranked = _ranked(_beginning(db, corpus, text, CANDIDATES * 4))[:EXPANSIONS]
    if ranked:
        return union([p for _, p in ranked])
    shorter = (text[:end] for end in range(len(text) - 1, max(2, len(text) - 1 - STEMMED), -1))
    return next((p for t in shorter if (p := postings(db, corpus, t)) is not None), None)


def nearest(db: apsw.Connection, corpus: Corpus, term: str) -> tuple[Postings, list[str]] | None:
    """The known terms that an unknown `term` may stand for: longer ones that begin with it, else misspellings.

    Misspellings share the first letter and differ by one edit, or by two from 7 letters on; a stem of four is like too
    many others.
    """
    if len(term) == 1 and not term.isascii() and (begun := prefix(db, corpus, term)) is not None:
        return begun, [term + "…"]  # one character of a script written without spaces: the pairs that begin with it
    if len(term) < 4 or not term.isalpha():
        return None
    found = [x for x in _beginning(db, corpus, term, CANDIDATES) if len(x[0]) <= len(term) + 4]
    if not found:
        allowed = (len(term) > 4) + (len(term) > 6)
        near = [(d, t) for t in _alike(db, term) if (d := edits(term, t, allowed)) <= allowed]
        for distance in sorted({d for d, _ in near}):
            if found := _live(db, corpus, [t for d, t in near if d == distance]):
                break
    ranked = _ranked(found)[:NEAREST]
    return (union([p for _, p in ranked]), [t for t, _ in ranked]) if ranked else None


def _beginning(db: apsw.Connection, corpus: Corpus, text: str, limit: int) -> list[Found]:
    """The first `limit` live terms that begin with `text`."""
    out: list[Found] = []
    last = text
    while len(out) < limit:
        found = rows(
            db, "select t from term where t >= ? and t < ? order by t limit ?", (last, text + "\U0010ffff", CANDIDATES)
        )
        out += _live(db, corpus, [t for (t,) in found])
        if len(found) < CANDIDATES:
            break
        last = found[-1][0] + "\0"
    return out[:limit]


def _live(db: apsw.Connection, corpus: Corpus, names: Iterable[str]) -> list[Found]:
    """Those of `names` that a note has; the dictionary also keeps words of notes that are gone."""
    return [(t, p) for t in names if (p := postings(db, corpus, t)) is not None]


def _alike(db: apsw.Connection, term: str) -> Iterable[str]:
    lengths = (len(term) - 2, len(term) + 2)
    a, b = term[0], chr(ord(term[0]) + 1)
    for (t,) in db.execute("select t from term where t >= ? and t < ? and length(t) between ? and ?", (a, b, *lengths)):
        yield t


def _ranked(found: Iterable[Found]) -> list[Found]:
    return sorted(found, key=lambda x: (-len(x[1][0]), x[0]))


def edits(a: str, b: str, limit: int) -> int:
    """The number of insertions, deletions, replacements and swaps of neighbours between `a` and `b`; limit + 1 if more.

    Optimal string alignment (Boytsov 2011, section 2.1), row by row, given up as soon as a row is over the limit.
    """
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return row[-1]
