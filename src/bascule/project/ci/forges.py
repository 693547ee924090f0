"""Comments of a pull request, as GitHub and GitLab keep them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import quote

from bascule.errors import EnvironmentProblem, InputError
from bascule.project.ci.http import Answer, Api
from bascule.project.ci.job import Job

PAGE = 100
# A pull request with more comments than this has no room for ours either.
MOST_PAGES = 100


class Comments(Protocol):
    """The comments of one pull request.

    Attributes:
        limit: how many characters one may have.
    """

    limit: int

    def listed(self) -> Iterator[tuple[int, str]]:
        """Yield every comment's number and text, oldest first."""
        ...

    def create(self, text: str) -> str:
        """Add a comment and return where it is seen."""
        ...

    def update(self, number: int, text: str) -> str | None:
        """Change a comment and return where it is seen; None when it is somebody else's or gone."""
        ...


def comments_of(job: Job, **options: Any) -> Comments:
    """Return the comments of a job's pull request.

    Raises:
        InputError: the job has none, or no token.
    """
    if not job.comments:
        raise InputError("There is no pull request to comment on, or no token.", hint="Set BASCULE_FORGE_TOKEN.")
    return (GitHub if job.forge == "github" else GitLab)(job, **options)


class GitHub:
    """Comments of an issue, as GitHub calls those of a pull request."""

    limit = 65_536

    def __init__(self, job: Job, **options: Any) -> None:
        headers = {
            "Authorization": f"Bearer {job.token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        self.api = Api(job.api, headers, **options)
        self.repository = f"/repos/{quote(job.repository)}/issues"
        self.number = job.number

    def listed(self) -> Iterator[tuple[int, str]]:
        """See `Comments`."""
        path = f"{self.repository}/{self.number}/comments"
        for found in _pages(self.api, path):
            yield int(found["id"]), str(found.get("body") or "")

    def create(self, text: str) -> str:
        """See `Comments`."""
        answer = self.api.ask("POST", f"{self.repository}/{self.number}/comments", {"body": text}, repeat=False)
        return str(_accepted(answer, 201).get("html_url", ""))

    def update(self, number: int, text: str) -> str | None:
        """See `Comments`."""
        answer = self.api.ask("PATCH", f"{self.repository}/comments/{number}", {"body": text})
        return None if answer.status in (403, 404) else str(_accepted(answer, 200).get("html_url", ""))


class GitLab:
    """Notes of a merge request."""

    limit = 1_000_000

    def __init__(self, job: Job, **options: Any) -> None:
        self.api = Api(job.api, {"PRIVATE-TOKEN": job.token}, **options)
        self.notes = f"/projects/{quote(job.repository, safe='')}/merge_requests/{job.number}/notes"

    def listed(self) -> Iterator[tuple[int, str]]:
        """See `Comments`."""
        for found in _pages(self.api, self.notes, "&sort=asc&order_by=created_at"):
            if not found.get("system"):
                yield int(found["id"]), str(found.get("body") or "")

    def create(self, text: str) -> str:
        """See `Comments`."""
        found = _accepted(self.api.ask("POST", self.notes, {"body": text}, repeat=False), 201)
        return f"note {found.get('id', '')}"

    def update(self, number: int, text: str) -> str | None:
        """See `Comments`."""
        answer = self.api.ask("PUT", f"{self.notes}/{number}", {"body": text})
        return None if answer.status in (403, 404) else f"note {_accepted(answer, 200).get('id', '')}"


def _pages(api: Api, path: str, more: str = "") -> Iterator[dict[str, Any]]:
    for page in range(1, MOST_PAGES + 1):
        answer = api.ask("GET", f"{path}?per_page={PAGE}&page={page}{more}")
        found = _accepted(answer, 200)
        if not isinstance(found, list):
            raise EnvironmentProblem("The forge answered no list of comments.", hint="See that the API is the forge's.")
        yield from found
        if len(found) < PAGE and not answer.headers.get("x-next-page"):
            return


def _accepted(answer: Answer, status: int) -> Any:
    """Return the answer's document, or raise what the status means."""
    if answer.status == status:
        return answer.json()
    meaning = {
        401: ("the token is not accepted", "Renew it; it is read from the environment."),
        403: ("the token may not do that", "Give it the right to write comments: pull-requests: write, or scope api."),
        404: ("there is no such pull request, or the token may not see it", "See the repository and the rights."),
        422: ("it finds the comment invalid", "See its length."),
    }
    told, hint = meaning.get(answer.status, ("it says no", "See the forge's status."))
    raise EnvironmentProblem(f"The forge answered {answer.status}: {told}.", hint=hint)
