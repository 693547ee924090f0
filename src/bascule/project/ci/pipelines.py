"""The pipeline file of a CI server, written once and then the user's."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from bascule.errors import AlreadyExists, BasculeError, EnvironmentProblem, InputError
from bascule.history.refs import checked_name
from bascule.project.git import Git

#: Where each server looks for its pipeline, below the repository's top.
FORGES = {"github": ".github/workflows/bascule.yml", "gitlab": ".gitlab-ci.yml", "jenkins": "Jenkinsfile"}


@dataclass(frozen=True)
class Written:
    """A pipeline file.

    Attributes:
        file: where it is.
        secrets: what to tell the server, and why: name to sentence.
    """

    file: Path
    secrets: dict[str, str]


SECRETS = {
    "BASCULE_CATALOG": "the team's catalog, postgresql://…; without it each pipeline keeps a workspace in its cache",
    "BASCULE_STORAGE": "where data are, s3://bucket/prefix; needed beside BASCULE_CATALOG",
}
TOKENS = {
    "github": {},
    "gitlab": {"BASCULE_FORGE_TOKEN": "a project access token with scope api, for the comment"},
    "jenkins": {"BASCULE_FORGE_TOKEN": "a token of the forge, for the comment"},
}


def write_pipeline(folder: Path, forge: str, *, main: str = "main", force: bool = False) -> Written:
    """Write a pipeline that checks pull requests and follows the main branch.

    Args:
        folder: the project's; the file goes to the top of its repository.
        main: what git calls the branch that the others are merged into.
        force: replace a file that is there.

    Raises:
        AlreadyExists: there is one, and `force` is not set.
        InputError: there is no such server, or `main` is no branch's name.
    """
    if forge not in FORGES:
        from bascule.errors import suggestion

        raise InputError(f"There is no pipeline for {forge!r}.", hint=suggestion(forge, list(FORGES), "CI server"))
    checked_name(main)
    top = _top(folder)
    file = top / FORGES[forge]
    if file.exists() and not force:
        raise AlreadyExists(
            "file", str(file), hint="See what it has; --force replaces it. Or run `bascule ci run` in a job of yours."
        )
    text = pipeline(forge, folder.relative_to(top).as_posix(), main)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f"{file.name}.new")
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, file)
    except OSError as error:
        raise EnvironmentProblem(f"Cannot write {file}: {error.strerror}.", hint="See the folder's rights.") from error
    return Written(file, SECRETS | TOKENS[forge])


def pipeline(forge: str, below: str = ".", main: str = "main") -> str:
    """Return the text of a pipeline.

    Args:
        below: the project's folder, from the top of its repository.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # The servers have `{{ }}` and `${ }` of their own.
    made = Environment(
        loader=PackageLoader("bascule.project.ci", "templates"),
        undefined=StrictUndefined,
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["quoted"] = _quoted
    made.filters["shell"] = shlex.quote
    prefix = "" if below in (".", "") else f"{below}/"
    return made.get_template(f"{forge}.txt").render(below=below, prefix=prefix, nested=bool(prefix), main=main)


def _quoted(text: str) -> str:
    """Return a text in YAML's double quotes, which are JSON's."""
    import json

    return json.dumps(text, ensure_ascii=False)


def _top(folder: Path) -> Path:
    try:
        return Path(Git(folder).run("rev-parse", "--show-toplevel")).resolve()
    except BasculeError:
        return folder
