"""Events that wait in the log of a stream, and what its file still holds of those that landed."""

from __future__ import annotations

from urllib.parse import quote

from bascule.lake.forgetting import Forgotten, Request
from bascule.project.erasing.values import holds, needles

FOLDER = "streams"


def from_streams(request: Request) -> list[Forgotten]:
    """Remove the subject's events from the logs of its table's stream, on all branches."""
    removed = 0
    for file in (request.workspace.folder / FOLDER).glob(f"*/{quote(request.table, safe='')}/data.mdb"):
        from bascule.features.streams.scrubbing import forget_from, scrub

        removed += forget_from(file.parent, request.key, dry_run=request.dry_run)
        if not request.dry_run and holds(file, needles(request.key)):
            scrub(file.parent)
    return [Forgotten("logs of streams", removed)] if removed else []
