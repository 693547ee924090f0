from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.delivery.conftest import model as registered

from bascule.history import Workspace

Bascule = Callable[..., Any]


@pytest.fixture
def project(folder: Path) -> Workspace:
    workspace = Workspace.create(folder)
    workspace.history.commit("main", {"monitors/delays": {"kind": "monitor", "by": "day"}}, message="Watch delays")
    return workspace


@pytest.mark.slow
def test_branch_switch_log_and_status(project: Workspace, bascule: Bascule) -> None:
    assert bascule("switch", "-c", "dev").code == 0
    project.history.commit("dev", {"monitors/delays": {"kind": "monitor", "by": "hour"}}, message="By the hour")

    status = bascule("status", "--json").json()
    assert status["branch"] == "dev"
    assert status["ahead_of_main"] == [{"path": "monitors/delays", "kind": "changed"}]
    log = bascule("log", "--json").json()
    assert [commit["message"] for commit in log] == ["By the hour", "Watch delays", "Begin"]
    assert "changed monitors/delays" in bascule("log", "-n", 1).out
    assert "* dev" in bascule("branch").out


def test_a_deployment_that_serves_nothing_is_told_with_the_command_that_works(
    project: Workspace, bascule: Bascule
) -> None:
    deployed = {"kind": "deployment", "name": "young", "model": "delays", "traffic": [], "strategy": "canary"}
    deployed |= {"revision": 0, "rollout": None, "rules": {}}
    project.history.commit("main", {"deployments/young": deployed}, message="Plan young")
    assert "young is not in service on this branch\n" in bascule("status").out  # nothing could be deployed yet
    model = {**registered(4), "aliases": {"production": 1}}
    project.history.commit("main", {"models/delays": model}, message="Register delays")
    command = "bascule deploy young 1 --model delays"
    assert f"young is not in service on this branch; bring it there with: {command}\n" in bascule("status").out
    assert bascule("status", "--json").json()["to_deploy"] == {"young": command}
    assert bascule("status", "--branch", "main", "--json").json()["to_deploy"] == {"young": f"{command} --branch main"}
    # One that its gates refused, and nobody forced, is not offered.
    model = {**model, "aliases": {"production": 4}}
    project.history.commit("main", {"models/delays": model}, message="Register one that was refused")
    assert bascule("status", "--json").json()["to_deploy"] == {}


