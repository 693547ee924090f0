"""The pipelines that `ci init` writes, executed: in a clean clone, step after step, with the servers' variables.

What a server does with `uses:` and reports is left out; what it runs in a shell runs in one. The installer is the only
thing that stands in: it writes down what it is asked for, and gives this checkout's command.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bascule.project.ci.pipelines import FORGES, pipeline
from tests.project.ci.forge import TOKEN, Forge, running

SOURCE = Path(__file__).parents[3] / "src"
PULL = {
    "github": {
        "GITHUB_ACTIONS": "true",
        "GITHUB_HEAD_REF": "dev",
        "GITHUB_BASE_REF": "main",
        "GITHUB_REF": "refs/pull/7/merge",
        "GITHUB_REPOSITORY": "ana/parcels",
    },
    "gitlab": {
        "GITLAB_CI": "true",
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "dev",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "12",
        "CI_MERGE_REQUEST_PROJECT_ID": "12",
        "CI_PROJECT_ID": "12",
        "CI_PROJECT_PATH": "ana/parcels",
        "CI_COMMIT_REF_NAME": "dev",
        "BASCULE_FORGE_TOKEN": TOKEN,
    },
    "jenkins": {
        "JENKINS_URL": "http://127.0.0.1:1/",
        "CHANGE_ID": "7",
        "CHANGE_BRANCH": "dev",
        "CHANGE_TARGET": "main",
        "CHANGE_URL": "https://github.com/ana/parcels/pull/7",
        "BRANCH_NAME": "PR-7",
        "BASCULE_FORGE_TOKEN": TOKEN,
    },
}
API = {"github": "GITHUB_API_URL", "gitlab": "CI_API_V4_URL", "jenkins": "BASCULE_FORGE_API"}
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: people
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - {name: id, primaryKey: true, required: true}
      - name: age
        quality:
          - {type: custom, engine: bascule, implementation: {check: range, minimum: 0, maximum: 130}}
"""
PROJECT = """\
[project]
name = "people"
[source.people]
path = "data/*.csv"
key = ["id"]
mode = "append"
[contract.people]
file = "contracts/people.yaml"
"""


@pytest.fixture
def forge(request: pytest.FixtureRequest) -> Iterator[Forge]:
    with running(Forge(kind="gitlab" if request.getfixturevalue("server") == "gitlab" else "github")) as made:
        yield made


@pytest.fixture
def clone(tmp_path: Path, server: str, below: str) -> Path:
    """A clean clone as the server makes it: of a repository in which `dev` brings another batch, on no branch."""
    origin, made = tmp_path / "origin", tmp_path / "clone"
    project = origin / below
    for name, text in {
        "bascule.toml": PROJECT,
        "contracts/people.yaml": CONTRACT,
        "data/a.csv": "id,age\n1,30\n2,40\n",
        ".gitignore": ".bascule/\n",
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    file = origin / FORGES[server]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(pipeline(server, below))
    git(origin, "init", "-q", "-b", "main")
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "Begin")
    git(origin, "switch", "-q", "-c", "dev")
    (project / "data" / "b.csv").write_text("id,age\n3,50\n")
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "More")
    git(tmp_path, "clone", "-q", str(origin), str(made))
    git(made, "checkout", "-q", "--detach", "origin/dev")
    return made


def git(place: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(place), "-c", "user.name=A", "-c", "user.email=a@b", *arguments], check=True)


def tools(place: Path) -> Path:
    """The commands that a server's machine has: an installer that brings `bascule`, and Python's environments."""
    place.mkdir()
    install = f'#!/bin/sh\nprintf "%s\\n" "$*" >> "{place}/asked"\ncp "{place}/.bascule" "$(dirname "$0")/bascule"\n'
    environment = f'#!/bin/sh\n[ "$1 $2" = "-m venv" ] && mkdir -p "$3/bin" && cp "{place}/pip" "$3/bin/pip"\n'
    for name, text in {
        ".bascule": f'#!/bin/sh\nexec "{sys.executable}" -m bascule "$@"\n',
        "pip": install,
        "python3": environment,
    }.items():
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    return place


