"""JSON posted to one address, with bounds on everything: time, bytes, and how often it is tried.

The connection is Python's own `http.client`: no proxy is taken from the environment, no redirect is followed, and a
certificate is checked. The key is in one header and nowhere else: no error, identity or repr has it, and what a server
says is left out where it has any part of the key.
"""

from __future__ import annotations

import http.client
import io
import json
import random
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit

from holdfast.errors import ConfigError, EmbedderDown, EmbedderWrong

RETRIES = 2
BACKOFF_S = 0.2
RETRY_AFTER_S = 10.0
RESPONSE_BYTES = 32 << 20
"""64 vectors of 4096 numbers of 22 characters are 6 MB."""

PIECE_BYTES = 1 << 16
SAID = 160
"""Characters of a server's own words in an error."""

KEY_PART = 6
"""So many characters of the key in a row make a server's words unfit to be shown."""

_SHORT_BODY = 4096
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class Secret:
    """A key that does not show itself; empty if there is none. `name` is the variable it came from."""

    value: str = field(repr=False)
    name: str

    @classmethod
    def parse(cls, text: str, name: str) -> Secret:
        """`text` without the space around it; raises ConfigError, without it, if it cannot be in a header."""
        text = text.strip()
        if not (text.isascii() and text.isprintable()):
            raise ConfigError(f"The key in {name} has characters that no key has.", hint=f"Set {name} again.")
        return cls(text, name)

    def is_in(self, text: str) -> bool:
        """Whether any part of the key is in `text`."""
        last = max(len(self.value) - KEY_PART, 0)
        return bool(self.value) and any(self.value[n : n + KEY_PART] in text for n in range(last + 1))


