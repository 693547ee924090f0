"""A stream from what is written to what is read: a file that grows, events that are sent, refusals."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from tests.project.streaming.conftest import BEGIN, counted, event, lines

import bascule as api
from bascule.errors import Busy, CheckFailed, InputError
from bascule.features.streams import consuming
from bascule.store.locking import FileLock

Shop = Callable[..., Path]
CONTRACT = """
[contract.clicks]
file = "clicks.yaml"
"""
RULES = """
apiVersion: v3.0.2
kind: DataContract
id: clicks
version: 1.0.0
status: active
schema:
  - name: clicks
    properties:
      - name: amount
        logicalType: number
        quality:
          - type: library
            rule: duplicateValues
            mustBe: 0
"""


def add(path: Path, text: str) -> None:
    with path.open("a") as out:
        out.write(text)


def rows_of(project: api.OpenProject) -> list[int]:
    return [row["n"] for row in project.sql("select n from clicks order by n")]


@pytest.mark.slow
def test_a_file_that_grows_is_rotated_and_cut(shop: Shop) -> None:
    folder = shop()
    path = folder / "clicks.jsonl"
    project = api.open(folder)
    with path.open("w") as out:
        out.write(lines(0, 700) + "no json\n" + '{"user": "u1", "clicked_at": 7}\n\n' + lines(700, 701)[:20])
    left = project.materialise()  # there is no table yet, and its view is the stream's
    assert (left.streamed, left.views.views) == (("spending",), ())
    [info] = project.run_streams(once=True)
    assert (info.events, info.aside, info.lag) == (700, {"unreadable": 2}, 20)
    with path.open("a") as out:
        out.write(lines(700, 701)[20:] + lines(701, 710))
    path.rename(folder / "clicks.jsonl.1")
    path.write_text(lines(710, 800))
    said: list[str] = []
    [info] = project.run_streams(once=True, say=said.append)
    assert rows_of(project) == list(range(800))
    path.write_text(lines(800, 803))  # cut, and written anew
    project.run_streams(once=True, say=said.append)
    assert rows_of(project) == list(range(803))
    assert any("was cut" in one for one in said)
    values = counted(project, BEGIN + timedelta(seconds=840))
    assert sum(row[2] for row in values) == sum(n % 17 != 0 for n in range(803))
    aside = project.sql("select file, line, reason, raw, source from quarantine order by line")
    assert [one["raw"] for one in aside] == ["no json", '{"user": "u1", "clicked_at": 7}']
    assert "Expected `str`" in aside[1]["reason"] or "Expected `datetime`" in aside[1]["reason"]
    assert {one["source"] for one in aside} == {"stream:clicks.jsonl"}
    assert project.sql("select sum(rows) as rows, sum(aside) as aside from stream_landings") == [
        {"rows": 803, "aside": 2}
    ]
    project.close()


@pytest.mark.slow
def test_a_subject_is_forgotten_in_the_log_too(shop: Shop) -> None:
    project = api.open(shop("push"))
    mine = [event(n, user="subject-4711") for n in range(3)]
    project.push_events("clicks", [*mine, event(3)])
    project.run_streams(once=True)
    project.push_events("clicks", [event(4), event(5, user="subject-4711")])
    [log] = (project.folder / ".bascule" / "streams").glob("*/clicks/data.mdb")
    assert b"subject-4711" in log.read_bytes()
    done = project.forget("clicks", {"user": "subject-4711"})
    assert {place.place: place.rows for place in done.report.elsewhere}["logs of streams"] == 1
    assert b"subject-4711" not in log.read_bytes()
    assert not any(b"subject-4711" in file.read_bytes() for file in project.folder.rglob(".bascule/online/*.mdb"))
    [info] = project.run_streams(once=True)
    assert (info.waiting, rows_of(project)) == (0, [3, 4])
    counted(project, BEGIN + timedelta(seconds=60))
    project.close()


@pytest.mark.slow
def test_columns_that_change_on_the_way(shop: Shop) -> None:
    """What waits in the log came with the old columns; it lands with the new ones, or says why not."""
    folder = shop("push")
    project = api.open(folder)
    project.push_events("clicks", [event(1)])
    text = (folder / "bascule.toml").read_text()
    (folder / "bascule.toml").write_text(text.replace('n = "integer"', 'n = "number", page = "text"'))
    wider = api.open(folder)
    wider.push_events("clicks", [event(2, page="/a")])
    wider.run_streams(once=True)
    rows = wider.sql("select n, page from clicks order by n")
    assert rows == [{"n": 1.0, "page": None}, {"n": 2.0, "page": "/a"}]
    wider.push_events("clicks", [event(3, page="/b")])
    (folder / "bascule.toml").write_text(text.replace('n = "integer"', 'n = "integer", page = "integer"'))
    with pytest.raises(InputError, match="Column 'page' is string, and should be of kind integer"):
        api.open(folder).run_streams(once=True)
    (folder / "clicks.jsonl").unlink(missing_ok=True)
    said: list[str] = []
    (folder / "bascule.toml").write_text(
        text.replace('"push"', '"other.jsonl"').replace('n = "integer"', 'n = "number", page = "text"')
    )
    api.open(folder).run_streams(once=True, say=said.append)
    assert any("There is no other.jsonl" in one for one in said)
    for one in (project, wider):
        one.close()


@pytest.mark.slow
def test_late_and_early_events(shop: Shop) -> None:
    """What is late within reason counts where it belongs; what is later is set aside, however batches are cut."""
    folder = shop()
    path, project = folder / "clicks.jsonl", api.open(shop())
    late = [event(n) for n in (100, 1200, 700, 599, 601, 2000)]  # 599 is 601 s behind 1200; 10 minutes are allowed
    future, never = event(90_000_000), event(1, clicked_at="9999-12-31T23:59:59-14:00")  # in UTC of the year 10000
    path.write_text("".join(json.dumps(one) + "\n" for one in [*late[:5], never, future, late[5]]))
    project.run_streams(once=True)
    add(path, "".join(json.dumps(event(n)) + "\n" for n in (1401, 1399)))
    [info] = project.run_streams(once=True)
    assert rows_of(project) == [100, 601, 700, 1200, 1401, 2000]
    assert info.aside == {"late": 2, "ahead": 1, "unreadable": 1}
    reasons = {row["reason"] for row in project.sql("select reason from quarantine")}
    assert reasons == {
        "its time is more than 10m behind the newest event.",
        "its time is more than 5m ahead of the clock.",
        "It is beyond the years 1 to 9999 - at `$.clicked_at`.",
    }
    counted(project, BEGIN + timedelta(seconds=2100))
    project.close()


@pytest.mark.slow
def test_csv_lines(shop: Shop) -> None:
    folder = shop("clicks.csv")
    head = "user,amount,n,clicked_at\n"
    body = "".join(f"u{n},{n / 2},{n},{event(n)['clicked_at']}\n" for n in range(50))
    (folder / "clicks.csv").write_text(head + body + "u1,much,3," + event(3)["clicked_at"] + "\n" + "a,b,c,d,e\n")
    project = api.open(folder)
    [info] = project.run_streams(once=True)
    assert (info.events, info.aside) == (50, {"unreadable": 2})
    add(folder / "clicks.csv", f"u9,1,50,{event(50)['clicked_at']}\n")
    project.run_streams(once=True)
    assert rows_of(project) == list(range(51))
    # An open quote is that line's own: those after it are read, and each is named by where it begins.
    begin = (folder / "clicks.csv").stat().st_size
    add(folder / "clicks.csv", f'u9,1,"51,{event(51)["clicked_at"]}\nu9,1,52,{event(52)["clicked_at"]}\n')
    [info] = project.run_streams(once=True)
    assert (info.events, info.aside) == (52, {"unreadable": 3})
    assert rows_of(project) == [*range(51), 52]
    found = project.sql("select line, reason from quarantine order by line")
    assert [one["line"] for one in found] == sorted({one["line"] for one in found})
    assert (found[-1]["line"], "no line of CSV" in found[-1]["reason"]) == (begin, True)
    project.close()


@pytest.mark.slow
def test_sent_events_are_durable_and_come_once(shop: Shop) -> None:
    project = api.open(shop("push"))
    sent = [event(n) for n in range(100)]
    assert project.push_events("clicks", sent, once="a").taken == 100
    again = project.push_events("clicks", sent, once="a")
    assert (again.taken, again.again) == (0, True)
    arrow = pa.table({"user": ["u1"], "n": pa.array([100], pa.int32()), "clicked_at": [BEGIN + timedelta(seconds=100)]})
    assert project.push_events("clicks", arrow).taken == 1
    for bad, word in (
        ([event(7), event(8, amount="much")], "row 1: Expected `float | null`, got `str`"),
        ([{"user": "u"}], "missing required field `clicked_at`"),
        (arrow.set_column(0, "user", pa.array([[1]])), "Column 'user' is list"),
        (arrow.drop_columns(["clicked_at"]), "null in some row"),
        ([], "."),
    ):
        if bad == []:
            continue
        with pytest.raises(InputError, match=word.replace("|", r"\|")):
            project.push_events("clicks", bad)
    assert project.streams()[0].waiting == 101
    [info] = project.run_streams(once=True)
    assert (info.events, info.waiting) == (101, 0)
    assert rows_of(project) == list(range(101))
    counted(project, BEGIN + timedelta(seconds=200))
    project.close()


@pytest.mark.slow
def test_a_contract_that_refuses_holds_the_batch_and_nothing_is_lost(shop: Shop, bascule: Any) -> None:
    folder = shop("push", land="0s", more=CONTRACT)
    (folder / "clicks.yaml").write_text(RULES)
    assert bascule("run", "--quiet").code == 0
    project = api.open(folder)
    project.push_events("clicks", [event(n) for n in range(1, 9)])
    project.run_streams(once=True)
    project.push_events("clicks", [event(8), event(8)])
    for _ in range(2):
        with pytest.raises(CheckFailed, match="not merged into 'main'"):
            project.run_streams(once=True)
    # The features count them already: they were durable, and the lake gets them once the contract allows.
    [info] = project.streams()
    assert (info.events, info.waiting, info.views[0].rows) == (10, 2, 10)
    assert rows_of(project) == list(range(1, 9))
    stop, said = threading.Event(), []
    thread = threading.Thread(target=lambda: api.open(folder).run_streams(stop=stop, say=said.append))
    thread.start()
    _until(lambda: any("not merged" in one for one in said))
    assert "lake" in project.streams()[0].problems
    (folder / "clicks.yaml").write_text(RULES.replace("mustBe: 0", "mustBeLessThan: 3"))
    assert bascule("run", "--quiet").code == 0
    _until(lambda: project.streams()[0].waiting == 0)
    with pytest.raises(Busy, match="consumed already"):
        project.run_streams(once=True)
    stop.set()
    thread.join()
    assert any("it goes on" in one for one in said)
    assert rows_of(project) == [*range(1, 9), 8, 8] or sorted(rows_of(project)) == sorted([*range(1, 9), 8, 8])
    branches = [ref.name for ref in project.branches() if ref.name.startswith("ingest/")]
    assert len(branches) <= 3
    project.close()


def test_too_much_that_waits_stops_the_reading(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from bascule.project.streaming import pushing

    folder = shop("push")
    project = api.open(folder)
    project.push_events("clicks", [event(1)])
    monkeypatch.setattr(pushing, "MOST_WAITING", 10)
    with pytest.raises(Busy, match="wait for the lake"):
        project.push_events("clicks", [event(2)])
    from bascule.project.place import Place
    from bascule.project.streaming.assembling import open_stream

    (folder / "clicks.jsonl").write_text(lines(2, 5))
    (folder / "bascule.toml").write_text((folder / "bascule.toml").read_text().replace('"push"', '"clicks.jsonl"'))
    place, said = Place(folder), []
    stream = open_stream(place.file, place.workspace, "clicks", "main")
    stream.most_waiting = 10
    consumer = consuming.Consumer(stream, said.append)
    consumer.step()
    assert stream.log.state().events == 1
    assert "so no more are read" in stream.problems["room"] == said[0].partition(": ")[2]
    consumer._land_all()
    consumer.step()
    assert stream.log.state().events == 4
    assert "room" not in stream.problems
    consumer.close()
    place.close()
    project.close()


@pytest.mark.slow
def test_a_view_that_fails_waits_and_is_filled_when_it_is_right(shop: Shop) -> None:
    folder = shop("push")
    project = api.open(folder)
    project.push_events("clicks", [event(n) for n in range(20)])
    sql = folder / "features" / "spending.sql"
    good = sql.read_text()
    sql.write_text(good.replace("amount, n,", "amount, cast('x' || n as integer) as n,"))
    with pytest.raises(InputError, match="failed on the events"):
        project.run_streams(once=True)
    sql.write_text(good)
    fresh = api.open(folder)
    fresh.run_streams(once=True)
    counted(fresh, BEGIN + timedelta(seconds=60))
    # Another definition is filled from the table: it has all of the history at once.
    sql.write_text(good.replace("amount >= 0", "amount >= 1"))
    other = api.open(folder)
    [info] = other.run_streams(once=True)
    assert (info.views[0].rows, info.views[0].behind) == (20, 0)
    counted(other, BEGIN + timedelta(seconds=60))
    # The definition before it is what the view's name means again, though nothing came since.
    sql.write_text(good)
    again = api.open(folder)
    again.run_streams(once=True)
    at = (BEGIN + timedelta(seconds=60)).isoformat()
    assert again.get_online_features(["spending:clicks_1h"], [{"user": "u1"}], at=at).values == [[3]]
    for one in (project, fresh, other, again):
        one.close()


@pytest.mark.slow
def test_another_branch_reads_on_from_where_its_table_is(shop: Shop) -> None:
    folder = shop()
    (folder / "clicks.jsonl").write_text(lines(0, 30))
    project = api.open(folder)
    project.run_streams(once=True)
    project.branch("trial")
    add(folder / "clicks.jsonl", lines(30, 40))
    trial = api.open(folder, branch="trial")
    trial.run_streams(once=True)
    assert [row["n"] for row in trial.sql("select n from clicks order by n")] == list(range(40))
    assert rows_of(project) == list(range(30))
    project.run_streams(once=True)
    assert rows_of(project) == list(range(40))
    trial.close()
    # The log of a branch that is gone goes as its states do; one that is consumed, or young, stays.
    logs = project.workspace.folder / "streams"
    of_trial = logs / quote(project.workspace.namespace("trial"), safe="") / "clicks"
    project.workspace.history.delete_branch("trial", force=True)
    assert not [one for one in project.gc().collected if one.kind == "streams"]
    long_ago = time.time() - 400 * 86_400
    for path in logs.glob("*/clicks/*"):
        os.utime(path, (long_ago, long_ago))
    with FileLock(of_trial / "consumer"):
        assert not [one for one in project.gc().collected if one.kind == "streams"]
    project.branch("trial")
    again = api.open(folder, branch="trial")
    assert (again.streams()[0].events, of_trial.is_dir()) == (0, True)  # another branch of that name
    again.close()
    [would] = [one for one in project.gc(dry_run=True).collected if one.kind == "streams"]
    assert (would.table, would.files) == ("clicks", 1)
    assert of_trial.is_dir()
    [gone] = [one for one in project.gc().collected if one.kind == "streams"]
    assert gone.bytes > 0
    assert [one.name for one in logs.iterdir()] == ["main"]
    project.run_streams(once=True)
    assert rows_of(project) == list(range(40))
    project.close()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (('time = "clicked_at"', 'time = "clicked"'), "there is no column 'clicked' in columns"),
        (('n = "integer"', 'n = "integr"'), "Did you mean 'integer'?"),
        (('hop = "1m"', 'hop = "7m"'), "the window 5m is no multiple of 7m"),
        (('path = "clicks.jsonl"', 'path = "amqp://x/y"'), "amqp is no source of events"),
        (('path = "clicks.jsonl"', 'path = "clicks.xml"'), "no file of JSON or CSV lines"),
    ],
)
def test_what_is_wrong_is_told(shop: Shop, refused: Any, change: tuple[str, str], word: str) -> None:
    folder = shop()
    (folder / "bascule.toml").write_text((folder / "bascule.toml").read_text().replace(*change))
    refused("stream", "run", "--once", code=2, words=(word,))


def test_a_join_is_refused_and_spark_named(shop: Shop, refused: Any) -> None:
    folder = shop()
    (folder / "features" / "spending.sql").write_text("select c.* from clicks c join users u using (user)")
    refused("stream", "run", "--once", code=2, words=("cannot join 'clicks' with users", "Spark Structured Streaming"))
    refused("stream", "replay", "click", code=2, words=("Did you mean 'clicks'?",))


def _until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_view_that_its_stream_has_not_filled_says_what_fills_it(shop: Shop) -> None:
    folder = shop(more='\n[service.both]\nfeatures = ["spending"]\n')
    (folder / "clicks.jsonl").write_text("")
    project, rows = api.open(folder), [{"user": "u1"}]
    with pytest.raises(InputError) as told:
        project.get_online_features("spending", rows)
    assert told.value.hint.endswith("Run: bascule stream run, or bascule up")
    with pytest.raises(InputError) as told:
        project.get_online_features("both", rows)
    assert told.value.hint == "The project file has it, and branch 'main' does not yet. Run: bascule run"
    project.run()
    for asked in ("spending", "both"):
        with pytest.raises(InputError) as told:
            project.get_online_features(asked, rows)
        assert told.value.hint.endswith("not filled yet. Run: bascule stream run, or bascule up, for views of streams")
    (folder / "clicks.jsonl").write_text(lines(0, 10))
    project.run_streams(once=True)
    assert project.get_online_features("both", rows).statuses
