"""How results look to people. Text from notes is printed without the control characters in it."""

from __future__ import annotations

import sys
from datetime import datetime
from shlex import quote as quoted

from holdfast.cli.output import cleaned, counted, linked, one_line, size_text, styled
from holdfast.results import (
    Answer,
    Carried,
    Checked,
    Created,
    Embedded,
    Evaluated,
    Hit,
    Listing,
    Note,
    Status,
    Synced,
    Upkeep,
    Watched,
)

# Of what has no bound, so many lines are printed; and what is shown of a tag.
SHOWN = 10
TAG_METRIC = "recall@10"
REMARKS = {
    "conflict_copy": "is a sync-conflict copy of {of}",
    "name_collision": "and another note have one name where case does not count",
}


def created(done: Created, *, is_new: bool = False, above: str | None = None) -> str:
    """A vault was made, or was one; whether its folder was made too, and in which vault it lies."""
    verb = "is a vault now" if done.created else "is a vault already"
    lines = [f"{one_line(done.vault)} {verb} (id {done.id})."]
    if is_new:
        lines.append("! There was no such folder; it was made.")
    if above is not None and done.created:
        lines.append(f"! It lies in the vault {one_line(above)}; within it, this one is used from now on.")
    return "\n".join([*lines, f"Next: holdfast sync --vault {quoted(one_line(done.vault))}"])


def embedded(done: Embedded) -> str:
    """What was embedded, in one line."""
    ready, total = done.vectors.ready, done.vectors.total
    rate = f", {done.made / done.seconds:,.0f} a second" if done.made and done.seconds else ""
    lines = [f"{done.made:,} vectors made in {done.seconds:.1f} s{rate}; {ready:,} of {total:,} chunks have one"]
    if done.left:
        lines.append(f"! {counted(done.left, 'note')} changed since the last sync, or cannot be read: holdfast sync")
    lines += [f"! {one_line(x)}" for x in done.degraded]
    return "\n".join(lines)


def exported(done: Carried, path: str) -> str:
    """How many vectors were written."""
    return f"{counted(done.stored, 'vector')} in {one_line(path)}"


def salvaged(done: Carried) -> str:
    """How many vectors could be read, and how many of them were of use."""
    return f"{counted(done.read, 'vector')} read whole, {done.stored:,} given to chunks that had none"


def synced(done: Synced, explain: bool) -> str:
    """What a sync did, in one line; with `explain`, each reason and file."""
    words = [
        f"{count:,} {name}"
        for name, count in (
            ("added", done.added),
            ("changed", done.changed),
            ("moved", done.moved),
            ("removed", done.removed),
            ("set aside", done.quarantined),
        )
        if count
    ]
    what = ", ".join(words) or "nothing changed"
    vectors = f", {counted(done.vectors.ready, 'vector')}" if done.vectors.ready else ""
    total = f"{counted(done.notes, 'note')}, {counted(done.chunks, 'chunk')}{vectors}"
    lines = [f"{what}; {total} in {done.seconds:.2f} s", *(f"! {one_line(x)}" for x in done.degraded)]
    loud = {r: n for r, n in done.skipped.items() if r not in ("hidden", "ignored")}
    if explain:
        lines += [f"  {n:,} {reason.replace('_', ' ')}" for reason, n in sorted(done.skipped.items())]
        lines += [f"    {one_line(path)}: {reason.replace('_', ' ')}" for path, reason in done.explained]
    elif loud:
        lines.append(f"{sum(loud.values()):,} files skipped; `holdfast sync --explain` says why")
    return "\n".join(lines)


def watched(event: Watched) -> str:
    """What happened at what time of the local clock, in one line; remarks on lines of their own."""
    at = datetime.fromisoformat(event.at).astimezone().strftime("%H:%M:%S")
    counts = (("added", event.added), ("changed", event.changed), ("moved", event.moved), ("removed", event.removed))
    what = ", ".join(f"{count:,} {name}" for name, count in counts if count)
    total = sum(count for _, count in counts)
    more = f" and {total - len(event.paths):,} more" if event.paths and total > len(event.paths) else ""
    names = "  " + ", ".join(map(one_line, event.paths)) + more if event.paths else ""
    mark = "! " if event.event in ("missing", "fault", "waiting") else ""
    lines = [f"{at}  {mark}{one_line(event.message) if event.message else what + names}"]
    for remark in event.remarks:
        of = one_line(remark.get("of", ""))
        lines.append(f"{at}  ! {one_line(remark['path'])} {REMARKS[remark['reason']].format(of=of)}")
    return "\n".join(lines)