@dataclass(frozen=True, slots=True)
class Address:
    """Where to post: `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, url: str, place: tuple[str, str]) -> Address:
        """The address of `place` under `url`: (the path on a bare host, the last part that a path must end in)."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as e:
            raise ConfigError("The embedder's address is no URL.") from e
        if parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable():
            raise ConfigError("The embedder's address is no http or https URL.")
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                "The embedder's address has a name or password in it.",
                hint="Put the key into an environment variable and name it in `embedder_key_variable`.",
            )
        bare, end = place
        path = parts.path.rstrip("/")
        path = bare if not path else path if path.endswith(end) else path + end
        if " " in url:
            raise ConfigError("The embedder's address has a space in it.")
        target = path + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), target)

    @property
    def shown(self) -> str:
        """For identities and errors: without the query, which may hold a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.target.partition('?')[0]}"


class Post:
    """Posts to one address. May be used from several threads: each call has a connection of its own."""

    def __init__(
        self, address: Address, key: Secret, *, sleep: Callable[[float], None] = time.sleep, retries: int = RETRIES
    ) -> None:
        self.address = address
        self._key = key
        self._sleep = sleep
        self._retries = retries
        self._context: ssl.SSLContext | None = None

    def __call__(self, payload: dict[str, Any], timeout_s: float) -> Any:
        """The answer to `payload`; everything, retries included, is over within `timeout_s`.

        Tried again: a status that says so, and a connection that is refused or breaks. Raises EmbedderDown, and
        EmbedderWrong for an answer that is no JSON or too long.
        """
        body = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
        deadline = time.monotonic() + timeout_s
        for n in range(self._retries + 1):
            wait_s = BACKOFF_S * 2**n * random.uniform(0.5, 1.5)  # noqa: S311 (spreads retries, keeps no secret)
            try:
                answer = self._once(body, deadline)
            except _Again as e:
                wait_s, problem = max(wait_s, e.wait_s), EmbedderDown(e.message, hint=e.hint)
                cause: BaseException | None = e.__cause__
            else:
                return self._parsed(answer)
            if n == self._retries or time.monotonic() + wait_s >= deadline:
                break
            self._sleep(wait_s)
        raise problem from cause

    def _once(self, body: bytes, deadline: float) -> bytes:
        who = self.address.shown
        connection = self._connection(deadline)
        try:
            connection.connect()
            connection.request("POST", self.address.target, body, self._headers())
            response = http.client.HTTPResponse(cast(socket.socket, _Timed(connection.sock, deadline)), method="POST")
            response.begin()
            limit = RESPONSE_BYTES if response.status == 200 else _SHORT_BODY
            said = _read(response, limit, who)
        except TimeoutError as e:
            raise EmbedderDown(f"{who} did not answer in time.") from e
        except ssl.SSLCertVerificationError as e:
            hint = "Correct the address, or give Python the server's certificate; keyword search goes on."
            raise EmbedderDown(f"The certificate of {who} is not valid: {e.verify_message}.", hint=hint) from e
        except OSError as e:
            raise _Again(f"{who} cannot be reached: {e.strerror or type(e).__name__}.") from e
        except http.client.HTTPException as e:
            # Not chained: it holds what the server said, which may be the key.
            raise _Again(f"{who} cannot be reached: {type(e).__name__}.") from None
        finally:
            connection.close()
        if response.status == 200:
            return said
        raise self._refusal(response, said)

    def _connection(self, deadline: float) -> http.client.HTTPConnection:
        timeout_s = deadline - time.monotonic()
        if timeout_s <= 0:
            raise EmbedderDown(f"{self.address.shown} did not answer in time.")
        if self.address.scheme == "http":
            return http.client.HTTPConnection(self.address.host, self.address.port, timeout=timeout_s)
        if self._context is None:
            self._context = ssl.create_default_context()
        return http.client.HTTPSConnection(
            self.address.host, self.address.port, timeout=timeout_s, context=self._context
        )

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
        if self._key.value:
            headers["Authorization"] = f"Bearer {self._key.value}"
        return headers

    def _refusal(self, response: http.client.HTTPResponse, said: bytes) -> Exception:
        """What an answer other than 200 means."""
        who, status = self.address.shown, response.status
        message = f"{who} answered {status}{self._words(said)}."
        if status in _AGAIN:
            return _Again(message, wait_s=_retry_after(response.getheader("Retry-After")))
        if 300 <= status < 400:
            hint = "Redirects are not followed; put the address that serves the model into the settings."
            return EmbedderDown(f"{who} answered {status}, a redirect.", hint=hint)
        if status in (401, 403):
            return EmbedderDown(message, hint=f"Check the key in {self._key.name}; keyword search goes on.")
        if status in (400, 413, 422):
            return EmbedderWrong(message)
        return EmbedderDown(message)

    def _words(self, said: bytes) -> str:
        """The server's own words, as the end of a sentence; nothing if they have any part of the key."""
        text = said.decode("utf-8", "replace")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return ""
        for name in ("error", "message", "detail"):
            if isinstance(found, dict) and name in found:
                found = found[name]
        if not isinstance(found, str) or self._key.is_in(text) or self._key.is_in(found):
            return ""
        line = "".join(c if c.isprintable() else " " for c in found[:SAID]).strip(" .")
        return f" ({line})" if line else ""

    def _parsed(self, answer: bytes) -> Any:
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            # Not chained: the error holds the whole answer, which is any server's words.
            raise EmbedderWrong(f"{self.address.shown} answered with something that is no JSON.") from None


class _Again(Exception):
    """It may go better the next time."""

    def __init__(self, message: str, *, hint: str = "", wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.message, self.hint, self.wait_s = message, hint, wait_s


class _Timed(io.RawIOBase):
    """A socket as `HTTPResponse` wants it: each read waits no longer than until `deadline`.

    A timeout of the socket's own is for one read, and a server that sends a byte a second would never meet it.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(self, PIECE_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)


def _read(response: http.client.HTTPResponse, limit: int, who: str) -> bytes:
    """The body, whole; of an answer other than 200 as much of it as `limit`. Raises EmbedderWrong if it is longer."""
    out = bytearray()
    while piece := response.read(min(PIECE_BYTES, limit + 1 - len(out))):
        out += piece
        if len(out) > limit:
            if response.status != 200:
                break
            raise EmbedderWrong(f"{who} answered with more than {limit >> 20} MiB.")
    if response.length and response.status == 200:
        raise http.client.IncompleteRead(b"", response.length)
    return bytes(out[:limit])


def _retry_after(value: str | None) -> float:
    """Seconds to wait, at most RETRY_AFTER_S; 0 if nothing is asked."""
    if value is None:
        return 0.0
    try:
        asked = float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(asked, 0.0), RETRY_AFTER_S)
