"""Feature views in Python and over other views, services, and what is asked about features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bascule as api
from bascule.errors import ProjectFileError
from bascule.project.definitions import view_sql
from bascule.project.file import load_project

Bascule = Callable[..., Any]
GUSTS = '''\
from bascule import feature_view

WINDOW = "1d"

@feature_view(
    entity="depot", event_time="observed_at",
    windows=["1d"], aggregates={"wind": "last(wind, 2)", "mid": "median(rain)"},
    owner="ana@example.org", tags=("weather",), freshness="2h",
)
def gusts():
    """Wind and rain
    of the last day.

    More.
    """
    return "select depot, observed_at, wind, rain from Features.weather where rain >= 0 -- not features.house"


@feature_view(entity="depot")
def house_again():
    import sqlglot
    return sqlglot.select("DEPOT", "opened").from_("depots")
'''
RELATIONS = """
import duckdb
from bascule import feature_view


@feature_view(entity="depot", event_time="observed_at")
def wet():
    tables = duckdb.connect()
    tables.execute("create table weather (depot text, observed_at timestamp, rain double)")
    asked = tables.sql("select depot, observed_at, rain from weather where rain > 1")
    return asked.filter("depot <> 'nowhere'").project("depot, observed_at, rain * 2 as twice")
"""
IBIS = """
import ibis
from bascule import feature_view


@feature_view(entity="depot", event_time="observed_at")
def wet():
    weather = ibis.table({"depot": "string", "observed_at": "timestamp", "rain": "float64"}, name="weather")
    rain = weather.filter(weather.rain > 1, weather.depot != "nowhere")
    return rain.select("depot", "observed_at", twice=rain.rain * 2)