def answer(found: Answer, root: str, explain: bool) -> str:
    """Hits with their lines, then the receipt."""
    lines = []
    for i, hit in enumerate(found.hits, 1):
        lines += [*_hit(i, hit, root, explain), ""]
    r = found.receipt
    if not found.hits:
        lines.append("No hits are shown." if r.matched else "No hits.")
    fresh = "not checked" if r.behind is None else f"{r.behind} behind"
    if found.hits and not r.matched:
        # No words were asked for: whatever is in scope is a hit, newest first.
        what = f"the newest {len(found.hits)} of {r.in_scope.chunks:,} passages"
    else:
        what = f"{len(found.hits)} of {counted(r.matched, 'matching passage')}"
    vectors = f", {r.vectors.ready:,} of {r.vectors.total:,} vectors" if r.vectors.ready else ""
    line = f"{what} in {counted(r.in_scope.notes, 'note')}; index {fresh}{vectors}"
    lines.append(styled(line, "2"))
    lines += [styled(f"! {one_line(x)}", "33") for x in r.degraded]
    return "\n".join(lines)


def _hit(i: int, hit: Hit, root: str, explain: bool) -> list[str]:
    head = f"{i}. {linked(hit.path, root, hit.line)}  {styled(one_line(hit.title), '1')}"
    facts = [hit.heading.removeprefix(hit.title).removeprefix(" > "), hit.speaker or "", hit.at or ""]
    if hit.trust in ("external", "imported"):
        facts.append(hit.trust)
    near = f" {hit.similarity:.2f}" if hit.similarity is not None else ""
    facts.append(" + ".join(hit.via) + near)
    about = " · ".join(one_line(f) for f in facts if f)
    body = "(the note cannot be read now)" if hit.text is None else hit.text
    lines = [head + (f"  {styled(about, '2')}" if about else "")]
    lines += [f"   {cleaned(line)}".rstrip() for line in body.split("\n")]
    if explain:
        why = ", ".join(f"{name} {value:g}" for name, value in hit.why.items())
        lines.append(styled(f"   score {hit.score:g}: {why}", "2"))
    return lines


def note(found: Note) -> str:
    """A note's text."""
    return "\n".join(cleaned(line) for line in found.text.removesuffix("\n").split("\n"))


def listing(found: Listing) -> str:
    """One note a line."""
    lines = [f"{one_line(n.path)}  {styled(one_line(n.title), '2')}" for n in found.notes]
    if found.next:
        lines.append(styled(f"more: --after {quoted(one_line(found.next))}", "2"))
    return "\n".join(lines)


def status(found: Status) -> str:
    """Health and sizes, one fact a line."""
    vault, index = found.vault, found.index
    ready, total = index["vectors"]["ready"], index["vectors"]["total"]
    who = index["embedder"] or ("none made yet" if index["has_embedder"] else "no embedder")
    notes = f"{counted(vault['notes'], 'note')}, {size_text(vault['bytes'])}" if index["generation"] else "not indexed"
    lines = [
        f"health     {found.health}",
        *(f"           {one_line(r.message)} {one_line(r.hint)}" for r in found.reasons),
        f"vault      {one_line(vault['path'])}: {notes}",
        f"index      {size_text(index['bytes'])} in {index['files']} files (bound {size_text(index['bound_bytes'])})",
        f"           {index['chunks']:,} chunks, generation {index['generation'] or 'none'}",
        f"           {one_line(index['path'])}",
        f"vectors    {ready:,} of {total:,} ({one_line(who)})",
        f"proven     {found.proven_at or 'never'}",
        f"set aside  {found.quarantined['count']}",
        *(f"           {one_line(q['path'])}: {one_line(q['reason'])}" for q in found.quarantined["newest"]),
        f"disk free  {size_text(found.disk_free_bytes)}",
    ]
    if aside := found.counters.get("index_set_aside"):
        kept = "1 damaged index" if aside == 1 else f"{aside} damaged indexes"
        lines.insert(-1, f"kept       {kept} in quarantine, until `holdfast prune`")
    return "\n".join(lines)


def pruned(done: Upkeep) -> str:
    """What was removed, or would be."""
    lines = [f"{step['action']:<8} {step['target']}  {size_text(step['bytes'])}" for step in done.plan]
    if not lines:
        return "Nothing to free."
    return "\n".join([*lines, f"{size_text(done.freed_bytes)} freed" if done.done else "Nothing was done (--dry-run)."])


