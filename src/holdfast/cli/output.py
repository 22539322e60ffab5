"""How results look: for people, or as JSON. Text from notes is printed without the control characters in it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from holdfast.errors import HoldfastError
from holdfast.results import Answer, Created, Hit, Listing, Note, Rebuilt, Result, Status, Synced

R = TypeVar("R", bound=Result)

# A note must not be able to drive the terminal it is shown on.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def use_utf8() -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")


def write(text: str) -> None:
    sys.stdout.write(text + "\n")


def show(result: R, as_json: bool, as_text: Callable[[R], str], *, explained: bool = True) -> None:
    if as_json:
        value = result.to_dict()
        if not explained:
            value.pop("explained", None)
        write(json.dumps(value, ensure_ascii=False))
    else:
        text = as_text(result)
        if text:
            write(text)


def error(e: HoldfastError, as_json: bool) -> int:
    if as_json:
        line = json.dumps({"error": {**e.to_dict(), "exit": e.exit or 1}}, ensure_ascii=False)
    else:
        line = f"holdfast: {_clean(e.message)} {e.hint}".rstrip()
    sys.stderr.write(line.replace("\n", " ") + "\n")
    return e.exit or 1


def _clean(text: str) -> str:
    return _CONTROL.sub("\ufffd", text)


def _is_colored() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _style(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if _is_colored() else text


def _link(path: str, root: str, line: int) -> str:
    shown = _style(f"{_clean(path)}:{line}", "36")
    if not _is_colored():
        return shown
    from urllib.parse import quote

    return f"\x1b]8;;file://{quote(root)}/{quote(path)}#{line}\x1b\\{shown}\x1b]8;;\x1b\\"


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress line on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, words="")
        yield lambda done, seen: bar.update(task, words=f"{done:,} read, {seen:,} seen")


def created(done: Created) -> str:
    verb = "is a vault now" if done.created else "is a vault already"
    return f"{done.vault} {verb} (id {done.id}).\nNext: holdfast sync --vault {done.vault}"


def synced(done: Synced, explain: bool) -> str:
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
    lines = [f"{what}; {done.notes:,} notes, {done.chunks:,} chunks in {done.seconds:.2f} s"]
    loud = {r: n for r, n in done.skipped.items() if r not in ("hidden", "ignored")}
    if explain:
        lines += [f"  {n:,} {reason.replace('_', ' ')}" for reason, n in sorted(done.skipped.items())]
        lines += [f"    {_clean(path)}: {reason.replace('_', ' ')}" for path, reason in done.explained]
    elif loud:
        total = sum(loud.values())
        lines.append(f"{total:,} files skipped; `holdfast sync --explain` says why")
    return "\n".join(lines)


def answer(found: Answer, root: str, explain: bool) -> str:
    lines = []
    for i, hit in enumerate(found.hits, 1):
        lines += [*_hit(i, hit, root, explain), ""]
    r = found.receipt
    if not found.hits:
        lines.append("No hits.")
    fresh = "unknown" if r.behind is None else f"{r.behind} behind"
    line = f"{len(found.hits)} of {r.matched:,} matching passages in {r.in_scope.notes:,} notes; index {fresh}"
    lines.append(_style(line, "2"))
    lines += [_style(f"! {_clean(x)}", "33") for x in r.degraded]
    return "\n".join(lines)


def _hit(i: int, hit: Hit, root: str, explain: bool) -> list[str]:
    head = f"{i}. {_link(hit.path, root, hit.line)}  {_style(_clean(hit.title), '1')}"
    facts = [hit.heading.removeprefix(hit.title).removeprefix(" > "), hit.speaker or "", hit.at or ""]
    if hit.trust in ("external", "imported"):
        facts.append(hit.trust)
    about = " · ".join(_clean(f) for f in facts if f)
    body = "(the note cannot be read now)" if hit.text is None else hit.text
    lines = [head + (f"  {_style(about, '2')}" if about else "")]
    lines += [f"   {_clean(line)}".rstrip() for line in body.split("\n")]
    if explain:
        why = ", ".join(f"{name} {value:g}" for name, value in hit.why.items())
        lines.append(_style(f"   score {hit.score:g}: {why}", "2"))
    return lines


def note(found: Note) -> str:
    return "\n".join(_clean(line) for line in found.text.removesuffix("\n").split("\n"))


def listing(found: Listing) -> str:
    lines = [f"{_clean(n.path)}  {_style(_clean(n.title), '2')}" for n in found.notes]
    if found.next:
        lines.append(_style(f"more: --after '{_clean(found.next)}'", "2"))
    return "\n".join(lines)


def status(found: Status) -> str:
    vault, index = found.vault, found.index
    lines = [
        f"health     {found.health}",
        *(f"           {_clean(r.message)} {r.hint}" for r in found.reasons),
        f"vault      {_clean(vault['path'])}: {vault['notes']:,} notes, {_size(vault['bytes'])}",
        f"index      {_size(index['bytes'])} in {index['files']} files (bound {_size(index['bound_bytes'])}), "
        f"{index['chunks']:,} chunks, generation {index['generation']}",
        f"           {_clean(index['path'])}",
        f"proven     {found.proven_at or 'never'}",
        f"set aside  {found.quarantined['count']}",
        *(f"           {_clean(q['path'])}: {_clean(q['reason'])}" for q in found.quarantined["newest"]),
        f"disk free  {_size(found.disk_free_bytes)}",
    ]
    return "\n".join(lines)


def rebuilt(done: Rebuilt) -> str:
    return f"rebuilt {done.plan[0]['target']}; {_size(done.freed_bytes)} freed"


def _size(count: Any) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")
