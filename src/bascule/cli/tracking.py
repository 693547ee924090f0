"""The command that records any script: track."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, say


def track(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True, help="The command, after -- if it has our options.")],
    common: Common = COMMON,
) -> int:
    """Run any script, unchanged, and record what it read, set, measured and made.

    The exit code is the command's own. With --json what it prints goes to standard error.
    """
    import dataclasses

    from bascule.tracking.ambient import track as launch

    place = common.place()
    output = sys.stderr.buffer if common.json else None
    done = launch(place.workspace, place.folder, command, place.branch, output=output)
    lines = [
        f"{done.run_id}  exit {done.exit_code}  {done.duration_s:.1f} s",
        f"  read   {', '.join(done.inputs) or 'no files'}",
        f"  wrote  {', '.join(done.outputs) or 'no files'}",
        f"  {done.params} parameters, {len(done.models)} models"
        + "".join(f", {key} {value:.4g}" for key, value in done.metrics.items()),
    ]
    if common.json:
        answer(common, dataclasses.asdict(done), "")
    else:
        sys.stdout.flush()
        say("\n".join(lines))
    return done.exit_code
