"""Feature views carry contracts of the same form as tables: their rows are held to them before a model learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import CheckFailed, InputError
from bascule.history import Workspace
from bascule.project.publishing import publish
from tests.project.parcels import PROJECT, SQL, write

Bascule = Callable[..., Any]
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: weather-features
version: 1.0.0
status: active
schema:
  - name: weather
    properties:
      - name: depot
        logicalType: string
        required: true
        relationships:
          - to: depots.depot
      - name: observed_at
        logicalType: timestamp
      - name: rain
        logicalType: number
        logicalTypeOptions: {minimum: 0}
      - name: wind
        logicalType: number
"""
WEATHER = '[features.weather]\nsql = "features/weather.sql"\n'


@pytest.fixture
def held(trained: Path) -> Path:
    """A project that has run, whose weather features are held to a contract from now on."""
    write(trained / "contracts/features/weather.yaml", CONTRACT)
    named = PROJECT.replace(WEATHER, f'{WEATHER}contract = "contracts/features/weather.yaml"\n')
    write(trained / "bascule.toml", named)
    return trained


def ran(said: Any) -> set[str]:
    return {receipt["step"] for receipt in said.json()["steps"] if receipt["status"] == "ran"}


@pytest.mark.slow
def test_a_contract_on_features_trains_nothing_anew(held: Path, bascule: Bascule) -> None:
    said = bascule("run", "--json")
    assert (said.code, ran(said)) == (0, {"define", "check:features.weather"})
    assert ran(bascule("run", "--json")) == set()
    tested = bascule("contract", "test", "features/weather")
    assert (tested.code, "all 8 checks passed" in tested.out) == (0, True), tested.out
    assert bascule("contract", "history", "features/weather").code == 0
    rows = bascule("sql", "select count(*) as n from check_results where subject = 'features/weather'", "--json").json()
    assert rows == [{"n": 16}]


@pytest.mark.slow
def test_features_that_break_it_stop_the_run(held: Path, bascule: Bascule) -> None:
    assert bascule("run").code == 0
    write(held / "features/weather.sql", SQL["weather"].replace("rain,", "rain - 5 as rain,"))
    said = bascule("run")
    assert said.code == 1
    assert "features/weather does not keep its contract" in said.err
    assert "contracts/features/weather.yaml:" in said.err
    assert bascule("contract", "test", "features/weather").code == 1
    outlook = {row["step"]: row["runs"] for row in bascule("plan", "--json").json()}
    assert (outlook["check:features.weather"], outlook["train"]) == (True, True)


@pytest.mark.slow
def test_a_merge_is_held_to_it(held: Path, bascule: Bascule) -> None:
    assert bascule("run").code == 0
    workspace = Workspace.open(held)
    history = workspace.history
    history.create_branch("wet", "main")
    view = history.get("wet", "features/weather")
    history.commit("wet", {"features/weather": {**view, "sql": view["sql"] + " where 1 = 1"}}, message="The same")
    publish(workspace, "wet", "main", ship=False)
    broken = view["sql"].replace("rain,", "-1 - rain as rain,")
    history.create_branch("dry", "main")
    history.commit("dry", {"features/weather": {**view, "sql": broken}}, message="Broken")
    with pytest.raises(CheckFailed, match="rain"):
        publish(workspace, "dry", "main", ship=False)
    assert history.get("main", "features/weather")["sql"] != broken
    stolen = "select * from read_csv('/etc/passwd')"
    history.create_branch("thief", "main")
    history.commit("thief", {"features/weather": {**view, "sql": stolen}}, message="Read a file")
    with pytest.raises(InputError, match="read_csv") as error:
        publish(workspace, "thief", "main", ship=False)
    assert "root" not in str(error.value)
    workspace.close()


def test_what_is_wrong_with_the_file_is_told(held: Path, bascule: Bascule) -> None:
    write(held / "contracts/features/weather.yaml", CONTRACT.replace("minimum: 0", "minimun: 0"))
    said = bascule("run")
    assert (said.code, "Did you mean 'minimum'" in said.err) == (2, True)
    (held / "contracts/features/weather.yaml").unlink()
    said = bascule("run")
    assert (said.code, "there is no file contracts/features/weather.yaml" in said.err) == (2, True)
    assert bascule("contract", "test", "features/wether").code == 2
