"""Embedders that fail: servers that break, lie, hang or leak, and local models that are missing, damaged or starved."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.embed import local, network, post
from holdfast.embed.base import Embedder
from holdfast.embed.choose import Settings, make
from holdfast.embed.local import LocalEmbedder
from holdfast.embed.network import States
from holdfast.embed.words import Tokens
from holdfast.errors import EmbedderDown, EmbedderWrong, HoldfastError, MemoryBudget
from holdfast.model import Input
from tests import tiny_onnx
from tests.embed_server import Answer, Request, Server, serving, status, vector_of, vectors, well

CANARY = "sk-canary-4711-do-not-tell"
KEYS = {"HOLDFAST_EMBEDDER_KEY": CANARY}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "BACKOFF_S", 0.001)


@pytest.fixture(params=["openai", "ollama"])
def embedder(request: pytest.FixtureRequest, server: Server) -> Embedder:
    return remote(server, str(request.param))


def remote(server: Server, kind: str = "openai", **settings: Any) -> Embedder:
    made = make(replace(Settings(f"{kind}:{server.url}", "m", timeout_s=5), **settings), KEYS)
    assert made is not None
    return made


def own(text: str) -> Input:
    return Input(text, 0, len(text), False, b"")


TWO = [own("ant"), own("bee")]


def hang(request: Request) -> None:
    request.server.done.wait()


def drip(request: Request) -> None:
    """A byte of the header now and then, so that no single read takes long."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not request.server.done.wait(0.05):
        request.wfile.write(b"z")
        request.wfile.flush()


