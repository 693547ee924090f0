"""Commands that bring in what other tools keep: import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from bascule.cli.options import FORM, Form
from bascule.cli.output import answer, columns

import_ = App(name="import", help="Bring in what other tools keep.")


@import_.command
def feast(
    repository: Path,
    /,
    *,
    into: Annotated[Path, Parameter(help="The project's folder; made when it is not there.")] = Path(),
    form: Form = FORM,
) -> None:
    """Write what a Feast repository declares into a project, and say what was left out. No file of it is run.

    Args:
        repository: the folder with feature_store.yaml.
    """
    from bascule.project.feast import import_feast

    found = import_feast(repository, into)
    taken = [
        (name.replace("_", " "), len(names), names)
        for name in ("sources", "entities", "views", "features_on_demand", "services")
        if (names := getattr(found, name))
    ]
    lines = [f"{found.project} and {len(found.files) - 1} queries are written.", columns(taken)]
    for title, texts in (("Left out:", found.left_out), ("Done in another way here:", found.notes)):
        lines += ["", title, *(f"  {text}" for text in texts)] if texts else []
    answer(
        form, msgspec.to_builtins(found), "\n".join([*lines, "", "Next: bascule init and bascule run in its folder."])
    )
