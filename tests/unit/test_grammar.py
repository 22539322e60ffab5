"""The cases of the note format, run in process: the shared ones and the project's own.

The rules of comparison are those said at the top of grammar.yaml. The shared file is looked for in the directory
HOLDFAST_SHARED, else in `shared` beside the repository.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.text.note import parse

ROOT = Path(__file__).parents[2]
OWN = ROOT / "tests" / "data" / "grammar-extra.yaml"
SHARED = Path(os.environ.get("HOLDFAST_SHARED") or ROOT.parent / "shared") / "cases" / "grammar.yaml"

ITEMS: dict[str, dict[str, Any]] = {
    "observations": {
        "line": None,
        "category": None,
        "content": None,
        "tags": [],
        "context": None,
        "from": None,
        "to": None,
    },
    "relations": {"line": None, "type": None, "target": None, "context": None, "from": None, "to": None},
    "links": {"line": None, "target": None, "heading": None, "block": None, "embed": False},
    "turns": {"line": None, "n": None, "speaker": None, "at": None},
}
PLAIN = {"title", "type", "permalink", "tags", "aliases", "frontmatter"}


def load(path: Path) -> list[Any]:
    if not path.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{path} is not there; set HOLDFAST_SHARED"))]
    cases = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert len({case["id"] for case in cases}) == len(cases)
    return [pytest.param(case, id=case["id"]) for case in cases]


def read(case: dict[str, Any]) -> dict[str, Any]:
    """What `holdfast parse` would print for the case."""
    if "bytes_b64" in case:
        data = base64.b64decode(case["bytes_b64"], validate=True)
    elif "text" in case:
        data = case["text"].encode("utf-8")
    else:
        return {"problems": [{"line": 0, "message": "no such file"}]}  # said by the command, not by the parser
    return parse(data, case.get("path", "note.md")).parsed.to_dict()


def check(case: dict[str, Any]) -> None:
    found = read(case)
    for key, want in case["expect"].items():
        if key == "problems_at":
            lines = sorted({problem["line"] for problem in found["problems"]})
            assert lines if want == "any" else lines == sorted(set(want)), (found["problems"], want)
        elif key in ITEMS:
            full = [{**ITEMS[key], **item} for item in want]
            assert [{k: item[k] for k in ITEMS[key]} for item in found[key]] == full, key
        else:
            assert key in PLAIN
            assert found[key] == want, key


@pytest.mark.parametrize("case", load(SHARED))
def test_shared_case(case: dict[str, Any]) -> None:
    check(case)


@pytest.mark.parametrize("case", load(OWN))
def test_own_case(case: dict[str, Any]) -> None:
    check(case)
