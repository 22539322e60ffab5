"""How results look: for people, or as JSON. Text from notes is printed without the control characters in it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shlex import quote as quoted
from typing import Any, TypeVar

from holdfast.errors import HoldfastError
from holdfast.model import show_path
from holdfast.results import (
    Answer,
    Carried,
    Created,
    Embedded,
    Evaluated,
    Hit,
    Listing,
    Note,
    Rebuilt,
    Result,
    Status,
    Synced,
)

# A damaged index that a command could not work around is rebuilt meanwhile: trying again helps.
RETRY = 75

# Of what has no bound, so many lines are printed; and what is shown of a tag.
SHOWN = 10
TAG_METRIC = "recall@10"

R = TypeVar("R", bound=Result)

# A note must not be able to drive the terminal it is shown on.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# In a name or title, which stand on one line with words of ours, neither may it break or reorder that line.
_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# What JSON may hold raw and a terminal or a reader of lines may take for more than text.
_JSON = re.compile(r"[\x7f-\x9f\u2028\u2029]")


class ReaderGoneError(Exception):
    """The reader of stdout has gone; nobody is left to tell."""


def prepare() -> None:
    """Make stdout and stderr UTF-8, whatever the locale says, and something that can be written to."""
    for fd in (0, 1, 2):
        # A stream that was closed before we began: its number must not go to a file of ours.
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")


def write(text: str) -> None:
    """One text and a newline to stdout; bytes of a name that are no UTF-8 as `%XX`. Raises ReaderGoneError."""
    try:
        sys.stdout.write(show_path(text) + "\n")
    except BrokenPipeError as e:
        raise ReaderGoneError from e


def json_text(value: object) -> str:
    """`value` as JSON on one line, without a raw control character in it."""
    text = json.dumps(value, ensure_ascii=False)
    return _JSON.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def leave() -> None:
    """Give up stdout, whose reader has gone or whose disk is full, so that nothing is tried again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(result: R, as_json: bool, as_text: Callable[[R], str], *, explained: bool = True) -> None:
    """Print a result as JSON or as text."""
    if as_json:
        value = result.to_dict()
        if not explained:
            value.pop("explained", None)
        write(json_text(value))
    else:
        text = as_text(result)
        if text:
            write(text)


def error(e: HoldfastError, as_json: bool) -> int:
    """Print an error on one line of stderr and return its exit code."""
    if as_json:
        line = json_text({"error": {**e.to_dict(), "exit": e.exit or RETRY}})
    else:
        line = f"holdfast: {_line(e.message)} {_line(e.hint)}".rstrip()
    sys.stderr.write(show_path(line) + "\n")
    return e.exit or RETRY


def _clean(text: str) -> str:
    return _CONTROL.sub("\ufffd", text)


def _line(text: str) -> str:
    return _LINE.sub(lambda m: " " if m[0] in "\t\n\r" else "\ufffd", text)


