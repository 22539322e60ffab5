"""One edit of a note, as it is asked for: which function of the text it is, and whether it may be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.engine.write import Make
from holdfast.errors import QueryError
from holdfast.text import edit, header


@dataclass(frozen=True, slots=True)
class Edit:
    """Exactly one of these; `count` belongs to `replace`, `is_appended` to `section`, `fields` go with any of them."""

    append: str | None = None
    prepend: str | None = None
    replace: tuple[str, str] | None = None
    count: int | None = None
    section: tuple[str, str] | None = None
    is_appended: bool = False
    insert_before: tuple[str, str] | None = None
    insert_after: tuple[str, str] | None = None
    fields: Mapping[str, object] | None = None


def maker(what: Edit) -> Make:
    """The edit as a function of what the note holds; raises QueryError where it is not one edit."""
    makes: list[Make] = []
    if what.append is not None:
        text = what.append
        makes.append(lambda body: edit.append(body, text))
    if what.prepend is not None:
        first = what.prepend
        makes.append(lambda body: edit.prepend(body, first))
    if what.replace is not None:
        old, new = what.replace
        makes.append(lambda body: edit.replace(body, old, new, what.count))
    if what.section is not None:
        heading, content = what.section
        makes.append(lambda body: edit.section(body, heading, content, what.is_appended))
    for anchor, is_before in ((what.insert_before, True), (what.insert_after, False)):
        if anchor is not None:
            makes.append(lambda body, a=anchor, b=is_before: edit.insert(body, a[0], a[1], b))  # type: ignore[misc]
    if len(makes) > 1 or (not makes and not what.fields):
        raise QueryError(
            "Name one edit." if makes else "Name an edit.",
            hint="One of append, prepend, replace, section, insert_before, insert_after; fields go with any of them.",
        )
    if what.fields:
        fields = what.fields
        makes.append(lambda body: header.set_fields(body, fields))

    def make(body: bytes) -> bytes:
        for one in makes:
            body = one(body)
        return body

    return make
