"""What `.basculeignore` says: files of a folder that a set does not take, in gitignore's syntax."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bascule.errors import InputError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

FILE = ".basculeignore"


class Ignored:
    """The rules of the folders that a walk has come through. As in git, the innermost that says something decides."""

    def __init__(self) -> None:
        self._rules: list[tuple[str, GitIgnoreSpec]] = []

    def enter(self, folder: Path, prefix: str, has_rules: bool) -> None:
        """Come into a folder, whose paths begin with `prefix`; forget the rules of those that were left."""
        while self._rules and not prefix.startswith(self._rules[-1][0]):
            self._rules.pop()
        if has_rules:
            self._rules.append((prefix, _read(folder / FILE)))

    def __bool__(self) -> bool:
        return bool(self._rules)

    def __contains__(self, path: str) -> bool:
        for prefix, rules in reversed(self._rules):
            said = rules.check_file(path[len(prefix) :]).include
            if said is not None:
                return bool(said)
        return False


def _read(file: Path) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # it takes longer to import than most folders have use for it

    try:
        return GitIgnoreSpec.from_lines(file.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}", hint="It has one gitignore pattern a line.") from error
