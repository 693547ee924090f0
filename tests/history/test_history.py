from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, update

from bascule.catalog import audit, schema
from bascule.errors import AlreadyExists, CheckFailed, Conflict, InputError, NotFound
from bascule.history import History, Staged, Workspace


def table(rows: int) -> dict[str, object]:
    return {"kind": "table", "rows": rows}


@pytest.mark.slow
def test_a_commit_is_seen_on_its_branch_only(workspace: Workspace) -> None:
    h = workspace.history
    h.commit("main", {"tables/a": table(1)}, message="one")
    h.create_branch("dev")
    made = h.commit("dev", {"tables/a": table(2), "tables/b": table(3)}, message="two", meta={"batch": "july"})

    assert h.read("main", "tables/a") == table(1)
    assert h.read("dev", "tables/a") == table(2)
    assert [c.path for c in h.diff("main", "dev")] == ["tables/a", "tables/b"]
    assert h.resolve("dev") == made
    assert h.resolve(made.id[:8]).meta == {"batch": "july"}


def test_refs_can_point_into_the_past(workspace: Workspace) -> None:
    h = workspace.history
    first = h.commit("main", {"tables/a": table(1)}, message="one")
    between = datetime.now(UTC).isoformat()
    second = h.commit("main", {"tables/a": table(2)}, message="two")
    h.tag("v1", "main~1")

    assert h.read("main~1", "tables/a") == h.read("v1", "tables/a") == table(1)
    assert h.read(f"main@{between}", "tables/a") == table(1)
    assert h.read(f"main@{second.short}", "tables/a") == table(2)
    assert h.resolve("main~").id == first.id
    with pytest.raises(NotFound, match="There is no commit"):
        h.resolve("main~9")


def test_an_unknown_name_is_answered_with_the_nearest(workspace: Workspace) -> None:
    h = workspace.history
    h.commit("main", {"tables/flights": table(1)}, message="one")
    h.create_branch("windier-features")
    with pytest.raises(NotFound) as error:
        h.resolve("windier-feature")
    assert "Did you mean 'windier-features'?" in error.value.hint
    with pytest.raises(NotFound) as error:
        h.get("main", "tables/flihgts")
    assert "Did you mean 'flights'?" in error.value.hint


@pytest.mark.parametrize("name", ["", "a b", "a..b", "a~1", "-a", "a@b", "x" * 251, "a\nb", "/a", "a;drop"])
def test_a_bad_name_is_refused(local_workspace: Workspace, name: str) -> None:
    with pytest.raises(InputError):
        local_workspace.history.create_branch(name)


@pytest.mark.slow
def test_a_taken_name_is_refused(local_workspace: Workspace) -> None:
    local_workspace.history.create_branch("dev")
    with pytest.raises(AlreadyExists):
        local_workspace.history.tag("dev")


def test_merge_takes_one_sided_changes_and_names_the_rest(workspace: Workspace) -> None:
    h = workspace.history
    h.commit("main", {"tables/a": table(1), "tables/b": table(1), "tables/c": table(1)}, message="base")
    h.create_branch("dev")
    h.commit("dev", {"tables/a": table(2), "tables/d": table(4), "tables/c": None}, message="theirs")
    h.commit("main", {"tables/b": table(3)}, message="ours")
    merged = h.merge("dev", "main")

    assert {p: o["rows"] for p, o in h.entries("main")} == {"tables/a": 2, "tables/b": 3, "tables/d": 4}
    assert len(merged.parents) == 2
    assert h.merge("dev", "main") == merged  # nothing new

    h.commit("dev", {"tables/b": table(9)}, message="theirs again")
    h.commit("main", {"tables/b": table(8)}, message="ours again")
    head = h.resolve("main")
    with pytest.raises(Conflict) as error:
        h.merge("dev", "main")
    assert error.value.paths == ["tables/b"]
    assert h.resolve("main") == head

    h.merge("dev", "main", resolve=lambda path, base, ours, theirs: table(ours["rows"] + theirs["rows"]))  # type: ignore[index]
    assert h.read("main", "tables/b") == table(17)


def test_a_check_sees_the_merged_state_and_can_stop_it(workspace: Workspace) -> None:
    h = workspace.history
    h.commit("main", {"tables/a": table(1)}, message="base")
    h.create_branch("dev")
    h.commit("dev", {"tables/b": table(2)}, message="theirs")
    h.commit("main", {"tables/c": table(3)}, message="ours")
    seen: list[list[str]] = []

    def refuse(staged: Staged) -> None:
        seen.append([path for path, _ in staged.entries("tables/")])
        assert staged.read("tables/b") == table(2)
        raise CheckFailed("no")

    head = h.resolve("main")
    with pytest.raises(CheckFailed):
        h.merge("dev", "main", check=refuse)
    assert seen == [["tables/a", "tables/b", "tables/c"]]
    assert h.resolve("main") == head


def test_a_branch_that_moves_during_a_check_is_checked_again(local_workspace: Workspace) -> None:
    h = local_workspace.history
    h.create_branch("dev")
    h.commit("dev", {"tables/b": table(2)}, message="theirs")
    seen = []

    def meddle(staged: Staged) -> None:
        seen.append(len(staged.entries()))
        if len(seen) == 1:
            h.commit("main", {"tables/x": table(0)}, message="meanwhile")

    h.merge("dev", "main", check=meddle)
    assert seen == [1, 2]


