"""The process of one required check: `python -m bascule.project.callee`, spoken to by `required`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from bascule.contracts.alone import begin
from bascule.contracts.apart import send
from bascule.errors import BasculeError, CheckFailed, InputError, NotFound
from bascule.functions import load_function
from bascule.history import Change
from bascule.history.commits import Object

Talk = Callable[[dict[str, Any]], tuple[dict[str, Any], pa.Table | None]]


class State:
    """The state that would land, as a check sees it; see `required.MergedState`.

    Attributes:
        into: the branch that it would land on.
        changes: what would change there.
    """

    def __init__(self, asked: dict[str, Any], talk: Talk) -> None:
        self.into: str = asked["into"]
        self.changes = tuple(Change(**change) for change in asked["changes"])
        self._talk = talk

    def read(self, path: str) -> Object | None:
        """Return the object at a path, such as `tables/flights`, or None."""
        found: Object | None = self._ask("read", path)[0]["object"]
        return found

    def sql(self, query: str) -> pa.Table:
        """Run a query; a table without a ref is the one that would land, `flights@main` the one that is there now.

        Raises:
            InputError, NotFound: the query cannot run.
        """
        return self._ask("sql", query)[1]

    def _ask(self, kind: str, text: str) -> tuple[dict[str, Any], pa.Table]:
        said, found = self._talk({"query": text, "kind": kind})
        if "error" in said:
            raise (_Absent if said["absent"] else InputError)(said["error"], hint=said["hint"])
        return said, found


class _Absent(NotFound):
    """What is not there, in the words of the one who looked."""

    def __init__(self, message: str, hint: str) -> None:
        InputError.__init__(self, message, hint=hint)
        self.kind = self.name = ""


def main() -> None:
    """Read what to call, call it, and say what it returned."""
    asked, talk, out = begin()
    name = asked["name"]
    try:
        said = load_function(name, Path(asked["folder"]))(State(asked, talk))
    except BasculeError as error:
        failed = isinstance(error, CheckFailed)
        send(out, {"refused": error.message, "hint": error.hint, "failed": failed})
    except Exception as error:
        hint = "It is called with the merged state, which has changes, read(path) and sql(query)."
        said = f"The check {name!r} failed: {type(error).__name__}: {error}."
        send(out, {"refused": said, "hint": hint, "failed": False})
    else:
        if isinstance(said, pa.Table):
            send(out, {"kind": "table"}, said)
        elif said is None or isinstance(said, bool | str):
            send(out, {"kind": "plain", "said": said})
        else:
            send(out, {"kind": "other", "said": f"{type(said).__name__} {str(said)[:60]!r}"})


if __name__ == "__main__":
    main()
