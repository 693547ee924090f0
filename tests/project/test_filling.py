"""A table that fills itself: what lands in one is scored into another, each row once, whatever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import bascule as api
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.project import scoring
from bascule.project.filling import Filler, score_new
from bascule.project.place import Place
from bascule.project.scoring import score_table
from bascule.project.tabling import BranchTable
from tests.serving.conftest import bundle, bundle_bytes, flights, put_deployment, put_versions

ROWS = flights(400, seed=5).append_column("id", pa.array(range(400)))


@pytest.fixture
def place(tmp_path: Path) -> Any:
    (tmp_path / "bascule.toml").write_text('[project]\nname = "filling"\n')
    ws = Workspace.create(tmp_path)
    put_versions(ws, {1: bundle_bytes(), 2: bundle_bytes(seed=1)})
    put_deployment(ws, {1: 100})
    ws.close()
    with api.open(tmp_path) as project:
        BranchTable(project.place, "trips").create(ROWS.slice(0, 100))
        yield project.place


def scored(place: Place, name: str = "trips_scored") -> pa.Table:
    return BranchTable(place, name).read().read_all().sort_by("id")


@pytest.mark.slow
def test_only_what_is_new_is_scored(place: Place) -> None:
    trips = BranchTable(place, "trips")
    assert score_new(place, "trips", "deployments/delays").change.rows == 100
    assert score_new(place, "trips", "deployments/delays").change.commit is None
    trips.append(ROWS.slice(100, 50))
    put_deployment(place.workspace, {2: 100})
    trips.append(ROWS.slice(150, 50))
    done = score_new(place, "trips", "deployments/delays")
    assert (done.change.rows_before, done.change.rows, done.model) == (100, 200, "delays@2")
    found = scored(place)
    assert found["id"].to_pylist() == list(range(200))
    assert found["scored_by"].to_pylist() == ["delays@1"] * 100 + ["delays@2"] * 100
    expected = np.concatenate([bundle().predict(ROWS.slice(0, 100)), bundle(seed=1).predict(ROWS.slice(100, 100))])
    assert np.array_equal(found["predicted_probability"].to_numpy(), expected)
    trips.delete("id < 10")  # what is gone from the source goes there too
    assert score_new(place, "trips", "deployments/delays").change.rows == 190
    with pytest.raises(InputError, match="have come to the branch"):
        score_new(place, "trips", "delays@1", where="id > 3")


@pytest.mark.parametrize("whole", [False, True])
def test_what_lands_while_the_model_is_loaded_is_scored_once(
    place: Place, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not whole:
        score_new(place, "trips", "deployments/delays")
        BranchTable(place, "trips").append(ROWS.slice(100, 50))
    load = scoring.load_at

    def slow(*asked: Any) -> Any:
        monkeypatch.setattr(scoring, "load_at", load)
        BranchTable(place, "trips").append(ROWS.slice(150, 50))
        return load(*asked)

    monkeypatch.setattr(scoring, "load_at", slow)
    for _ in range(2):
        score_new(place, "trips", "deployments/delays")
    assert (
        scored(place)["id"].to_pylist() == BranchTable(place, "trips").read().read_all().sort_by("id")["id"].to_pylist()
    )


def test_a_table_is_filled_with_its_model_loaded_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    load, loaded = scoring.load_at, []
    monkeypatch.setattr(scoring, "load_at", lambda *asked: loaded.append(asked) or load(*asked))
    score_new(place, "trips", "deployments/delays")
    assert len(loaded) == 1


def test_a_table_of_which_a_part_was_scored_is_scored_whole(place: Place) -> None:
    done = score_table(place, "trips", "deployments/delays", where="id < 3")
    assert (done.change.rows, set(scored(place)["scored_from"].to_pylist())) == (3, {done.source})
    assert score_new(place, "trips", "deployments/delays").change.rows == 100
    assert scored(place)["id"].to_pylist() == list(range(100))


@pytest.mark.slow
def test_a_deployment_says_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    ws = place.workspace
    found = ws.history.get("main", "deployments/delays")
    ws.history.commit("main", {"deployments/delays": {**found, "fills": {"trips": "filled"}}}, message="Fill")
    filler = Filler(place.folder)
    filler.run(ws)
    filler.run(ws)
    BranchTable(place, "trips").append(ROWS.slice(100, 7))
    filler.run(ws)
    assert scored(place, "filled")["id"].to_pylist() == list(range(107))
    BranchTable(place, "trips").columns(drop=["hour"])
    filler.run(ws)
    assert "does not fill from trips" in capsys.readouterr().err
    assert scored(place, "filled").num_rows == 107


@pytest.mark.slow
def test_each_row_once_though_it_is_killed_again_and_again(place: Place) -> None:
    code = (
        "import sys; from pathlib import Path; from bascule.project.place import Place\n"
        "from bascule.project.filling import score_new\n"
        "place = Place(Path(sys.argv[1])); place.workspace; print('ready', flush=True)\n"
        "score_new(place, 'trips', 'deployments/delays')"
    )
    for step in range(2):
        filler = subprocess.Popen([sys.executable, "-c", code, str(place.folder)], stdout=subprocess.PIPE)
        assert filler.stdout is not None
        filler.stdout.readline()
        try:
            filler.wait(0.15 * (step + 1))
        except subprocess.TimeoutExpired:
            os.kill(filler.pid, signal.SIGKILL)
        filler.wait(20)
        filler.stdout.close()
        BranchTable(place, "trips").append(ROWS.slice(100 + 10 * step, 10))
    score_new(place, "trips", "deployments/delays")
    assert scored(place)["id"].to_pylist() == list(range(120))
