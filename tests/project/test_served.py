"""Features of a project by their names: brought up to date, read in Python and over HTTP, compared with the join."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

import bascule as api
from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.protocols.openinference.worker import build_server
from bascule.server import ServerSettings
from bascule.server.ticks import ticks
from bascule.serving.dataplane import DataPlane
from bascule.serving.log import PredictionLog, TruthLog
from bascule.serving.log.vectors import FeatureLog
from bascule.web import create_app
from tests.serving.servers import Running

Bascule = Callable[..., Any]
Ask = Callable[..., Any]
SERVICE = """
[service.arrivals]
features = ["weather", "house.opened", "asked.hour"]

[monitoring.skew]
sample = 1.0
minimum_rows = 2
"""
ARROW = "application/vnd.apache.arrow.stream"
AT = "2025-04-10T12:30:00Z"


@pytest.fixture
def serving(trained: Path, bascule: Bascule) -> Path:
    file = trained / "bascule.toml"
    text = file.read_text().replace('ttl = "6h"', 'ttl = "6h"\n')
    file.write_text(text + SERVICE)
    assert bascule("run").code == 0
    return trained


@contextmanager
def server(folder: Path) -> Iterator[Ask]:
    """What asks a server: a path and a body give an answer's JSON or table, or its code and its error."""
    ws = Workspace.open(folder)
    plane = DataPlane(ws)
    plane.start()
    logs = PredictionLog(ws.log_folder), TruthLog(ws.log_folder), FeatureLog(ws.log_folder)
    made, _ = build_server(plane, logs[0], logs[1], vectors=logs[2])

    def ask(path: str, body: Any, accept: str = "application/json") -> Any:
        arrow = isinstance(body, bytes)
        kind = ARROW if arrow else "application/json"
        data = body if arrow else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", data, {"content-type": kind, "accept": accept}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                found = answer.read()
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())["error"]
        return pa.ipc.open_stream(found).read_all() if accept == ARROW else json.loads(found)

    try:
        with Running(made) as port:
            yield ask
    finally:
        plane.stop()
        for log in logs:
            log.journal.close()
        ws.close()


@pytest.mark.slow
def test_features_are_served_by_name_in_python_and_over_http(serving: Path, bascule: Bascule) -> None:
    found = api.get_online_features("arrivals", {"depot": ["north", "nowhere", None]}, at=AT)
    assert found.names == ("rain", "wind", "opened", "hour")
    assert [one[0] for one in found.statuses] == ["PRESENT"] * 4
    assert [one[1] for one in found.statuses] == ["NOT_FOUND"] * 3 + ["PRESENT"]
    assert found.values[3] == [12] * 3
    assert found.to_arrow().schema.field("opened").type == pa.int64()
    late = api.get_online_features(["weather:rain"], ["depot=north"], at="2025-09-01")
    assert (late.values, late.statuses) == ([[None]], [["OUTSIDE_MAX_AGE"]])
    with pytest.raises(NotFound, match="wnd") as unknown:
        api.get_online_features(["weather:wnd"], [{"depot": "north"}])
    assert "wind" in unknown.value.hint
    with pytest.raises(InputError, match="should be a text and is 7"):
        api.get_online_features(["weather"], [{"depot": 7}])

    with server(serving) as ask:
        body = {"feature_service": "arrivals", "entities": {"depot": ["north", "nowhere"]}, "at": AT}
        said = ask("/get-online-features", body)
        assert said["metadata"] == {"feature_names": ["depot", "rain", "wind", "opened", "hour"]}
        assert said["results"][0] == {
            "values": ["north", "nowhere"],
            "statuses": ["PRESENT", "PRESENT"],
            "event_timestamps": ["1970-01-01T00:00:00Z"] * 2,
        }
        rain = said["results"][1]
        assert rain["values"] == [found.values[0][0], None]
        assert rain["statuses"] == ["PRESENT", "NOT_FOUND"]
        assert rain["event_timestamps"] == ["2025-04-10T12:00:00Z", "1970-01-01T00:00:00Z"]
        asked = {"features": ["weather:rain", "house:opened"], "entities": {"depot": ["north"]}}
        full = ask("/get-online-features", {**asked, "full_feature_names": True})
        assert full["metadata"]["feature_names"] == ["depot", "weather__rain", "house__opened"]
        table = ask("/get-online-features", body, ARROW)
        assert table.column("rain").to_pylist() == rain["values"]
        assert table.column("rain__status").to_pylist() == rain["statuses"]
        sink = pa.BufferOutputStream()
        rows = pa.table({"depot": ["north"]})
        with pa.ipc.new_stream(sink, rows.schema) as out:
            out.write_table(rows)
        sent = sink.getvalue().to_pybytes()
        assert ask(f"/get-online-features?features=weather:rain&at={AT}", sent)["results"][1]["values"] == [
            rain["values"][0]
        ]
        for path, wrong, code, words in (
            ("", {**asked, "feature_service": "arrivals"}, 400, "both of features and feature_service"),
            ("", {"entities": {}}, 400, "neither"),
            ("", {**asked, "feature_service": "arivals", "features": None}, 404, "Did you mean 'arrivals'"),
            ("", {**asked, "features": ["wether:rain"]}, 404, "Did you mean 'weather'"),
            ("", {**asked, "features": ["arivals"]}, 404, "Did you mean 'arrivals'"),
            ("", {**asked, "entities": {"dept": ["north"]}}, 400, "has no column 'depot'"),
            ("", {**asked, "entities": {"depot": [1]}}, 400, "should be a text and is 1"),
            ("", {**asked, "entities": {"depot": ["a"], "x": [1]}}, 400, "not read by 'x'"),
            ("/branch/nope", asked, 404, "branch"),
        ):
            status, error = ask(f"{path}/get-online-features", wrong)
            assert (status, words in error) == (code, True), error


