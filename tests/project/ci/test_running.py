"""`bascule ci run` on a pull request: from the server's variables to its files, its exit code and its comment."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bascule.history import Workspace
from bascule.project.ci.reporting import marker_of
from bascule.project.ci.running import hidden
from bascule.project.comparing import compare
from tests.cli.conftest import Said, bascule, folder
from tests.project.ci.forge import TOKEN, Forge, running
from tests.project.conftest import _finished, trained

__all__ = ["_finished", "bascule", "folder", "trained"]

Bascule = Callable[..., Said]
MARKER = marker_of("parcels")


@pytest.fixture
def forge() -> Iterator[Forge]:
    with running(Forge()) as made:
        yield made


@pytest.fixture
def pull(trained: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkout as a CI server makes it: git stands on no branch, and the variables say the rest."""
    for name in ("GITLAB_TOKEN", "GH_TOKEN", "BASCULE_FORGE_TOKEN", "GITLAB_CI", "JENKINS_URL"):
        monkeypatch.delenv(name, raising=False)
    variables = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_HEAD_REF": "dev",
        "GITHUB_BASE_REF": "main",
        "GITHUB_REF": "refs/pull/7/merge",
        "GITHUB_REPOSITORY": "ana/parcels",
        "GITHUB_TOKEN": TOKEN,
        "GITHUB_API_URL": forge.url,
        "GITHUB_STEP_SUMMARY": str(tmp_path.parent / f"{tmp_path.name}-summary.md"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (trained / ".gitignore").write_text(".bascule\ndata\n")
    git = ["git", "-c", "user.name=Ana", "-c", "user.email=ana@example.org"]
    for command in (
        ["init", "-q", "-b", "dev"],
        ["add", "."],
        ["commit", "-q", "-m", "x"],
        ["checkout", "-q", "--detach"],
    ):
        subprocess.run([*git, *command], check=True)
    return trained


def add_batch(folder: Path, *, wrong: str = "") -> None:
    first = next((folder / "data" / "orders").glob("*.csv")).read_text("utf-8").splitlines()
    rows = [",".join([f"late{n}", *row.split(",")[1:]]) for n, row in enumerate(first[1:40])]
    if wrong:
        cells = rows[0].split(",")
        rows[0] = ",".join([cells[0], wrong, *cells[2:]])
    (folder / "data" / "orders" / "zz-late.csv").write_text("\n".join([first[0], *rows]) + "\n")


@pytest.mark.slow
def test_a_good_pull_request(pull: Path, forge: Forge, bascule: Bascule) -> None:
    add_batch(pull)
    said = bascule("ci", "run", "--output", "report", "--json")
    assert said.code == 0, said
    document = said.json()
    assert (document["branch"], document["target"], document["passed"]) == ("dev", "main", True)
    data = Workspace.open(pull).history.resolve("dev").id
    assert document["merge"]["data"] == data
    assert document["merge"]["state"] == "ready"
    assert document["merge"]["code"] == document["merge"]["ran"]
    assert "tables/orders" in document["merge"]["changes"]
    (comment,) = forge.comments.values()
    assert comment.startswith(MARKER)
    assert "✅" in comment
    assert f"ships data commit {data[:10]}" in comment
    assert "tables/orders" in comment
    assert "late1" not in comment  # what differs is told without rows
    assert TOKEN not in said.out + said.err + comment
    assert Path(pull.parent / f"{pull.name}-summary.md").read_text("utf-8").startswith(MARKER)

    assert Workspace.open(pull).history.resolve("main").id != data  # nothing landed
    again = bascule("ci", "run", "--json").json()
    assert {step["status"] for step in again["steps"]} == {"cached"}
    assert len(forge.comments) == 1


@pytest.mark.slow
def test_a_batch_that_breaks_the_contract(pull: Path, forge: Forge, bascule: Bascule) -> None:
    add_batch(pull, wrong="<b>@nowhere</b>")
    said = bascule("ci", "run", "--output", "report")
    assert said.code == 1
    (comment,) = forge.comments.values()
    assert "❌" in comment
    assert comment.index("refused batch") < comment.index("steps ran")
    assert "<b>" not in comment

    suites = ET.parse(pull / "report" / "junit.xml").getroot()
    failing = [case for case in suites.iter("testcase") if case.find("failure") is not None]
    (case,) = failing
    line = int(case.attrib["line"])
    assert case.attrib["file"] == "contracts/orders.yaml"
    contract = (pull / "contracts" / "orders.yaml").read_text().splitlines()
    assert "metric: invalidValues" in contract[line - 1]

    sarif = json.loads((pull / "report" / "results.sarif").read_text())
    results = sarif["runs"][0]["results"]
    assert any(
        place["physicalLocation"]
        == {"artifactLocation": {"uri": "contracts/orders.yaml"}, "region": {"startLine": line}}
        for result in results
        for place in result["locations"]
    )
    quality = json.loads((pull / "report" / "codequality.json").read_text())
    assert {"path": "contracts/orders.yaml", "lines": {"begin": line}} in [one["location"] for one in quality]
    assert "&lt;b&gt;@nowhere" in (pull / "report" / "report.html").read_text()
    assert (pull / "report" / "comment.md").read_text().startswith(MARKER)


@pytest.mark.slow
def test_a_private_column_is_hidden_everywhere(pull: Path, forge: Forge, bascule: Bascule) -> None:
    file = pull / "contracts" / "orders.yaml"
    text = file.read_text().replace("      - name: depot\n", "      - name: depot\n        classification: pii\n")
    file.write_text(text.replace("mustBe: 0\n", "mustBe: 0\n            severity: warning\n"))
    add_batch(pull, wrong="Mrs Secret")
    said = bascule("ci", "run", "--output", "report", "--json")
    assert said.code == 1, said
    assert "readers would break" in said.json()["merge"]["problem"]  # what is accepted is only a warning now
    (comment,) = forge.comments.values()
    assert "breaks feature view lateness" in comment
    workspace = Workspace.open(pull)
    (seen,) = compare(workspace, "main", "dev", "tables/orders")
    (told,) = hidden(workspace, [seen])
    assert seen.table is not None
    assert told.table is not None
    assert seen.table.sample
    assert not told.table.sample
    assert {one.column for one in seen.table.values} - {one.column for one in told.table.values} == {"depot"}
    assert "•••" in (pull / "report" / "report.html").read_text()
    for where in [said.out, *forge.comments.values(), *(one.read_text() for one in (pull / "report").glob("*.*"))]:
        assert "Mrs Secret" not in where


@pytest.mark.slow
def test_without_a_token_the_summary_has_it(
    pull: Path, forge: Forge, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    said = bascule("ci", "run", "--quiet")
    assert said.code == 0
    assert "No comment is written: there is no token" in said.err
    assert not forge.asked
    assert "✅" in Path(pull.parent / f"{pull.name}-summary.md").read_text("utf-8")


@pytest.mark.slow
def test_a_forge_that_refuses_fails_no_job(pull: Path, forge: Forge, bascule: Bascule) -> None:
    forge.troubles = [(403, {})]
    said = bascule("ci", "run", "--quiet")
    assert said.code == 0
    assert "the token may not do that" in said.err
    assert TOKEN not in said.err


@pytest.mark.slow
def test_a_fork_does_not_write_to_our_branches(pull: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_HEAD_REF", "main")
    before = Workspace.open(pull).history.resolve("main").id
    add_batch(pull)
    assert bascule("ci", "run", "--json").json()["branch"] == "pull/7"
    history = Workspace.open(pull).history
    assert history.resolve("main").id == before
    assert history.resolve("pull/7").id != before


@pytest.mark.slow
def test_a_checkout_without_a_workspace(pull: Path, bascule: Bascule) -> None:
    import shutil

    shutil.rmtree(pull / ".bascule")
    said = bascule("ci", "run", "--quiet", "--no-comment", "--json")
    assert said.code == 0, said
    assert {step["status"] for step in said.json()["steps"]} == {"ran"}


@pytest.mark.slow
def test_a_merge_that_would_not_land(pull: Path, forge: Forge, bascule: Bascule) -> None:
    assert bascule("branch", "dev", "--branch", "main").code == 0
    for branch in ("main", "dev"):
        said = bascule("table", "columns", "weather", "--order", "rain" if branch == "main" else "wind", "-b", branch)
        assert said.code == 0, said
    said = bascule("ci", "ready", "dev", "--json")
    assert said.code == 1
    found = said.json()
    assert found["state"] == "conflict"
    assert "tables/weather" in found["problem"]


def test_code_that_was_not_run_is_told(pull: Path, bascule: Bascule) -> None:
    assert bascule("branch", "dev", "--branch", "main").code == 0
    text = (pull / "bascule.toml").read_text()
    (pull / "bascule.toml").write_text(text.replace("seed = 7", "seed = 8"))
    said = bascule("ci", "ready", "dev")
    assert said.code == 1
    assert "which is not of this code: " in said.out
    assert "train" in said.out
    assert "bascule run --branch dev" in said.out


def test_a_comment_of_ones_own(pull: Path, forge: Forge, bascule: Bascule) -> None:
    (pull / "note.md").write_text("x" * 70_000)
    assert bascule("ci", "comment", "note.md", "--json").json()["how"] == "created"
    assert len(next(iter(forge.comments.values()))) <= 65_536
    assert bascule("ci", "comment", "note.md").code == 0
    assert len(forge.comments) == 1
    said = bascule("ci", "comment", "nothing.md")
    assert said.code == 2
    assert "nothing.md cannot be read" in said.err


def test_a_target_that_is_not_there(pull: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_BASE_REF", "mian")
    said = bascule("ci", "run", "--quiet")
    assert said.code == 2
    assert "Did you mean 'main'?" in said.err


@pytest.mark.slow
def test_a_breaking_change_is_red_until_somebody_says_why(pull: Path, bascule: Bascule) -> None:
    assert bascule("branch", "dev", "--branch", "main").code == 0
    assert bascule("table", "create", "notes", "data/depots.csv", "--branch", "main").code == 0
    assert bascule("table", "columns", "weather", "--drop", "wind", "--branch", "dev").code == 0
    (pull / "features" / "weather.sql").write_text("select depot, observed_at, rain from weather\n")
    said = bascule("ci", "ready", "dev", "--json")
    assert said.code == 1
    assert said.json()["state"] == "refused"
    assert "weather.wind: the column is gone" in said.json()["problem"]
    said = bascule("ci", "ready", "dev", "--allow-breaking", "the sensor is gone", "--json")
    assert said.json()["state"] == "stale"  # and nothing else
