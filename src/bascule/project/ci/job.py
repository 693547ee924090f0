"""The job that a CI server runs: which pull request, which branches, and what it may be told with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bascule.errors import InputError
from bascule.history.refs import checked_name

#: Where a token for comments is looked for, the first that is there.
TOKENS = ("BASCULE_FORGE_TOKEN", "GITHUB_TOKEN", "GH_TOKEN", "GITLAB_TOKEN")


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        server: `github`, `gitlab`, `jenkins`, or empty in a terminal.
        forge: where comments go: `github` or `gitlab`; empty where there is no place for them.
        source: the git branch that is checked; None when the server doesn't say.
        target: the git branch that it is to be merged into; None when it is no pull request.
        number: the pull request's.
        repository: OWNER/NAME, or a GitLab project's number.
        api: where the forge's API is.
        token: never printed, never part of an error.
        fork: the pull request comes from another repository, whose branches have names of their own.
        summary: a file whose Markdown the server shows with the job.
        sha: the git commit that is checked.
    """

    server: str = ""
    forge: str = ""
    source: str | None = None
    target: str | None = None
    number: int | None = None
    repository: str = ""
    api: str = ""
    token: str = field(default="", repr=False)
    fork: bool = False
    summary: Path | None = None
    sha: str = ""

    @property
    def branch(self) -> str | None:
        """The branch of Bascule that the job works on.

        A branch of a fork, and one that is called as the target, gets a name of its own: whoever opens a pull request
        from their `main` does not write to ours.
        """
        if self.number is not None and (self.fork or self.source in (None, self.target)):
            return f"pull/{self.number}"
        return self.source

    @property
    def comments(self) -> bool:
        """Whether there is a pull request to comment on and a token to do it with."""
        return bool(self.forge and self.number is not None and self.token and self.api and self.repository)


def detect(environ: Mapping[str, str]) -> Job:
    """Return the job that the environment describes; of a terminal, one that knows nothing.

    Raises:
        InputError: a name of a branch, or a number, is none; nothing that a server sets is trusted to be well-formed. A
            pull request whose branch has no name here goes by its number.
    """
    token = next((environ[name].strip() for name in TOKENS if environ.get(name, "").strip()), "")
    if environ.get("GITHUB_ACTIONS") == "true":
        job = _github(environ, token)
    elif environ.get("GITLAB_CI") == "true":
        job = _gitlab(environ, token)
    elif environ.get("JENKINS_URL"):
        job = _jenkins(environ, token)
    else:
        return Job(token=token)
    if job.target is not None:
        checked_name(job.target)
    if job.source is not None:
        try:
            checked_name(job.source)
        except InputError:  # git allows names that stand for something else here, such as the beginning of an id
            if job.number is None:
                raise
            return replace(job, source=None)
    return job


def _github(environ: Mapping[str, str], token: str) -> Job:
    event = _event(environ.get("GITHUB_EVENT_PATH", ""))
    pull = event.get("pull_request") or {}
    head = ((pull.get("head") or {}).get("repo") or {}).get("full_name")
    base = ((pull.get("base") or {}).get("repo") or {}).get("full_name")
    number = pull.get("number")
    ref = re.fullmatch(r"refs/pull/([0-9]+)/(merge|head)", environ.get("GITHUB_REF", ""))
    if number is None and ref:
        number = int(ref[1])
    summary = environ.get("GITHUB_STEP_SUMMARY")
    return Job(
        server="github",
        forge="github",
        source=environ.get("GITHUB_HEAD_REF") or (environ.get("GITHUB_REF_NAME") if number is None else None) or None,
        target=environ.get("GITHUB_BASE_REF") or None,
        number=_number(number),
        repository=environ.get("GITHUB_REPOSITORY", ""),
        api=environ.get("GITHUB_API_URL", "https://api.github.com"),
        token=token,
        fork=bool(pull) and head != base,
        summary=Path(summary) if summary else None,
        sha=(pull.get("head") or {}).get("sha") or environ.get("GITHUB_SHA", ""),
    )


def _gitlab(environ: Mapping[str, str], token: str) -> Job:
    source = environ.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID")
    return Job(
        server="gitlab",
        forge="gitlab",
        source=environ.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME") or environ.get("CI_COMMIT_BRANCH") or None,
        target=environ.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME") or None,
        number=_number(environ.get("CI_MERGE_REQUEST_IID")),
        repository=environ.get("CI_PROJECT_ID", ""),
        api=environ.get("CI_API_V4_URL", "https://gitlab.com/api/v4"),
        token=token,
        fork=source is not None and source != environ.get("CI_PROJECT_ID"),
        sha=environ.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or environ.get("CI_COMMIT_SHA", ""),
    )


def _jenkins(environ: Mapping[str, str], token: str) -> Job:
    """A multibranch pipeline says by CHANGE_URL on which forge the pull request is."""
    url = urlsplit(environ.get("CHANGE_URL", ""))
    forge = repository = api = ""
    if found := re.fullmatch(r"/([^/]+/[^/]+)/pull/[0-9]+/?", url.path):
        forge, repository = "github", found[1]
        api = "https://api.github.com" if url.hostname == "github.com" else f"{url.scheme}://{url.netloc}/api/v3"
    elif found := re.fullmatch(r"/(.+?)/-/merge_requests/[0-9]+/?", url.path):
        forge, repository, api = "gitlab", found[1], f"{url.scheme}://{url.netloc}/api/v4"
    change = environ.get("CHANGE_ID")
    return Job(
        server="jenkins",
        forge=forge,
        source=environ.get("CHANGE_BRANCH") or environ.get("BRANCH_NAME") or None,
        target=environ.get("CHANGE_TARGET") or None,
        number=_number(change),
        repository=repository,
        api=environ.get("BASCULE_FORGE_API") or api,
        token=token,
        fork=bool(environ.get("CHANGE_FORK")),
        sha=environ.get("GIT_COMMIT", ""),
    )


def _number(value: Any) -> int | None:
    if value in (None, ""):
        return None
    if not re.fullmatch(r"[0-9]{1,12}", str(value)):
        raise InputError(f"{str(value)[:40]!r} is no pull request's number.", hint="The CI server's variables say it.")
    return int(value)


def _event(path: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(Path(path).read_bytes()) if path else {}
    except (OSError, msgspec.DecodeError):
        return {}
    return found if isinstance(found, dict) else {}