def test_revert_undoes_one_commit_or_names_what_is_in_the_way(workspace: Workspace) -> None:
    h = workspace.history
    h.commit("main", {"tables/a": table(1)}, message="one")
    second = h.commit("main", {"tables/a": table(2), "tables/b": table(1)}, message="two")
    h.commit("main", {"tables/c": table(3)}, message="three")
    h.revert(second.id)
    assert {p: o["rows"] for p, o in h.entries("main")} == {"tables/a": 1, "tables/c": 3}

    third = h.commit("main", {"tables/a": table(5)}, message="five")
    h.commit("main", {"tables/a": table(6)}, message="six")
    with pytest.raises(Conflict, match="tables/a"):
        h.revert(third.id)


def test_a_merge_is_reverted_whole(workspace: Workspace) -> None:
    h = workspace.history
    h.create_branch("dev")
    for rows in range(3):
        h.commit("dev", {f"tables/t{rows}": table(rows)}, message="more")
    merged = h.merge("dev", "main")
    h.revert(merged.id)
    assert h.entries("main") == []


def test_expectations_are_a_compare_and_swap(workspace: Workspace) -> None:
    h = workspace.history
    h.commit("main", {"tables/a": table(1)}, message="one", expect={"tables/a": None})
    old = h.digest("main", "tables/a")
    h.commit("main", {"tables/a": table(2)}, message="two", expect={"tables/a": old})
    with pytest.raises(Conflict, match="tables/a"):
        h.commit("main", {"tables/a": table(3)}, message="three", expect={"tables/a": old})
    assert h.read("main", "tables/a") == table(2)


@pytest.mark.slow
def test_no_acknowledged_commit_is_lost_among_writers(workspace: Workspace) -> None:
    def write(writer: int) -> None:
        history = History(workspace.catalog)
        for n in range(8):
            history.commit("main", {f"tables/w{writer}n{n}": table(n)}, message=f"{writer} {n}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(workspace.history.entries("main", "tables/")) == 64
    assert len(workspace.history.log("main")) == 65
    assert audit.verify(workspace.catalog).ok


def test_log_follows_a_path(local_workspace: Workspace) -> None:
    h = local_workspace.history
    one = h.commit("main", {"tables/a": table(1)}, message="one")
    h.commit("main", {"tables/b": table(1)}, message="two")
    three = h.commit("main", {"tables/a": table(3)}, message="three")
    assert h.log("main", path="tables/a") == [three, one]
    assert len(h.log("main", path="tables")) == 3
    assert h.log("main", limit=1) == [three]


def test_a_branch_is_deleted_only_when_nothing_is_lost(local_workspace: Workspace) -> None:
    h = local_workspace.history
    h.create_branch("dev")
    made = h.commit("dev", {"tables/a": table(1)}, message="one")
    with pytest.raises(InputError, match="does not have"):
        h.delete_branch("dev")
    with pytest.raises(InputError, match="protected"):
        h.delete_branch("main")
    h.delete_branch("dev", force=True)
    assert h.read(made.id, "tables/a") == table(1)


def test_every_move_is_in_the_audit_log_and_a_changed_entry_shows(workspace: Workspace) -> None:
    h = workspace.history
    h.commit("main", {"tables/a": table(1)}, message="one", author="ana@example.org")
    h.create_branch("dev", author="ben@example.org")
    with workspace.catalog.read() as conn:
        entries = conn.execute(select(schema.audit.c.actor, schema.audit.c.action).order_by(schema.audit.c.seq)).all()
    assert [entry.action for entry in entries[:2]] == ["create", "protect"]  # main, as the workspace began
    assert [tuple(e) for e in entries[2:]] == [("ana@example.org", "commit"), ("ben@example.org", "create")]
    assert audit.verify(workspace.catalog).ok

    with workspace.catalog.write() as conn:
        conn.execute(update(schema.audit).where(schema.audit.c.seq == 2).values(actor="eve@example.org"))
    report = audit.verify(workspace.catalog)
    assert not report.ok
    assert report.first_bad == 2


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../x", "not relative"),
        ("/etc/x", "not relative"),
        ("monitors//x", "not relative"),
        ("", "not relative"),
        ("monitors/..", "not relative"),
        ("monitors/e\u0301", "not normal Unicode"),
        ("monitors/" + "x" * 10_000, "longer than 4096 bytes"),
        ("monitors/a\nb", r"'\\n' in it"),
        ("monitors/\ud800", "not UTF-8"),
    ],
)
def test_paths_that_lead_out_or_have_two_spellings_are_refused(local_workspace: Workspace, path: str, why: str) -> None:
    history = local_workspace.history
    head = history.resolve("main")
    with pytest.raises(InputError, match=why) as caught:
        history.commit("main", {"monitors/good": {"kind": "monitor"}, path: {"kind": "monitor"}}, message="Bad")
    assert len(str(caught.value)) < 300
    assert history.resolve("main") == head
    history.commit("main", {"models/é – “x”: 1 (2)": {"kind": "monitor"}, path: None}, message="Good")


def test_a_long_unknown_name_is_told_short(local_workspace: Workspace) -> None:
    with pytest.raises(NotFound, match=r"named 'x{100}… \(5,000 characters\)'"):
        local_workspace.history.resolve("x" * 5000)