def rebuilt(done: Upkeep) -> str:
    """What a rebuild did."""
    return f"rebuilt {done.plan[0]['target']}; {size_text(done.freed_bytes)} freed"


def checked(found: Checked) -> str:
    """What was looked at, and what was found, each with its cure."""
    e = found.checked
    extent = ", ".join(counted(n, word) for n, word in ((e.notes, "note"), (e.chunks, "chunk"), (e.vectors, "vector")))
    lines = [f"{'ok' if found.ok else 'not ok'}: {extent} compared{'' if found.deep else ' (a sample)'}"]
    for f in found.findings:
        about = f"{one_line(f.path)}: " if f.path else ""
        lines += [f"{f.kind.replace('_', ' ')}  {about}{one_line(f.message)}", f"    {one_line(f.cure)}"]
    return "\n".join(lines)


def repaired(done: Upkeep) -> str:
    """What was planned, and whether it was done."""
    if not done.plan:
        return "nothing to repair"
    steps = [f"{p['action'].replace('_', ' ')} {p['target']} ({size_text(p['bytes'])})" for p in done.plan]
    return "\n".join([*steps, f"done; {size_text(done.freed_bytes)} freed" if done.done else "not done (--dry-run)"])


def evaluated(found: Evaluated) -> str:
    """A table of metrics by mode, one of tags, what hindered, and the bounds that are met."""
    modes = list(found.modes)
    metrics = list(next(iter(found.modes.values())).all)
    lines = [f"{counted(found.questions, 'question')}; by default, recall is {found.default} here", ""]
    rows = [(name, *(f"{m.all[name]:.3f}" for m in found.modes.values())) for name in metrics]
    rows += [(name, *(f"{getattr(m, name):.1f}" for m in found.modes.values())) for name in ("p50_ms", "p95_ms")]
    lines += _table(("", *modes), rows)
    if found.tags:
        by_tag = [
            (f"{tag} ({n:,})", *(f"{m.by_tag[tag][TAG_METRIC]:.3f}" for m in found.modes.values()))
            for tag, n in found.tags.items()
        ]
        lines += ["", *_table((f"{TAG_METRIC} by tag", *modes), by_tag)]
    lines += _misses(found)
    notes = [f"{mode} is left out: {why}" for mode, why in found.left_out.items()] + list(found.remarks)
    if found.problems:
        notes.append(f"{counted(len(found.problems), 'relevant unit')} cannot be found and count as not found:")
        notes += [f"  {p.place} {p.id}: {p.unit}: {p.message}" for p in found.problems[:SHOWN]]
        notes += [f"  and {len(found.problems) - SHOWN:,} more, in --json"] if len(found.problems) > SHOWN else []
    lines += ["", *(styled(f"! {one_line(x)}", "33") for x in notes)] if notes else []
    met = [g for g in found.gates if g.met]
    lines += ["", *(f"{g.metric} of {g.mode} is {g.value:g}, at least {g.bound:g}" for g in met)] if met else []
    return "\n".join(lines)


def _misses(found: Evaluated) -> list[str]:
    lines = []
    for mode, misses in found.misses.items():
        lines += ["", f"{mode}: {counted(len(misses), 'question')} with nothing in ten ranks"]
        lines += [f"  {one_line(m.id)}  {one_line(m.query)}" for m in misses[:SHOWN]]
        if len(misses) > SHOWN:
            lines.append(f"  and {len(misses) - SHOWN:,} more, in --json")
    return lines


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as what is in them, the first to the left and numbers to the right."""
    cells = [tuple(map(one_line, row)) for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return [
        (
            row[0]
            + " " * (widths[0] - len(row[0]))
            + "".join("  " + x.rjust(w) for x, w in zip(row[1:], widths[1:], strict=True))
        ).rstrip()
        for row in cells
    ]


def gates_missed(found: Evaluated) -> None:
    """Say on stderr which bounds are not met."""
    hint = "Run with --misses to see which questions find nothing."
    sys.stdout.flush()
    for g in found.gates:
        if not g.met:
            words = f"{g.metric} of {g.mode} is {g.value:g}, under the bound of {g.bound:g}."
            sys.stderr.write(f"holdfast: {words} {hint}\n")


def note_fewer(made: int, wanted: int) -> None:
    """Say on stderr that not as many questions could be made as were asked for."""
    if made < wanted:
        sys.stderr.write(f"holdfast: only {made} of {wanted} notes have a sentence that makes a question.\n")
