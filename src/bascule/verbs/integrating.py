"""Continuous integration, as Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    from bascule.project.ci import Posted, Readiness
    from bascule.project.ci.linting import Linted
    from bascule.project.ci.pipelines import Written
    from bascule.project.ci.telling import Told
    from bascule.project.runner import Watcher


class IntegrationVerbs(Bound):
    """Continuous integration: each method is the command of that name."""

    def ci_init(self, forge: str, *, main: str = "main", force: bool = False) -> Written:
        """Write a pipeline file for a CI server: github, gitlab or jenkins."""
        from bascule.project.ci import write_pipeline

        return write_pipeline(self.folder, forge, main=main, force=force)

    def ci_run(
        self,
        into: str | None = None,
        *,
        output: Path | None = None,
        comment: bool = True,
        rows: int = 3,
        allow_breaking: str | None = None,
        watcher: Watcher | None = None,
    ) -> Told:
        """Run what changed on the pull request's branch, check it, and tell: files, the job's summary, one comment.

        Args:
            into: the branch to be merged into, when the CI server's variables don't say.
            output: the folder for the files.
            comment: whether the comment is written.
            rows: at most so many failing rows of a check are told.
            allow_breaking: why readers of a table may break, as the merge will be told.
        """
        from bascule.project.ci.telling import run_and_tell

        return run_and_tell(
            self.place,
            os.environ,
            into,
            output=output,
            comment=comment,
            rows=rows,
            allow_breaking=allow_breaking,
            watcher=watcher,
        )

    def ci_ready(
        self, source: str | None = None, into: str | None = None, *, allow_breaking: str | None = None
    ) -> Readiness:
        """Say which data commit a merge would ship, whether it is of this code, and whether it would land."""
        from bascule.project.ci import readiness
        from bascule.project.place import MAIN

        chosen = source or self.place.branch
        return readiness(self.place, chosen, into or MAIN, allow_breaking=allow_breaking)

    def ci_comment(self, file: Path | str) -> Posted:
        """Put a Markdown file on the pull request as its one comment, in the place of the one before."""
        from bascule.project.ci.telling import put

        return put(self.place, os.environ, Path(file))

    def ci_lint(self, files: Sequence[Path | str] = ()) -> Linted:
        """Look at project files and contracts, without a workspace; those of the project when none is named."""
        from bascule.project.ci.linting import lint

        return lint(self.place, [Path(file) for file in files])
