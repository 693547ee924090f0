"""The commands that record any script: track, and sync for what it could not bring in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, say
from bascule.counting import counted

# As a shell says it: a command that was killed by a signal exits with 128 and the signal's number.
SIGNALS = 128
SHOWN = 12


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
    done = common.open().track(command, keep_outputs=keep_outputs, output=sys.stderr.buffer if common.json else None)
    lines = [
        f"{done.run_id}  exit {done.exit_code}  {done.duration_s:.1f} s",
        f"  read   {_some(list(done.inputs)) or 'no files'}",
        f"  wrote  {_some(list(done.outputs)) or 'no files'}",
        f"  {counted(done.params, 'parameter')}, {counted(len(done.models), 'model')}"
        + "".join(f", {key} {value:.4g}" for key, value in done.metrics.items()),
    ]
    lines += [f"  {line}" for line in done.warnings]
    if done.problem is not None:
        lines = [f"{done.run_id or 'not recorded'}  exit {done.exit_code}  {done.duration_s:.1f} s"]
        lines.append(f"  not in the records yet: {done.problem}")
        if done.journal is not None:
            lines.append(f"  kept in {done.journal}; bring it in, from the project, with: bascule sync {done.journal}")
    if common.json:
        import dataclasses

        answer(common, dataclasses.asdict(done), "")
    else:
        sys.stdout.flush()
        say("\n".join(lines))
    return done.exit_code if done.exit_code >= 0 else SIGNALS - done.exit_code


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


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
