"""The documentation cannot lie: help, pages, links, files and tests named, exit codes are compared with the code."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest
import typer

from holdfast import errors
from holdfast.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
GROUP: Any = typer.main.get_command(app)


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its words: `sync`, and `vectors export` of a group."""
    for verb, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            assert command.help.endswith(".")
            yield from commands(command, f"{before}{verb} ")
        else:
            yield before + verb, command


COMMANDS: dict[str, Any] = dict(commands(GROUP))

# What README.md and docs/ may call by a path: everything that stands in the checkout's root.
_PATH = re.compile(
    r"^(?:(?:src|tests|docs|examples|tools|\.ci|\.github)/[\w./*{},-]*|Makefile|pyproject\.toml|[A-Z]+\.md)$"
)
_FENCE = re.compile(r"^(```|~~~).*?^\1[`~]*$", re.M | re.S)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
_TEST = re.compile(r"\btests/[\w./-]+\.py(?:::\w+)*")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its fenced code, whose links and paths are examples."""
    return _FENCE.sub("", text(page))


def test_the_commands_of_the_interface_are_there() -> None:
    assert set(COMMANDS) == {
        "init", "sync", "watch", "embed", "vectors export", "vectors salvage", "recall", "read", "list", "eval",
        "status", "check", "repair", "prune", "rebuild", "parse", "clinic vault", "clinic lance", "clinic chroma",
        "write", "edit", "remember", "move", "delete", "history export", "history backup", "recent", "diff", "restore",
        "undo", "forget", "links", "context", "facts", "timeline", "end", "supersede",
        "schema infer", "schema check", "schema diff",
    }  # fmt: skip


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_and_option_has_help(verb: str) -> None:
    command = COMMANDS[verb]
    assert command.help
    assert command.help.strip().endswith(".")
    for param in command.params:
        assert param.help, f"{verb} {param.name}"


def test_every_common_option_has_help() -> None:
    for param in GROUP.params:
        assert param.help, param.name


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_takes_the_common_options(verb: str) -> None:
    options = {o for p in COMMANDS[verb].params for o in p.opts}
    assert {"--vault", "--state-dir", "--json"} <= options


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_is_written_about(verb: str) -> None:
    """In README.md or a page written by hand, not only in the one that is generated."""
    pages = [p for p in PAGES if p.name not in ("commands.md", "CHANGELOG.md")]
    assert any(re.search(rf"\bholdfast {verb}\b", text(p)) for p in pages)


def test_the_page_of_commands_is_what_the_command_line_says() -> None:
    made = tool("make_commands_page").page()
    assert text(ROOT / "docs" / "commands.md") == made, "run tools/make_commands_page.py"
    for verb in COMMANDS:
        assert f"## {verb}\n" in made


def tool(module: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module, ROOT / "tools" / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def broken_links(page: Path, body: str) -> Iterator[str]:
    for target in _LINK.findall(body):
        path = unquote(target.partition("#")[0])
        if path and not re.match(r"[a-z][a-z0-9+.-]*:", path) and not (page.parent / path).exists():
            yield target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert not list(broken_links(page, _CODE.sub("", prose(page))))


def missing_paths(body: str) -> Iterator[str]:
    for code in _CODE.findall(body):
        for word in code.split():
            path = re.sub(r"(::\w+)+$|:\d+$", "", word.strip("(),;:'\""))
            if not _PATH.match(path):
                continue
            pattern = re.sub(r"\{[^}]*\}", "*", path).rstrip("/")
            if not any(ROOT.glob(pattern)):
                yield path


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_named_is_there(page: Path) -> None:
    assert not list(missing_paths(prose(page)))


def missing_tests(body: str) -> Iterator[str]:
    for named in sorted(set(_TEST.findall(body))):
        file, *names = named.split("::")
        if not (ROOT / file).is_file():
            yield named
            continue
        code = text(ROOT / file)
        if not all(re.search(rf"^\s*(?:async )?(?:def|class) {n}\b", code, re.M) for n in names):
            yield named


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_test_named_is_there(page: Path) -> None:
    assert not list(missing_tests(text(page)))


def test_every_promise_names_its_test() -> None:
    page = ROOT / "docs" / "promises.md"
    rows = [line for line in text(page).splitlines() if line.startswith("|") and not re.match(r"\|[\s|:-]+$", line)]
    assert len(rows) > 5
    assert _TEST.search(text(page))


def test_the_rules_on_documents_can_fail() -> None:
    page = ROOT / "README.md"
    assert list(broken_links(page, "[x](docs/none.md) [y](https://a.b/c) [z](LICENSE) [t](#top)")) == ["docs/none.md"]
    found = missing_paths("`tests/none.py` `tests/test_docs.py:12` `people/Alice.md` `src/holdfast/*/none.py` `docs/`")
    assert list(found) == ["tests/none.py", "src/holdfast/*/none.py"]
    here = "tests/test_docs.py::test_the_rules_on_documents_can_fail"
    assert list(missing_tests(f"{here} tests/none.py {here}_not")) == ["tests/none.py", f"{here}_not"]


def test_the_readme_says_how_to_start() -> None:
    readme = text(ROOT / "README.md")
    assert re.search(r"^\s*(\$ )?make demo$", readme, re.M)
    assert re.search(r"^\s*(\$ )?make test$", readme, re.M)
    assert re.search(r"^make test\b", text(ROOT / ".ci" / "run"), re.M), "CI runs the README's test command"
    assert "pip install" in readme


def test_every_make_target_of_the_documents_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.M))
    assert {"demo", "test", "check", "bench", "fault", "all", "clean"} <= targets
    for page in PAGES:
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text(page), re.M)) <= targets, name(page)


# The exit codes of the interface: error class -> (exit, HTTP status).
EXITS = {
    "HoldfastError": 70,
    "UserError": 2,
    "ConfigError": 2,
    "QueryError": 2,
    "NotFound": 4,
    "Conflict": 5,
    "PathNotAllowed": 6,
    "Unauthorized": 7,
    "SecretFound": 2,
    "NoteError": 3,
    "NoteUnreadable": 3,
    "NoteMalformed": 3,
    "NoteTooLarge": 3,
    "NoteUnstable": 3,
    "IndexFault": 0,
    "IndexDamaged": 0,
    "IndexForeign": 0,
    "IndexTooNew": 3,
    "IndexOverBudget": 0,
    "ResourceFault": 75,
    "DiskFull": 75,
    "FileLimit": 75,
    "WatchLimit": 75,
    "MemoryBudget": 75,
    "VaultBusy": 75,
    "EmbedderDown": 75,
    "EmbedderWrong": 75,
    "TruthFault": 70,
    "NotDurable": 70,
    "VaultMissing": 70,
}


def error_classes() -> dict[str, type[errors.HoldfastError]]:
    return {n: v for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, errors.HoldfastError)}


def test_exit_codes_are_those_of_the_interface() -> None:
    assert {n: c.exit for n, c in error_classes().items()} == EXITS


def test_the_tree_drawn_in_the_errors_is_the_tree() -> None:
    drawn = {}
    branch_exit = ""
    branch_http = ""
    for line in (errors.__doc__ or "").splitlines():
        if branch := re.match(r"  (\w+)  .*?(?:(\d+)(?:/(\d+))?(?: \(.*\))?)?$", line):
            branch_exit, branch_http = branch[2] or "", branch[3] or ""
            drawn[branch[1]] = (branch_exit, branch_http)
        elif line.startswith("    "):
            for leaf, code, http in re.findall(r"([A-Z]\w+)(?: (\d+)(?:/(\d+))?)?", line):
                drawn[leaf] = (code or branch_exit, http or branch_http)
    classes = error_classes()
    assert set(drawn) == set(classes) - {"HoldfastError"}
    for n, (code, http) in drawn.items():
        assert code in ("", str(classes[n].exit)), n
        assert http in ("", str(classes[n].http)), n


def test_every_error_says_what_to_do_next() -> None:
    for n, c in error_classes().items():
        error = c()
        assert error.message.endswith("."), n
        assert error.hint.endswith("."), n
        more = {"current_digest", "diff"} if n == "Conflict" else set()
        assert set(error.to_dict()) == {"kind", "message", "hint", "retryable", "exit", *more}
        assert error.retryable is (error.exit == 75), n
