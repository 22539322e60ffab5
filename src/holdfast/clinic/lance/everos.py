"""EverOS keeps its Lance index in `.index/lancedb` beside the Markdown that it is made from.

When nothing else helps, the whole index is set aside by rename, and EverOS makes it anew. That is allowed only while
the Markdown is whole: it is listed and read, and each file that rows of the index name must be there.
Layout and commands: `memory_root.py` and `everos cascade` of EverMind-AI/EverOS, version 1.1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from holdfast.clinic.holders import refuse_if_held
from holdfast.clinic.lance.dataset import find_datasets, read_dataset
from holdfast.clinic.lance.decode import Decoder
from holdfast.clinic.lance.look import examine
from holdfast.clinic.report import Chart, Report, Step, counted, nothing, shell, size, stamp
from holdfast.errors import ConfigError, HoldfastError
from holdfast.files.fs import FileSystem
from holdfast.model import show_path
from holdfast.results import Finding

_INDEX = (".index", "lancedb")
_KINDS = ("agents", "users", "knowledge")
_PATH_COLUMN = "md_path"
_LISTED = 5


@dataclass(slots=True)
class _Tree:
    """The Markdown of a memory root: files, bytes, and what cannot be read."""

    files: int = 0
    bytes: int = 0
    unreadable: list[str] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)


def memory_root(directory: str) -> str | None:
    """The EverOS memory root that `directory` is, or whose index it is (or lies in); None if it is none."""
    here = os.path.realpath(directory)
    while True:
        if os.path.isdir(os.path.join(here, *_INDEX)):
            return here
        above = os.path.dirname(here)
        if above == here:
            return None
        here = above


def evict(directory: str, *, apply: bool, force: bool) -> Report:
    """Set the whole Lance index of an EverOS memory root aside, so that EverOS makes it anew from its Markdown."""
    root = memory_root(directory)
    if root is None:
        raise ConfigError(
            f"{show_path(directory)} is no EverOS memory root: there is no .index/lancedb.",
            hint="Name the root, such as ~/.everos; other indexes have nothing to be made anew from.",
        )
    index = os.path.join(root, *_INDEX)
    datasets = [read_dataset(path, history=False) for path in find_datasets(index)]
    if not datasets:
        return nothing("lance", directory, f"there is no Lance dataset in {show_path(index)}.")
    chart = Chart("lance", index, "datasets", seen=list(examine(index).seen))
    tree = _read_tree(root)
    _judge(chart, root, tree, [d.path for d in datasets])
    weight = sum(d.bytes for d in datasets)
    target = f"{index}.evicted-{stamp()}"
    chart.loses.append("The vectors of the index: EverOS asks its embedder for all of them again.")
    chart.plan.append(Step("evict", show_path(index), weight))
    summary = (
        f"{counted(tree.files, 'Markdown file')} ({size(tree.bytes)}) in {show_path(root)}, an index of {size(weight)}."
    )
    if not apply or chart.wrong:
        return chart.report(summary)
    refuse_if_held(index, force=force)
    fs = FileSystem()
    fs.rename(index, target)
    fs.makedirs(index)
    fs.sync_directory(os.path.dirname(index))
    chart.done = True
    chart.remarks.append(
        f"Set aside as {show_path(target)}; nothing was deleted. To take it back, end EverOS and run"
        f" `rm -r {shell(index)}; mv {shell(target)} {shell(index)}`."
    )
    chart.remarks.append(
        f"Make it anew while the server is stopped: `everos cascade rebuild --root {shell(root)}`. Then start EverOS"
        f" and look at `everos cascade status`; when all is well, `rm -r {shell(target)}` frees {size(weight)}."
    )
    return chart.report(summary)


def _read_tree(root: str) -> _Tree:
    tree = _Tree()
    for path in _markdown(root, tree):
        tree.files += 1
        tree.paths.add(os.path.relpath(path, root))
        try:
            with open(path, "rb") as file:
                tree.bytes += len(file.read())
        except OSError as e:
            tree.unreadable.append(f"{path}: {e.strerror}")
    return tree


def _markdown(root: str, tree: _Tree) -> Iterator[str]:
    """Each Markdown file of the visible tree: `<app>/<project>/{agents,users,knowledge}`, or one level or two less."""
    stack = [root]
    while stack:
        here = stack.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda e: e.name)
        except OSError as error:
            tree.unreadable.append(f"{here}: {error.strerror}")
            continue
        for e in entries:
            if e.name.startswith("."):
                continue
            if e.is_dir(follow_symlinks=False):
                stack.append(e.path)
            elif e.name.endswith(".md"):
                yield e.path


def _judge(chart: Chart, root: str, tree: _Tree, datasets: list[str]) -> None:
    """Whether the Markdown is whole: only then can the index be made anew from it."""
    name = show_path(root)
    if not tree.files:
        message = "There is no Markdown file in its tree: the index may be all that is left of it."
        chart.wrong.append(Finding("no_markdown", name, message, "Do not evict it; restore the Markdown first."))
    if tree.unreadable:
        message = (
            f"{len(tree.unreadable):,} files cannot be read: {', '.join(map(show_path, tree.unreadable[:_LISTED]))}."
        )
        chart.wrong.append(Finding("markdown_unreadable", name, message, "Check permissions and the disk."))
    for path in datasets:
        missing, why = _missing(path, tree.paths)
        if why:
            chart.unknown.append(
                f"{show_path(os.path.basename(path))}: which files its rows come from is not known ({why})."
            )
        if missing:
            named = ", ".join(map(show_path, sorted(missing)[:_LISTED]))
            files = counted(len(missing), "Markdown file")
            message = f"{show_path(os.path.basename(path))} has rows of {files} that cannot be found: {named}."
            chart.wrong.append(
                Finding("markdown_missing", name, message, "Restore them first: the index is the last copy.")
            )


def _missing(path: str, there: set[str]) -> tuple[set[str], str]:
    """The files that rows name and that are not there, or why that is not known."""
    try:
        with Decoder(path, read_dataset(path, history=False).live_bytes) as rows:
            if _PATH_COLUMN not in rows.schema.names:
                return set(), f"no column {_PATH_COLUMN}"
            named: set[str] = set()
            for batch in rows.batches("its rows cannot be read", columns=[_PATH_COLUMN]):
                named |= {str(v) for v in batch.column(0).to_pylist() if v}
    except ConfigError:
        return set(), "pylance is not installed"
    except HoldfastError as e:
        return set(), e.message.rstrip(".")
    return {n for n in named if os.path.normpath(n) not in there}, ""
