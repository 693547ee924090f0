"""Commands for continuous integration: ci init, run, ready, comment, lint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common, NotNegative
from bascule.cli.output import answer, say

ci = App(name="ci", help="Continuous integration: a pipeline file, the run of a pull request, its one comment.")


@ci.command
def init(
    forge: Literal["github", "gitlab", "jenkins"],
    /,
    *,
    main: Annotated[str, Parameter(help="What git calls the branch that the others are merged into.")] = "main",
    force: Annotated[bool, Parameter(help="Replace a file that is there.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Write a working pipeline file: pull requests are run, checked and told of, and the main branch is followed.

    Args:
        forge: the CI server.
    """
    done = common.open().ci_init(forge, main=main, force=force)
    lines = [f"Wrote {done.file}. Commit it; then tell the server these, where you have them:"]
    lines += [f"  {name}: {why}" for name, why in done.secrets.items()]
    answer(common, {"file": str(done.file), "secrets": done.secrets}, "\n".join(lines))


@ci.command
def run(
    *,
    into: Annotated[str | None, Parameter(help="The branch to be merged into, if the server doesn't say.")] = None,
    output: Annotated[Path | None, Parameter(help="A folder for JUnit, SARIF, HTML, Markdown and JSON.")] = None,
    comment: Annotated[bool, Parameter(help="Write the comment on the pull request, if there is one.")] = True,
    rows: Annotated[NotNegative, Parameter(help="Tell at most so many failing rows of a check.")] = 3,
    allow_breaking: Annotated[
        str | None, Parameter(help="Why readers of a table may break, as the merge will be told.")
    ] = None,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], help="No progress.", negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Run what changed on the pull request's branch, check it, and say whether it may be merged; 1 when not.

    The CI server's variables say which pull request it is. A token for the comment is read from BASCULE_FORGE_TOKEN,
    GITHUB_TOKEN or GITLAB_TOKEN; without one the report is the job's summary and its files.
    """
    from bascule.cli.progress import TerminalWatcher

    watcher = TerminalWatcher(quiet or common.json)
    try:
        project = common.open()
        done = project.ci_run(
            into, output=output, comment=comment, rows=rows, allow_breaking=allow_breaking, watcher=watcher
        )
    finally:
        watcher.stop()
    for note in done.notes:
        say(note)
    verdict = done.verdict
    answer(common, {**verdict.as_dict(), "comment": done.comment}, done.text)
    return verdict.exit_code


@ci.command
def ready(
    source: str | None = None,
    into: str | None = None,
    /,
    *,
    allow_breaking: Annotated[
        str | None, Parameter(help="Why readers of a table may break, as the merge will be told.")
    ] = None,
    common: Common = COMMON,
) -> int:
    """Say which data commit a merge would ship, whether it is of this code, and whether it would land; 1 when not.

    Args:
        source: the branch to be merged; the current one when not given.
        into: the branch to be merged into: main when not given.
    """
    found = common.open().ci_ready(source, into, allow_breaking=allow_breaking)
    text = found.text() + (f"\nNext: {found.next_step}" if found.next_step and not found.ready else "")
    answer(common, found.as_dict(), text)
    return 0 if found.ready else 1


@ci.command(name="comment")
def put_comment(file: Path, /, *, common: Common = COMMON) -> None:
    """Put a Markdown file on the pull request as its one comment, in the place of the one before.

    Args:
        file: the text, such as bascule-report/comment.md.
    """
    done = common.open().ci_comment(file)
    answer(common, {"how": done.how, "where": done.where}, f"The comment is {done.how}: {done.where}")


@ci.command
def lint(*files: Path, common: Common = COMMON) -> int:
    """Look at project files and data contracts, without a workspace; 2 when one says what it may not.

    Args:
        files: bascule.toml and contracts; those of the project when none is named.
    """
    done = common.open().ci_lint(files)
    count = len(done.files)
    text = "\n".join(one.text() for one in done.mistakes)
    answer(common, done.as_dict(), text or f"{count} file{'' if count == 1 else 's'} looked at, all is well.")
    return 2 if done.mistakes else 0
