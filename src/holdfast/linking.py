"""The half of the facade that follows links and asks for facts; `Vault` is the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from holdfast.changes import Written
from holdfast.engine.heal import set_aside
from holdfast.engine.look import look_first
from holdfast.engine.stopgap import usable_index
from holdfast.errors import IndexFault, VaultMissing
from holdfast.graph import (
    Backlinks,
    Context,
    Contradictions,
    Facts,
    Inferred,
    Mentions,
    Outgoing,
    Problems,
    SchemaCheck,
    SchemaDiff,
    Timeline,
)
from holdfast.history.rows import By

if TYPE_CHECKING:
    from holdfast.engine.stopgap import Stopgap
    from holdfast.engine.workspace import Workspace
    from holdfast.index.base import Index

T = TypeVar("T")


class Linking:
    """Verbs of `Vault` that follow links and facts. They look for changed notes first, unless `sync` is false."""

    _ws: Workspace
    _stopgap: Stopgap

    def backlinks(self, note: str, *, limit: int = 50, after: str = "", sync: bool = True) -> Backlinks:
        """What links to a note, with the lines."""
        from holdfast.engine.links import backlinks

        return self._asked(lambda index: backlinks(self._ws, index, note, limit=limit, after=after), sync)

    def outgoing(self, note: str, *, limit: int = 200, after: str = "", sync: bool = True) -> Outgoing:
        """What a note links to: resolved, ambiguous or dangling."""
        from holdfast.engine.links import outgoing

        return self._asked(lambda index: outgoing(self._ws, index, note, limit=limit, after=after), sync)

    def mentions(self, note: str, *, limit: int = 20, sync: bool = True) -> Mentions:
        """Notes that name a note by its title or an alias and do not link to it."""
        from holdfast.engine.links import mentions

        return self._asked(lambda index: mentions(self._ws, index, note, limit=limit), sync)

    def link_problems(self, *, limit: int = 50, after: str = "", sync: bool = True) -> Problems:
        """Links that lead nowhere or to several notes, and notes without links."""
        from holdfast.engine.problems import problems

        return self._asked(lambda index: problems(index, limit=limit, after=after), sync)

    def context(self, *notes: str, depth: int = 2, budget: int | None = None, sync: bool = True) -> Context:
        """Notes with what they link to and what links to them, most relevant first, within `budget` tokens.

        A note may also be `memory://folder/*`.
        """
        from holdfast.engine.context import context

        return self._asked(lambda index: context(self._ws, index, notes, depth=depth, budget=budget), sync)

    def facts(self, subject: str, *, as_of: str | None = None, limit: int = 200, sync: bool = True) -> Facts:
        """What is known of a subject, as of a date if one is given."""
        from holdfast.engine.facts import facts

        return self._asked(lambda index: facts(self._ws, index, subject, as_of=as_of, limit=limit), sync)

    def timeline(
        self,
        subject: str | None = None,
        *,
        since: str | None = None,
        until: str | None = None,
        limit: int = 50,
        after: str = "",
        sync: bool = True,
    ) -> Timeline:
        """Dated facts and notes in order of time, of a subject or of all."""
        from holdfast.engine.timeline import timeline

        return self._asked(
            lambda index: timeline(self._ws, index, subject, since=since, until=until, limit=limit, after=after), sync
        )

    def contradictions(self, *, limit: int = 50, after: str = "", sync: bool = True) -> Contradictions:
        """Different values that hold at once, of what has one value at a time."""
        from holdfast.engine.facts import contradictions

        return self._asked(lambda index: contradictions(self._ws, index, limit=limit, after=after), sync)

    def infer_schema(self, type_: str, *, sync: bool = True) -> Inferred:
        """What notes of a type have: fields, observation categories, relations."""
        from holdfast.engine.schemas import infer

        return self._asked(lambda index: infer(self._ws, index, type_), sync)

    def check_schema(self, type_: str | None = None, *, sync: bool = True) -> SchemaCheck:
        """Compare notes with the schema of their type, of one type or of all."""
        from holdfast.engine.schemas import check

        return self._asked(lambda index: check(self._ws, index, type_), sync)

    def diff_schema(self, type_: str, *, sync: bool = True) -> SchemaDiff:
        """What a schema declares and no note has, and the other way round."""
        from holdfast.engine.schemas import diff

        return self._asked(lambda index: diff(self._ws, index, type_), sync)

    def end(self, place: str, at: str, *, author: str = "", session: str = "", reason: str = "") -> Written:
        """End the fact at `NOTE:LINE` by a date; the line stays, with `[to:: ...]`."""
        from holdfast.engine.claims import end

        return end(self._ws, place, at, By(author, session, reason))

    def supersede(
        self, place: str, text: str, at: str, *, author: str = "", session: str = "", reason: str = ""
    ) -> Written:
        """End the fact at `NOTE:LINE`, and write its successor, valid from then, below it."""
        from holdfast.engine.claims import supersede

        return supersede(self._ws, place, text, at, By(author, session, reason))

    def _asked(self, ask: Callable[[Index], T], sync: bool) -> T:
        if sync:
            look_first(self._ws, [])
        if self._ws.is_missing:
            raise VaultMissing(f"The vault {self._ws.root} has no notes any more.")
        index, _ = usable_index(self._ws, self._stopgap, [])
        try:
            return ask(index)
        except IndexFault as e:
            self._ws.count(f"index_{e.kind}", e)
            set_aside(self._ws, index, e)
            return ask(self._stopgap.index([]))
