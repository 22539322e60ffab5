"""What is made of the system's notices: paths of notes, or a reason to scan."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import WatchLimit
from holdfast.files.fs import FileSystem, Notifier
from holdfast.files.ignore import Rules, read_own, rules_for
from holdfast.files.watch import Noticed, Notices


class Script:
    """A notifier that tells what it is told to tell."""

    def __init__(self) -> None:
        self.todo: queue.Queue[Any] = queue.Queue()
        self.is_closed = False

    def watch(self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: Any) -> Any:
        while not stop_event.is_set():
            try:
                told = self.todo.get(timeout=0.01)
            except queue.Empty:
                continue
            if isinstance(told, Exception):
                raise told
            return told
        return "stop"

    def close(self) -> None:
        self.is_closed = True


class ScriptFS(FileSystem):
    def __init__(self) -> None:
        self.made: list[tuple[Script, list[str]]] = []
        self.errors: list[OSError] = []

    def notifier(self, folders: Sequence[str], *, recursive: bool) -> Notifier:
        assert not recursive
        if self.errors:
            raise self.errors.pop()
        self.made.append((Script(), list(folders)))
        return self.made[-1][0]


class Place:
    """A vault with some folders, what listens to it, and a way to tell."""

    def __init__(self, root: Path) -> None:
        for folder in ("a/b", ".git", "build", "a/build"):
            (root / folder).mkdir(parents=True)
        (root / ".gitignore").write_text("build/\n*.tmp.md\n")
        self.fs, self.root, self.woken = ScriptFS(), str(root), threading.Event()
        rules = rules_for("", None, read_own(self.fs, self.root, [".gitignore"]).spec)
        assert rules is not None
        self.folders: dict[str, Rules | None] = {"": rules, "a": rules.below("a"), "a/b": rules.below("a/b")}
        self.notices = Notices(self.fs, self.root, self.woken.set, quiet_ms=20, most=5)

    def tell(self, *paths: str) -> Noticed:
        """What is noticed of `paths`; a last one, which is of interest, shows that all were gone through."""
        script, _ = self.fs.made[-1]
        script.todo.put({(1, f"{self.root}/{p}" if p else self.root) for p in paths})
        script.todo.put({(2, f"{self.root}/end.md")})
        found: set[str] = set()
        must_scan = must_place = False
        while "end.md" not in found:
            assert self.woken.wait(10)
            self.woken.clear()
            noticed = self.notices.take()
            found |= noticed.paths
            must_scan, must_place = must_scan or noticed.must_scan, must_place or noticed.must_place
        return Noticed(frozenset(found - {"end.md"}), must_scan, must_place)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "vault")
    made.notices.place(made.folders)
    yield made
    made.notices.close()


def test_notes_are_told_by_their_paths(place: Place) -> None:
    assert place.tell("n.md", "a/b/x.markdown", "a/gone.txt") == Noticed(
        frozenset({"n.md", "a/b/x.markdown", "a/gone.txt"})
    )


@pytest.mark.parametrize(
    "path",
    [
        "pic.png", "n.md~", "4913", ".n.md.swp", "#n.md#", ".git", ".git/HEAD.md", ".obsidian/x.md", "node_modules",
        "a/x.tmp.md", "build", "a/build", "build/x.md", "elsewhere/x.md", ".holdfast/config.toml",
    ],
)  # fmt: skip
def test_what_is_of_no_interest(place: Place, path: str) -> None:
    assert place.tell(path) == Noticed()


@pytest.mark.parametrize(
    ("path", "must_place"),
    [("", True), ("a", True), ("a/b", True), ("new", True), ("x.md", True), (".gitignore", False)],
)
def test_what_is_a_reason_to_scan(place: Place, path: str, must_place: bool) -> None:
    for folder in ("new", "x.md"):  # a folder may be called like a note
        Path(place.root, folder).mkdir()
    assert place.tell(path) == Noticed(must_scan=True, must_place=must_place)


def test_too_many_paths_are_a_reason_to_scan(place: Place) -> None:
    noticed = place.tell(*(f"n{i}.md" for i in range(6)))
    assert noticed.must_scan
    assert not noticed.must_place
    assert noticed.paths == frozenset()


def test_a_source_that_fails_is_a_reason_to_begin_anew(place: Place) -> None:
    script, _ = place.fs.made[-1]
    script.todo.put(RuntimeError("Unable to decode path"))
    assert place.woken.wait(10)
    assert place.notices.take() == Noticed(must_scan=True, must_place=True)
    assert script.is_closed
    place.notices.place(place.folders)
    assert len(place.fs.made) == 2
    assert place.tell("n.md").paths == {"n.md"}


def test_other_folders_take_the_place_of_those_before(place: Place) -> None:
    first, folders = place.fs.made[-1]
    assert folders == [place.root, f"{place.root}/a", f"{place.root}/a/b"]
    assert place.notices.place({"": None, "gone": None, "a": None, "\udcff": None}) == 2
    assert place.notices.unwatched == 1
    second, folders = place.fs.made[-1]
    assert folders == [place.root, f"{place.root}/a"]
    assert first.is_closed
    assert not second.is_closed
    place.notices.close()
    assert second.is_closed
    assert not place.notices.is_placed


def test_limits_and_folders_that_go(place: Place) -> None:
    place.fs.errors = [OSError(28, "No space left on device")]
    with pytest.raises(WatchLimit, match="3 folders"):
        place.notices.place(place.folders)
    assert place.notices.is_placed, "what is listened to stays until there is something better"
    place.fs.errors = [FileNotFoundError(2, "gone")] * 2
    assert place.notices.place(place.folders) == 3
    place.fs.errors = [FileNotFoundError(2, "gone")] * 3
    with pytest.raises(FileNotFoundError):
        place.notices.place(place.folders)
    with pytest.raises(OSError, match="no folder"):
        place.notices.place({"nowhere": None})


def test_the_real_source_tells_limits_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import watchfiles._rust_notify as rust

    fs = FileSystem()
    for error, number in (
        (OSError("OS file watch limit reached. about [...]"), 28),
        (OSError("something else"), 5),
        (rust.WatchfilesRustInternalError("Error creating watcher: Too many open files (os error 24)"), 24),
        (rust.WatchfilesRustInternalError("Error creating watcher: mystery"), 5),
    ):

        def fail(*_: Any, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(rust, "RustNotify", fail)
        with pytest.raises(OSError) as caught:  # noqa: PT011
            fs.notifier([str(tmp_path)], recursive=False)
        assert caught.value.errno == number
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        fs.notifier([str(tmp_path / "none")], recursive=False)
    fs.notifier([str(tmp_path)], recursive=False).close()
