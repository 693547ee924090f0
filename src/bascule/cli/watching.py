"""What `bascule track` does and says. A plain command gets here past the library that parses commands."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bascule.cli.output import document_text, say
from bascule.counting import counted

if TYPE_CHECKING:
    from bascule.verbs import OpenProject

# As a shell says it: a command that was killed by a signal exits with 128 and the signal's number.
SIGNALS = 128
SHOWN = 12
# What an option of ours could look like. `-m` and `--epochs` belong to the command.
_OURS = re.compile(
    r"-[bh].*|--|--(no[-_].*|keep[-_]outputs|json|project|workspace|branch|help|version)(=.*)?", re.DOTALL
)


def plain(words: Sequence[str]) -> list[str] | None:
    """Return the command that is all of some words, or None when one of them could be an option of ours.

    Who tracks a script waits for us before it begins: to import what parses options takes as long as all the rest.
    """
    if words[:1] == ["--"]:
        return list(words[1:]) or None
    return None if not words or any(_OURS.fullmatch(word) for word in words) else list(words)


def watch(project: OpenProject, command: Sequence[str], *, keep_outputs: bool = False, as_json: bool = False) -> int:
    """Track a command, say what it did, and return its exit code."""
    done = project.track(command, keep_outputs=keep_outputs, output=sys.stderr.buffer if as_json else None)
    if as_json:
        import dataclasses

        sys.stdout.write(document_text(dataclasses.asdict(done)))
        return _code(done.exit_code)
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
    sys.stdout.flush()
    say("\n".join(lines))
    return _code(done.exit_code)


def _code(code: int) -> int:
    return code if code >= 0 else SIGNALS - code


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
