"""The tree against a dict, and the history against a naive model of git."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from bascule.errors import Conflict
from bascule.history import Workspace
from bascule.history.tree import EMPTY, Tree

keys = st.integers(0, 3000).map(lambda n: f"tables/{n * 7919 % 3001:04d}")
digests = st.integers(0, 5).map(lambda n: f"{n:064x}")


class Nodes(dict[str, bytes]):
    def tree(self) -> Tree:
        return Tree(self.__getitem__)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    start=st.sets(keys, max_size=1500),
    edits=st.lists(st.dictionaries(keys, st.none() | digests, max_size=60), max_size=5),
)
def test_a_tree_is_the_dict_and_only_the_dict(start: set[str], edits: list[dict[str, str | None]]) -> None:
    nodes = Nodes()
    tree = nodes.tree()
    model = dict.fromkeys(start, f"{1:064x}")
    root = tree.update(EMPTY, dict(model), nodes.__setitem__)
    for edit in edits:
        before, before_model = root, dict(model)
        root = tree.update(root, edit, nodes.__setitem__)
        for key, value in edit.items():
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        assert dict(tree.items(root)) == model
        changed = {k for k in model.keys() | before_model.keys() if model.get(k) != before_model.get(k)}
        assert {k: (a, b) for k, a, b in tree.diff(before, root)} == {
            k: (before_model.get(k), model.get(k)) for k in changed
        }
    # However a map came about, it is the same tree: that is what makes diffs cheap.
    assert tree.update(EMPTY, dict(model), nodes.__setitem__) == root
    assert [k for k, _ in tree.items(root, "tables/1")] == sorted(k for k in model if k.startswith("tables/1"))
    assert all(tree.get(root, k) == v for k, v in model.items())


@pytest.mark.slow
def test_a_commit_writes_a_few_nodes_whatever_the_size() -> None:
    nodes = Nodes()
    tree = nodes.tree()
    root = tree.update(EMPTY, {f"tables/{n}": f"{n:064x}" for n in range(100_000)}, nodes.__setitem__)
    for n in range(0, 100_000, 9973):
        written: list[str] = []

        def note(name: str, body: bytes, written: list[str] = written) -> None:
            written.append(name)
            nodes[name] = body

        root = tree.update(root, {f"tables/{n}": f"{7:064x}"}, note)
        assert len(written) <= 4


class AgainstANaiveModel(RuleBasedStateMachine):
    """Branches, commits, merges and reverts, beside dicts that are copied whole."""

    branches = Bundle("branches")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.workspace = Workspace.create(self.folder.name)
        self.h = self.workspace.history
        # commit id -> (state, parents)
        self.states: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {}
        self.heads = {"main": self.note("main", {})}

    def note(self, branch: str, state: dict[str, Any]) -> str:
        commit = self.h.resolve(branch)
        self.states[commit.id] = (state, commit.parents)
        return commit.id

    def live(self, name: str) -> str:
        return name if name in self.heads else "main"

    def ancestors(self, commit: str) -> set[str]:
        found, queue = set(), [commit]
        while queue:
            name = queue.pop()
            if name not in found:
                found.add(name)
                queue.extend(self.states[name][1])
        return found

    @rule(target=branches, name=st.sampled_from(["main", "a", "b", "c"]), at=st.sampled_from(["main", "a", "b", "c"]))
    def branch(self, name: str, at: str) -> str:
        if name not in self.heads and at in self.heads:
            self.h.create_branch(name, at)
            self.heads[name] = self.heads[at]
        return name if name in self.heads else "main"

    @rule(branch=branches, changes=st.dictionaries(st.sampled_from("pqrst"), st.none() | st.integers(0, 2)))
    def commit(self, branch: str, changes: dict[str, int | None]) -> None:
        branch = self.live(branch)
        state = dict(self.states[self.heads[branch]][0])
        for path, value in changes.items():
            state.pop(path, None)
            if value is not None:
                state[path] = {"kind": "x", "value": value}
        self.h.commit(
            branch, {p: None if v is None else {"kind": "x", "value": v} for p, v in changes.items()}, message="m"
        )
        if state != self.states[self.heads[branch]][0]:
            self.heads[branch] = self.note(branch, state)

    @rule(source=branches, into=branches)
    def merge(self, source: str, into: str) -> None:
        source, into = self.live(source), self.live(into)
        ours, theirs = self.heads[into], self.heads[source]
        common = self.ancestors(ours) & self.ancestors(theirs)
        generation = {name: self.h.commit_by_id(name).generation for name in common}
        top = [n for n in common if generation[n] == max(generation.values())]
        if len(top) > 1:
            return  # a criss-cross with two equal bases: git picks one as well
        base = self.states[top[0]][0]
        mine, other = self.states[ours][0], self.states[theirs][0]
        merged, conflict = dict(mine), False
        for path in base.keys() | mine.keys() | other.keys():
            b, m, o = base.get(path), mine.get(path), other.get(path)
            if o != b and m == b:
                merged.pop(path, None)
                if o is not None:
                    merged[path] = o
            elif o != b and m != b and o != m:
                conflict = True
        try:
            self.h.merge(source, into)
        except Conflict:
            assert conflict
            return
        assert theirs in self.ancestors(ours) or not conflict
        if theirs not in self.ancestors(ours):
            self.heads[into] = self.note(into, merged)

    @rule(branch=branches, back=st.integers(0, 3))
    def revert(self, branch: str, back: int) -> None:
        branch = self.live(branch)
        log = self.h.log(branch)
        commit = log[min(back, len(log) - 1)]
        if not commit.parents:
            return
        before, after = self.states[commit.parents[0]][0], self.states[commit.id][0]
        state = dict(self.states[self.heads[branch]][0])
        conflict = False
        for path in before.keys() | after.keys():
            b, a = before.get(path), after.get(path)
            if a == b:
                continue
            conflict |= state.get(path) not in (a, b)
            state.pop(path, None)
            if b is not None:
                state[path] = b
        try:
            self.h.revert(commit.id, on=branch)
        except Conflict:
            assert conflict
            return
        assert not conflict
        if state != self.states[self.heads[branch]][0]:
            self.heads[branch] = self.note(branch, state)

    @rule(source=branches, into=branches, back=st.integers(0, 3))
    def cherry_pick(self, source: str, into: str, back: int) -> None:
        source, into = self.live(source), self.live(into)
        log = self.h.log(source)
        commit = log[min(back, len(log) - 1)]
        if not commit.parents:
            return
        before, after = self.states[commit.parents[0]][0], self.states[commit.id][0]
        state = dict(self.states[self.heads[into]][0])
        conflict = False
        for path in before.keys() | after.keys():
            b, a = before.get(path), after.get(path)
            if a == b:
                continue
            conflict |= state.get(path) not in (a, b)
            state.pop(path, None)
            if a is not None:
                state[path] = a
        try:
            self.h.cherry_pick(commit.id, on=into)
        except Conflict:
            assert conflict
            return
        assert not conflict
        if state != self.states[self.heads[into]][0]:
            self.heads[into] = self.note(into, state)

    @rule(branch=consumes(branches))
    def delete(self, branch: str) -> None:
        if branch != "main" and branch in self.heads:
            self.h.delete_branch(branch, force=True)
            del self.heads[branch]

    @invariant()
    def every_branch_is_its_model(self) -> None:
        for name, head in self.heads.items():
            assert self.h.resolve(name).id == head
            assert dict(self.h.entries(name)) == self.states[head][0]

    def teardown(self) -> None:
        self.workspace.close()
        self.folder.cleanup()


TestHistoryAgainstANaiveModel = pytest.mark.slow(AgainstANaiveModel.TestCase)
TestHistoryAgainstANaiveModel.settings = settings(
    deadline=None, max_examples=25, stateful_step_count=25, suppress_health_check=list(HealthCheck)
)