def cut_short(request: Request) -> None:
    request.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"data": [')


def hung_up(request: Request) -> None:
    request.connection.close()


def endless(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n[")
    while not request.server.done.is_set():
        request.wfile.write(b"1," * 100_000)


# What helps only for a while is tried again, twice.


@pytest.mark.parametrize("bad", [status(500), status(503), status(429), hung_up, cut_short])
def test_two_failures_are_got_over(embedder: Embedder, server: Server, bad: Answer) -> None:
    server.answers = [bad, bad, well]
    found = embedder.encode(TWO).vectors
    expected = np.array([vector_of("ant"), vector_of("bee")])
    assert np.allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    assert len(server.seen) == 3


@pytest.mark.parametrize("bad", [status(500), status(429, b'{"error": {"message": "slow down"}}'), hung_up, cut_short])
def test_three_failures_are_one_too_many(embedder: Embedder, server: Server, bad: Answer) -> None:
    server.answers = [bad]
    with pytest.raises(EmbedderDown):
        embedder.encode(TWO)
    assert len(server.seen) == 3


@pytest.mark.parametrize("number", [401, 403, 404, 405, 400, 422])
def test_a_refusal_is_not_argued_with(embedder: Embedder, server: Server, number: int) -> None:
    server.answers = [status(number, b'{"error": "no such model"}')]
    with pytest.raises(EmbedderWrong if number in (400, 422) else EmbedderDown) as caught:
        embedder.ask("ant")
    assert f"answered {number} (no such model)." in caught.value.message
    assert len(server.seen) == 1


def test_a_server_that_is_not_there_is_down() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = make(Settings(f"openai:http://127.0.0.1:{port}", "m"), {})
    assert made is not None
    with pytest.raises(EmbedderDown, match="cannot be reached: Connection refused"):
        made.ask("ant")


@pytest.mark.parametrize(("asked", "waited"), [("3", 3.0), ("86400", post.RETRY_AFTER_S), ("soon", 0.0), ("-5", 0.0)])
def test_a_wait_that_is_asked_for_is_kept_within_bounds(server: Server, asked: str, waited: float) -> None:
    waits: list[float] = []
    address = post.Address.parse(server.url, ("/v1/embeddings", "/embeddings"))
    ask = post.Post(address, post.Secret("", ""), sleep=waits.append)
    server.answers = [status(429, Retry_After=asked), well]
    ask({"model": "m", "input": ["ant"]}, 60)
    assert waits == [pytest.approx(waited, abs=0.01)]


def test_a_wait_may_be_a_date() -> None:
    assert post._retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert post._retry_after("Fri, 31 Dec 2149 23:59:59 GMT") == post.RETRY_AFTER_S


def test_a_wait_longer_than_the_call_is_not_waited_for(server: Server) -> None:
    server.answers = [status(503, Retry_After="8")]
    with pytest.raises(EmbedderDown, match="503"):
        remote(server).ask("ant")  # has two seconds
    assert len(server.seen) == 1


# A call ends in time.


@pytest.mark.parametrize("bad", [hang, drip])
def test_a_server_that_hangs_is_given_up(server: Server, bad: Answer, embedder: Embedder) -> None:
    server.answers = [bad]
    embedder._timeout_s = embedder._query_timeout_s = 0.3  # type: ignore[attr-defined]
    for call in (lambda: embedder.ask("ant"), lambda: embedder.encode(TWO)):
        with pytest.raises(EmbedderDown, match="did not answer in time"):
            call()
    assert len(server.seen) == 2


# What comes back is looked at.


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (vectors(lambda v: v[:-1]), "1 vectors for 2"),
        (vectors(lambda v: [*v, v[0]]), "3 vectors for 2"),
        (vectors(lambda v: [v[0], v[1][:-1]]), "different lengths"),
        (vectors(lambda v: [v[0], [float("nan"), *v[1][1:]]]), "NaN"),
        (vectors(lambda v: [v[0], [0.0] * len(v[1])]), "zeros"),
        (vectors(lambda v: [v[0], "QUJD"]), "different lengths"),
        (vectors(lambda v: []), "0 vectors for 2"),
        (status(200, b"<html>"), "no JSON"),
        (status(200, b""), "no JSON"),
        (status(200, b"[" * 200_000), "no JSON"),
        (status(200, b"[]"), "no vectors"),
        (status(200, b"{}"), "no vectors"),
        (status(200, b'{"data": [1, 2], "embeddings": 7}'), "no vectors"),
        (status(200, b'{"data": {"a": 1}, "embeddings": null}'), "no vectors"),
    ],
)
def test_an_answer_that_is_no_set_of_vectors_is_refused(
    embedder: Embedder, server: Server, bad: Answer, named: str
) -> None:
    server.answers = [bad]
    with pytest.raises(EmbedderWrong, match=named):
        embedder.encode(TWO)
    assert len(server.seen) == 1


@pytest.mark.parametrize("places", [[0, 0], [0, 2], [None, 1], ["a", "b"]])
def test_an_order_that_cannot_be_is_refused(server: Server, places: list[Any]) -> None:
    rows = [{"index": n, "embedding": [1.0, 2.0]} for n in places]
    server.answers = [status(200, json.dumps({"data": rows}).encode())]
    with pytest.raises(EmbedderWrong):
        remote(server).encode(TWO)


def test_a_dimension_other_than_the_one_set_is_refused(server: Server) -> None:
    assert remote(server, dimensions=8).ask("ant").vector.shape == (8,)
    assert server.seen[-1].payload["dimensions"] == 8
    with pytest.raises(EmbedderWrong, match="8 numbers instead of 16"):
        remote(server, dimensions=16).ask("ant")


def test_a_dimension_that_changes_within_a_batch_is_refused(embedder: Embedder, server: Server) -> None:
    """From one batch to the next it is another model: fault/test_embedder_faults.py."""
    embedder.encode(TWO)
    server.answers = [well, vectors(lambda v: [row[:4] for row in v])]
    with pytest.raises(EmbedderWrong, match="4 numbers instead of 8"):
        embedder.encode(TWO * 40)
    assert embedder.encode(TWO).vectors.shape == (2, 4)


@pytest.mark.parametrize("bad", [endless, status(200, b"[" + b"1," * 300_000)])
def test_an_answer_without_end_is_not_read_to_its_end(
    embedder: Embedder, server: Server, bad: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post, "RESPONSE_BYTES", 1 << 18)
    server.answers = [bad]
    with pytest.raises(EmbedderWrong, match="more than"):
        embedder.encode(TWO)


# What is sent goes to one place, and holds no more than it must.


def test_a_redirect_is_not_followed(embedder: Embedder, server: Server) -> None:
    with serving() as other:
        for number in (301, 302, 307, 308):
            server.answers = [status(number, Location=f"{other.url}/v1/embeddings")]
            with pytest.raises(EmbedderDown, match="a redirect"):
                embedder.ask("ant")
        assert other.seen == []


def test_no_proxy_is_taken_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        remote(server).ask("ant")
        assert proxy.seen == []


def test_only_own_words_are_sent_with_their_prefix(server: Server) -> None:
    made = remote(server, passage_prefix="passage: ", query_prefix="query: ", dimensions=8)
    text = "before OWN after"
    made.encode([Input(text, 7, 10, True, b""), own(""), own("a\udce4")])
    made.ask("what?")
    assert [r.payload["input"] for r in server.seen] == [
        ["passage: OWN", "passage: .", "passage: a?"],
        ["query: what?"],
    ]
    assert server.seen[0].headers["Authorization"] == f"Bearer {CANARY}"
    assert server.seen[0].payload["model"] == "m"


def test_many_texts_go_in_batches_and_come_back_in_order(embedder: Embedder, server: Server) -> None:
    texts = [f"text {n}" for n in range(150)]
    found = embedder.encode([own(text) for text in texts]).vectors
    assert [len(r.payload["input"]) for r in server.seen] == [64, 64, 22]
    expected = np.array([vector_of(text) for text in texts])
    assert np.allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


ECHOES = [
    status(401, json.dumps({"error": {"message": f"Incorrect API key provided: {CANARY}."}}).encode()),
    status(401, json.dumps({"error": f"bad key {CANARY[:9]}..."}).encode()),
    status(400, json.dumps({"error": "x", "headers": {"authorization": f"Bearer {CANARY}"}}).encode()),
    status(500, f"oops {CANARY}".encode()),
    status(302, Location=f"http://127.0.0.1:9/?key={CANARY}"),
    status(200, CANARY.encode()),
    status(200, json.dumps({"data": CANARY, "embeddings": CANARY}).encode()),
    status(200, json.dumps({"data": [{"embedding": CANARY}], "embeddings": [CANARY]}).encode()),
    lambda request: request.wfile.write(f"{CANARY} {CANARY}\r\n\r\n".encode()),
    lambda request: request.wfile.write(f"HTTP/1.1 {CANARY}\r\n\r\n".encode()),
    hung_up,
]


@pytest.mark.parametrize("echo", ECHOES)
def test_the_key_is_in_no_error(
    embedder: Embedder, server: Server, echo: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers = [echo]
    with pytest.raises(HoldfastError) as caught:
        embedder.ask("ant")
    assert server.seen[0].headers["Authorization"] == f"Bearer {CANARY}"
    told = "".join(traceback.format_exception(caught.value)) + json.dumps(caught.value.to_dict()) + caplog.text
    places = [told, repr(embedder), embedder.identity, repr(vars(embedder)), repr(vars(embedder._post))]  # type: ignore[attr-defined]
    assert not [place for place in places if CANARY[:9] in place]


@pytest.mark.parametrize("number", [401, 403])
def test_a_key_in_place_of_its_variables_name_is_not_shown(server: Server, number: int) -> None:
    server.answers = [status(number)]
    made = make(Settings(f"openai:{server.url}", "m", key_variable="sk_live_4711"), {"PATH": "/bin"})
    assert made
    with pytest.raises(EmbedderDown) as caught:
        made.encode(TWO)
    assert "sk_live_4711" not in str(caught.value)
    assert "embedder_key_variable" in caught.value.hint
    named = make(Settings(f"openai:{server.url}", "m", key_variable="MY_KEY"), {"MY_KEY": "sk"})
    assert named
    with pytest.raises(EmbedderDown, match="MY_KEY"):
        named.encode(TWO)


def test_a_certificate_is_checked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(Settings(f"openai:https://127.0.0.1:{server.server_port}", "m"), {})
    assert made is not None
    with pytest.raises(EmbedderDown, match="cannot be reached"):
        made.ask("ant")
    context = ssl.create_default_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert made._post._context.verify_mode == ssl.CERT_REQUIRED  # type: ignore[attr-defined]
    assert made._post._context.check_hostname  # type: ignore[attr-defined]


# Local models.


def test_without_onnxruntime_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    made = make(Settings(), {})
    assert made is not None
    with pytest.raises(EmbedderDown, match="onnxruntime, which cannot be imported"):
        made.ask("ant")


def test_without_its_files_the_packaged_model_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "PACKAGED", str(tmp_path))
    made = make(Settings(), {})
    assert made is not None
    with pytest.raises(EmbedderDown):
        made.ask("ant")
    with pytest.raises(EmbedderDown):
        _ = made.identity


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"\xff" + b[1:]])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    folder = tiny_onnx.folder(tmp_path / "m")
    made = make(Settings(f"onnx:{folder}"), {})
    assert made is not None
    (tmp_path / "m" / name).write_bytes(damage((tmp_path / "m" / name).read_bytes()))
    with pytest.raises((EmbedderWrong, EmbedderDown), match="cannot be loaded"):
        made.ask("ant")


