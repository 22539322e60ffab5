"""What the clinic found, for people: what is wrong first, then what would help and what it would cost."""

from __future__ import annotations

from typing import Any

from holdfast.cli.output import counted, one_line, size_text, styled
from holdfast.clinic.report import Report


def report(found: Report) -> str:
    """The whole report; a list of datasets or segments is a line each."""
    lines = [one_line(found.summary)]
    lines += [f"  {line}" for line in map(_seen, found.seen) if line]
    for f in found.findings:
        about = f"{one_line(f.path)}: " if f.path else ""
        kind = styled(f.kind.replace("_", " "), "33")
        lines += ["", f"{kind}  {about}{one_line(f.message)}", f"    {one_line(f.cure)}"]
    if found.plan:
        lines += ["", "done:" if found.done else "would do:"]
        weights = [f" ({size_text(p.bytes)})" if p.bytes else "" for p in found.plan]
        steps = [f"  {p.action.replace('_', ' ')} {one_line(p.target)}" for p in found.plan]
        lines += [step + weight for step, weight in zip(steps, weights, strict=True)]
    lines += _listed("what is lost by it:" if found.done else "what would be lost by it:", found.loses)
    lines += _listed("not known:", found.unknown)
    lines += _listed("", found.remarks)
    if found.done:
        lines += ["", f"done; {size_text(found.freed_bytes)} freed"]
    elif found.plan:
        lines += ["", "nothing was changed (add --apply to what you choose)"]
    return "\n".join(lines)


def _listed(title: str, texts: tuple[str, ...]) -> list[str]:
    return ["", *([title] if title else []), *(f"  {one_line(t)}" for t in texts)] if texts else []


def _seen(x: Any) -> str:
    if "live_bytes" in x:
        rows = (
            f"{counted(x['rows'], 'row')} in {counted(x['fragments'], 'fragment')}"
            if x["rows"] is not None
            else "no readable manifest"
        )
        return (
            f"{one_line(x['path'])}: {size_text(x['bytes'])} for {size_text(x['live_bytes'])} ({x['ratio']:.1f} times),"
            f" {rows}, versions {x['oldest_version']} to {x['newest_version']}"
        )
    if "name" in x:
        return f"{one_line(x['name'])} ({size_text(x['bytes'])}): {one_line(str(x.get('what', '')))}"
    if "verdict" in x:
        name = f"{one_line(str(x['collection']))} {x['segment']}"
        return f"{name}: {styled(x['verdict'], '1')}  {one_line(str(x.get('what', '')))}"
    return ""


def watched(seen: Any) -> str:
    """One look of a watch, on one line."""
    state = "over its bounds" if seen.passed else "within its bounds"
    cap = f" of {size_text(seen.cap_bytes)}" if seen.cap_bytes else ""
    parts = [f"{seen.at}  {size_text(seen.bytes)}{cap}, {seen.ratio:.1f} times its live bytes: {state}"]
    if seen.freed_bytes:
        parts.append(f"pruned {size_text(seen.freed_bytes)}")
    if seen.would_prune:
        parts.append("would prune (add --apply)")
    if seen.error:
        parts.append(f"FAILED {seen.failures} times: {one_line(seen.error)}")
    return "; ".join(parts)
