"""What a pass over the notes did, as numbers and as a list of what was skipped."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.model import show_path


@dataclass(slots=True)
class Counts:
    """What a pass did so far; `moved_from` are keys whose files were found under other names."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    moved: int = 0
    unchanged: int = 0
    files_read: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    explained: list[tuple[str, str]] = field(default_factory=list)
    moved_from: set[bytes] = field(default_factory=set)

    def numbers(self) -> tuple[int, int, int, int, int, dict[str, int]]:
        """What can be counted wrongly by a transaction that fails."""
        return self.added, self.changed, self.removed, self.moved, self.unchanged, dict(self.skipped)

    def take_back(self, numbers: tuple[int, int, int, int, int, dict[str, int]]) -> None:
        """Count again as it was at `numbers`."""
        self.added, self.changed, self.removed, self.moved, self.unchanged, self.skipped = numbers

    @property
    def dealt_with(self) -> int:
        """Files that need not be looked at again by this pass."""
        return self.added + self.changed + self.moved + self.unchanged + sum(self.skipped.values())

    def skip(self, reason: str, path: str = "", count: int = 1) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + count
        if path:
            self.explain(reason, path)

    def explain(self, reason: str, path: str) -> None:
        """Say something of a file that is in the index like all others."""
        if len(self.explained) < 1000:
            self.explained.append((show_path(path), reason))
