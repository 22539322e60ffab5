"""A server on this machine that embeds like OpenAI's and Ollama's do, and that can be told to misbehave."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DIMENSION = 8

Answer = Callable[["Request"], None]


def vector_of(text: str, dimension: int = DIMENSION) -> list[float]:
    """Eight numbers that depend on `text` alone, not of length 1."""
    return [b / 100 - 1.1 for b in hashlib.blake2b(text.encode(), digest_size=dimension).digest()]


class Request(BaseHTTPRequestHandler):
    """One request; what it says is kept by the server in `seen`, and the server's next answer is given."""

    server: Server  # type: ignore[assignment]
    payload: dict[str, Any]

    def do_POST(self) -> None:
        self.payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(self)
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_vectors(self, vectors: list[Any]) -> None:
        if self.path.startswith("/api/embed"):
            answer: dict[str, Any] = {"model": self.payload["model"], "embeddings": vectors}
        else:
            rows = [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(vectors)]
            answer = {"object": "list", "data": rows[::-1], "model": self.payload["model"]}
        self.send(200, json.dumps(answer).encode())

    def log_message(self, *args: object) -> None:
        """Tests print nothing."""


def well(request: Request) -> None:
    """A good answer; OpenAI's in reverse order, which `index` allows."""
    request.send_vectors([vector_of(text) for text in request.payload["input"]])


def status(number: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda request: request.send(number, body, **headers)


def vectors(change: Callable[[list[Any]], list[Any]]) -> Answer:
    """A good answer, changed."""
    return lambda request: request.send_vectors(change([vector_of(text) for text in request.payload["input"]]))


class Server(ThreadingHTTPServer):
    """Gives `answers` in turn, the last of them from then on. `seen` has the requests; `done` ends those that hang."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answers: list[Answer] = [well]
        self.seen: list[Request] = []
        self.done = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *args: object) -> None:
        """A client that gave up is what is tested."""


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.done.set()
        server.shutdown()
        server.server_close()
        thread.join()