@pytest.mark.slow
def test_a_branch_has_its_own_features_once_it_makes_them(serving: Path, bascule: Bascule) -> None:
    assert bascule("branch", "wet").code == 0
    asked = {"features": ["weather:rain"], "entities": {"depot": ["north"]}, "at": AT}
    with server(serving) as ask:

        def rain(branch: str) -> Any:
            path = "/get-online-features" if branch == "main" else f"/branch/{branch}/get-online-features"
            return ask(path, asked)["results"][1]["values"][0]

        before = rain("main")
        assert rain("wet") == before  # nothing was copied: it reads main's
        (serving / "features" / "weather.sql").write_text(
            "select depot, observed_at, rain + 100 as rain, wind from weather"
        )
        made = bascule("features", "materialise", "weather", "--branch", "wet", "--json").json()
        assert (made["branch"], made["views"][0]["written"]) == ("wet", 4320)
        threading.Event().wait(1.1)
        assert rain("wet") == before + 100
        assert rain("main") == before
        for args in (("wet", "--delete", "--force"), ("wet",)):  # another branch of that name has nothing of it
            assert bascule("branch", *args).code == 0
        threading.Event().wait(1.1)
        assert rain("wet") == before


@pytest.mark.slow
def test_skew_is_measured_kept_and_alerted(serving: Path, bascule: Bascule) -> None:
    with server(serving) as ask:
        for hour in range(3):
            at = f"2025-04-10T1{hour}:30:00Z"
            ask(
                "/get-online-features",
                {"feature_service": "arrivals", "entities": {"depot": ["north", "east"]}, "at": at},
            )
    said = bascule("features", "skew", "--json")
    assert said.code == 0
    found = {one["feature"]: one for one in said.json()["features"]}
    assert set(found) == {"weather__rain", "weather__wind", "house__opened"}
    assert {(one["rows"], one["share"], one["drift"]) for one in found.values()} == {(6, 0.0, 0.0)}
    assert said.json()["firing"] == []

    # Rows that come late change what the join says of times that were answered before.
    weather = serving / "data" / "weather.csv"
    head, *rows = weather.read_text().splitlines()
    wetter = [
        f"{row.split(',')[0]},{row.split(',')[1]},55.5,{row.split(',')[3]}" if "2025-04-10T1" in row else row
        for row in rows
    ]
    weather.write_text("\n".join([head, *wetter, ""]))
    assert bascule("run").code == 0
    said = bascule("features", "skew", "--json")
    assert said.code == 1
    found = {one["feature"]: one for one in said.json()["features"]}
    assert (found["weather__rain"]["mismatch"], found["weather__rain"]["breach"]) == (6, True)
    assert found["weather__rain"]["smape"] > 0.5
    assert found["weather__rain"]["drift"] == 1.0
    assert found["weather__wind"]["share"] == 0.0
    assert said.json()["exceeded"] == ["weather__rain"]
    assert found["weather__rain"]["drifted"]
    assert len(said.json()["firing"]) == 2
    assert "exceeds share and drift" in bascule("features", "skew").out
    assert "weather__rain" in bascule("features", "skew").out
    sql = "select subject, value from monitor_points where measure = 'skew' and value > 0"
    assert bascule("sql", sql, "--json").json() == [{"subject": "weather__rain", "value": 1.0}]
    sql = "select measure, subject, status, value, threshold from alerts order by measure"
    about = {"subject": "weather__rain", "status": "firing", "value": 1.0}
    assert bascule("sql", sql, "--json").json() == [
        {"measure": "skew", **about, "threshold": 0.01},
        {"measure": "skew_drift", **about, "threshold": 0.1},
    ]
    assert len(bascule("sql", "select * from served_features", "--json").json()) == 6
    ws = Workspace.open(serving)
    browser = TestClient(create_app(ws, ServerSettings()), base_url="http://127.0.0.1:7400")
    for alert in said.json()["firing"]:
        page = browser.get(f"/alerts/{alert}").text
        assert "weather__rain" in page
        assert "/monitoring/served" not in page  # there is no page of a monitor that no deployment has
    ws.close()
    assert bascule("features", "skew", "--limit", "1").code == 1  # the drift is beyond its own
    assert bascule("features", "skew", "--limit", "1", "--drift", "1").code == 0

    # By the clock, once the project says how often; and whenever the monitors are looked at.
    ws = Workspace.open(serving)
    tick = next(one for one in ticks(serving) if one.name == "skew")
    tick.run(ws)
    firing = "select count(*) as n from alerts where measure = 'skew' and status = 'firing'"
    assert bascule("sql", firing, "--json").json() == [{"n": 0}]  # the run before allowed all
    assert not [one for one in bascule("monitor", "--json").json() if one["monitor"] == "served features"]
    file = serving / "bascule.toml"
    file.write_text(file.read_text().replace("sample = 1.0", 'sample = 1.0\nevery = "1h"'))
    tick.run(ws)
    assert bascule("sql", firing, "--json").json() == [{"n": 1}]
    assert bascule("features", "skew", "--limit", "1", "--drift", "1").code == 0
    tick.run(ws)  # it is not time yet
    assert bascule("sql", firing, "--json").json() == [{"n": 0}]
    [seen] = [one for one in bascule("monitor", "--json").json() if one["monitor"] == "served features"]
    assert (seen["predictions"], len(seen["firing"]), len(seen["opened"])) == (6, 2, 2)
    ws.close()
    forgotten = bascule("forget", "depots", "depot=north", "--reason", "asked", "--policy", "retrain", "--json")
    assert forgotten.code == 0, forgotten.err
    left = bascule("sql", "select distinct keys from served_features", "--json").json()
    assert left == [{"keys": '{"depot":"east"}'}]


