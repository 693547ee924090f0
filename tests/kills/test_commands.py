"""`kill -9` of any command at any moment: nothing is half done, nothing is lost, and the command can be repeated."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bascule.history import Workspace
from tests.kills.forked import Commands, Ended
from tests.project.parcels import DAYS, HEAD, csv, hourly, orders, write, write_project

SEEDS = (1, 2)
KILLS = 2  # of each command, at most: one that was quicker than its kill is done
LEAST = 25  # of the whole story; more batches come until there were so many
DAYS_LONG = 200
LONG = 12  # times a short command: what a run is taken for before anybody has measured it
Done = Callable[[Workspace], bool]


@dataclass(frozen=True)
class Command:
    """A command of the story.

    Attributes:
        done: tells whether it has done what it does, for one that cannot be repeated.
        branch: where its commits go.
    """

    words: tuple[str, ...]
    done: Done | None = None
    branch: str = "main"


def has_ref(name: str) -> Done:
    return lambda ws: name in {ref.name for ref in (*ws.history.branches(), *ws.history.tags())}


def serves(version: int, share: int) -> Done:
    def look(ws: Workspace) -> bool:
        deployment = ws.history.read("main", "deployments/delays") or {"traffic": []}
        return {"version": version, "weight": share} in deployment["traffic"]

    return look


STORY = (
    Command(("run",)),
    Command(("deploy",), serves(1, 100)),
    Command(("ingest", "orders", "more/1.csv")),
    Command(("branch", "next"), has_ref("next")),
    Command(("ingest", "orders", "more/2.csv", "--branch", "next"), branch="next"),
    Command(("run", "--branch", "next", "--force", "a drill"), branch="next"),
    Command(("ingest", "orders", "more/3.csv")),
    Command(("merge", "next", "main")),
    Command(("monitor",)),
    Command(("promote", "delays"), serves(2, 100)),
    Command(("tag", "v1"), has_ref("v1")),
    Command(("rollback", "delays"), serves(1, 100)),
    Command(("step", "run", "materialise")),
    Command(("compact",)),
    Command(("forget", "orders", "order_id=o001-01", "--reason", "asked for")),
    Command(("retention", "set", "main", "--last", "3")),
    Command(("gc", "--grace", "0s")),
    Command(("run", "--force", "a drill")),
)


class Story:
    """A project, its commands, and what they have acknowledged."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.commands = Commands(folder)
        self.kept: list[tuple[str, str]] = []  # (branch, commit)
        self.seconds: dict[str, float] = {}
        self.kills = 0
        self.batches = 0
        self.weather = hourly(DAYS_LONG, random.Random(7))

    def begin(self) -> None:
        """Make the workspace, and measure a short command."""
        Workspace.create(self.folder).close()
        self.short = self.commands.done("status").seconds

    def batch(self) -> str:
        """Write five more days of orders, and return the file's name."""
        first = DAYS + 5 * self.batches
        self.batches += 1
        rows = orders(range(first, first + 5), self.weather, random.Random(self.batches))
        write(self.folder / f"more/{self.batches}.csv", csv(HEAD, rows))
        return f"more/{self.batches}.csv"

    def tell(self, command: Command) -> None:
        """Kill a command some times, look after each, and then let it end."""
        for _ in range(KILLS):
            delay = self.chance.uniform(0, 1.1) * self.guess(command)
            ended = self.commands.run(*command.words, kill_after=delay)
            if ended.code != -signal.SIGKILL:
                assert ended.code == 0, ended
                break
            self.kills += 1
            self.look(f"{' '.join(command.words)} killed after {delay:.3f} s")
            if self.is_done(command):
                break
        if not self.is_done(command):
            self.seconds[command.words[0]] = self.commands.done(*command.words).seconds
        with_commit = self.commands.done("log", "--branch", command.branch, "--limit", "1", "--json")
        self.kept.append((command.branch, with_commit.json()[0]["id"]))

    def guess(self, command: Command) -> float:
        return self.seconds.get(command.words[0], self.short * (LONG if command.words[0] == "run" else 1))

    def is_done(self, command: Command) -> bool:
        if command.done is None:
            return False
        workspace = Workspace.open(self.folder)
        try:
            return command.done(workspace)
        finally:
            workspace.close()

    def look(self, where: str) -> None:
        """Everything is whole, and what was acknowledged is there."""
        doctor = self.commands.run("doctor", "--deep")
        assert doctor.code == 0, f"{where}:\n{doctor.out}{doctor.err}"
        assert self.commands.run("audit", "verify").code == 0, where
        workspace = Workspace.open(self.folder)
        try:
            held: dict[str, set[str]] = {}
            for branch, commit in self.kept:
                if branch not in held:
                    held[branch] = {one.id for one in workspace.history.log(branch)}
                assert commit in held[branch], f"{where}: {branch} has lost {commit}"
        finally:
            workspace.close()


@pytest.fixture
def story(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Story]:
    seed = getattr(request, "param", SEEDS[0])
    print(f"seed {seed}")
    made = Story(write_project(tmp_path / "project"), seed)
    yield made
    made.commands.close()


@pytest.mark.slow
@pytest.mark.parametrize("story", SEEDS, indirect=True)
def test_the_story_is_told_through_all_kills(story: Story) -> None:
    story.begin()
    for _ in range(3):
        story.batch()
    for command in STORY:
        story.tell(command)
    while story.kills < LEAST:
        story.tell(Command(("ingest", "orders", story.batch())))
    story.tell(Command(("run", "--force", "a drill")))
    story.look("the end")
    workspace = Workspace.open(story.folder)
    main = workspace.history
    rows = {name: main.get("main", f"tables/{name}")["rows"] for name in ("orders", "weather", "depots")}
    assert rows == {"orders": 2400 + story.batches * 200 - 1, "weather": 4320, "depots": 3}
    assert main.get("main", "deployments/delays")["traffic"] == [{"version": 1, "weight": 100}]
    assert sorted(main.get("main", "models/delays")["versions"], key=int)[:2] == ["1", "2"]
    workspace.close()
    assert "Nothing to do" in story.commands.done("run").out
    print(f"{story.kills} kills")


@pytest.mark.slow
def test_a_killed_init_is_finished_by_the_next(story: Story) -> None:
    for file in ("bascule.toml", "contracts/orders.yaml"):
        (story.folder / file).unlink()

    def init(into: str, kill_after: float | None = None) -> Ended:
        label = ("--label", "orders.minutes_late > 15", "--no-git")
        return story.commands.run("init", "data", *label, "--into", into, kill_after=kill_after)

    whole = init("whole")
    assert whole.code == 0, whole
    wanted = [path.relative_to(story.folder / "whole") for path in (story.folder / "whole").rglob("*.sql")]
    assert len(wanted) > 1
    for number in range(5):
        into = f"made{number}"
        init(into, kill_after=whole.seconds * story.chance.uniform(0.6, 1))
        was_whole = (story.folder / into / ".bascule/workspace.toml").exists()
        again = init(into)
        assert again.code == 0 or (was_whole and "exists already" in again.err), again
        assert all((story.folder / into / name).is_file() for name in wanted)
        assert story.commands.run("status", "--project", into).code == 0
        assert story.commands.run("doctor", "--project", into).code == 0
