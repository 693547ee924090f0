"""A consumer that is killed at any moment: nothing lost, nothing double, nothing half-visible."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.kills.forked import Commands
from tests.project.streaming.conftest import BEGIN, counted, lines

import bascule as api
from bascule.lake import doctor

KILLS, STEP = 5, 25


@pytest.mark.slow
def test_kill_9_while_consuming(shop: Callable[..., Path]) -> None:
    folder, chance = shop(land="0s"), random.Random(7)
    path, done, written = folder / "clicks.jsonl", threading.Event(), [0]

    def write() -> None:
        with path.open("a", buffering=1 << 16) as out:
            while not done.wait(0.02):
                out.write(lines(written[0], written[0] + STEP))
                out.flush()
                written[0] += STEP

    commands, writer = Commands(folder), threading.Thread(target=write)
    writer.start()
    try:
        # The first few come to work at once; the others may die at any moment of theirs.
        ended = [commands.run("stream", "run", kill_after=chance.uniform(0.05, 1.1)) for _ in range(KILLS)]
        taken = commands.done("stream", "status", "--json").json()[0]
    finally:
        done.set()
        writer.join()
    events = written[0]
    assert {one.code for one in ended} == {-9}
    assert taken["events"] > 0
    [after] = commands.done("stream", "run", "--once", "--json").json()
    assert (after["events"], after["waiting"], after["views"][0]["behind"]) == (events, 0, 0)
    assert after["views"][0]["rows"] == events
    commands.close()
    project = api.open(folder)
    [row] = project.sql("select count(*) as rows, count(distinct n) as events, max(n) as last from clicks")
    assert row == {"rows": events, "events": events, "last": events - 1}
    at = BEGIN + timedelta(seconds=events + 60)
    values = counted(project, at)
    assert sum(row[2] for row in values) == sum(n % 17 != 0 for n in range(events))
    project.replay_stream("clicks")  # counted anew from the table, they are the same
    assert counted(project, at) == values
    assert not doctor.check(project.workspace).problems
    project.close()
