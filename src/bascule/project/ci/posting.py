"""One comment on a pull request: made once, found again by its marker, and kept up to date."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bascule.project.ci.comment import MARKER
from bascule.project.ci.forges import Comments, comments_of
from bascule.project.ci.http import Unanswered
from bascule.project.ci.job import Job


@dataclass(frozen=True)
class Posted:
    """What became of a comment.

    Attributes:
        how: `created` or `updated`.
        where: where it is seen.
    """

    how: Literal["created", "updated"]
    where: str


def post(job: Job, text: str, marker: str = MARKER, **options: Any) -> Posted:
    """Put a text on the pull request of a job, in the place of the one that was put there before.

    Args:
        text: begins with the marker.
        options: of the API: `sleep`, `patience`.

    Raises:
        EnvironmentProblem: the forge does not take it; the token is not in the message.
    """
    comments = comments_of(job, **options)
    if done := _replace(comments, text, marker):
        return done
    try:
        return Posted("created", comments.create(text))
    except Unanswered:
        # It may have been made all the same: a second one would never be found again.
        if done := _replace(comments, text, marker):
            return done
        return Posted("created", comments.create(text))


def _replace(comments: Comments, text: str, marker: str) -> Posted | None:
    for number, body in comments.listed():
        # A person who quotes ours begins otherwise.
        if body.startswith(marker):
            where = comments.update(number, text)
            if where is not None:
                return Posted("updated", where)
    return None
