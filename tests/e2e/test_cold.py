"""The installed script, started from nothing, says the same as the warm process of the other tests."""

from __future__ import annotations

import pytest

from tests.e2e.command import Command


@pytest.mark.parametrize(
    "args",
    [
        ["--version"],
        ["--help"],
        ["recall", "What is Elin allergic to?", "--json", "--no-sync"],
        ["read", "profile.md", "--json"],
        ["list", "--json"],
        ["parse", "/no/such.md"],
        ["read", "nosuch", "--json"],
        ["nosuch"],
    ],
    ids=lambda args: args[0],
)
def test_cold_equals_warm(holdfast: Command, args: list[str]) -> None:
    assert holdfast.warm is not None
    assert holdfast.cold(*args) == holdfast(*args)