def _is_colored() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _style(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if _is_colored() else text


def _link(path: str, root: str, line: int) -> str:
    shown = _style(f"{_line(path)}:{line}", "36")
    if not _is_colored():
        return shown
    from urllib.parse import quote

    return f"\x1b]8;;file://{quote(os.fsencode(root))}/{quote(path)}#{line}\x1b\\{shown}\x1b]8;;\x1b\\"


@contextmanager
def progress(title: str, words: tuple[str, str] = ("read", "seen")) -> Iterator[Callable[[int, int], None] | None]:
    """A progress line on a terminal, nothing elsewhere; `words` say what is counted."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, words="")
        yield lambda done, seen: bar.update(task, words=f"{done:,} {words[0]}, {seen:,} {words[1]}")


@contextmanager
def progress_of(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on a terminal, with the rate and the time that is left; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f} chunks"),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1, rate="", visible=False)

        def update(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:,.0f}/s" if speed else "", visible=True)

        yield update


def created(done: Created) -> str:
    """A vault was made, or was one."""
    verb = "is a vault now" if done.created else "is a vault already"
    return f"{_line(done.vault)} {verb} (id {done.id}).\nNext: holdfast sync --vault {quoted(_line(done.vault))}"


def embedded(done: Embedded) -> str:
    """What was embedded, in one line."""
    ready, total = done.vectors.ready, done.vectors.total
    rate = f", {done.made / done.seconds:,.0f} a second" if done.made and done.seconds else ""
    lines = [f"{done.made:,} vectors made in {done.seconds:.1f} s{rate}; {ready:,} of {total:,} chunks have one"]
    if done.left:
        lines.append(f"! {_count(done.left, 'note')} changed since the last sync, or cannot be read: holdfast sync")
    return "\n".join(lines)


def exported(done: Carried, path: str) -> str:
    """How many vectors were written."""
    return f"{_count(done.stored, 'vector')} in {_line(path)}"


def salvaged(done: Carried) -> str:
    """How many vectors could be read, and how many of them were of use."""
    return f"{_count(done.read, 'vector')} read whole, {done.stored:,} given to chunks that had none"


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
    vectors = f", {_count(done.vectors.ready, 'vector')}" if done.vectors.ready else ""
    counted = f"{_count(done.notes, 'note')}, {_count(done.chunks, 'chunk')}{vectors}"
    lines = [f"{what}; {counted} in {done.seconds:.2f} s", *(f"! {_line(x)}" for x in done.degraded)]
    loud = {r: n for r, n in done.skipped.items() if r not in ("hidden", "ignored")}
    if explain:
        lines += [f"  {n:,} {reason.replace('_', ' ')}" for reason, n in sorted(done.skipped.items())]
        lines += [f"    {_line(path)}: {reason.replace('_', ' ')}" for path, reason in done.explained]
    elif loud:
        total = sum(loud.values())
        lines.append(f"{total:,} files skipped; `holdfast sync --explain` says why")
    return "\n".join(lines)


def answer(found: Answer, root: str, explain: bool) -> str:
    """Hits with their lines, then the receipt."""
    lines = []
    for i, hit in enumerate(found.hits, 1):
        lines += [*_hit(i, hit, root, explain), ""]
    r = found.receipt
    if not found.hits:
        lines.append("No hits.")
    fresh = "unknown" if r.behind is None else f"{r.behind} behind"
    if found.hits and not r.matched:
        # No words were asked for: whatever is in scope is a hit, newest first.
        what = f"the newest {len(found.hits)} of {r.in_scope.chunks:,} passages"
    else:
        what = f"{len(found.hits)} of {r.matched:,} matching passages"
    vectors = f", {r.vectors.ready:,} of {r.vectors.total:,} vectors" if r.vectors.ready else ""
    line = f"{what} in {_count(r.in_scope.notes, 'note')}; index {fresh}{vectors}"
    lines.append(_style(line, "2"))
    lines += [_style(f"! {_line(x)}", "33") for x in r.degraded]
    return "\n".join(lines)


def _hit(i: int, hit: Hit, root: str, explain: bool) -> list[str]:
    head = f"{i}. {_link(hit.path, root, hit.line)}  {_style(_line(hit.title), '1')}"
    facts = [hit.heading.removeprefix(hit.title).removeprefix(" > "), hit.speaker or "", hit.at or ""]
    if hit.trust in ("external", "imported"):
        facts.append(hit.trust)
    about = " · ".join(_line(f) for f in facts if f)
    body = "(the note cannot be read now)" if hit.text is None else hit.text
    lines = [head + (f"  {_style(about, '2')}" if about else "")]
    lines += [f"   {_clean(line)}".rstrip() for line in body.split("\n")]
    if explain:
        why = ", ".join(f"{name} {value:g}" for name, value in hit.why.items())
        lines.append(_style(f"   score {hit.score:g}: {why}", "2"))
    return lines


def note(found: Note) -> str:
    """A note's text."""
    return "\n".join(_clean(line) for line in found.text.removesuffix("\n").split("\n"))


def listing(found: Listing) -> str:
    """One note a line."""
    lines = [f"{_line(n.path)}  {_style(_line(n.title), '2')}" for n in found.notes]
    if found.next:
        lines.append(_style(f"more: --after {quoted(_line(found.next))}", "2"))
    return "\n".join(lines)


def status(found: Status) -> str:
    """Health and sizes, one fact a line."""
    vault, index = found.vault, found.index
    ready, total = index["vectors"]["ready"], index["vectors"]["total"]
    lines = [
        f"health     {found.health}",
        *(f"           {_line(r.message)} {_line(r.hint)}" for r in found.reasons),
        f"vault      {_line(vault['path'])}: {_count(vault['notes'], 'note')}, {_size(vault['bytes'])}",
        f"index      {_size(index['bytes'])} in {index['files']} files (bound {_size(index['bound_bytes'])})",
        f"           {index['chunks']:,} chunks, generation {index['generation'] or 'none'}",
        f"           {_line(index['path'])}",
        f"vectors    {ready:,} of {total:,} ({_line(index['embedder'] or 'no embedder')})",
        f"proven     {found.proven_at or 'never'}",
        f"set aside  {found.quarantined['count']}",
        *(f"           {_line(q['path'])}: {_line(q['reason'])}" for q in found.quarantined["newest"]),
        f"disk free  {_size(found.disk_free_bytes)}",
    ]
    return "\n".join(lines)


def rebuilt(done: Rebuilt) -> str:
    """What a rebuild did."""
    return f"rebuilt {done.plan[0]['target']}; {_size(done.freed_bytes)} freed"


def evaluated(found: Evaluated) -> str:
    """A table of metrics by mode, one of tags, what hindered, and the bounds that are met."""
    modes = list(found.modes)
    metrics = list(next(iter(found.modes.values())).all)
    lines = [f"{_count(found.questions, 'question')}; by default, recall is {found.default} here", ""]
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
        notes.append(f"{_count(len(found.problems), 'relevant unit')} cannot be found and count as not found:")
        notes += [f"  {p.place} {p.id}: {p.unit}: {p.message}" for p in found.problems[:SHOWN]]
        notes += [f"  and {len(found.problems) - SHOWN:,} more, in --json"] if len(found.problems) > SHOWN else []
    lines += ["", *(_style(f"! {_line(x)}", "33") for x in notes)] if notes else []
    met = [g for g in found.gates if g.met]
    lines += ["", *(f"{g.metric} of {g.mode} is {g.value:g}, at least {g.bound:g}" for g in met)] if met else []
    return "\n".join(lines)


def _misses(found: Evaluated) -> list[str]:
    lines = []
    for mode, misses in found.misses.items():
        lines += ["", f"{mode}: {_count(len(misses), 'question')} with nothing in ten ranks"]
        lines += [f"  {_line(m.id)}  {_line(m.query)}" for m in misses[:SHOWN]]
        if len(misses) > SHOWN:
            lines.append(f"  and {len(misses) - SHOWN:,} more, in --json")
    return lines


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as what is in them, the first to the left and numbers to the right."""
    cells = [tuple(map(_line, row)) for row in (head, *rows)]
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


def _size(count: Any) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
