"""The byte readers: what hostile files ask for they do not get, and nothing in a file can make them fail."""

from __future__ import annotations

import pickle
import random
import resource
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from holdfast.clinic.chroma import graph
from holdfast.clinic.chroma.pickled import Refused, entries, plain
from tests.clinic import chroma_patients as patients

LIST: dict[str, Any] = {
    "dimensionality": 8,
    "total_elements_added": 3,
    "max_seq_id": None,
    "id_to_label": {"a": 1, "é": 2, "x" * 300: 70_000, "big": 1 << 40},
    "label_to_id": {1: "a", 2: "é", 70_000: "x" * 300, 1 << 40: "big"},
    "id_to_seq_id": {},
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_binary_protocol_is_read(protocol: int) -> None:
    found = entries(pickle.dumps(LIST, protocol))
    assert found.labels == LIST["id_to_label"]
    assert (found.added, found.dimension, found.max_seq_id) == (3, 8, None)


class Evil:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.reduced = call, arguments

    def __reduce__(self) -> Any:
        return self.reduced


HOSTILE = {
    "a call": pickle.dumps(Evil(print, "ran")),
    "an old call": pickle.dumps(Evil(print, "ran"), 2),
    "a class": pickle.dumps(OrderedDict(a=1)),
    "a call inside": pickle.dumps({**LIST, "max_seq_id": Evil(eval, "1")}),
    "their package, another name": b"\x80\x02cchromadb.x\nsystem\n)\x81.",
    "another package, their name": b"\x80\x02cos\nPersistentData\n)\x81.",
    "their class called": b"\x80\x02cchromadb.x\nPersistentData\n)R.",
    "their class with arguments": b"\x80\x02cchromadb.x\nPersistentData\nN\x81.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"\x80\x02Px\n.",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_code_is_refused(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refused):
        plain(HOSTILE[kind])
    assert capsys.readouterr().out == ""


def test_their_class_is_a_mapping() -> None:
    state = pickle.dumps(LIST, 2)[2:-1]
    found = entries(
        b"\x80\x02cchromadb.segment.impl.vector.local_persistent_hnsw\nPersistentData\n)\x81" + state + b"b."
    )
    assert found.labels == LIST["id_to_label"]


BOMBS = {
    "a memo of four thousand million": b"\x80\x04\x8c\x01ar\xff\xff\xff\xff.",
    "a text of 2**62 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
    "bytes of 2**62": b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b"x.",
    "a frame of 2**62": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "a number of 2**31 bytes": b"\x80\x02\x8b" + struct.pack("<I", (1 << 31) - 1) + b"x.",
    "ten million lists": b"\x80\x02(" + b"]" * 10_000_000 + b"l.",
    "lists in lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "doubling": b"\x80\x02]" + b"2e" * 90 + b".",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_cost_no_memory(kind: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(BOMBS[kind])
    program = (
        "import sys; from holdfast.clinic.chroma.pickled import *\n"
        "try: entries(open(sys.argv[1], 'rb').read())\n"
        "except Refused: sys.exit(7)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "bomb")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20)), check=False,
    )  # fmt: skip
    assert done.returncode == 7


@pytest.mark.parametrize(
    "change",
    [
        {"id_to_label": {"a": 2, "b": 1}, "label_to_id": {1: "a", 2: "b"}},
        {"id_to_label": {"a": 1}, "label_to_id": {}},
        {"id_to_label": {"a": -1}, "label_to_id": {-1: "a"}},
        {"id_to_label": {"a": "1"}, "label_to_id": {"1": "a"}},
        {"id_to_label": {1: 1}, "label_to_id": {1: 1}},
        {"id_to_label": {"a": True}, "label_to_id": {True: "a"}},
        {"id_to_label": []},
        {"label_to_id": None},
    ],
)
def test_a_list_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        entries(pickle.dumps({**LIST, **change}))


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, ()])
def test_other_things_are_no_list(value: Any) -> None:
    with pytest.raises(Refused):
        entries(pickle.dumps(value))


def test_flipped_bytes_are_refused_or_read_never_an_error() -> None:
    rng = random.Random(4)
    good = pickle.dumps(LIST, 4)
    for _ in range(6_000):
        bad = bytearray(good)
        for _ in range(rng.choice([1, 1, 2, 5])):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        try:
            entries(bytes(bad[: rng.choice([len(bad), rng.randrange(len(bad))])]))
        except Refused:
            continue


def test_flipped_graph_files_are_said_or_read_never_an_error(tmp_path: Path) -> None:
    rng = random.Random(5)
    palace = patients.flushed(tmp_path / "p")
    folder = patients.segment(palace)
    names = [graph.HEADER, graph.HEADER, graph.LINKS, graph.ELEMENTS, graph.LENGTHS, graph.IDS]
    good = {name: (folder / name).read_bytes() for name in names}
    for _ in range(200):
        name = rng.choice(names)
        bad = bytearray(good[name])
        for _ in range(rng.choice([1, 3, 9])):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        (folder / name).write_bytes(bad[: rng.choice([len(bad), rng.randrange(len(bad))])])
        graph.read(str(folder))
        (folder / name).write_bytes(good[name])
    assert graph.read(str(folder)).wrong == []


def test_an_id_list_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    palace = patients.flushed(tmp_path / "p")
    with open(patients.segment(palace) / graph.IDS, "r+b") as file:
        file.truncate(1 << 40)
    (wrong,) = graph.read(str(patients.segment(palace))).wrong
    assert "more than an id list does" in wrong
