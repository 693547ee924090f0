"""Taking versions out of a model as clients of other registries do: at once, with the aliases that point to them.

They can be restored as those that `bascule model delete` takes, until they are purged.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from bascule.errors import Conflict
from bascule.history import Commit, Workspace
from bascule.naming import model_path
from bascule.registry import deletions
from bascule.registry.external import Object, find_model, find_version, touched
from bascule.registry.register import TRIES, busy

# Such a client asks for no reason.
REASON = "a client of the registry asked for it"


def delete_model(ws: Workspace, branch: str, model: str, *, author: str, reason: str = REASON) -> None:
    """Take a model with its versions from a branch.

    Raises:
        NotFound: there is none.
    """
    for _ in range(TRIES):
        found = find_model(ws, branch, model)
        numbers = sorted(int(number) for number in found["versions"])
        if _landed(ws, branch, found, None, numbers, f"Delete the model {model}", author, reason):
            return
    raise busy(model)


def delete_version(ws: Workspace, branch: str, model: str, version: str, *, author: str, reason: str = REASON) -> None:
    """Take a version from a model.

    Raises:
        NotFound: there is none.
    """
    for _ in range(TRIES):
        found = find_model(ws, branch, model)
        number = int(find_version(found, version)["version"])
        message = f"Delete version {number} of the model {model}"
        if _landed(ws, branch, found, touched(without(found, [number])), [number], message, author, reason):
            return
    raise busy(model)


def without(model: Object, numbers: Sequence[int]) -> Object:
    """Return a model's object without some versions, the aliases that point to them and what answers for them."""
    gone = {str(number) for number in numbers}
    versions = {number: entry for number, entry in model["versions"].items() if number not in gone}
    aliases = {alias: number for alias, number in model["aliases"].items() if str(number) not in gone}
    chosen = {number: one for number, one in model.get("runtimes", {}).items() if number not in gone}
    rest = {key: value for key, value in model.items() if key != "runtimes"}
    return {**rest, "versions": versions, "aliases": aliases, **({"runtimes": chosen} if chosen else {})}


def _landed(
    ws: Workspace,
    branch: str,
    before: Object,
    after: Object | None,
    numbers: Sequence[int],
    message: str,
    author: str,
    reason: str,
) -> bool:
    """Commit a model without versions, with their records; tell whether nobody else was first."""
    path = model_path(before["name"])
    digest = ws.history.digest(branch, path)
    if digest is None or ws.history.object(digest) != before:
        return False

    def also(conn: Connection, commit: Commit) -> None:
        deletions.note(conn, branch, before, numbers, reason, author, commit)

    try:
        ws.history.commit(
            branch,
            {path: after},
            message=message,
            author=author,
            expect={path: digest},
            action=deletions.DELETE,
            also=also,
        )
    except Conflict:
        return False
    return True
