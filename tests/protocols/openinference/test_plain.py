"""Rows as people write them, the truth that follows, and deployments of other branches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bascule.catalog import now
from bascule.delivery import planned
from bascule.history import Workspace
from bascule.project.querying import logged
from bascule.serving import move_segments, unmoved
from tests.protocols.openinference.conftest import Served, fill, serving
from tests.protocols.openinference.test_infer import INFER, probability, request
from tests.serving.conftest import COLUMNS as FIELDS
from tests.serving.conftest import bundle_bytes, put_deployment, put_versions

PREDICT = "/v2/models/delays/predict"
ROW = {"distance": 1000.5, "hour": 12, "night": False, "carrier": "UA"}
COLUMNS = list(ROW)
VALUES = list(ROW.values())


@pytest.fixture
def own(local_workspace: Workspace) -> Iterator[Served]:
    """A server whose workspace a test may change."""
    with serving(fill(local_workspace)) as found:
        yield found


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [ROW, ROW]},
        {"records": [ROW, ROW]},
        {"dataframe_records": [ROW, ROW]},
        {"columns": COLUMNS, "data": [VALUES, VALUES]},
        {"split": {"columns": COLUMNS, "data": [VALUES, VALUES]}},
        {"dataframe_split": {"index": [0, 1], "columns": COLUMNS, "data": [VALUES, VALUES]}},
    ],
)
def test_rows_in_every_form(server: Served, body: dict[str, Any]) -> None:
    answer = server.ask(PREDICT, body)
    assert answer["model_name"] == "delays"
    assert answer["model_version"] == "1"
    first, second = answer["predictions"]
    assert first["probability"] == second["probability"] == probability(server, request())
    assert first["label"] in ("0", "1")
    assert first["prediction_id"] < second["prediction_id"]


def test_rows_may_be_nested_as_images_are_and_single_values_where_the_model_has_one_column(server: Served) -> None:
    image = np.arange(60).reshape(2, 5, 6, 1) / 7
    flat = server.ask("/v2/models/numbers/predict", {"instances": image.reshape(2, 30).tolist()})["predictions"]
    for shape in ((2, 5, 6), (2, 5, 6, 1), (2, 1, 5, 1, 6)):
        for body in ({"instances": image.reshape(shape).tolist()}, image.reshape(shape).tolist()):
            found = server.ask("/v2/models/numbers/predict", body)["predictions"]
            assert [one["probability"] for one in found] == [one["probability"] for one in flat]
    listed = server.ask("/v2/models/one/predict", {"instances": [[0.5], [None]]})["predictions"]
    plain = server.ask("/v2/models/one/predict", {"instances": [0.5, None]})["predictions"]
    assert [one["probability"] for one in plain] == [one["probability"] for one in listed]


def test_kserves_first_protocol_finds_its_paths(server: Served) -> None:
    assert server.ask("/") == {"status": "alive"}
    assert server.ask("/v1/models") == server.ask("/v2/models")
    assert server.ask("/v1/models/delays") == {"name": "delays", "ready": True}
    assert server.ask("/branch/main/v1/models/delays/versions/2") == {"name": "delays", "ready": True}
    wanted = server.ask(PREDICT, {"instances": [ROW]})["predictions"][0]["probability"]
    found = server.ask("/v1/models/delays:predict", {"instances": [VALUES]})["predictions"][0]
    assert found["probability"] == wanted
    assert "explanation" not in found
    told = server.ask("/v1/models/delays:explain", {"instances": [ROW]})["predictions"][0]
    assert told["explanation"]["base"]
    second = server.ask("/v1/models/delays/versions/2:predict", {"instances": [ROW]})
    assert second["model_version"] == "2"
    assert "'nope' is not deployed" in server.error("/v1/models/nope:predict", {"instances": [ROW]}, 404)
    assert "is not for this path" in server.error("/v1/models/delays:predict", status=405)
    for path in ("/v1/models/delays:infer", "/v1/models/delays/version/1", "/branch/main/", "/v1/models/a/b/c:predict"):
        assert "There is no path" in server.error(path, status=404)


def test_every_task_answers_in_its_words(server: Served) -> None:
    three = server.ask("/v2/models/three/predict", {"instances": [ROW], "id": "x"})
    assert three["id"] == "x"
    assert len(three["predictions"][0]["probability"]) == 3
    assert three["predictions"][0]["label"] in ("early", "late", "on time")
    assert set(server.ask("/v2/models/amount/predict", {"instances": [ROW]})["predictions"][0]) == {
        "prediction_id",
        "value",
    }


def test_values_may_be_missing(server: Served) -> None:
    rows = [{**ROW, "distance": None}, {key: value for key, value in ROW.items() if key != "distance"}, ROW]
    found = server.ask(PREDICT, {"instances": rows})["predictions"]
    assert found[0]["probability"] == found[1]["probability"] != found[2]["probability"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "rows in 0 forms"),
        ({"instances": [ROW], "records": [ROW]}, "rows in 2 forms"),
        ({"instances": []}, "has no rows"),
        ({"instances": [{}]}, "has no rows"),
        ({"columns": COLUMNS}, "need both"),
        ({"rows": [ROW]}, "unknown field `rows`"),
        ({"instances": [5]}, "Row 0 has 1 value; the model takes 4 columns"),
        ({"instances": [VALUES, ROW]}, "Row 1 is an object, and row 0 is a list"),
        ({"instances": [VALUES, 5]}, "Row 1 is a value, and row 0 is a list"),
        ({"instances": [[[1.0, 2], [3]]]}, "Row 0 has 3 values"),
        ({"instances": [{**ROW, "hour": [1]}]}, "'hour' has [1] in row 0"),
        ({"instances": [{**ROW, "hours": 1}]}, "Did you mean 'hour'?"),
        ({"instances": [{**ROW, "distance": "far"}]}, "'distance' needs a number; row 0 has 'far'"),
        ({"instances": [{"hour": 1}]}, "no columns 'distance', 'night', 'carrier'"),
        ({"columns": COLUMNS, "data": [VALUES, VALUES[:2]]}, "Row 1 of the data has 2 values"),
    ],
)
def test_rows_that_cannot_be_read(server: Served, body: dict[str, Any], text: str) -> None:
    assert text in server.error(PREDICT, body)


def test_truth_follows_predictions(own: Served) -> None:
    rows = own.ask(PREDICT, {"instances": [ROW] * 4})["predictions"]
    ids = [row["prediction_id"] for row in rows]
    own.ask(
        "/ground-truth",
        {"prediction_id": ids[0], "label": True, "label_time": "2013-07-01T12:00:00Z", "deployment": "delays"},
    )
    own.ask("/v2/models/delays/ground-truth", [{"prediction_id": ids[1], "label": 0}])
    assert own.ask(
        "/v2/models/delays/ground-truth", {"rows": [{"prediction_id": one, "label": "1"} for one in ids[2:]]}
    ) == {"accepted": 2}
    found = {row["prediction_id"]: row for row in unmoved(own.workspace, "ground_truth").to_pylist()}
    assert [found[one]["label"] for one in ids] == [1.0, 0.0, 1.0, 1.0]
    assert found[ids[0]]["label_time"].isoformat() == "2013-07-01T12:00:00+00:00"
    assert {row["deployment"] for row in found.values()} == {"delays"}
    assert abs(found[ids[1]]["label_time"].timestamp() * 1e6 - now()) < 60e6
    report = move_segments(own.workspace, sealing=True)
    assert report.rows == {"predictions": 4, "ground_truth": 4}


@pytest.mark.parametrize(
    ("path", "change", "text", "status"),
    [
        ("/ground-truth", {"prediction_id": "pred_x"}, "name no prediction of this system: 'pred_x'", 400),
        ("/ground-truth", {"prediction_id": 5}, "$.prediction_id", 400),
        ("/ground-truth", {"labels": 1}, "unknown field `labels`", 400),
        ("/ground-truth", {"label": None}, "has the label None", 400),
        ("/ground-truth", {"label": 10**400}, "it must be a number or a class", 400),
        ("/ground-truth", {"label": "1"}, "Name the deployment", 400),
        ("/ground-truth", {"label_time": "soon"}, "label_time", 400),
        ("/ground-truth", {"deployment": "delay"}, "Did you mean 'delays'?", 404),
        ("/v2/models/delays/ground-truth", {"label": 2}, "the classes are 0 to 1", 400),
        ("/v2/models/delays/ground-truth", {"label": 0.5}, "the classes are 0 to 1", 400),
        ("/v2/models/three/ground-truth", {"label": "lte"}, "Did you mean 'late'?", 400),
        ("/v2/models/nothing/ground-truth", {}, "unknown model: 'nothing'", 404),
    ],
)
def test_truth_that_is_none(server: Served, path: str, change: dict[str, Any], text: str, status: int) -> None:
    before = unmoved(server.workspace, "ground_truth").num_rows
    row = {"prediction_id": "pred_" + "0" * 26, "label": 1, **change}
    good = {"prediction_id": "pred_" + "0" * 26, "label": 1}
    assert text in server.error(path, row, status)
    server.error(path, {"rows": [good, row]}, status)
    assert unmoved(server.workspace, "ground_truth").num_rows == before


@pytest.mark.slow
def test_truth_of_an_entity_goes_to_its_predictions_late_and_again(own: Served) -> None:
    ws = own.workspace

    def asked(**changed: Any) -> str:
        return str(own.ask(PREDICT, {"instances": [{**ROW, **changed}]})["predictions"][0]["prediction_id"])

    def told(label: int, at: int, **entity: Any) -> None:
        own.ask("/v2/models/delays/ground-truth", {"entity": entity, "label": label, "label_time": at})

    def labels() -> dict[str, list[float]]:
        move_segments(ws, sealing=True)
        with logged(ws) as connection:
            rows = connection.sql("select prediction_id, label from ground_truth order by received_at").fetchall()
        found: dict[str, list[float]] = {}
        for name, label in rows:
            found.setdefault(name, []).append(label)
        return found

    one, other = asked(distance=7.0, carrier="UA"), asked(distance=8.0, carrier="UA")
    middle = now()
    told(1, middle, distance=7, carrier="UA")  # a client writes 7 where it meant 7.0
    assert labels() == {one: [1.0]}  # the prediction's own segment may be open yet
    two = asked(distance=7.0, carrier="UA")
    told(0, now(), distance=7.0, carrier="UA")
    assert labels() == {one: [1.0], two: [0.0]}
    told(0, middle, distance=7.0, carrier="UA")  # a correction of the first
    told(0, middle, distance=7.0, carrier="UA")  # sent twice
    told(1, middle, carrier="UA")  # a wider entity: both that were asked by then
    assert labels() == {one: [1.0, 0.0], two: [0.0], other: [1.0]}
    for entity, said in (({"carier": "UA"}, "carrier"), ({}, "empty entity")):
        assert said in own.error("/v2/models/delays/ground-truth", {"entity": entity, "label": 1})
    assert "neither" in own.error("/ground-truth", {"label": 1, "deployment": "delays"})
    both = {"label": 1, "deployment": "delays", "entity": {"carrier": "UA"}, "prediction_id": one}
    assert "both" in own.error("/ground-truth", both)


def test_a_hashed_entity_is_found_in_whatever_form_it_was_asked_and_told(local_workspace: Workspace) -> None:
    ws = local_workspace
    put_versions(ws, {1: bundle_bytes(fields=FIELDS[:2])})
    put_deployment(ws, {1: 100})
    value = ws.history.read("main", "deployments/delays")
    rules = planned(value, "delays", "delays", log={"fields": {"hour": "hash"}})
    ws.history.commit("main", {"deployments/delays": rules}, message="Rules")
    with serving(ws) as own:
        ids = [
            own.ask(PREDICT, {"instances": [{"distance": 1, "hour": 9}]})["predictions"][0]["prediction_id"],
            own.ask(PREDICT, {"instances": [[1.0, 9.0]]})["predictions"][0]["prediction_id"],
        ]
        own.ask(PREDICT, {"instances": [{"distance": 1, "hour": 8}]})
        at = now()
        for label, hour in enumerate((9.0, "9")):
            said = {"entity": {"hour": hour}, "label": label, "label_time": at}
            own.ask("/v2/models/delays/ground-truth", said)
        forms = {json.loads(row["inputs"])["hour"] for row in unmoved(ws, "predictions").to_pylist()}
        assert len(forms) == 2
        move_segments(ws, sealing=True)
        with logged(ws) as connection:
            found = connection.sql("select prediction_id, label from ground_truth").fetchall()
    assert sorted(found) == sorted((name, label) for name in ids for label in (0.0, 1.0))


def test_where_classes_are_numbers_a_number_is_a_class(
    local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is answered "5" says 5: it is that class, and not the one at the fifth place."""
    from tests.serving import conftest

    monkeypatch.setitem(conftest.CLASSES, "multiclass", ("3", "4", "5"))
    data = conftest.bundle_bytes.__wrapped__("multiclass")
    conftest.put_versions(local_workspace, {1: data})
    put_deployment(local_workspace, {1: 100})
    path, row = "/v2/models/delays/ground-truth", {"prediction_id": "pred_" + "0" * 26}
    with serving(local_workspace) as own:
        own.ask(path, [{**row, "label": label, "label_time": at} for at, label in enumerate((4, 5.0, "3"))])
        found = unmoved(own.workspace, "ground_truth").sort_by("label_time")
        assert found["label"].to_pylist() == [1.0, 2.0, 0.0]
        assert "Known: 3, 4, 5." in own.error(path, {**row, "label": 1})
        put_deployment(local_workspace, {1: 100}, name="other")
        own.plane.reload("main")
        assert "Name the deployment" in own.error("/ground-truth", {**row, "label": 4})
        own.ask("/ground-truth", {**row, "label": 4, "deployment": "other"})