"""
SERVICE = '\n[service.arrivals]\nfeatures = ["weather", "gusts.mid_1d"]\nowner = "bo@example.org"\n'


def add(folder: Path, python: str, toml: str = "") -> None:
    (folder / "features" / "more.py").write_text(python)
    file = folder / "bascule.toml"
    file.write_text(file.read_text() + toml)


@pytest.mark.slow
def test_views_in_python_services_and_questions_about_them(trained: Path, bascule: Bascule) -> None:
    add(trained, GUSTS, SERVICE)
    said = bascule("run", "--json").json()
    assert [step["step"] for step in said["steps"] if step["status"] == "ran"] == ["define", "materialise"]

    listed = bascule("features", "list", "--json").json()
    views = {one["name"]: one for one in listed["views"]}
    assert set(views) == {"asked", "gusts", "house", "house_again", "lateness", "weather"}
    gusts = views["gusts"]
    assert (gusts["kind"], gusts["owner"], gusts["tags"]) == ("windows", "ana@example.org", ["weather"])
    assert gusts["description"] == "Wind and rain of the last day."
    assert set(gusts["features"]) == {"wind_1d_1", "wind_1d_2", "mid_1d"}
    assert views["weather"]["features"] == ["rain", "wind"]
    assert (gusts["freshness"], gusts["fresh"]) == (7_200_000_000, False)
    assert gusts["newest"] == views["weather"]["newest"] is not None
    assert views["weather"]["fresh"] is None
    assert [one.name for one in api.feature_views(tag="weather")] == ["gusts"]
    assert api.read_feature_view("gusts").services == ("arrivals",)
    assert listed["services"] == [
        {
            "name": "arrivals",
            "version": 1,
            "features": ["weather", "gusts.mid_1d"],
            "owner": "bo@example.org",
            "tags": [],
            "description": "",
        }
    ]
    touched = {(one.kind, one.name): one.why for one in api.feature_impact("weather.rain")}
    assert touched["feature", "weather.rain"] == "is computed from it"
    assert touched["feature", "gusts.mid_1d"] == "is computed from it"
    assert touched["feature", "gusts.wind_1d_1"] == "its rows are chosen by it"
    assert ("feature", "weather.wind") not in touched
    assert ("feature", "lateness.late_1d") not in touched
    assert {kind for kind, _ in touched} == {"feature", "feature service", "training set", "model"}
    touched = {(one.kind, one.name): one.why for one in api.feature_impact("depots.opened")}
    assert touched["feature", "asked.age"] == "is computed from house.opened"
    assert set(api.unused_features()) == {"gusts.wind_1d_1", "gusts.wind_1d_2", "house_again.opened"}
    assert [one.features for one in api.duplicate_features()] == [("house.opened", "house_again.opened")]

    file = trained / "bascule.toml"
    file.write_text(
        file.read_text()
        .replace('["weather", "gusts.mid_1d"]', '["weather"]')
        .replace("[features.house]\n", '[features.house]\nowner = "eve"\n')
    )
    said = bascule("run", "--json").json()
    assert [step["step"] for step in said["steps"] if step["status"] == "ran"] == ["define"]
    assert api.read_feature_view("house").owner == "eve"
    assert [one.version for one in api.feature_services()] == [2]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('owner="ana@example.org"', "owner=WINDOW", "owner is not written out"),
        ("owner=", "ownr=", "'ownr' is not a key here"),
        ('entity="depot", event_time', 'entity="depo", event_time', r"there is no \[entity.depo\]"),
        ("def house_again", "def house", "'house' is there already, in .*bascule.toml:29"),
        ("def house_again", "def gusts", "'gusts' is declared twice"),
        ("def house_again()", "def house_again(", "cannot be read as Python"),
        ('"last(wind, 2)"', '"lst(wind, 2)"', "there is no aggregate 'lst'"),
    ],
)
def test_what_a_declaration_may_not_say(parcels: Path, old: str, new: str, said: str) -> None:
    add(parcels, GUSTS.replace(old, new))
    with pytest.raises(ProjectFileError, match=said) as told:
        load_project(parcels)
    assert told.value.hint


def test_functions_that_give_no_sql(parcels: Path) -> None:
    for body, said in (
        ("return 7", r"more.py: gusts gives a int, not SQL"),
        ("return 1 / 0", r"more.py:5: gusts failed: ZeroDivisionError"),
        ("return 'select * from features.round'", "these views read each other: gusts → round → gusts"),
    ):
        python = "from bascule import feature_view\n@feature_view(entity='depot')\ndef gusts():\n\n    " + body
        python += "\n@feature_view(entity='depot')\ndef round():\n    return 'select * from features.gusts'\n"
        add(parcels, python)
        with pytest.raises(ProjectFileError) as told:
            view_sql(load_project(parcels), "gusts")
        assert said in str(told.value), str(told.value)


@pytest.mark.slow
@pytest.mark.parametrize(("library", "python"), [("duckdb", RELATIONS), ("ibis", IBIS)])
def test_a_function_gives_a_relation_or_an_expression(trained: Path, library: str, python: str) -> None:
    pytest.importorskip(library)
    add(trained, python)
    first = view_sql(load_project(trained), "wet")
    (trained / "features" / "more.py").write_text(python + "# the same, run again\n")
    assert view_sql(load_project(trained), "wet") == first
    rows = [
        {"depot": "north", "asked_at": "2025-04-10T12:30:00"},
        {"depot": "nowhere", "asked_at": "2025-04-10T12:30:00"},
    ]
    query = " union all ".join(
        f"select '{row['depot']}' as depot, timestamp '{row['asked_at']}' as asked_at" for row in rows
    )
    project = api.open(trained)
    made = project.get_training_set(query, ["wet"], prediction_time="asked_at").to_arrow()
    sql = (
        "select max_by(rain, observed_at) * 2 as r from weather where depot = 'north' and rain > 1 and observed_at <= "
    )
    [expected] = project.sql(sql + "timestamp '2025-04-10 12:30:00'")
    assert made.column("wet__twice").to_pylist() == [expected["r"], None]
    project.close()


def test_a_service_names_views(parcels: Path) -> None:
    add(parcels, "", SERVICE)
    with pytest.raises(ProjectFileError, match=r"there is no \[features.gusts\]"):
        load_project(parcels)


@pytest.mark.slow
def test_the_report_on_a_models_features(trained: Path, bascule: Bascule) -> None:
    found = api.select_features()
    judged = {one.feature: one for one in found.features}
    assert found.model == "delays@1"
    assert len(judged) == 12
    assert judged["distance"].permutation is not None
    assert judged["distance"].permutation > 0
    assert judged["distance"].kept
    assert found.costs["lateness__late_1d"]["kind"] == "windows"
    assert found.costs["distance"] == {"kind": "request", "age": None, "fresh": None, "latency": None}
    assert found.costs["lateness__late_1d"]["latency"] > 0
    assert judged["distance"].selected == 1
    assert max(found.features, key=lambda one: one.shap or 0).feature in ("distance", "weather__rain")
    said = bascule("features", "select").out
    assert all(word in said for word in ("taken", "shap", "read in", " µs"))
    page = trained / "reports" / "features.html"
    told = bascule("features", "select", "--correlated", 0.9, "--html", page)
    assert f"{page} is written." in told.out, told
    html = page.read_text()
    assert all(f"<code>{name}</code>" in html for name in judged)
    assert html.index("<h2>To keep") < html.index("<code>distance</code>") < html.index("<h2>To drop")
    assert html.index("<h2>To drop") < html.index("tells 0.") < html.index("<h2>What reading them costs")
    assert "rank correlation of 0.9 or more" in html
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert bascule("features", "select", "dela").code == 2
    assert bascule("features", "select", "--folds", 1).code == 2


@pytest.mark.slow
def test_a_view_of_a_table_that_is_not_there_is_named(trained: Path, bascule: Bascule) -> None:
    house = trained / "features" / "house.sql"
    house.write_text(house.read_text().replace("from depots", "from depot"))
    asked = ("bascule.toml:", "[features.house.sql] There is no table named 'depot' on ", "Did you mean 'depots'?")
    way = ("Bring its rows first, by [source.depot],", "leave the view out of the features")
    for arguments in (("run",), ("features", "materialise", "house")):
        said = bascule(*arguments)
        assert said.code == 2
        assert not [words for words in (*asked, *way) if words not in said.err], said.err


STOCK = """

