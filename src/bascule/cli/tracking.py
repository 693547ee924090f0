"""The commands that record any script: track, and sync for what it could not bring in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer
from bascule.cli.watching import watch


def track(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True, help="The command, after -- if it has our options.")],
    keep_outputs: Annotated[
        bool, Parameter(help="Keep the content of the files that it writes, too.", negative="")
    ] = False,
    common: Common = COMMON,
) -> int:
    """Run any script, unchanged, and record what it read, set, measured and made.

    The command may also be `-m MODULE`, a Python file, a notebook, or one text in quotes for a shell. The exit code
    is the command's own, whatever becomes of the record. With --json what it prints goes to standard error.
    """
    return watch(common.open(), command, keep_outputs=keep_outputs, as_json=common.json)


def sync(
    *journals: Annotated[Path, Parameter(help="Folders of journals; all of this project's if none are named.")],
    follow: Annotated[bool, Parameter(help="Go on until the scripts that still run have ended.", negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Bring in the journals of tracked scripts that could not be brought in when they ended.

    A script that was killed together with its tracker, a workspace that was busy or did not answer, a disk that was
    full: what was written down is kept beside the workspace. Repeated, nothing comes twice.
    """
    done = common.open().sync(journals, follow=follow)
    lines = [f"{one.run}  {one.name}  {one.status}" + (f": {one.problem}" if one.problem else "") for one in done]
    answer(common, [one.as_dict() for one in done], "\n".join(lines) or "Nothing waits to be brought in.")
    return 3 if any(one.problem for one in done) else 0
