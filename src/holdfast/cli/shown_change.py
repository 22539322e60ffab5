"""How changes of notes, and their past, look to people."""

from __future__ import annotations

from holdfast.changes import Difference, Exported, Forgotten, Moved, Remembered, Undone, Versions, Written
from holdfast.cli.output import cleaned, counted, one_line, size_text, styled


def written(done: Written) -> str:
    """Where it is now, and what it is called in the history."""
    rev = f", version {done.rev}" if done.rev else ", unchanged" if done.digest else ""
    late = "" if done.indexed else "; the index has it after the next sync"
    return f"{one_line(done.path)}  {done.digest or ''}{rev}{late}"


def moved(done: Moved) -> str:
    """Where it was and is, and in which notes links were rewritten."""
    links = sum(r.links for r in done.relinked)
    verb = "rewritten" if done.done else "would be rewritten"
    lines = [f"{one_line(done.old_path)} -> {one_line(done.path)}; {counted(links, 'link')} {verb}"]
    lines += [f"  {one_line(r.path)}: {r.links}" for r in done.relinked]
    if done.done and done.session:
        lines.append(f"`holdfast undo --session {one_line(done.session)}` takes it back")
    return "\n".join(lines)


def deleted(done: Written) -> str:
    """That it is gone, and how it comes back."""
    return f"{one_line(done.path)} deleted; `holdfast restore '{one_line(done.path)}'` brings it back"


def remembered(done: Remembered) -> str:
    """Where it stands, or what stands there already."""
    if done.duplicate is not None:
        d = done.duplicate
        return f"known already (--again stores it all the same)\n{one_line(d.path)}:{d.line}  {one_line(d.text)}"
    return f"{one_line(done.path)}:{done.line}"


def versions(found: Versions) -> str:
    """A version a line."""
    lines = []
    for v in found.versions:
        who = " ".join(x for x in (v.author, f"({v.session})" if v.session else "") if x)
        name = f"  {one_line(v.path)}" if found.path is None or v.path != found.path else ""
        size = size_text(v.bytes) if v.digest else "-"
        why = f"  {one_line(v.reason)}" if v.reason else ""
        lines.append(f"{v.rev:>6}  {v.at}  {v.kind:<8} {size:>9}{name}  {styled(one_line(who), '36')}{why}".rstrip())
    if found.next is not None:
        lines.append(f"more: --before {found.next}")
    return "\n".join(lines) or "no changes"


def difference(found: Difference) -> str:
    """The unified diff, in colour on a terminal."""
    if not found.diff:
        return f"{one_line(found.path)}: nothing differs"
    colours = {"+": "32", "-": "31", "@": "36"}
    return "\n".join(styled(cleaned(x), colours.get(x[:1], "0")) for x in found.diff.rstrip("\n").split("\n"))


def undone(done: Undone) -> str:
    """What was taken back, and what was left."""
    verb = "taken back" if done.done else "would be taken back"
    lines = [f"{counted(len(done.undone), 'note')} {verb}", *(f"  {one_line(p)}" for p in done.undone)]
    lines += ["left:", *(f"  {one_line(p)}" for p in done.left)] if done.left else []
    return "\n".join(lines)


def exported(done: Exported, unit: str, where: str) -> str:
    """What was written where."""
    return f"{done.count:,} {unit} written to {one_line(where)}"


def forgotten(done: Forgotten) -> str:
    """What went, what a search of the rest found, and what it cannot see."""
    names = [f"  {one_line(p)}" for p in done.paths]
    if not done.done:
        return "\n".join(
            [f"would forget {counted(done.versions, 'version')} of:", *names, "add --apply; there is no way back"]
        )
    lines = [f"forgotten, {counted(done.versions, 'version')}:", *names]
    if done.traces:
        lines += ["found all the same in:", *(f"  {one_line(t.path)}: {one_line(t.text)}" for t in done.traces)]
    else:
        lines.append(f"{counted(done.searched_files, 'file')} searched; nothing of it is left in them")
    if done.elsewhere:
        lines += ["other notes have lines of it:", *(f"  {one_line(p)}" for p in done.elsewhere)]
    return "\n".join([*lines, one_line(done.unreached)])
