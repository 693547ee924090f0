"""Commands over the pipeline: run, plan, why, and one step for orchestrators."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, columns, not_in_service, say, told
from bascule.cli.running import compare, diff, show
from bascule.counting import counted

run = App(name="run", help="Bring the branch up to date; or show, compare and diff single runs.")
step = App(name="step", help="Single steps, as orchestrators call them.")

for _command in (show, compare, diff):
    run.command(_command)


@run.default
def run_project(
    *,
    force: Annotated[str, Parameter(help="Register the model even if gates refuse it; say why.")] = "",
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], help="No progress.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Bring the branch up to date: ingest, check, features, train, evaluate, register. Only what changed runs."""
    _run(common, None, force, quiet)


@step.command(name="run")
def run_step(
    name: str,
    /,
    *,
    force: Annotated[str, Parameter(help="Register the model even if gates refuse it; say why.")] = "",
    common: Common = COMMON,
) -> int:
    """Run one step if its inputs changed, and print its receipt with --json, also when it fails.

    Args:
        name: the step, such as train; `bascule plan` lists them.
    """
    return _run(common, name, force, quiet=common.json)


def plan(*, common: Common = COMMON) -> None:
    """Show the steps of the pipeline, which of them would run, and why."""
    rows = common.open().plan()
    text = columns([("▸" if r.runs else "=", r.step, r.reason) for r in rows])
    answer(common, [row.as_dict() for row in rows], text)


def why(name: str | None = None, /, *, common: Common = COMMON) -> None:
    """Say why a step would run, or why there is nothing to do: which term of its cache key differs.

    Args:
        name: the step; all are told when not given.
    """
    project = common.open()
    chosen = [project.why(name)] if name else project.plan()
    lines = []
    for row in chosen:
        lines.append(f"{row.step} {'would run' if row.runs else 'has nothing to do'}: {row.reason}.")
        for difference in row.differences if name else ():
            lines += [
                f"    {difference.term}",
                f"      was  {_told(difference.before)}",
                f"      is   {_told(difference.after)}",
            ]
    document = [row.as_dict() for row in chosen]
    answer(common, document[0] if name else document, "\n".join(lines))


def _told(value: object) -> object:
    return "(not there)" if value is None else value


def _run(common: Common, only: str | None, force: str, quiet: bool) -> int:
    import msgspec

    from bascule.cli.progress import TerminalWatcher
    from bascule.errors import BasculeError
    from bascule.project import runner
    from bascule.project.overview import to_deploy
    from bascule.project.place import MAIN

    project = common.open()
    place, branch, watcher = project.place, project.place.branch, TerminalWatcher(quiet)
    try:
        result = runner.run_project(project.file, project.workspace, branch, watcher, only=only, force=force)
    except BasculeError as error:
        if watcher.failed is None or not only or not common.json:
            raise
        answer(common, msgspec.to_builtins(watcher.failed), "")
        say(told(error))
        return error.exit_code
    finally:
        watcher.stop()
    first = result.receipts[0]
    if only:
        answer(common, msgspec.to_builtins(first), f"{only}: {first.status}. {first.summary}")
        return 0
    ran, steps = sum(receipt.status == "ran" for receipt in result.receipts), len(result.receipts)
    where = f"on branch {branch}{place.told}"
    text = (
        f"{ran} of {counted(steps, 'step')} ran in {result.duration_s:.1f} s {where}."
        if ran
        else f"Nothing to do {where}: no step of {steps} has a changed input ({result.duration_s:.1f} s)."
    )
    if branch == MAIN:  # another branch is merged, which brings a first version into service by itself
        commands = to_deploy(place, project.workspace.history.resolve(branch))
        text += "".join(f"\n  {not_in_service(name, command)}" for name, command in commands.items())
    answer(common, result.as_dict(), text)
    return 0
