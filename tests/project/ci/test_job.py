"""What the variables of CI servers say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import InputError
from bascule.project.ci.job import detect

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_HEAD_REF": "dev",
    "GITHUB_BASE_REF": "main",
    "GITHUB_REF": "refs/pull/7/merge",
    "GITHUB_REPOSITORY": "ana/parcels",
    "GITHUB_TOKEN": "t",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_PROJECT_ID": "12",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "dev",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "12",
    "CI_API_V4_URL": "https://git.example/api/v4",
    "GITLAB_TOKEN": "t",
}
JENKINS = {
    "JENKINS_URL": "https://ci.example/",
    "CHANGE_ID": "7",
    "CHANGE_BRANCH": "dev",
    "CHANGE_TARGET": "main",
    "CHANGE_URL": "https://github.com/ana/parcels/pull/7",
    "BASCULE_FORGE_TOKEN": "t",
}


@pytest.mark.parametrize("environ", [GITHUB, GITLAB, JENKINS], ids=["github", "gitlab", "jenkins"])
def test_a_pull_request(environ: dict[str, str]) -> None:
    job = detect(environ)
    assert (job.source, job.target, job.number, job.branch) == ("dev", "main", 7, "dev")
    assert job.comments
    assert not job.fork
    assert not detect({k: v for k, v in environ.items() if "TOKEN" not in k}).comments


def event(tmp_path: Path, head: Any) -> dict[str, str]:
    pull = {"number": 7, "head": {"repo": head, "sha": "abc"}, "base": {"repo": {"full_name": "ana/parcels"}}}
    (tmp_path / "event.json").write_text(json.dumps({"pull_request": pull}))
    return {**GITHUB, "GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITHUB_HEAD_REF": "main"}


def test_the_main_of_a_fork_is_not_ours(tmp_path: Path) -> None:
    assert detect(event(tmp_path, {"full_name": "eve/parcels"})).branch == "pull/7"
    assert detect(event(tmp_path, None)).branch == "pull/7"  # the fork was deleted
    assert detect({**GITHUB, "GITHUB_HEAD_REF": "main"}).branch == "pull/7"
    assert detect({**GITLAB, "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "99"}).branch == "pull/7"
    assert detect({**JENKINS, "CHANGE_FORK": "eve"}).branch == "pull/7"


def test_a_push(tmp_path: Path) -> None:
    assert (
        detect({"GITHUB_ACTIONS": "true", "GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main"}).branch == "main"
    )
    assert detect({"GITLAB_CI": "true", "CI_COMMIT_BRANCH": "main"}).branch == "main"
    assert detect({"JENKINS_URL": "x", "BRANCH_NAME": "main"}).branch == "main"
    assert detect({}).branch is None


@pytest.mark.parametrize(
    ("url", "forge", "repository", "api"),
    [
        ("https://github.com/ana/parcels/pull/7", "github", "ana/parcels", "https://api.github.com"),
        ("https://git.example/ana/parcels/pull/7", "github", "ana/parcels", "https://git.example/api/v3"),
        ("https://git.example/a/b/c/-/merge_requests/7", "gitlab", "a/b/c", "https://git.example/api/v4"),
        ("https://bitbucket.example/x", "", "", ""),
    ],
)
def test_jenkins_tells_the_forge_by_a_link(url: str, forge: str, repository: str, api: str) -> None:
    job = detect({**JENKINS, "CHANGE_URL": url})
    assert (job.forge, job.repository, job.api) == (forge, repository, api)
    assert job.comments == bool(forge)


@pytest.mark.parametrize(
    "wrong",
    [
        {"CI_MERGE_REQUEST_IID": "7; rm"},
        {"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "a..b", "CI_MERGE_REQUEST_IID": ""},
        {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "\n"},
    ],
)
def test_variables_are_not_trusted(wrong: dict[str, str]) -> None:
    with pytest.raises(InputError):
        detect({**GITLAB, **wrong})


def test_a_branch_without_a_name_here_goes_by_its_number() -> None:
    for name in ("a..b", "a b", "-x"):
        assert detect({**GITLAB, "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": name}).branch == "pull/7"
