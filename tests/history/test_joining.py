"""What merge, squash, cherry-pick and revert have in common, and what they do beside other writers."""

from __future__ import annotations

import pytest

from bascule.errors import CheckFailed, Conflict, InputError
from bascule.history import Staged, Workspace


def table(rows: int) -> dict[str, object]:
    return {"kind": "table", "rows": rows}


@pytest.mark.slow
def test_a_squash_lands_the_change_and_not_the_commits(workspace: Workspace) -> None:
    h = workspace.history
    h.commit("main", {"tables/a": table(1)}, message="base")
    h.create_branch("dev")
    for rows in (2, 3):
        h.commit("dev", {"tables/a": table(rows), "tables/b": table(rows)}, message=f"try {rows}")
    landed = h.merge("dev", "main", squash=True)

    assert h.entries("main") == h.entries("dev")
    assert len(landed.parents) == 1
    assert landed.meta == {"squashes": h.resolve("dev").id}
    assert [c.message for c in h.log("main")][:2] == ["Squash dev into main", "base"]
    assert h.merge("dev", "main", squash=True) == landed  # nothing new: no empty commit

    h.commit("dev", {"tables/c": table(4)}, message="more")
    h.merge("dev", "main", squash=True)
    assert h.entries("main") == h.entries("dev")


@pytest.mark.slow
def test_a_pick_brings_one_commit_and_nothing_else_of_its_branch(workspace: Workspace) -> None:
    h = workspace.history
    h.create_branch("dev")
    h.commit("dev", {"tables/a": table(1)}, message="unwanted", author="Bo")
    wanted = h.commit("dev", {"tables/b": table(2)}, message="wanted", author="Bo")
    made = h.cherry_pick("dev", on="main", author="Ann")

    assert h.entries("main") == [("tables/b", table(2))]
    assert (made.message, made.author, made.meta) == ("wanted", "Ann", {"picks": wanted.id})
    assert h.cherry_pick(wanted.id) == made  # it has it


@pytest.mark.slow
def test_a_picked_merge_brings_what_it_brought_to_its_branch(workspace: Workspace) -> None:
    h = workspace.history
    h.create_branch("release")
    h.create_branch("dev")
    h.commit("main", {"tables/other": table(0)}, message="elsewhere")
    for rows in range(3):
        h.commit("dev", {f"tables/t{rows}": table(rows)}, message="part")
    merge = h.merge("dev", "main")
    h.cherry_pick(merge.id, on="release")
    assert [path for path, _ in h.entries("release")] == ["tables/t0", "tables/t1", "tables/t2"]


@pytest.mark.slow
def test_a_pick_in_conflict_names_the_path_and_the_way_out(workspace: Workspace) -> None:
    h = workspace.history
    h.commit("main", {"tables/a": table(1)}, message="base")
    h.create_branch("dev")
    h.commit("dev", {"tables/a": table(2)}, message="theirs")
    h.commit("main", {"tables/a": table(3)}, message="ours")
    head = h.resolve("main")
    with pytest.raises(Conflict, match=r"cannot be picked onto 'main'.*tables/a") as error:
        h.cherry_pick("dev")
    assert error.value.paths == ["tables/a"]
    assert "--theirs" in error.value.hint
    assert h.resolve("main") == head
    h.cherry_pick("dev", resolve=lambda path, base, ours, theirs: theirs)
    assert h.read("main", "tables/a") == table(2)


def test_the_first_commit_is_neither_picked_nor_reverted(local_workspace: Workspace) -> None:
    for undo in (local_workspace.history.cherry_pick, local_workspace.history.revert):
        with pytest.raises(InputError, match="is the first commit"):
            undo("main")


@pytest.mark.slow
def test_a_check_can_stop_a_pick_and_a_revert(workspace: Workspace) -> None:
    h = workspace.history
    made = h.commit("main", {"tables/a": table(1)}, message="base")
    h.create_branch("dev")
    h.commit("dev", {"tables/b": table(2)}, message="more")

    def refuse(staged: Staged) -> None:
        raise CheckFailed(", ".join(change.path for change in staged.changes))

    for act, path in ((h.cherry_pick, "tables/b"), (h.revert, "tables/a")):
        with pytest.raises(CheckFailed, match=path):
            act("dev" if act == h.cherry_pick else made.id, check=refuse)
    assert h.resolve("main") == made


@pytest.mark.slow
def test_what_lands_elsewhere_does_not_make_a_check_run_again(workspace: Workspace) -> None:
    h = workspace.history
    h.create_branch("dev")
    h.commit("dev", {"tables/b": table(2)}, message="theirs")
    runs = []

    def check(staged: Staged) -> None:
        runs.append(staged.target.id)
        for number in range(30):  # more often than a merge tries
            h.commit("main", {f"tables/x{number}": table(0)}, message="meanwhile")

    before = h.commit("main", {"contracts/b": {"kind": "contract"}}, message="base")
    merged = h.merge("dev", "main", check=check)
    assert runs == [before.id]
    assert len(h.entries("main", "tables/")) == 31
    assert h.commit_by_id(merged.parents[0]).message == "meanwhile"


@pytest.mark.slow
@pytest.mark.parametrize("looked_at", ["one", "all"])
def test_what_a_check_read_may_not_change_under_it(workspace: Workspace, looked_at: str) -> None:
    h = workspace.history
    h.commit("main", {"contracts/b": {"kind": "contract", "strict": False}}, message="lax")
    h.create_branch("dev")
    h.commit("dev", {"tables/b": table(2)}, message="theirs")
    seen = []

    def check(staged: Staged) -> None:
        found = staged.read("contracts/b") if looked_at == "one" else dict(staged.entries("contracts/"))["contracts/b"]
        assert found is not None
        seen.append(found["strict"])
        if found["strict"]:
            raise CheckFailed("the strict contract does not allow it")
        h.commit("main", {"contracts/b": {"kind": "contract", "strict": True}}, message="strict now")

    with pytest.raises(CheckFailed, match="strict contract"):
        h.merge("dev", "main", check=check)
    assert seen == [False, True]
    assert h.read("main", "tables/b") is None
