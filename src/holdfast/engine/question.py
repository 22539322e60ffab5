"""A question made ready: its words, the names of speakers among them, and its vector where there is an embedder."""

from __future__ import annotations

from dataclasses import dataclass, replace

from holdfast.embed.base import Asked
from holdfast.engine.scope import make_search
from holdfast.index.asking import SPEAKER, Search
from holdfast.index.base import Index
from holdfast.model import Query, fold


@dataclass(frozen=True, slots=True)
class Question:
    """`text` without filters, `search` as the index takes it, `content` how many of its words are no names, `speakers`
    the words of those names, `chunks` of the index, `asked` what the embedder makes of it."""

    text: str
    search: Search
    content: int
    speakers: tuple[str, ...]
    chunks: int
    asked: Asked | None


def make_question(query: Query, index: Index, asked: Asked | None, floor: float) -> Question:
    """Raises QueryError for a date that is none."""
    search = make_search(query)
    names, who = _speakers(query, index)
    if asked is not None:
        search = replace(search, question=asked.vector, floor=floor)
    speakers = tuple(word for name in who for word in name.split())
    return Question(
        text=query.plain,
        search=replace(search, names=names, who=who),
        content=len(query.words) + len(query.prefixes) - len(names),
        speakers=speakers,
        chunks=index.counts().chunks,
        asked=asked,
    )


def _speakers(query: Query, index: Index) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(terms of the question that name a speaker, those speakers' folded names): by the whole name or the first one."""
    names: list[str] = []
    who: list[str] = []
    if not index.has_field(SPEAKER):
        return (), ()
    for term, typed in zip(query.words, query.typed or query.words, strict=True):
        word = fold(typed).removesuffix("'s").removesuffix("’s")
        found = index.speakers(word) or (index.speakers(term) if term != word else [])
        if found:
            names.append(term)
            who += found
    return tuple(names), tuple(dict.fromkeys(who))