@feature_view(entity="depot", event_time="counted_at")
def stock():
    return "select depot, counted_at, items from stock"
"""


@pytest.mark.slow
def test_a_services_view_of_a_table_that_is_not_there_stops_no_other(trained: Path, bascule: Bascule) -> None:
    add(trained, GUSTS + STOCK, SERVICE.replace('"weather", ', '"weather", "stock", '))
    said = bascule("run", "--json").json()
    done = {step["step"]: step["summary"] for step in said["steps"] if step["status"] == "ran"}
    assert "left out stock, as there is no table named 'stock'" in done["materialise"]
    views = {one["name"]: one for one in bascule("features", "list", "--json").json()["views"]}
    assert views["gusts"]["newest"] == views["weather"]["newest"] is not None
    assert views["stock"]["newest"] is None
    assert bascule("features", "materialise", "--json").json()["left_out"] == {"stock": "stock"}
    assert "left out stock" in bascule("features", "materialise").out
    asked = bascule("features", "get", "stock", "-e", "depot=north")
    assert "It is defined, and not filled yet. Run: bascule features materialise" in asked.err
    named = bascule("features", "materialise", "stock")
    assert (named.code, "There is no table named 'stock'" in named.err) == (2, True)

    (trained / "stock.csv").write_text("depot,counted_at,items\nnorth,2025-04-01T00:00:00Z,7\n")
    assert bascule("ingest", "stock", "stock.csv").code == 0
    said = bascule("run", "--json").json()
    done = {step["step"]: step["summary"] for step in said["steps"] if step["status"] == "ran"}
    assert "left out" not in done["materialise"]
    assert bascule("features", "get", "stock:items", "-e", "depot=north", "--json").json()["features"][0]["values"] == [
        7
    ]