def test_the_only_deployment_need_not_be_named(local_workspace: Workspace) -> None:
    put_versions(local_workspace, {1: bundle_bytes("multiclass")})
    put_deployment(local_workspace, {1: 100})
    with serving(local_workspace) as own:
        own.ask("/ground-truth", {"prediction_id": "pred_" + "0" * 26, "label": "on time"})
        (row,) = unmoved(own.workspace, "ground_truth").to_pylist()
    assert (row["label"], row["deployment"]) == (2.0, "delays")


def test_other_branches_are_served_beside(own: Served) -> None:
    ws = own.workspace
    ws.history.create_branch("try/it")
    put_deployment(ws, {2: 100}, branch="try/it")
    other = "/branch/try%2Fit"
    assert own.ask(f"{other}/v2/health/ready") == {"ready": True}
    assert own.ask(other + INFER, request())["model_version"] == "2"
    assert own.ask(other + PREDICT, {"instances": [ROW]})["model_version"] == "2"
    assert own.ask(INFER, request())["model_version"] == "1"
    assert own.ask(f"{other}/v2/models/delays")["name"] == "delays"
    own.ask(f"{other}/ground-truth", {"prediction_id": "pred_" + "0" * 26, "label": 1, "deployment": "delays"})
    branches = {row["branch"] for row in unmoved(ws, "predictions").to_pylist()}
    assert branches == {"main", "try/it"}
    assert "no branch named 'try'" in own.error("/branch/try/v2/health/ready", status=404).replace("There is ", "")
    assert "no branch named 'nope'" in own.error("/branch/nope" + INFER, request(), 404).replace("There is ", "")


