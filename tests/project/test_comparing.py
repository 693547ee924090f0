"""Differences, each kind in its own words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule import delivery
from bascule.delivery.traffic import rolled_back, with_stable
from bascule.history import Change, Workspace
from bascule.project.changes import describe
from bascule.project.comparing import MOST_LINES, compare
from tests.project.parcels import HEAD, PROJECT, SQL, csv, write

Bascule = Callable[..., Any]


@pytest.mark.slow
def test_rows_of_a_table(trained: Path, bascule: Bascule) -> None:
    row = ("p1", "north", "2025-05-01T08:00:00Z", "2025-05-01T09:00:00Z", 12.5, 3.5, 4)
    file = write(trained / "april.csv", csv(HEAD, [row]))
    assert bascule("ingest", "orders", file).code == 0
    (found,) = bascule("diff", "main~1", "main", "--json").json()
    assert (found["path"], found["change"]) == ("tables/orders", "changed")
    assert found["summary"] == "2,400 → 2,401 rows, 1 added"
    assert found["data"]["added"] == 1
    (sample,) = found["sample"]
    assert (sample[""], sample["order_id"]) == ("+", "p1")
    text = bascule("diff", "main~1", "main").out
    assert text.startswith("~ tables/orders  2,400 → 2,401 rows, 1 added\n")
    assert "p1" in text
    assert "p1" not in bascule("diff", "main~1", "main", "--rows", 0).out
    assert bascule("diff", "main~1", "main", "--path", "models/").out == "Nothing differs.\n"
    assert bascule("diff", "main").out == "Nothing differs.\n"


@pytest.mark.slow
def test_a_row_that_changed_shows_both_values_and_a_column_its_fate(trained: Path, bascule: Bascule) -> None:
    lines = (trained / "data/depots.csv").read_text().splitlines()
    changed = [f"{line},{'size' if at == 0 else at}" for at, line in enumerate(lines)]
    write(trained / "data/depots.csv", "\n".join(changed).replace("1987", "1988") + "\n")
    assert bascule("ingest", "depots", trained / "data/depots.csv").code == 0
    (found,) = bascule("diff", "main~1", "main", "--json").json()
    assert "column size: added" in found["details"]
    assert "3 changed" in found["summary"]
    assert "1987 → 1988" in {row["opened"] for row in found["sample"]}


@pytest.mark.slow
def test_a_new_version_tells_its_metrics_beside_those_of_the_served_one(trained: Path, bascule: Bascule) -> None:
    bascule("branch", "before")
    write(trained / "bascule.toml", PROJECT.replace("seed = 7", "seed = 8"))
    assert bascule("run").code == 0
    found = {one["path"]: one for one in bascule("diff", "before", "--json").json()}
    assert found["models/delays"]["summary"].startswith("version 2 (accuracy 0.")
    assert found["models/delays"]["summary"].endswith("), production 1 → 2")
    details = found["models/delays"]["details"]
    assert details[0] == "version 2: gates passed"
    assert any(line.startswith("  auc 0.") and "(was 0." in line for line in details)
    shift = found["models/delays"]["data"]["predictions"]
    assert shift["rows"] > 500
    assert 0 <= shift["mean"] <= shift["largest"] < 1
    assert f"{shift['moved']:.1%} of {shift['rows']} test rows get another label" in details[-1]


@pytest.mark.slow
def test_predictions_of_a_model_that_reads_other_features(trained: Path, bascule: Bascule) -> None:
    """The version before is asked about the same rows, with the features that it reads joined to them."""
    bascule("branch", "before")
    text = (trained / "bascule.toml").read_text().replace('features = ["weather", ', "features = [")
    write(trained / "bascule.toml", text)
    assert bascule("run").code == 0
    found = {one["path"]: one for one in bascule("diff", "before", "--path", "models/", "--json").json()}
    assert found["models/delays"]["data"]["predictions"]["mean"] > 0
    assert "predictions of version 2 against version 1:" in bascule("diff", "before", "--path", "models/").out


@pytest.mark.slow
def test_traffic_of_a_deployment(trained: Path, bascule: Bascule) -> None:
    bascule("branch", "before")
    assert bascule("deploy", "delays").code == 0
    (found,) = bascule("diff", "before", "--json").json()
    assert (found["change"], found["summary"]) == ("changed", "traffic v1 100 %")


def test_definitions_are_told_as_lines(trained: Path, bascule: Bascule) -> None:
    bascule("branch", "before")
    write(trained / "features/weather.sql", SQL["weather"].replace(", wind", ""))
    assert bascule("step", "run", "define").code == 0
    (found,) = bascule("diff", "before", "--json").json()
    assert (found["kind"], found["summary"]) == ("feature_view", "+1 −1 lines")
    assert "-select depot, observed_at, rain, wind from weather" in found["details"]
    assert "+select depot, observed_at, rain from weather" in found["details"]


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (None, {"kind": "monitor", "by": "day"}, "added"),
        ({"kind": "monitor", "by": "day"}, None, "removed"),
    ],
)
def test_what_came_or_went_is_one_line(
    local_workspace: Workspace, before: dict[str, Any] | None, after: dict[str, Any] | None, change: str
) -> None:
    history = local_workspace.history
    for value in (before, after):
        history.commit("main", {"monitors/m": value, "tags/x": {"kind": "x", "is": str(value)}}, message="one")
    (found,) = compare(local_workspace, "main~1", "main", "monitors/")
    assert (found.path, found.change, found.info.kind, found.details) == ("monitors/m", change, "monitor", ())


def test_a_long_text_is_cut(local_workspace: Workspace) -> None:
    history = local_workspace.history
    for word in ("a", "b"):
        text = "\n".join(f"{word}{line}" for line in range(100))
        history.commit("main", {"contracts/t": {"kind": "contract", "text": text}}, message=word)
    (found,) = compare(local_workspace, "main~1", "main")
    assert len(found.details) == MOST_LINES + 1
    assert found.details[-1] == "… and 160 lines more"


class TestForms:
    """What `bascule diff` writes, and where."""

    @pytest.fixture
    def ingested(self, trained: Path, bascule: Bascule) -> Path:
        row = ("p1", "north", "2025-05-01T08:00:00Z", "2025-05-01T09:00:00Z", 12.5, 3.5, 4)
        bascule("ingest", "orders", write(trained / "april.csv", csv(HEAD, [row])))
        return trained

    @pytest.mark.slow
    def test_each_form(self, ingested: Path, bascule: Bascule) -> None:
        said = bascule("diff", "main~1", "main", "--format", "markdown")
        assert said.out.startswith("### `main~1` → `main`")
        assert bascule("diff", "main~1", "main", "--format", "html").out.startswith("<!doctype html>")
        as_json = bascule("diff", "main~1", "main", "--format", "json").json()
        assert [one["summary"] for one in as_json] == ["2,400 → 2,401 rows, 1 added"]
        (data,) = [one["data"] for one in bascule("diff", "main~1", "main", "--json").json()]
        assert data["matched_by"] == ["order_id"]
        (weight,) = [value for value in data["values"] if value["column"] == "weight"]
        assert weight["rows"]["after"]["mean"] == 3.5
        assert (weight["table"]["before"]["rows"], weight["table"]["after"]["rows"]) == (2400, 2401)
        assert data["rows"][0]["after"]["order_id"] == "p1"

    @pytest.mark.slow
    def test_it_is_written_to_a_file(self, ingested: Path, bascule: Bascule, refused: Callable[..., Any]) -> None:
        file = ingested / "diff.html"
        said = bascule("diff", "main~1", "main", "--format", "html", "--output", file)
        assert (said.code, said.out) == (0, "")
        assert "diff.html is written: 1 path." in said.err
        assert file.read_text().rstrip().endswith("</html>")
        assert len(bascule("diff", "main~1", "main", "--output", file, "--json").json()) == 1
        refused("diff", "main~1", "main", "--output", ingested / "no" / "x", code=3, words=("Cannot write", "folder"))

    @pytest.mark.slow
    def test_the_exit_code_tells_whether_they_differ(self, ingested: Path, bascule: Bascule) -> None:
        assert bascule("diff", "main~1", "main").code == 0
        assert bascule("diff", "main~1", "main", "--exit-code").code == 1
        assert bascule("diff", "main", "main", "--exit-code").code == 0

    @pytest.mark.slow
    def test_names_only(self, ingested: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bascule.project.comparing.Lake.diff", lambda *_, **__: 1 / 0)
        said = bascule("diff", "main~1", "main", "--stat")
        assert said.out == "~ tables/orders  +1 row (2,401 in all)\n"

    @pytest.mark.slow
    def test_paths(self, ingested: Path, bascule: Bascule, refused: Callable[..., Any]) -> None:
        assert "tables/orders" in bascule("diff", "main~1", "main", "models/", "tables/orders").out
        assert bascule("diff", "main~1", "main", "models/").out == "Nothing differs.\n"
        assert "tables/orders" in bascule("diff", "main~1", "tables/orders").out
        refused("diff", "main~1", "tables/ordres", code=2, words=("tables/ordres", "tables/orders"))
        refused("diff", "main~1", "main", "tables/ordres", code=2, words=("tables/ordres", "tables/orders"))


def test_a_branch_that_never_deployed_has_taken_nothing_out_of_service() -> None:
    plan = delivery.planned(None, "delays", "delays")
    serves = with_stable(plan, [{"version": 1, "weight": 100}])
    path = "deployments/delays"
    assert describe(Change(path, "changed", serves, plan)).summary.startswith("not in service there yet (was v1 100 %)")
    gone = describe(Change(path, "changed", serves, rolled_back(serves)))
    assert gone.summary.startswith("taken out of service (was v1 100 %)")
