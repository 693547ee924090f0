"""What cannot or must not be learned: labels, leaks, and models that have learned nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace
from tests.project.parcels import PROJECT, SQL, csv, write

Bascule = Callable[..., Any]
LABEL = 'label = "minutes_late > 15"'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("minuts_late > 15", ("The label 'minuts_late > 15' reads the column 'minuts_late'", "'minutes_late'?")),
        ("minutes_late >", ("The label 'minutes_late >' is not an SQL expression",)),
        ("minutes_late + 'a'", ("The label", "cannot be evaluated")),
        ("cast(null as boolean)", ("is null in all 2,4", "Look at the label expression")),
        ("minutes_late > 1000", ("has one class only: 'false' in every row", "constant")),
        ("minutes_late > 15 and delivered_at > '2025-04-10'", ("has one class only in the train split: 'false'",)),
        (
            "minutes_late > 15 and delivered_at < '2025-04-10'",
            ("one class only in the test split", "split.test larger"),
        ),
        (
            "minutes_late > 15 and (delivered_at < '2025-04-01' or delivered_at > '2025-04-16')",
            ("the validation split",),
        ),
        ("prediction_time", ("has the type", "cannot be learned")),
        ("order_id", ("classes; the most that can be learned is 100", "identifier")),
    ],
)
def test_a_label_that_cannot_be_learned_is_refused(
    trained: Path, refused: Callable[..., Any], label: str, words: tuple[str, ...]
) -> None:
    write(trained / "bascule.toml", PROJECT.replace(LABEL, f'label = "{label}"'))
    refused("run", code=2, words=words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('time = "prediction_time"', 'time = "predicted_time"', ("predicted_time", "prediction_time")),
        ('label_time = "delivered_at"', 'label_time = "deliverd_at"', ("'deliverd_at'", "'delivered_at'?")),
        ('label_time = "', 'outcomes = ["minute_late"]\nlabel_time = "', ("outcomes: orders", "'minutes_late'?")),
        ('request = ["depot",', 'request = ["dpot",', ("no column 'dpot'", "Did you mean 'depot'?")),
        ('features = ["weather",', 'features = ["wether",', ("bascule.toml:", "[features.wether]", "'weather'?")),
        ("hour(prediction_time)", "hour(order_time)", ("order_time",)),
        ("house.opened", "house.open", ("house.open", "house.opened")),
        ('test = "15d"', 'test = "90d"', ("split would be empty", "Make split.validation and split.test smaller")),
        ('event_time = "observed_at"', 'event_time = "seen_at"', ("[features.weather]", "no column 'seen_at'")),
        ('ttl = "6h"', 'ttl = "6 hours"', ("bascule.toml:", "ttl")),
        ("mean(late)", "mean(lat)", ("[features.lateness]", "no column 'lat'", "Did you mean 'late'?")),
        ("[model]", "[modle]", ("bascule.toml:", "modle", "'model'?")),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    trained: Path, refused: Callable[..., Any], bascule: Bascule, before: str, after: str, words: tuple[str, ...]
) -> None:
    assert before in PROJECT
    write(trained / "bascule.toml", PROJECT.replace(before, after))
    workspace = Workspace.open(trained)
    tables = workspace.history.digests("main", "tables/") | workspace.history.digests("main", "models/")
    workspace.close()
    said = bascule("run")
    assert said.code == 2, said
    for word in words:
        assert word in said.err
    workspace = Workspace.open(trained)
    assert tables == workspace.history.digests("main", "tables/") | workspace.history.digests("main", "models/")
    workspace.close()


def test_sql_that_cannot_run_is_named(trained: Path, bascule: Bascule) -> None:
    write(trained / "features/weather.sql", "select depot, observed_at, rian from weather\n")
    said = bascule("run")
    assert said.code == 2
    assert "[features.weather]" in said.err
    assert "rian" in said.err
    assert "rain" in said.err
    write(trained / "features/weather.sql", "select depot, observed_at, rain from wether\n")
    said = bascule("run")
    assert said.code == 2
    assert "There is no table named 'wether'" in said.err
    assert "Did you mean 'weather'?" in said.err


@pytest.mark.slow
def test_a_feature_that_knows_the_answer_is_named(trained: Path, bascule: Bascule) -> None:
    """Rows that say how late a parcel was, as if that had been known from the beginning."""
    write(trained / "features/hint.sql", "select order_id, minutes_late as hint from orders\n")
    view = '[entity.parcel]\nkeys = ["order_id"]\n\n[features.hint]\nsql = "features/hint.sql"\nentity = "parcel"\n'
    settings = PROJECT.replace('features = ["weather",', 'features = ["hint", "weather",')
    write(trained / "bascule.toml", settings.replace("[training]", view + "\n[training]"))
    before = state(trained)
    said = bascule("run")
    assert said.code == 1
    assert "The training set is not built: 1 feature knows the answer." in said.err
    assert "hint.hint: " in said.err
    assert "event_time or known_time" in said.err
    assert state(trained) == before
    details = bascule("run", "--json").json()["details"]
    assert {(leak["view"], leak["feature"]) for leak in details} == {("hint", "hint__hint")}
    assert {leak["reason"] for leak in details} == {"outcome", "target"}


@pytest.mark.slow
def test_lateness_of_parcels_that_have_not_arrived_is_named(trained: Path, bascule: Bascule) -> None:
    sql = "select depot, ordered_at, cast(minutes_late > 15 as integer) as late from orders"
    write(trained / "features/arrived.sql", sql)
    write(trained / "bascule.toml", PROJECT.replace('event_time = "delivered_at"', 'event_time = "ordered_at"'))
    before = state(trained)
    said = bascule("run")
    assert said.code == 1
    # How many parcels were ordered was known; how late they would be was not.
    assert "The training set is not built: 2 features know the answer." in said.err
    for window in ("1d", "7d"):
        assert f"lateness.late_{window}: it is made from outcomes (minutes_late) that were not known yet" in said.err
    assert "such as depot" in said.err
    assert state(trained) == before


@pytest.mark.slow
def test_a_feature_that_is_too_good_is_refused_until_it_is_trusted(trained: Path, bascule: Bascule) -> None:
    """Another table that tells the answer: nothing says when it was written."""
    lines = [line.split(",") for path in (trained / "data/orders").glob("*.csv") for line in path.read_text().split()]
    late = [(line[0], int(int(line[-1]) > 15)) for line in lines if line[0] != "order_id"]
    write(trained / "data/calls.csv", csv(("order_id", "calls"), late))
    write(trained / "features/calls.sql", "select order_id, calls from calls\n")
    added = """
        [source.calls]
        path = "data/calls.csv"
        [entity.parcel]
        keys = ["order_id"]
        [features.calls]
        sql = "features/calls.sql"
        entity = "parcel"

        [training]
        """
    settings = PROJECT.replace("[training]", added).replace('features = ["weather",', 'features = ["calls", "weather",')
    write(trained / "bascule.toml", settings)
    said = bascule("run")
    assert said.code == 1
    assert "calls.calls: it alone predicts the label nearly perfectly (AUC 1.000)" in said.err
    assert '[training] trusted = ["calls.calls"]' in said.err
    write(trained / "bascule.toml", settings.replace("population =", 'trusted = ["calls.calls"]\npopulation ='))
    assert "✓ training-set" in bascule("run").err


SHUFFLED = (
    "with shuffled as (select order_id, row_number() over (order by md5(order_id)) as place from orders),\n"
    "taken as (select row_number() over (order by order_id) as place, minutes_late from orders)\n"
    "select order_id, depot, distance, weight, ordered_at as prediction_time, delivered_at, taken.minutes_late\n"
    "from orders join shuffled using (order_id) join taken using (place)\n"
)


@pytest.mark.slow
def test_a_model_of_shuffled_labels_is_refused_unless_it_is_forced(trained: Path, bascule: Bascule) -> None:
    write(trained / "features/population.sql", SHUFFLED)
    before = state(trained)
    said = bascule("run")
    assert said.code == 1, said.err
    assert "The gates refuse this version of 'delays'" in said.err
    assert "better_than_constant" in said.err
    assert "--force" in said.err
    assert state(trained) == before
    again = bascule("run", "--json")
    assert again.code == 1
    assert {"better_than_constant"} <= {gate["name"] for gate in again.json()["details"]}

    blank = bascule("run", "--force", " ")
    assert blank.code == 2
    assert "needs a reason" in blank.err
    assert state(trained) == before

    forced = bascule("run", "--force", "a drill")
    assert forced.code == 0, forced.err
    assert "delays version 2, forced: a drill" in forced.err
    workspace = Workspace.open(trained)
    model = workspace.history.get("main", "models/delays")
    workspace.close()
    assert model["aliases"] == {"production": 2}
    assert (model["versions"]["2"]["passed"], model["versions"]["2"]["forced"]) == (False, "a drill")
    approvals = bascule("sql", "select decision, actor, reason, subject from approvals order by at", "--json").json()
    assert approvals[0]["decision"] == "refused"
    assert approvals[-1] == {
        "decision": "forced",
        "actor": "ana@example.org",
        "reason": "a drill",
        "subject": "models/delays@2",
    }


@pytest.mark.slow
def test_a_population_without_rows_is_refused(trained: Path, bascule: Bascule) -> None:
    write(trained / "features/population.sql", SQL["population"] + "where false\n")
    before = state(trained)
    said = bascule("run")
    assert said.code == 2
    assert "The population has no rows." in said.err
    assert state(trained) == before


def state(folder: Path) -> dict[str, str]:
    """Return what main holds of data and models; definitions follow the files before anything else runs."""
    workspace = Workspace.open(folder)
    digests = workspace.history.digests("main")
    workspace.close()
    return {path: digest for path, digest in digests.items() if not path.startswith(("features/", "entities/"))}
