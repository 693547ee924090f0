"""Collection against a naive model: over random histories, exactly what is unreachable and old goes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.lake.maintenance.aging import age, files_below
from tests.lake.samples import names_in

from bascule.catalog import now
from bascule.durations import DAY
from bascule.errors import Conflict, Expired, Held, InputError
from bascule.history import Commit, Workspace, expiry, holds
from bascule.lake import Lake
from bascule.lake.doctor import check
from bascule.lake.maintenance import Retention, Rule, collect, retention

GRACE = DAY
TABLES = ("a", "b")
PICK = st.integers(0, 10**6)


@dataclass
class State:
    """A commit as the model keeps it: its parents, its tables' states, and their rows and files."""

    parents: tuple[str, ...]
    tables: dict[str, str] = field(default_factory=dict)  # path → digest
    blobs: set[str] = field(default_factory=set)


class CollectionModel(RuleBasedStateMachine):
    """Random histories on one side, and on the other lists, sets and loops that ask about every commit."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.workspace = Workspace.create(Path(self.folder.name) / "w")
        self.states: dict[str, State] = {}
        self.rows: dict[str, list[int]] = {}
        self.files: dict[str, frozenset[Path]] = {}
        self.gone: set[str] = set()  # objects
        self.gone_commits: set[str] = set()
        self.ended: list[tuple[str, str, int]] = []
        self.moves: list[tuple[str, int]] = []
        self.number = 0
        self.note(self.workspace.history.resolve("main"))

    # What is done to both ---------------------------------------------------------------------------------------------

    @property
    def lake(self) -> Lake:
        return Lake(self.workspace)

    def note(self, commit: Commit, before: str | None = None) -> None:
        history = self.workspace.history
        state = State(commit.parents)
        for path, value in history.entries(commit):
            digest = history.digest(commit, path)
            assert digest is not None
            if value["kind"] == "table":
                state.tables[path] = digest
                if digest not in self.files:
                    self.files[digest] = naive_files(self.lake, value)
                    self.rows[digest] = sorted(names_in(self.lake, value, "n"))
            else:
                state.blobs.add(value["blob"])
        self.states[commit.id] = state
        self.moves += [(name, now()) for name in (commit.id, before or commit.id)]

    def branch(self, pick: int) -> str:
        found = self.workspace.history.branches()
        return found[pick % len(found)].name

    def batch(self) -> pa.Table:
        self.number += 1
        return pa.table({"n": [self.number, self.number + 1000]})

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Begin with something to let go: rules, and states of some days on two branches."""
        retention.save(self.workspace.catalog, Retention((Rule("main", 3 * DAY), Rule("*", None, 2))), "ana")
        for step in range(4):
            self.overwrite(0, "a")
            self.append(0, "b")
            if step == 1:
                self.make_a_branch(10**6)
                self.overwrite(0, "a")
            self.pass_time(data.draw(st.sampled_from([0.1, 2, 5])))

    @rule(pick=PICK, table=st.sampled_from(TABLES))
    def append(self, pick: int, table: str) -> None:
        name = self.branch(pick)
        before = self.workspace.history.resolve(name).id
        self.note(self.lake.append(table, self.batch(), branch=name), before)

    @rule(pick=PICK, table=st.sampled_from(TABLES))
    def overwrite(self, pick: int, table: str) -> None:
        name = self.branch(pick)
        before = self.workspace.history.resolve(name).id
        self.note(self.lake.overwrite(table, self.batch(), branch=name), before)

    @rule(pick=PICK)
    def name_a_blob(self, pick: int) -> None:
        self.number += 1
        name = self.branch(pick)
        before = self.workspace.history.resolve(name).id
        blob = self.workspace.store.put(f"blob {self.number}".encode())
        value = {"kind": "thing", "blob": blob}
        self.note(self.workspace.history.commit(name, {"things/x": value}, message="thing"), before)

    @rule(pick=PICK)
    def make_a_branch(self, pick: int) -> None:
        at = list(self.states)[pick % len(self.states)]
        self.number += 1
        try:
            self.workspace.history.create_branch(f"b{self.number}", at)
            assert at not in self.gone_commits
            self.moves.append((at, now()))
        except Expired:
            assert at in self.gone_commits

    @rule(pick=PICK)
    def tag(self, pick: int) -> None:
        at = list(self.states)[pick % len(self.states)]
        self.number += 1
        if at not in self.gone_commits:
            self.workspace.history.tag(f"v{self.number}", at)
            self.moves.append((at, now()))

    @rule(one=PICK, other=PICK)
    def merge(self, one: int, other: int) -> None:
        source, into = self.branch(one), self.branch(other)
        before = self.workspace.history.resolve(into).id
        lake = self.lake
        try:
            merged = self.workspace.history.merge(
                source, into, resolve=lambda path, b, o, t: lake.merge_appends(b, o, t) if "tables" in path else None
            )
        except Conflict:
            return
        if merged.id not in self.states:
            self.note(merged, before)

    @rule(pick=PICK, at=PICK)
    def revert(self, pick: int, at: int) -> None:
        name = self.branch(pick)
        before = self.workspace.history.resolve(name).id
        commit = list(self.states)[at % len(self.states)]
        try:
            made = self.workspace.history.revert(commit, on=name)
        except (Conflict, InputError):
            return
        if made.id not in self.states:
            self.note(made, before)
            assert not set(self.states[made.id].tables.values()) & self.gone

    @rule(pick=PICK)
    def delete_branch(self, pick: int) -> None:
        name = self.branch(pick)
        head = self.workspace.history.resolve(name).id
        try:
            self.workspace.history.delete_branch(name, force=True)
        except (InputError, Held):
            return
        self.ended.append((name, head, now()))
        self.moves.append((head, now()))

    @rule(days=st.sampled_from([0.5, 2, 20, 40]))
    def pass_time_and_collect(self, days: float) -> None:
        self.pass_time(days)
        self.collect()

    def pass_time(self, days: float) -> None:
        span = int(days * DAY)
        self.workspace = age(self.workspace, span)
        self.ended = [(name, head, at - span) for name, head, at in self.ended]
        self.moves = [(name, at - span) for name, at in self.moves]

    @rule(
        branches=st.sampled_from(["main", "b*", "*"]),
        keep=st.sampled_from([None, DAY, 10 * DAY]),
        last=st.sampled_from([None, 1, 3]),
    )
    def set_rule(self, branches: str, keep: int | None, last: int | None) -> None:
        rules = self.retention().with_rule(Rule(branches, keep, last))
        retention.save(self.workspace.catalog, rules, "ana")

    @rule(pick=PICK, kind=st.sampled_from(["ref", "commit", "path"]))
    def hold(self, pick: int, kind: str) -> None:
        commits = [name for name in self.states if name not in self.gone_commits]
        refs = [ref.name for ref in (*self.workspace.history.branches(), *self.workspace.history.tags())]
        subjects = {"ref": refs, "commit": commits, "path": ["tables/a"]}[kind]
        with self.workspace.catalog.write() as conn:
            holds.add(conn, subjects[pick % len(subjects)], "case 7", "ana")

    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        with self.workspace.catalog.write() as conn:
            found = holds.listed(conn)
            if found:
                holds.release(conn, found[pick % len(found)].id, "ana")

    @rule(table=st.sampled_from(TABLES))
    def leave_orphans(self, table: str) -> None:
        value = self.workspace.history.read("main", f"tables/{table}")
        if value is not None:
            self.lake.stage_append(value, self.batch(), name=table)

    # The model --------------------------------------------------------------------------------------------------------

    def retention(self) -> Retention:
        with self.workspace.catalog.read() as conn:
            return retention.load(conn)

    def ancestors(self, head: str) -> list[str]:
        found, waiting = [], [head]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.append(name)
                waiting += self.states[name].parents
        history = self.workspace.history
        commits = [history.commit_by_id(name) for name in found]
        return [c.id for c in sorted(commits, key=lambda c: (-c.generation, -c.created_at, c.id))]

    def kept(self) -> set[str]:
        history, rules, moment = self.workspace.history, self.retention(), now()
        made = {name: history.commit_by_id(name).created_at for name in self.states}
        with self.workspace.catalog.read() as conn:
            held = holds.listed(conn)
        found = {name for name, at in made.items() if at >= moment - GRACE}
        found |= {name for name, at in self.moves if at >= moment - GRACE}
        found |= {ref.head for ref in (*history.branches(), *history.tags())}
        found |= {hold.subject for hold in held if hold.kind == "commit"}
        named = {ref.name: ref.head for ref in history.branches()}
        trunk = set(self.ancestors(named["main"]))
        for hold in held:
            if hold.kind == "branch":
                found |= set(self.ancestors(named[hold.subject]))
        for head in named.values():
            line = self.ancestors(head)
            left = {p for name in line if name not in trunk for p in self.states[name].parents}
            found |= left & trunk
        lines = [*named.items(), *((name, head) for name, head, at in self.ended if at >= moment - rules.unnamed)]
        for branch, head in lines:
            rule, line = rules.rule(branch), self.ancestors(head)
            if branch != "main":
                line = [name for name in line if name not in trunk]
            if rule.keep is None and rule.last is None:
                found |= set(line)
            found |= set(line[: rule.last or 0])
            for name in line if rule.keep is not None else ():
                if made[name] >= moment - (rule.keep or 0):
                    found |= {name, *self.states[name].parents[:1]} & set(line)
        return found

    @rule()
    def collect(self) -> None:
        kept = self.kept()
        with self.workspace.catalog.read() as conn:
            held = {hold.subject for hold in holds.listed(conn) if hold.kind == "path"}
        live = {d for name in kept for d in self.states[name].tables.values()}
        live |= {d for state in self.states.values() for path, d in state.tables.items() if path in held}
        live -= self.gone
        needed = {path for digest in live for path in self.files[digest]}
        blobs = {blob for name in kept for blob in self.states[name].blobs}
        before = set(files_below(self.workspace.lake_folder))
        old = {path for path in before if path.stat().st_mtime_ns // 1000 < now() - GRACE}
        stored = set(self.workspace.store.digests())
        young = {one.digest for one in self.workspace.store.stored() if one.modified >= now() - GRACE}

        planned = collect(self.workspace, grace=GRACE, dry_run=True)
        assert set(files_below(self.workspace.lake_folder)) == before
        done = collect(self.workspace, grace=GRACE)
        assert planned.as_dict() | {"dry_run": False} == done.as_dict()
        assert set(files_below(self.workspace.lake_folder)) == before - (old - needed)
        assert set(self.workspace.store.digests()) == stored & (blobs | young)
        assert done.files == len(old - needed) + len(stored - blobs - young)
        self.expire(kept, live, blobs & stored)
        self.look()

    def expire(self, kept: set[str], live: set[str], blobs: set[str]) -> None:
        for name, state in self.states.items():
            if name in kept:
                continue
            lost = set(state.tables.values()) - live - self.gone
            if lost or state.blobs - blobs or name in self.gone_commits:
                self.gone_commits.add(name)
        for name in self.states.keys() - kept:
            self.gone |= set(self.states[name].tables.values()) - live
        with self.workspace.catalog.read() as conn:
            noted = expiry.every(conn)
        assert self.gone <= noted
        assert {name for name in self.states if name in noted} == self.gone_commits

    def look(self) -> None:
        history = self.workspace.history
        for digest, rows in self.rows.items():
            value = history.object(digest)
            if digest in self.gone:
                with pytest.raises(Expired):
                    self.lake.scan(value)
            else:
                assert sorted(names_in(self.lake, value, "n")) == rows

    def teardown(self) -> None:
        self.collect()
        report = check(self.workspace)
        assert report.ok, report.problems
        self.workspace.close()
        self.folder.cleanup()


def naive_files(lake: Lake, value: dict[str, object]) -> frozenset[Path]:
    """The files of a state, asked for one by one."""
    table = lake.table(value)
    found = {table.path, *(file.path for file in table.data_files())}
    if table.snapshot is not None:
        found.add(Path(table.snapshot["manifest-list"]))
        found |= {Path(manifest["manifest_path"]) for manifest in table.manifests()}
    return frozenset(found)


@pytest.mark.slow
@pytest.mark.parametrize("examples", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_exactly_what_is_unreachable_and_old_goes(examples: int) -> None:
    CollectionModel.TestCase.settings = settings(
        max_examples=examples, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    CollectionModel.TestCase("runTest").runTest()
