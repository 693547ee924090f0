"""What answers for a version instead of its own library: chosen beside it, never in it, and taken back the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from bascule.errors import Conflict, InputError, NotFound
from bascule.history import Commit, Workspace
from bascule.naming import model_path
from bascule.registry.register import TRIES, busy

Object = dict[str, Any]
Also = Callable[[Connection, Commit], None]


def set_runtime(
    ws: Workspace,
    branch: str,
    model: str,
    version: int,
    runtime: Mapping[str, Any] | None,
    *,
    message: str,
    author: str | None = None,
    also: Also | None = None,
) -> Commit:
    """Say what answers for a version on a branch, or with None that its own library does.

    The version's own entry stays as it is, byte for byte; the commit is in the audit log as `runtime`.

    Args:
        runtime: `recipe`, `evidence` (a digest in the store), and what else there is to know.
        also: writes records in the same transaction.

    Raises:
        NotFound: there is no such version.
        InputError: there is nothing to take back.
    """
    path, number = model_path(model), str(version)
    for _ in range(TRIES):
        before = ws.history.digest(branch, path)
        found = ws.history.get(branch, path)
        if number not in found["versions"]:
            raise NotFound(f"version of {model!r}", number, found["versions"])
        held = dict(found.get("runtimes", {}))
        if runtime is None and number not in held:
            raise InputError(
                f"{model}@{number} is answered by its own library.",
                hint="There is nothing to undo; bascule optimize looks for something faster.",
            )
        if runtime is None:
            del held[number]
        else:
            held[number] = dict(runtime)
        rest = {key: value for key, value in found.items() if key != "runtimes"}
        try:
            return ws.history.commit(
                branch,
                {path: {**rest, **({"runtimes": held} if held else {})}},
                message=message,
                author=author,
                expect={path: before},
                action="runtime",
                also=also,
            )
        except Conflict:
            continue
    raise busy(model)


def engines_of(runtime: Mapping[str, Any] | None) -> str:
    """Return in words what answers by a choice: the engines' names."""
    stages = (runtime or {}).get("recipe", {}).get("stages", ())
    return ", ".join(str(stage["engine"]["name"]) for stage in stages) or "its own library"


def left_behind(model: Mapping[str, Any], before: int, after: int) -> str:
    """Return the engines that were chosen for one version and not for the next; empty when nothing is lost.

    Args:
        model: the object of the history.
    """
    chosen = model.get("runtimes", {})
    return engines_of(chosen[str(before)]) if str(before) in chosen and str(after) not in chosen else ""


def blobs_of(runtime: Mapping[str, Any]) -> Iterator[str]:
    """Yield the digests of the files in the store that a runtime needs, and of its evidence."""
    for stage in runtime.get("recipe", {}).get("stages", ()):
        artifact = stage.get("engine", {}).get("artifact")
        if artifact:
            yield str(artifact)
    if runtime.get("evidence"):
        yield str(runtime["evidence"])