def test_a_model_repaired_is_loaded_the_next_time(tmp_path: Path) -> None:
    folder = tiny_onnx.folder(tmp_path / "m")
    path = tmp_path / "m" / "model.onnx"
    whole = path.read_bytes()
    path.write_bytes(b"")
    made = LocalEmbedder(folder)
    with pytest.raises(EmbedderWrong):
        made.ask("ant")
    path.write_bytes(whole)
    assert made.ask("ant").vector @ tiny_onnx.state_of("[CLS]", "ant", "[SEP]") > 0.9999


class Starved:
    """A network that has room for `room` texts at a time."""

    token_scale = None
    gives_sentence = False

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []
        self.tokenizer = network.Network(local.PACKAGED, 1).tokenizer

    def run(self, batch: Sequence[Tokens], with_lines: bool) -> list[States]:
        self.tried.append(len(batch))
        if len(batch) > self.room:
            raise MemoryBudget("short")
        return [States(np.array([1.0, len(t)], np.float32), None, None) for t in batch]


def test_a_batch_that_memory_is_short_for_is_halved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, starved = LocalEmbedder(), Starved(4)
    monkeypatch.setattr(made, "_loaded", lambda: starved)
    assert len(made.encode([own("ant")] * 8).vectors) == 8
    assert starved.tried == [8, 4, 4]
    starved.room, starved.tried = 3, []
    with pytest.raises(MemoryBudget):
        made.encode([own("ant")] * 8)
    assert starved.tried == [8, 4]
    starved.room, starved.tried = 0, []
    with pytest.raises(MemoryBudget):
        made.ask("ant")
    assert starved.tried == [1]


LITTLE = """
import resource, sys
from holdfast.embed.local import LocalEmbedder
from holdfast.errors import MemoryBudget
from holdfast.model import Input
made = LocalEmbedder(threads=1)
made.ask("warm")
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (1 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
text = "word " * 250
try:
    made.encode([Input(text, 0, len(text), False, b"")] * 2)
except MemoryBudget as e:
    print("MemoryBudget", e.hint)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space is Linux's")
def test_a_real_limit_of_memory_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", LITTLE], capture_output=True, text=True)
    assert done.stdout.startswith("MemoryBudget"), done.stderr


def test_the_time_of_a_call_includes_its_retries(server: Server) -> None:
    server.answers = [status(500)]
    address = post.Address.parse(server.url, ("/v1/embeddings", "/embeddings"))
    with pytest.raises(EmbedderDown):
        post.Post(address, post.Secret("", ""), sleep=time.sleep, retries=1_000_000)({"model": "m"}, 0.2)