@pytest.mark.slow
def test_interval_full_and_mistakes(serving: Path, bascule: Bascule) -> None:
    again = bascule("features", "materialise", "arrivals", "--json").json()
    assert {view["view"]: view["written"] for view in again["views"]} == {"house": 0, "weather": 0}
    full = bascule("features", "materialise", "weather", "--full", "--json").json()["views"][0]
    assert (full["written"], full["removed"]) == (4320, 4320)
    assert full["bytes"] > 4320 * 20
    part = bascule("features", "materialise", "weather", "--since", "2025-04-29T12:00:00Z", "--json").json()["views"][0]
    assert part["written"] == 36
    # A definition that was taken back is what the view's name means again.
    sql = serving / "features" / "weather.sql"
    before = sql.read_text()
    sql.write_text("select depot, observed_at, rain + 100 as rain, wind from weather")
    assert bascule("features", "materialise", "weather").code == 0
    sql.write_text(before)
    assert bascule("run").code == 0
    asked = ("features", "get", "weather:rain", "-e", "depot=north", "--at", AT, "--json")
    assert bascule(*asked).json()["features"][0]["values"][0] < 100
    # What a service computes from requests is served whether or not the model reads it.
    file = serving / "bascule.toml"
    file.write_text(file.read_text().replace('"lateness", "asked"]', '"lateness"]'))
    assert bascule("features", "materialise", "weather").code == 0
    asked = ("features", "get", "arrivals", "-e", "depot=north", "--at", AT, "--json")
    said = bascule(*asked)
    assert said.code == 0, (said.out, said.err)
    assert said.json()["features"][-1]["values"] == [12]
    for arguments, words in (
        (("arrivls",), "Did you mean 'arrivals'"),
        (("--since", "soon"), "which is not a time"),
        (("--since", "2025-02-01", "--until", "2025-01-01"), "is before since"),
        (("--since", "2025-02-01", "--full"), "Leave out one"),
    ):
        said = bascule("features", "materialise", *arguments)
        assert (said.code, said.out) == (2, "")
        assert words in said.err, said.err


@pytest.mark.slow
def test_every_branch_that_answers_is_compared_and_a_new_one_has_nothing_of_the_old(
    serving: Path, bascule: Bascule
) -> None:
    file = serving / "bascule.toml"
    file.write_text(file.read_text().replace("sample = 1.0", 'sample = 1.0\nevery = "1h"'))
    asked = {"feature_service": "arrivals", "entities": {"depot": ["north", "east"]}, "at": AT}
    assert bascule("branch", "wet").code == 0
    weather = serving / "features" / "weather.sql"
    was = weather.read_text()
    weather.write_text("select depot, observed_at, rain + 100 as rain, wind from weather")
    assert bascule("features", "materialise", "--branch", "wet").code == 0
    weather.write_text(was)
    with server(serving) as ask:
        threading.Event().wait(1.1)
        for path in ("/get-online-features", "/branch/wet/get-online-features"):
            ask(path, asked)
    ws = Workspace.open(serving)
    next(one for one in ticks(serving) if one.name == "skew").run(ws)
    ws.close()
    sql = "select branch, count(*) as n from monitor_points where measure = 'skew' group by branch order by branch"
    assert [(one["branch"], one["n"] > 0) for one in bascule("sql", sql, "--json").json()] == [
        ("main", True),
        ("wet", True),
    ]
    assert bascule("features", "skew", "--branch", "wet", "--json").json()["rows"] == 2
    for args in (("wet", "--delete", "--force"), ("wet",)):
        assert bascule("branch", *args).code == 0
    assert bascule("features", "skew", "--branch", "wet", "--json").json()["rows"] == 0
    assert [one["branch"] for one in bascule("sql", sql, "--json").json()] == ["main"]
    assert bascule("features", "skew", "--json").json()["rows"] == 2
