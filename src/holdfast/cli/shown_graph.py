"""How links, contexts and facts look to people."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.cli.output import cleaned, counted, one_line, styled
from holdfast.graph import (
    Backlinks,
    Context,
    Facts,
    Inferred,
    Mentions,
    Outgoing,
    Problems,
    SchemaCheck,
    SchemaDiff,
    Timeline,
)
from holdfast.results import Result


def _end(lines: list[str], next_: str | None, degraded: Iterable[str] = ()) -> str:
    lines += [f"more: --after '{one_line(next_)}'"] if next_ else []
    lines += [styled(f"! {one_line(x)}", "33") for x in degraded]
    return "\n".join(lines)


def links(found: Result) -> str:
    """Whatever was asked of links, a line each."""
    if isinstance(found, Backlinks):
        lines = [f"{counted(found.total, 'link')} to {one_line(found.path)}"]
        for x in found.links:
            relation = f"  {styled(one_line(x.relation), '36')}" if x.relation else ""
            lines.append(f"  {one_line(x.path)}:{x.line}{relation}  {one_line(x.text or '(cannot be read now)')}")
        return _end(lines, found.next, found.degraded)
    if isinstance(found, Outgoing):
        lines = [f"{counted(found.total, 'link')} in {one_line(found.path)}"]
        for o in found.links:
            to = ", ".join(map(one_line, o.to)) if o.to else "nowhere"
            lines.append(
                f"  {o.line:>4}  {one_line(o.target)} -> {to}{'  (ambiguous)' if o.state == 'ambiguous' else ''}"
            )
        return _end(lines, found.next)
    if isinstance(found, Mentions):
        lines = [f"{counted(len(found.mentions), 'mention')} of {one_line(found.path)} without a link"]
        lines += [f"  {one_line(m.path)}:{m.line}  {one_line(m.text)}" for m in found.mentions]
        return _end(lines, None, found.degraded)
    assert isinstance(found, Problems)
    return _problems(found)


def _problems(found: Problems) -> str:
    counts = f"{found.dangling_count:,} targets lead nowhere, {found.ambiguous_count:,} to several notes"
    lines = [f"{found.links:,} links: {counts}; {counted(found.orphan_count, 'note')} without links"]
    for title, tangles in (("nowhere", found.dangling), ("ambiguous", found.ambiguous)):
        for t in tangles:
            places = ", ".join(f"{one_line(p.path)}:{p.line}" for p in t.places)
            names = f" ({', '.join(map(one_line, t.candidates))})" if t.candidates else ""
            lines.append(f"  {title:<9} {t.links:>4}  {one_line(t.target)}{names}  {places}")
    lines += [f"  {'no links':<9}       {one_line(p)}" for p in found.orphans]
    return _end(lines, found.next)


def context(found: Context) -> str:
    """Each piece under its place, nearest first."""
    lines: list[str] = []
    for p in found.pieces:
        why = "; ".join(f"{one_line(w.relation or 'link')} {one_line(w.path)}:{w.line}" for w in p.why[:2])
        lines.append(
            f"{styled(f'{one_line(p.path)}:{p.line}', '36')}  {one_line(p.title)}{f'  ({why})' if why else ''}"
        )
        lines += [f"   {cleaned(line)}" for line in (p.text or "").rstrip("\n").split("\n") if p.text]
    lines.append(f"{counted(len(found.pieces), 'piece')}, {found.tokens:,} tokens")
    return _end(lines, None, found.degraded)


def facts(found: Facts) -> str:
    """A fact a line, with its place and time."""
    when = f" as of {found.as_of}" if found.as_of else ""
    lines = [f"{one_line(found.subject)}{when}: {counted(len(found.facts), 'fact')}"]
    for f in found.facts:
        what = f"{f.label or ''} {f.content if f.content is not None else f'[[{f.target}]]'}".strip()
        span = f"  {f.valid_from or '...'} - {f.valid_to or 'now'}" if f.valid_from or f.valid_to else ""
        ended = "" if f.holds else "  (does not hold now)"
        who = "<- " if f.inverse else ""
        lines.append(f"  {one_line(f.path)}:{f.line}  {who}{one_line(what)}{span}{ended}")
    return _end(lines, None, found.degraded)


def timeline(found: Timeline) -> str:
    """An event a line."""
    lines = [
        f"{one_line(e.date):<12} {e.event:<7} {one_line(f'{e.label or str()} {e.text}'.strip())}"
        f"  {styled(one_line(f'{e.path}:{e.line}' if e.line else e.path), '36')}"
        for e in found.events
    ]
    return _end(lines or ["nothing is dated"], found.next, found.degraded)


def inferred(found: Inferred) -> str:
    """Each thing with the share of notes that have it, and its values where they are few."""
    lines = [f"{one_line(found.type)}: {counted(found.notes, 'note')}"]
    for title, usages in (("fields", found.fields), ("observations", found.categories), ("relations", found.relations)):
        lines += [title] if usages else []
        for u in usages:
            values = f"  {', '.join(map(one_line, u.values))}" if u.values else ""
            kinds = f"  {'/'.join(u.kinds)}" if u.kinds else ""
            lines.append(f"  {u.share:>4.0%}  {one_line(u.name)}{kinds}{values}")
    return "\n".join(lines)


def schema_checked(found: SchemaCheck) -> str:
    """What is not as its schema says."""
    state, names = "ok" if found.ok else "not ok", ", ".join(map(one_line, found.schemas))
    lines = [f"{state}: {counted(found.notes, 'note')} compared with {names}"]
    lines += [f"  {one_line(b.path)}:{b.line}  {one_line(b.message)}" for b in found.breaches]
    return "\n".join(lines)


def schema_differs(found: SchemaDiff) -> str:
    """What is declared and not there, there and not declared, and values outside of those named."""
    lines = [f"{one_line(found.type)}, by {one_line(found.schema)}"]
    for title, names in (
        ("never used", found.unused),
        ("not declared", found.undeclared),
        ("other values", found.outside),
    ):
        lines += [f"  {title}: {', '.join(map(one_line, names))}"] if names else []
    return "\n".join(lines if len(lines) > 1 else [*lines, "  nothing differs"])
