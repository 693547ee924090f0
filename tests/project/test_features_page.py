"""Features and streams as the page and the API tell of them, of a project that ran; and what masks leave out."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

import bascule as api
from bascule.catalog.schema import training_sets
from bascule.monitoring.points import SKEW, Point, write_points
from bascule.server import ServerSettings, create_token
from bascule.web import create_app

DAY = 86_400_000_000
MORE = """
[service.arrivals]
features = ["weather", "asked.hour"]
owner = "bo@example.org"

[stream.clicks]
path = "clicks.jsonl"
columns = { user = "text", clicked_at = "time" }
time = "clicked_at"
"""
HIDDEN = """
apiVersion: v3.1.0
kind: DataContract
id: weather
version: 1.0.0
status: active
schema:
  - name: weather
    properties:
      - name: rain
        classification: pii
"""


@pytest.mark.slow
def test_features_and_streams_are_told(trained: Path) -> None:
    file = trained / "bascule.toml"
    owned = 'ttl = "6h"\nowner = "ana@example.org"\nfreshness = "2h"\n'
    file.write_text(file.read_text().replace('ttl = "6h"\n', owned) + MORE)
    (trained / "clicks.jsonl").write_text('{"user": "u", "clicked_at": "2025-01-01T00:00:00Z"}\nno json\n')
    project = api.open(trained)
    project.run()
    project.run_streams(once=True)
    ws = project.workspace
    with ws.catalog.write() as conn:
        points = [Point(SKEW, "weather__rain", 0, DAY, 0.02, None, None, 30, 0, {"threshold": 0.01})]
        write_points(conn, "main", "served features", points, {SKEW: {0}})

    made_tokens: list[str] = []

    def client(role: str) -> TestClient:
        token = create_token(ws.catalog, f"{role} {len(made_tokens)}", role)[1]
        made_tokens.append(token)
        app = create_app(ws, ServerSettings(require_tokens=True), folder=trained)
        return TestClient(app, base_url="http://127.0.0.1:7400", headers={"authorization": f"Bearer {token}"})

    reader = client("reader")
    listed = {one["view"]["name"]: one for one in reader.get("/api/bascule/v1/features").json()}
    assert listed["weather"]["view"]["owner"] == "ana@example.org"
    assert (listed["weather"]["fresh"], listed["lateness"]["fresh"]) == (False, None)
    page = reader.get("/features").text
    for word in ("ana", "at most 2 h", "2025-04-29 23:00", "arrivals", "asked.hour", "clicks", "1 unreadable"):
        assert word in page, word

    found = reader.get("/api/bascule/v1/features/lateness").json()
    made = {one["feature"]: one for one in found["source"]["features"]}
    assert made["late_1d"]["made_from"] == ["orders.minutes_late"]
    assert ["model", "delays@1"] in made["late_1d"]["read_by"]
    assert "orders.depot" in found["source"]["chosen_by"]
    hours = reader.get("/api/bascule/v1/features/asked").json()["source"]["features"]
    assert ["service", "arrivals"] in next(one for one in hours if one["feature"] == "hour")["read_by"]
    figures = {one["feature"]: one for one in found["statistics"]["features"]}
    rows = project.sql("select count(*) as n, max(rain) as most from weather")[0]
    weather = reader.get("/features/views/weather").text
    assert all(
        word in weather for word in ("weather.rain", "delays@1", f">{rows['most']:g}<", "Skew", "limit", "missed")
    )
    assert figures["parcels_7d"]["greatest"] > figures["parcels_1d"]["greatest"] > 0
    broken = reader.get("/api/bascule/v1/feature-impact?column=orders.minutes_late").json()
    assert {one["kind"] for one in broken} >= {"feature", "training set", "model"}
    assert "lateness.late_1d" in reader.get("/features/impact?column=orders.minutes_late").text
    assert "Did you mean" in reader.get("/features/impact?column=orders.minutes_lat").text
    assert reader.get("/features/views/wether").status_code == 404

    # Figures of what somebody may not see are not shown to them; whoever may still has them.
    contract = {"kind": "contract", "table": "weather", "text": HIDDEN}
    ws.history.commit("main", {"contracts/weather": contract}, message="Rain is personal")
    assert f">{rows['most']:g}<" not in reader.get("/features/views/weather").text
    assert reader.get("/api/bascule/v1/features/weather").json()["statistics"] == {
        "training_set": "",
        "features": [],
        "hidden": True,
    }
    assert f">{rows['most']:g}<" in client("deployer").get("/features/views/weather").text
    with ws.catalog.write() as conn:  # a file that was let go of is no error
        conn.execute(update(training_sets).values(blob="0" * 64))
    assert client("deployer").get("/features/views/house").status_code == 200
    project.close()
