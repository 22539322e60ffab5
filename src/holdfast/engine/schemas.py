"""What notes of a type have, and what they should have.

A schema is a note of `type: schema` whose header says `for: TYPE`, and any of `required:` and `optional:` (lists of
fields, `[category]` of observations, or `relation ->` of relations), `values:` (a field to its possible values),
`links:` (a relation to the type of its targets), and `mode: strict`, without which a breach is only worth knowing.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from holdfast.engine.resolve import resolve
from holdfast.engine.times import bounds
from holdfast.engine.workspace import Workspace
from holdfast.errors import HoldfastError, NotFound, QueryError
from holdfast.files import notes
from holdfast.graph import Breach, Inferred, SchemaCheck, SchemaDiff, Usage
from holdfast.index.base import Index
from holdfast.model import KEY_END, Parsed, Value, fold, key_path, show_path
from holdfast.text.note import parse

SCHEMA = "schema"
_FEW_VALUES = 8
_PAGE = 500
_BREACHES = 1_000
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?\Z")
_OWN = {"type", "title", "tags", "permalink", "aliases"}
"""Fields that every note may have: no schema need name them."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A declared schema, as its note says it."""

    path: str
    type: str
    required: frozenset[str]
    optional: frozenset[str]
    values: dict[str, frozenset[str]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    is_strict: bool = False

    @property
    def names(self) -> frozenset[str]:
        """Everything that it declares."""
        return self.required | self.optional | set(self.values) | {f"{r} ->" for r in self.links}


def infer(ws: Workspace, index: Index, type_: str) -> Inferred:
    """What the notes of a type have; raises NotFound where there are none."""
    total = 0
    used: dict[str, Counter[str]] = {"field": Counter(), "category": Counter(), "relation": Counter()}
    kinds: dict[str, set[str]] = defaultdict(set)
    values: dict[str, set[str]] = defaultdict(set)
    for path, parsed in _of_type(ws, index, type_):
        total += 1
        for key, value in parsed.frontmatter.items():
            if key != "type":
                used["field"][key] += 1
                kinds[key] |= {_kind(v) for v in _leaves(value)} | ({"list"} if isinstance(value, list) else set())
                _collect(values[key], _leaves(value))
        used["category"].update({o.category for o in parsed.observations if o.category})
        used["relation"].update({f"{r.type} ->" for r in parsed.relations})
        for r in parsed.relations:
            _collect(values[f"{r.type} ->"], _types(index, r.target, path))
    if not total:
        raise NotFound(
            f"There is no note of the type “{type_}”.",
            hint="`holdfast list` shows the notes; the default type is note.",
        )

    def usages(what: str) -> tuple[Usage, ...]:
        out = []
        for key, count in sorted(used[what].items(), key=lambda x: (-x[1], x[0])):
            known = values.get(key, set())
            shown = tuple(sorted(known)) if 0 < len(known) <= _FEW_VALUES else ()
            out.append(Usage(key, count, round(count / total, 3), tuple(sorted(kinds.get(key, ()))), shown))
        return tuple(out)

    return Inferred(type_, total, usages("field"), usages("category"), usages("relation"))


def check(ws: Workspace, index: Index, type_: str | None = None) -> SchemaCheck:
    """Compare notes with their schemas, of one type or of all that have one; raises NotFound without a schema."""
    found = schemas(ws, index)
    if type_ is not None:
        found = {t: s for t, s in found.items() if t == fold(type_)}
    if not found:
        raise NotFound(
            f"There is no schema{f' for “{type_}”' if type_ else ''}.",
            hint="Write a note with `type: schema` and `for: TYPE`; `holdfast schema infer TYPE` shows what to put in.",
        )
    breaches: list[Breach] = []
    total = 0
    for schema in found.values():
        for path, parsed in _of_type(ws, index, schema.type):
            total += 1
            breaches += [
                Breach(path, line, words, schema.is_strict) for line, words in _breaches(index, schema, path, parsed)
            ]
            if len(breaches) >= _BREACHES:
                break
    ok = not any(b.strict for b in breaches)
    return SchemaCheck(ok, tuple(sorted(s.path for s in found.values())), total, tuple(breaches[:_BREACHES]))


def diff(ws: Workspace, index: Index, type_: str) -> SchemaDiff:
    """What a schema declares and no note has, and the other way round; raises NotFound."""
    schema = schemas(ws, index).get(fold(type_))
    if schema is None:
        raise NotFound(f"There is no schema for “{type_}”.", hint="Write a note with `type: schema` and `for: TYPE`.")
    found = infer(ws, index, schema.type)
    there = {u.name for u in found.fields} - _OWN
    there |= {f"[{u.name}]" for u in found.categories} | {u.name for u in found.relations}
    outside = [
        f"{u.name}: {value}"
        for u in found.fields
        if u.name in schema.values
        for value in u.values
        if fold(value) not in schema.values[u.name]
    ]
    return SchemaDiff(
        schema.type,
        schema.path,
        tuple(sorted(schema.names - there)),
        tuple(sorted(there - schema.names)),
        tuple(outside),
    )


def schemas(ws: Workspace, index: Index) -> dict[str, Schema]:
    """All declared schemas by folded type; raises QueryError where one cannot be read, or two are for one type."""
    out: dict[str, Schema] = {}
    for path, parsed in _of_type(ws, index, SCHEMA):
        schema = _declared(path, parsed)
        if (other := out.get(fold(schema.type))) is not None:
            raise QueryError(f"{path} and {other.path} are both schemas for “{schema.type}”.", hint="Keep one of them.")
        out[fold(schema.type)] = schema
    return out


def _declared(path: str, parsed: Parsed) -> Schema:
    header = parsed.frontmatter
    type_ = next(iter(_leaves(header.get("for"))), "")
    if not type_:
        raise QueryError(f"{path} is a schema and does not say for which type.", hint="Add `for: TYPE` to its header.")
    mode = next(iter(_leaves(header.get("mode"))), "warn")
    if mode not in ("warn", "strict"):
        raise QueryError(f"{path}: “{mode}” is no mode.", hint="It is warn or strict.")
    values, links = header.get("values"), header.get("links")
    for name, value in (("values", values), ("links", links)):
        if value is not None and not isinstance(value, dict):
            raise QueryError(
                f"{path}: `{name}` must be a mapping.", hint=f"Such as `{name}:` and below it `  status: [open, done]`."
            )
    return Schema(
        path, type_, frozenset(_leaves(header.get("required"))), frozenset(_leaves(header.get("optional"))),
        {k: frozenset(map(fold, _leaves(v))) for k, v in (values or {}).items()} if isinstance(values, dict) else {},
        {k: next(iter(_leaves(v)), "") for k, v in (links or {}).items()} if isinstance(links, dict) else {},
        mode == "strict",
    )  # fmt: skip


def _breaches(index: Index, schema: Schema, path: str, parsed: Parsed) -> Iterator[tuple[int, str]]:
    has = set(parsed.frontmatter) | {f"[{o.category}]" for o in parsed.observations}
    has |= {f"{r.type} ->" for r in parsed.relations}
    for name in sorted(schema.required - has):
        yield 1, f"{name} is missing."
    for name, allowed in schema.values.items():
        for value in _leaves(parsed.frontmatter.get(name)):
            if fold(value) not in allowed:
                yield 1, f"{name} is “{value}”, which is none of {', '.join(sorted(allowed))}."
    for r in parsed.relations:
        wanted = schema.links.get(r.type)
        types = set(_types(index, r.target, path)) if wanted else set()
        if wanted and fold(wanted) not in {fold(t) for t in types}:
            what = f"a {', '.join(sorted(types))}" if types else "no note"
            yield r.line, f"{r.type} leads to {what}, not to a {wanted}."


def _of_type(ws: Workspace, index: Index, type_: str) -> Iterator[tuple[str, Parsed]]:
    """Each note of a type: (path, what it says); one that cannot be read now is left out and counted."""
    after = b""
    while rows := index.list_notes(b"", KEY_END, after, _PAGE):
        after = rows[-1].key
        for row in rows:
            if fold(row.type) != fold(type_):
                continue
            path = key_path(row.key)
            try:
                body = notes.read_note(ws.fs, ws.root, path, max_bytes=ws.config.note_bytes).data
            except (HoldfastError, FileNotFoundError) as e:
                ws.count("schema_note_unreadable", e)
                continue
            yield show_path(path), parse(body, show_path(path)).parsed


def _types(index: Index, target: str, path: str) -> list[str]:
    found = resolve(index, target, path.rpartition("/")[0])
    return [row.type for row in index.notes(found).values()] if len(found) == 1 else []


def _leaves(value: Value | None) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list):
        return [leaf for part in value for leaf in _leaves(part)]
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    return [str(value)]


def _kind(text: str) -> str:
    if "[[" in text:
        return "link"
    if _NUMBER.match(text):
        return "number"
    return "date" if bounds(text) is not None else "text"


def _collect(known: set[str], new: Iterable[str]) -> None:
    if len(known) <= _FEW_VALUES:
        known.update(new)