def shell_steps(server: str, text: str) -> tuple[list[tuple[str, dict[str, str]]], str]:
    """The scripts in order, each with its own variables, and the folder that they begin in."""
    if server == "jenkins":
        return [(script, {}) for script in re.findall(r"sh '''\n(.*?)'''", text, re.S)], "."
    document = yaml.load(text, Loader=yaml.BaseLoader)
    if server == "gitlab":
        return [("\n".join(document["bascule"]["script"]), document["bascule"]["variables"])], "."
    job = document["jobs"]["data"]
    below = job.get("defaults", {}).get("run", {}).get("working-directory", ".")
    return [(step["run"], step.get("env", {})) for step in job["steps"] if "run" in step], below


def execute(server: str, clone: Path, forge: Forge, place: Path) -> tuple[int, str]:
    """Do what the server does: script after script in a shell that stops at an error, none after one that failed."""
    there = place if place.exists() else tools(place)
    scripts, below = shell_steps(server, (clone / FORGES[server]).read_text("utf-8"))
    secrets = {"${{ github.token }}": TOKEN, "${{ secrets.BASCULE_CATALOG }}": "", "${{ secrets.BASCULE_STORAGE }}": ""}
    clean = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    told = ""
    for script, own in scripts:
        variables = {name: secrets.get(value, value) for name, value in own.items()}
        environment = {
            **clean,
            "PATH": f"{there}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(SOURCE),
            "CI": "true",
            "CI_PROJECT_DIR": str(clone),
            **PULL[server],
            API[server]: forge.url,
            **variables,
        }
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=clone / below,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        told += done.stdout + done.stderr
        if done.returncode:
            return done.returncode, told
    return 0, told


@pytest.mark.slow
@pytest.mark.parametrize(("server", "below"), [("github", "ml/my people"), ("gitlab", "."), ("jenkins", "ml")])
def test_a_pipeline_does_what_it_is_for(server: str, below: str, clone: Path, forge: Forge, tmp_path: Path) -> None:
    code, told = execute(server, clone, forge, tmp_path / "tools")
    assert code == 0, told
    assert (tmp_path / "tools" / "asked").read_text() == "install bascule[all]\n"
    report = clone / below / "bascule-report"
    assert json.loads((report / "report.json").read_text())["passed"] is True
    assert ET.parse(report / "junit.xml").getroot().get("failures") in (None, "0")
    assert {"results.sarif", "codequality.json", "report.html"} <= {one.name for one in report.iterdir()}
    written = re.sub(r"(?m)//.*$", "", pipeline(server, below))
    for path in re.findall(r"[\w./ -]*bascule-report/(?:junit\.xml|results\.sarif|codequality\.json)", written):
        assert (clone / path.strip()).is_file(), path  # where the server looks for it
    (comment,) = forge.comments.values()
    assert "ships data commit" in comment
    assert TOKEN not in told

    # The next push breaks the contract: the job fails, and the one comment says so.
    (clone / below / "data" / "c.csv").write_text("id,age\n4,999\n")
    code, told = execute(server, clone, forge, tmp_path / "tools")
    assert code == 1, told
    assert json.loads((report / "report.json").read_text())["passed"] is False
    (comment,) = forge.comments.values()
    assert "❌" in comment

    # An installer that fails stops the job before anything runs.
    shutil.rmtree(report)
    (tmp_path / "tools" / "pip").write_text("#!/bin/sh\nexit 9\n")
    assert execute(server, clone, forge, tmp_path / "tools")[0] == 9
    assert not report.exists()


@pytest.mark.parametrize("below", [".", "ml/my people"])
@pytest.mark.parametrize(("server", "schema"), [("github", "github-workflows.json"), ("gitlab", "gitlab-ci.json")])
def test_a_pipeline_is_as_the_published_schema_says(server: str, schema: str, below: str) -> None:
    """The schemas of SchemaStore and GitLab, as check-jsonschema carries them."""
    found = find_spec("check_jsonschema")
    if found is None or found.origin is None:
        pytest.skip("check-jsonschema is not installed (pip install check-jsonschema)")
    published: Any = json.loads((Path(found.origin).parent / "builtin_schemas" / "vendor" / schema).read_text("utf-8"))
    document = yaml.load(pipeline(server, below), Loader=yaml.SafeLoader)
    if True in document:  # YAML 1.1 reads `on` as a truth; the servers read a word
        document["on"] = document.pop(True)
    checked = jsonschema.validators.validator_for(published)(published)
    assert [error.message for error in checked.iter_errors(document)] == []
    document[next(iter(document))] = 7
    assert list(checked.iter_errors({**document, "jobs": 7, "bascule": {"script": 7}}))