def test_wide_cells_are_cut_on_a_terminal_alone(
    project: Workspace, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "select repeat('x', 500) as wide, 7 as n"
    assert "x" * 500 in bascule("sql", query).out
    monkeypatch.setattr("bascule.cli.asking.on_terminal", lambda: True)
    said = bascule("sql", query).out
    assert "x" * 59 + "…" in said
    assert "x" * 60 not in said
    assert "--json has them whole" in said
    assert "cut short" not in bascule("sql", "select 7 as n").out
    assert bascule("sql", query, "--json").json() == [{"wide": "x" * 500, "n": 7}]


def test_a_merge_stands_for_what_it_brought(project: Workspace, bascule: Bascule) -> None:
    history = project.history
    history.create_branch("dev")
    history.commit("dev", {"monitors/a": {"kind": "monitor", "by": "day"}}, message="Watch a")
    tip = history.commit("dev", {"monitors/b": {"kind": "monitor", "by": "day"}}, message="Watch b")
    history.commit("main", {"monitors/c": {"kind": "monitor", "by": "day"}}, message="Watch c")
    history.merge("dev", "main")

    def messages(*arguments: object) -> list[str]:
        return [commit["message"] for commit in bascule("log", "--json", *arguments).json()]

    assert messages() == ["Merge dev into main", "Watch c", "Watch delays", "Begin"]
    assert sorted(messages("--full-history")) == sorted([*messages(), "Watch a", "Watch b"])
    assert messages("--path", "monitors/b") == ["Merge dev into main"]
    assert messages("--path", "monitors/b", "--full-history") == ["Merge dev into main", "Watch b"]
    assert messages("--path", "monitors", "-n", 2) == ["Merge dev into main", "Watch c"]
    assert messages("dev") == ["Watch b", "Watch a", "Watch delays", "Begin"]

    (merge,) = bascule("log", "-n", 1, "--json").json()
    assert merge["parents"][1] == tip.id
    assert [change["path"] for change in merge["changes"]] == ["monitors/a", "monitors/b"]
    assert f"merges {tip.short}: added monitors/a, added monitors/b" in bascule("log", "-n", 1).out


def test_revert_and_tag(project: Workspace, bascule: Bascule) -> None:
    assert bascule("tag", "v1").code == 0
    assert bascule("revert", "main").code == 0
    assert project.history.read("main", "monitors/delays") is None
    assert project.history.read("v1", "monitors/delays") is not None
    assert "v1" in bascule("tag").out


def test_the_git_branch_is_the_default(project: Workspace, bascule: Bascule, folder: Path) -> None:
    for command in ("init -q -b main", "commit -q --allow-empty -m x", "switch -q -c windier-features"):
        identity = ["-c", "user.email=ana@example.org", "-c", "user.name=Ana"]
        subprocess.run(["git", *identity, *command.split()], cwd=folder, check=True)
    assert bascule("status", "--json").json()["branch"] == "windier-features"
    assert "windier-features" in {ref.name for ref in project.history.branches()}
    assert bascule("switch", "main").code == 0
    assert bascule("status", "--json").json()["branch"] == "main"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("log", "nope"), 2, "There is no branch, tag or commit named 'nope'"),
        (("log", "mian"), 2, "Did you mean 'main'?"),
        (("lgo",), 2, 'Did you mean "log"'),
        (("log", "--jsn"), 2, "Did you mean --json"),
        (("branch", "a b"), 2, "cannot name a branch"),
        (("branch", "main"), 2, "exists already"),
        (("branch", "--delete", "main"), 2, "current branch"),
        (("revert", "main~1"), 2, "first commit"),
        (("log", "--branch", "mian"), 2, "Did you mean 'main'?"),
        (("log", "-n", "many"), 2, "many"),
    ],
)
def test_mistakes_are_told(
    project: Workspace, bascule: Bascule, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = bascule(*arguments)
    assert said.code == code
    assert words in said.err
    assert said.out == ""


def test_an_error_with_json_is_one_document(project: Workspace, bascule: Bascule) -> None:
    said = bascule("log", "mian", "--json")
    assert said.json()["kind"] == "NotFound"
    assert "Did you mean" in said.json()["hint"]


def test_outside_a_project_the_way_in_is_told(folder: Path, bascule: Bascule) -> None:
    for arguments in (("status",), ("run",), ("status", "--project", "nowhere")):
        said = bascule(*arguments)
        assert (said.code, said.out) == (2, "")
        assert str(folder) in said.err
        assert "bascule init" in said.err
    assert bascule("run", "--json").json()["kind"] == "NoProject"


def test_below_a_project_its_folder_is_told(
    project: Workspace, bascule: Bascule, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(folder) not in bascule("status").out
    (folder / "notebooks").mkdir()
    monkeypatch.chdir(folder / "notebooks")
    assert f"On branch main, in the project {folder}, at " in bascule("status").out


def test_single_paths_are_brought_back(project: Workspace, bascule: Bascule) -> None:
    history = project.history
    for by in ("day", "hour"):
        history.commit("main", {"monitors/delays": {"kind": "monitor", "by": by}}, message=f"By the {by}")
    history.commit("main", {"monitors/other": {"kind": "monitor", "by": "day"}}, message="Another")
    done = bascule("restore", "monitors/delays", "monitors/other", "--from", "main~2", "--json").json()
    assert [change["kind"] for change in done["changes"]] == ["changed", "removed"]
    assert history.get("main", "monitors/delays")["by"] == "day"
    assert history.read("main", "monitors/other") is None
    head = history.resolve("main")
    assert head.meta == {"restores": history.resolve("main~3").id}
    assert "nothing was changed" in bascule("restore", "monitors/delays", "--from", "main~3").out
    said = bascule("restore", "monitors/delay", "--from", "main~3")
    assert (said.code, "Did you mean 'monitors/delays'?" in said.err) == (2, True)
    assert history.resolve("main") == head


def test_what_others_wrote_cannot_draw_on_the_terminal(
    project: Workspace, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "msg \x1b[2J\x9b31m\u202e\n\n00000000ff  2026-01-01 00:00:00  fake"
    assert bascule("revert", "main", "-m", message).code == 0
    said = bascule("log", "-n", 1)
    assert "msg \\x1b[2J\\x9b31m\\u202e\n    \n    00000000ff" in said.out
    assert "\n00000000ff" not in said.out
    assert bascule("log", "-n", 1, "--json").json()[0]["message"] == message
    for command in (["log"], ["audit", "log"], ["sql", "select message from commits"], ["diff", "main~1", "main"]):
        assert not [sign for sign in bascule(*command).out if sign != "\n" and not sign.isprintable()], command


@pytest.mark.parametrize("name", ["e\x1b[31mvil", "eve\nana", "eve\u202e"])
def test_an_author_has_a_name_in_one_line(
    project: Workspace, bascule: Bascule, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("BASCULE_USER", name)
    said = bascule("revert", "main")
    assert (said.code, said.out) == (2, "")
    assert "cannot name who is acting" in said.err
    assert "\x1b" not in said.err


@pytest.mark.slow
def test_names_that_would_be_taken_for_something_else(project: Workspace, bascule: Bascule) -> None:
    head = project.history.resolve("main").id
    for name in ("HEAD", "head", "refs/heads/x", head[:4], head[:10], "main/x"):
        for command in ("branch", "tag"):
            said = bascule(command, name)
            assert (said.code, said.out) == (2, ""), name
            assert "cannot name a branch or a tag" in said.err
    free = next(word for word in ("beef", "cafe", "face", "fade") if not head.startswith(word))
    assert bascule("branch", free).code in (0, 2)  # 2 only if another commit's id begins so
    assert bascule("branch", "a/b").code == 0
    assert bascule("branch", "a").code == 2
    assert bascule("branch", "a/c").code == 0


def test_a_log_of_a_path_that_never_was(project: Workspace, bascule: Bascule) -> None:
    said = bascule("log", "--path", "monitors/delay")
    assert (said.code, said.out) == (2, "")
    assert "no commit changed it" in said.err
    assert "monitors/delays" in said.err
    assert bascule("log", "--path", "").code == 2
    assert "Watch delays" in bascule("log", "--path", "monitors").out


def test_the_current_branch_is_left_before_it_is_deleted(project: Workspace, bascule: Bascule) -> None:
    assert "It is the only one" in bascule("branch", "--delete", "main").err
    assert bascule("branch", "dev").code == 0
    assert "bascule switch dev" in bascule("branch", "--delete", "main").err


def test_the_doctor_counts_the_commits_of_main(project: Workspace, bascule: Bascule) -> None:
    assert bascule("branch", "a", "--at", "main~1").code == 0
    assert "2 commits on main" in bascule("doctor").out
