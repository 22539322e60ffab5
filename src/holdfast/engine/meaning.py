"""What the embedder makes of a question, if there is one that may be asked; otherwise a word about why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from holdfast.embed.base import Asked, Embedder
from holdfast.engine.breaker import open_breaker, reset, trip
from holdfast.engine.rank import Ranked
from holdfast.engine.workspace import Workspace
from holdfast.errors import EmbedderDown, EmbedderWrong, IndexFault, MemoryBudget, ResourceFault
from holdfast.index.asking import Signals
from holdfast.index.base import Index

ESTIMATE_ERROR = 5.0
"""Divided by the root of the number of signs: a cosine is hardly ever farther above what is estimated from them. It is
three deviations; an angle is as many halves of a turn as there are signs that differ."""


def ask_embedder(ws: Workspace, index: Index, question: str, degraded: list[str]) -> Asked | None:
    """The question as the embedder of the index's vectors sees it; None, with the cause in `degraded`, if it cannot.

    Without vectors or with the embedder `none` there is nothing to say: both are states that the user chose, or that
    the receipt's `vectors` shows.
    """
    live = index.vectors.live()
    try:
        embedder = ws.embedder()
        if live is None or embedder is None or not question.strip():
            return None
        identity = embedder.identity
    except (EmbedderDown, EmbedderWrong, MemoryBudget) as e:  # a folder that is gone has no identity
        ws.count(f"embed_{e.kind}")
        degraded.append(f"meaning was not searched: {e.message}")
        return None
    # First: an embedder that does not answer is the cause why there are no vectors of it.
    if (rest := open_breaker(index, identity, ws.fs.time_ns())) is not None:
        degraded.append(f"meaning was not searched: {rest.error} It is asked again later.")
        return None
    if identity != live.identity:
        degraded.append(_other(ws))
        return None
    try:
        asked = embedder.ask(question)
        reset(index)
    except (EmbedderDown, EmbedderWrong, MemoryBudget) as e:
        ws.count(f"embed_{e.kind}", e)
        degraded.append(f"meaning was not searched: {e.message}")
        _trip(ws, index, embedder, e)
        return None
    if asked.vector.shape != (live.dimension,):
        degraded.append(_expect(ws, index, identity, len(asked.vector), live.dimension))
        return None
    return replace(asked, identity=live.identity)


def _other(ws: Workspace) -> str:
    if ws.embed_holder() is not None:
        return "the vectors of another embedder are being made; until then only words are searched"
    return "the vectors are another embedder's, so only words are searched; `holdfast embed` makes new ones"


def _expect(ws: Workspace, index: Index, identity: str, given: int, known: int) -> str:
    """Another dimension under one name is another embedder: let the next who embeds make its vectors."""
    try:
        index.vectors.add_embedder(identity, given)
    except (IndexFault, ResourceFault) as e:
        ws.count(f"embed_{e.kind}")
    numbers = f"the embedder gives {given:,} numbers now, and the vectors have {known:,}"
    return f"{numbers}, so only words are searched; `holdfast embed` makes new ones"


def _trip(ws: Workspace, index: Index, embedder: Embedder, error: Exception) -> None:
    try:
        trip(index, embedder.identity, ws.fs.time_ns(), error)
    except (IndexFault, ResourceFault):
        ws.count("breaker_not_kept")  # the next question asks the embedder again, and waits again


def exactly(said: Signals, ranked: Iterable[Ranked], floor: float, least: float | None) -> list[Ranked]:
    """`ranked` with exact cosines; those below `least` are left out.

    Where there are many vectors, what is far down in meaning was ranked by an estimate: that shall neither be shown nor
    decide what is near enough. Test: contract/test_shown.py. To be called within the snapshot of `said`.
    """
    out = []
    for r in ranked:
        if r.similarity is not None:
            place = int(np.flatnonzero(said.notes == r.note)[0])
            cosine = said.similarity(place, r.ord)
            assert cosine is not None, "what had a vector has one throughout the snapshot"
            if least is not None and cosine < least:
                continue
            r = replace(r, similarity=round(cosine, 4), is_near=cosine >= max(floor, 1e-6))
        out.append(r)
    return out
