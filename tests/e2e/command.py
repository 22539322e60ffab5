"""Run the installed command, and compare JSON with the shapes of the interface."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from tests.e2e.warm import Warm

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "vault"
COMMAND = str(Path(sys.executable).parent / "holdfast")

TIMEOUT_S = 60


@dataclass(frozen=True)
class Done:
    """How one run of the command ended."""

    exit: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        assert self.out.count("\n") == 1, self
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The one line on stderr as an error of the interface."""
        assert self.out == "", self
        assert self.err.count("\n") == 1, self
        assert self.err.endswith("\n"), self
        found: dict[str, Any] = json.loads(self.err)
        check(found, {"error": {"kind": str, "message": str, "hint": str, "retryable": bool, "exit": int}})
        assert found["error"]["exit"] == self.exit, self
        return dict(found["error"])


@dataclass(frozen=True)
class Command:
    """The command with an environment of its own: the state directory, the vault, where it is run.

    Run by a process that is warm already, unless `is_cold`: then it is the installed script, started from nothing.
    """

    warm: ClassVar[Warm | None] = None

    state: Path
    vault: Path | None = None
    cwd: Path | None = None
    more: dict[str, str] = field(default_factory=dict)
    is_cold: bool = False

    @property
    def env(self) -> dict[str, str]:
        """The environment of the command; nothing of the user's but the PATH."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.state),
            "HOLDFAST_STATE": str(self.state),
            "HOLDFAST_DATA": f"{self.state}-history",
            "HOLDFAST_BACKGROUND": "0",
            "HOLDFAST_EMBEDDER": "none",
            "PYTHONWARNINGS": "error",
            "LC_ALL": "C.UTF-8",
        }
        if self.vault is not None:
            env["HOLDFAST_VAULT"] = str(self.vault)
        return env | self.more

    def __call__(self, *args: str | bytes, **more: str) -> Done:
        """Run it with `args`; `more` is added to the environment. Never accepts a traceback."""
        cwd = str(self.cwd or self.state)
        if self.warm is None or self.is_cold:
            done = subprocess.run(
                [COMMAND, *args],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd=cwd,
                env=self.env | more,
                timeout=TIMEOUT_S,
                check=False,
            )
            code, out, err = done.returncode, done.stdout, done.stderr
        else:
            code, out, err = self.warm.run([os.fsdecode(a) for a in args], self.env | more, cwd)
        # Strict: what the command prints is UTF-8, whatever the locale.
        shown = Done(code, out.decode("utf-8"), err.decode("utf-8"))
        assert "Traceback" not in shown.err, shown.err
        return shown

    @property
    def cold(self) -> Command:
        """The same command, started from nothing each time."""
        return replace(self, is_cold=True)

    def on(self, vault: Path) -> Command:
        """The same command for another vault."""
        return replace(self, vault=vault)


# Shapes. A type is itself; a dict has exactly these keys; [x] is a list of x; Each(x) is a dict of x by any name.
# A key that ends in "?" may be missing. A callable that is no type says whether the value is right.


@dataclass(frozen=True)
class Each:
    """A dictionary whose values all have one shape."""

    shape: Any


def maybe(shape: Any) -> Callable[[Any], bool]:
    """The shape, or null."""
    return lambda value: value is None or fits(value, shape)


def is_digest(value: Any) -> bool:
    """`b2-` and 32 hexadecimal digits."""
    return isinstance(value, str) and re.fullmatch(r"b2-[0-9a-f]{32}", value) is not None


def is_time(value: Any) -> bool:
    """RFC 3339 in UTC."""
    return isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value) is not None


def is_number(value: Any) -> bool:
    """A number, whole or not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_value(value: Any) -> bool:
    """A value of frontmatter: text or null, in lists and mappings."""
    if isinstance(value, list):
        return all(map(is_value, value))
    if isinstance(value, dict):
        return all(isinstance(k, str) and is_value(v) for k, v in value.items())
    return value is None or isinstance(value, str)


def one_of(*values: Any) -> Callable[[Any], bool]:
    """One of these values."""
    return lambda value: value in values


def check(value: Any, shape: Any) -> None:
    """Assert that `value` has the shape; says every place where it has not."""
    assert not list(misfits(value, shape, "$"))


def fits(value: Any, shape: Any) -> bool:
    """Whether `value` has the shape."""
    return not list(misfits(value, shape, "$"))


def misfits(value: Any, shape: Any, where: str) -> Iterator[str]:
    """Where `value` differs from the shape."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{where}: {value!r} is no object"
            return
        names = {name.removesuffix("?"): name for name in shape}
        yield from (f"{where}.{k}: unexpected" for k in value if k not in names)
        for plain, name in names.items():
            if plain in value:
                yield from misfits(value[plain], shape[name], f"{where}.{plain}")
            elif plain == name:
                yield f"{where}.{plain}: missing"
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{where}: {value!r} is no list"
            return
        for i, item in enumerate(value):
            yield from misfits(item, shape[0], f"{where}[{i}]")
    elif isinstance(shape, Each):
        if not isinstance(value, dict):
            yield f"{where}: {value!r} is no object"
            return
        for key, item in value.items():
            yield from misfits(item, shape.shape, f"{where}.{key}")
    elif isinstance(shape, type):
        if not isinstance(value, shape) or (isinstance(value, bool) and shape is not bool):
            yield f"{where}: {value!r} is no {shape.__name__}"
    elif not shape(value):
        yield f"{where}: {value!r} is not {getattr(shape, '__name__', 'what is allowed')}"