def test_a_version_in_the_url_passes_the_split_by(own: Served) -> None:
    put_deployment(own.workspace, {1: 50, 2: 50}, canary=(1, 2), shadow=True)
    own.plane.reload("main")
    for version in ("1", "2"):
        for _ in range(5):
            answer = own.ask(f"/v2/models/delays/versions/{version}/infer", request())
            assert answer["model_version"] == version
    rows = unmoved(own.workspace, "predictions").to_pylist()
    assert {(row["arm"], row["probability"], row["shadow"]) for row in rows} == {("pinned", None, None)}


def test_a_request_id_or_a_unit_stays_with_its_arm(own: Served) -> None:
    put_deployment(own.workspace, {1: 50, 2: 50}, canary=(1, 2), shadow=True)
    own.plane.reload("main")
    seen = set()
    for unit in range(12):
        by_id = {own.ask(INFER, {**request(), "id": f"u{unit}"})["model_version"] for _ in range(3)}
        by_unit = {own.ask(INFER, {**request(), "parameters": {"unit": f"u{unit}"}})["model_version"] for _ in range(3)}
        plain = own.ask(PREDICT, {"instances": [ROW], "unit": f"u{unit}"})["model_version"]
        assert by_id == by_unit == {plain}
        seen |= by_id
    assert seen == {"1", "2"}
    rows = unmoved(own.workspace, "predictions").to_pylist()
    assert all(json.loads(row["shadow"])["version"] == 3 - row["version"] for row in rows)


def test_a_deployment_without_a_model_is_not_ready(own: Served) -> None:
    put_deployment(own.workspace, {1: 100}, name="empty", model="nowhere")
    own.plane.reload("main")
    assert "not ready" in own.error("/v2/models/empty/infer", request(), 503)
    assert "not ready" in own.error("/v2/models/empty/ready", status=503)
    index = own.ask("/v2/repository/index", b"")
    assert "empty" not in {one["name"] for one in index}
    assert own.ask("/v2/repository/index", {"ready": True})
    # Whoever asks before sending requests here is told which one would not be answered; the process itself is well.
    assert "Nothing answers for deployment 'empty'" in own.error("/v2/health/ready", status=503)
    assert own.ask("/v2/health/live") == {"live": True}
    put_deployment(own.workspace, {}, name="empty", model="nowhere")
    own.plane.reload("main")
    assert own.ask("/v2/health/ready") == {"ready": True}
