"""Writes that go straight to a protected branch: what a merge would be held to, they are held to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bascule.history import Change, Commit, Staged, Workspace
from bascule.history.commits import Guard, Object
from bascule.project.holding import check_staged
from bascule.project.required import check_required, required_in


def admission(workspace: Workspace, branch: str, folder: Path | None = None) -> Guard:
    """Return what looks at a change of a branch before it lands: on a protected one, contracts, keys,
    and the checks that the project itself requires.

    It is told the commit that the change is staged on and the objects that would change, by path (None: removed). It
    raises `CheckFailed` to refuse them, with the failing rows, and returns what else it looked at: path to digest. That
    must be unchanged when the change lands, and no contract or table may have come that it would have looked at.

    Args:
        folder: the project's, whose file says what else is required; read anew at each change.
    """
    refused = f"Nothing is written to {branch!r}"

    def admit(head: Commit, changes: Mapping[str, Object | None]) -> Mapping[str, str | None]:
        history = workspace.history
        named = history.named(branch)
        if named is None or not named.protected:
            return {}
        looked_at: dict[str, str | None] = {}

        def read(path: str) -> Object | None:
            looked_at[path] = history.digest(head, path)
            return history.read(head, path)

        def depend(prefix: str) -> None:
            looked_at[f"{prefix}*"] = history.listing(head, prefix)  # also what is not there yet

        def entries(prefix: str) -> list[tuple[str, Object]]:
            depend(prefix)
            return history.entries(head, prefix)

        told = tuple(Change.of(path, history.read(head, path), after) for path, after in sorted(changes.items()))
        staged = Staged(head, head, told, read, entries, depend)
        check_staged(
            workspace,
            staged,
            refused,
            f"{branch!r} is unchanged.",
            "Write to a branch of your own, repair the data there, and merge it.",
        )
        required = required_in(folder)
        if required is not None:
            check_required(workspace, required, staged, branch, refused)
        return looked_at

    return admit
