"""Journals of tracked scripts that are not in the records yet: they are brought in before a subject is looked for."""

from __future__ import annotations

from bascule.lake.forgetting import Forgotten, Request
from bascule.project.erasing.values import holds, needles

FOLDER = "journals"
PLACE = "journals of scripts"


def not_brought_in(request: Request) -> list[Forgotten]:
    """Count the files of journals that hold a distinctive value and could not be brought in: of scripts that run on."""
    wanted = needles(request.key)
    found = [path for path in (request.workspace.folder / FOLDER).rglob("*") if path.is_file() and holds(path, wanted)]
    return [Forgotten(PLACE, len(found))] if found else []
