"""A question as typed -> model.Query. Pure; whatever is typed gives a query, or QueryError for a date that is none.

Grammar: `"a phrase"`, `-word`, `-"a phrase"`, `word*`, `key:value`, `key:"a value"`, `-key:value`; the rest is words.
A `key:` counts as a filter if it is one of KEYS or a frontmatter field that the vault has; otherwise it is words, so
that `C++: a tour` or a pasted URL is a question like any other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from holdfast.errors import QueryError
from holdfast.model import Filter, Query
from holdfast.text.dates import bounds
from holdfast.text.tokens import question_terms, terms

KEYS = frozenset({"tag", "type", "path", "from", "by", "since", "until", "as_of", "title", "trust"})
DATES = frozenset({"since", "until", "as_of"})
QUESTION_CHARS = 20_000
QUERY_TERMS = 128

_PART = re.compile(
    r"""(?P<minus>-)?(?:
        (?P<key>[^\W\d][\w-]*):(?:"(?P<quoted>[^"]*)"|(?P<value>[^\s":][^\s"]*))
      | "(?P<phrase>[^"]*)"
      | (?P<word>[^\s"]+)
    )|.""",
    re.X | re.S,
)


def parse_query(text: str, is_field: Callable[[str], bool] = lambda _: False, limit: int = QUERY_TERMS) -> Query:
    """The query in `text`; `is_field(key)` tells whether any note has that frontmatter field.

    At most `limit` distinct terms are kept, `cut` counts the rest.
    """
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate is no text, and SQLite takes none
    words: list[str] = []
    phrases: list[tuple[str, ...]] = []
    excluded: list[tuple[str, ...]] = []
    prefixes: list[str] = []
    filters: list[Filter] = []
    for m in _PART.finditer(text[:QUESTION_CHARS]):
        minus, key, phrase, word = m["minus"], m["key"], m["phrase"], m["word"]
        if key is not None:
            name, value = key.lower(), m["quoted"] if m["quoted"] is not None else m["value"]
            if (name in KEYS or is_field(name)) and value.strip(" ,#"):
                filters.append(_filter(name, value.strip(), bool(minus)))
                continue
            word = f"{key} {value}"
        found = tuple(terms(phrase if phrase is not None else word or ""))
        if not found:
            continue
        if minus:
            excluded.append(found)
        elif phrase is not None:
            phrases.append(found)
            words.append(phrase)
        elif key is None and word and word.endswith("*") and len(found) == 1 and len(word) > 2:
            prefixes.append(_folded(word))
        else:
            words.append(word or "")
    kept, ignored = question_terms(" ".join(words))
    counts = Counter(kept)
    chosen = list(counts)[:limit]
    return Query(
        text=text,
        words=tuple(chosen),
        repeats=tuple(counts[t] for t in chosen),
        prefixes=tuple(dict.fromkeys(prefixes))[:limit],
        phrases=tuple(dict.fromkeys(phrases))[:limit],
        excluded=tuple(dict.fromkeys(excluded))[:limit],
        filters=tuple(filters[:limit]),
        ignored=tuple(dict.fromkeys(ignored)),
        typed=_typed(" ".join(words), chosen),
        plain=" ".join(w for w in words if w),
        cut=max(0, len(counts) - limit) + max(0, len(text) - QUESTION_CHARS),
    )


def _typed(text: str, chosen: list[str]) -> tuple[str, ...]:
    """What was typed for each term: a stem is no word that anybody wrote."""
    spelled: dict[str, str] = {}
    for word in text.split():
        found = terms(word)
        if len(found) == 1:
            spelled.setdefault(found[0], word.strip(".,;:!?()[]'\""))
    return tuple(spelled.get(term, term) for term in chosen)


def _filter(name: str, value: str, negated: bool) -> Filter:
    if name in DATES and bounds(value) is None:
        raise QueryError(
            f"{name}:{value} is not a date.", hint=f"Write it as a year, month or day, such as {name}:2026-03."
        )
    return Filter(name, value, negated)


def _folded(word: str) -> str:
    """`word` folded but not stemmed, for terms that begin with it."""
    plain = re.sub(r"[\W_]+$", "", word)
    found = terms(plain) or terms(word)  # marks alone are terms in some scripts
    # A stem can be shorter than what was typed or end otherwise; the typed letters are what must begin the term.
    lower = plain.lower()
    return lower if lower.isascii() and lower.isalnum() else found[-1]
