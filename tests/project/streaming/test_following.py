"""A stream that follows a table of the lake: each row that is appended is an event, once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.kills.forked import Commands
from tests.project.streaming.conftest import BEGIN, counted, event

import bascule as api
from bascule.errors import InputError
from bascule.features.streams import consuming
from bascule.history import Workspace
from bascule.lake import Lake

Shop = Callable[..., Path]
TYPES = pa.schema(
    [
        ("user", pa.string()),
        ("amount", pa.float64()),
        ("n", pa.int64()),
        ("clicked_at", pa.timestamp("us", "UTC")),
    ]
)


def rows(first: int, last: int) -> pa.Table:
    found = [event(n, clicked_at=BEGIN + timedelta(seconds=n)) for n in range(first, last)]
    return pa.Table.from_pylist(found, TYPES)


def events_of(project: api.OpenProject) -> list[int]:
    return [row["n"] for row in project.sql("select n from clicks order by n")]


@pytest.mark.slow
def test_what_is_appended_comes_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shop("table:raw")
    project = api.open(folder)
    lake, said = Lake(project.workspace), list[str]()
    [info] = project.run_streams(once=True, say=said.append)
    assert (info.events, said[0]) == (0, "There is no table raw on main; it is waited for.")
    monkeypatch.setattr(consuming, "POLL_EVENTS", 30)  # a state comes in several batches
    shuffled = rows(0, 100).take(random.Random(3).sample(range(100), 100))
    lake.append("raw", shuffled)
    lake.append("raw", rows(100, 130))
    [info] = project.run_streams(once=True)
    assert (info.events, info.aside, info.lag) == (130, {}, 0)
    # Compacted, and appended to, with a row that is there twice and one without a time.
    for n in range(130, 138):
        lake.append("raw", rows(n, n + 1))
    assert project.compact("raw")[0].files_before > 8
    timeless = pa.Table.from_pylist([event(7, clicked_at=None, user="nobody")], TYPES)
    beyond = pa.table({**{name: timeless[name] for name in TYPES.names[:3]}, "clicked_at": pa.array([2**60], "int64")})
    lake.append("raw", pa.concat_tables([rows(137, 140), timeless, beyond.cast(TYPES)]))
    [info] = project.run_streams(once=True)
    assert (info.events, info.aside) == (141, {"unreadable": 2})
    assert events_of(project) == sorted([*range(140), 137])
    early, aside = project.sql("select reason, raw, file from quarantine order by reason")
    assert early["reason"] == "clicked_at is beyond the years 1 to 9999."
    assert (aside["reason"], aside["file"]) == ("its time, clicked_at, is null.", "table:raw")
    assert "nobody" in aside["raw"]
    values = counted(project, BEGIN + timedelta(seconds=240))
    assert sum(row[2] for row in values) == 1 + sum(n % 17 != 0 for n in range(140))
    # Rows that go: refused, and nothing taken; a revert mends it, and so does saying that they stay counted.
    lake.append("raw", rows(140, 143))
    deleted = lake.delete("raw", "n = 5")
    with pytest.raises(InputError, match=r"^1 rows of table 'raw' were deleted or replaced") as refused:
        project.run_streams(once=True)
    assert 'changes = "keep"' in str(refused.value.hint)
    project.workspace.history.revert(deleted.id, "main")
    project.run_streams(once=True)
    assert events_of(project)[-3:] == [140, 141, 142]
    other = rows(3, 4).set_column(1, "amount", pa.array([99.0]))
    lake.overwrite("raw", pa.concat_tables([rows(0, 3), other, rows(4, 143)]))
    with pytest.raises(InputError, match="were deleted or replaced"):
        project.run_streams(once=True)
    project.close()
    text = (folder / "bascule.toml").read_text()
    kept = text.replace("lateness", 'options = { changes = "keep" }\nlateness')
    (folder / "bascule.toml").write_text(kept)
    project = api.open(folder)
    [info] = project.run_streams(once=True, say=said.append)
    assert (info.events, events_of(project).count(3)) == (145, 2)
    assert "what they counted stays counted" in said[-1]
    # A branch has its own table to follow.
    project.branch("trial")
    trial = api.open(folder, branch="trial")
    Lake(trial.workspace).append("raw", rows(143, 148), branch="trial")
    trial.run_streams(once=True)
    project.run_streams(once=True)
    assert (len(events_of(trial)), len(events_of(project))) == (150, 145)
    trial.close()
    project.close()


@pytest.mark.slow
def test_kill_9_while_following(shop: Shop) -> None:
    folder, chance = shop("table:raw", land="0s"), random.Random(5)
    done, written = threading.Event(), [0]

    def write() -> None:
        with closing(Workspace.open(folder)) as workspace:
            while not done.wait(0.02):
                Lake(workspace).append("raw", rows(written[0], written[0] + 20))
                written[0] += 20

    commands, writer = Commands(folder), threading.Thread(target=write)
    writer.start()
    try:
        ended = [commands.run("stream", "run", kill_after=chance.uniform(0.2, 0.6)) for _ in range(3)]
    finally:
        done.set()
        writer.join()
    assert {one.code for one in ended} == {-9}
    commands.done("stream", "run", "--once")
    commands.close()
    project = api.open(folder)
    assert events_of(project) == list(range(written[0]))
    values = counted(project, BEGIN + timedelta(seconds=written[0] + 60))
    assert sum(row[2] for row in values) == sum(n % 17 != 0 for n in range(written[0]))
    project.close()


def test_columns_that_do_not_fit_are_told(shop: Shop, refused: Any) -> None:
    with closing(Workspace.open(shop("table:raw"))) as workspace:
        Lake(workspace).append("raw", rows(0, 2).rename_columns(["user", "amonut", "n", "clicked_at"]))
        refused("stream", "run", "--once", code=2, words=("no column named 'amount'", "Did you mean 'amonut'?"))
        texts = rows(0, 2).set_column(1, "amount", pa.array(["dear", "7"]))
        staged = Lake(workspace).stage_append(None, texts, name="raw")
        workspace.history.commit("main", {"tables/raw": staged}, message="Another table")
        refused("stream", "run", "--once", code=2, words=("Column 'amount' is string", "of kind number"))


@pytest.mark.parametrize(
    ("path", "more", "word"),
    [
        ("table:clicks", "", "a stream cannot follow the table that it writes"),
        ("table:", "", "names no table"),
        ("table:raw", 'options = { chnges = "keep" }', "Did you mean 'changes'?"),
        ("table:raw", 'options = { changes = "kep" }', "Did you mean 'keep'?"),
    ],
)
def test_what_is_wrong_is_told(shop: Shop, refused: Any, path: str, more: str, word: str) -> None:
    file = shop(path) / "bascule.toml"
    file.write_text(file.read_text().replace('time = "clicked_at"\n', f'time = "clicked_at"\n{more}\n', 1))
    refused("stream", "run", "--once", code=2, words=(word,))
