"""Where things are that belong to a vault: its root, its settings, the user's settings, indexes and histories."""

from __future__ import annotations

import os
from collections.abc import Mapping

from holdfast.errors import ConfigError, NotFound
from holdfast.files.fs import FileSystem

SETTINGS = ".holdfast/config.toml"


def read_settings(fs: FileSystem, root: str) -> str | None:
    """The text of the vault's settings file, or None if it has none."""
    return read_text(fs, f"{root}/{SETTINGS}")


def user_settings(environ: Mapping[str, str]) -> str:
    """The path of the user's own settings file: HOLDFAST_CONFIG, or where the system keeps such files."""
    if environ.get("HOLDFAST_CONFIG"):
        return environ["HOLDFAST_CONFIG"]
    if environ.get("XDG_CONFIG_HOME"):
        return environ["XDG_CONFIG_HOME"] + "/holdfast/config.toml"
    from platformdirs import user_config_dir

    return user_config_dir("holdfast", appauthor=False) + "/config.toml"


def read_text(fs: FileSystem, path: str) -> str | None:
    """The text of a file, None if there is none; raises ConfigError where it may not be read."""
    try:
        fd = fs.open_read(path)
        try:
            return fs.read_all(fd).decode("utf-8", "replace")
        finally:
            fs.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise ConfigError(f"{path} cannot be read: {e.strerror}.") from e


def find_vault(fs: FileSystem, start: str) -> str:
    """The nearest folder from `start` upward that holds `.holdfast/`; raises NotFound."""
    at = fs.realpath(start)
    while True:
        try:
            fs.lstat(f"{at}/.holdfast")
            return at
        except OSError:
            pass
        above = os.path.dirname(at)
        if above == at:
            raise NotFound(
                f"There is no vault in {start} or above it.",
                hint="Run `holdfast init` in your folder of notes, or name it with --vault DIR.",
            )
        at = above


def default_state_dir(environ: Mapping[str, str]) -> str:
    """Where indexes are kept unless told otherwise: $XDG_STATE_HOME/holdfast, or what the system uses for it."""
    if environ.get("XDG_STATE_HOME"):
        return environ["XDG_STATE_HOME"] + "/holdfast"
    from platformdirs import user_state_dir

    return user_state_dir("holdfast", appauthor=False)


def default_history_dir(environ: Mapping[str, str]) -> str:
    """Where histories are kept: HOLDFAST_DATA, $XDG_DATA_HOME/holdfast, or what the system uses for data of users."""
    if environ.get("HOLDFAST_DATA"):
        return environ["HOLDFAST_DATA"]
    if environ.get("XDG_DATA_HOME"):
        return environ["XDG_DATA_HOME"] + "/holdfast"
    from platformdirs import user_data_dir

    return user_data_dir("holdfast", appauthor=False)
