from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from bascule.errors import NotFound
from bascule.evaluation import log_loss
from bascule.evaluation.bootstrap import resample
from bascule.evaluation.metrics import METRICS
from bascule.evaluation.slices import Scored, cut, slice_table, weakest_slices

WANTED = [METRICS["log_loss"], METRICS["auc"]]


@pytest.fixture
def rows() -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "carrier": pa.array(random.choice(["UA", "AA", "B6", None], 2_000, p=[0.5, 0.3, 0.15, 0.05]).tolist()),
            "origin": random.choice(["JFK", "EWR"], 2_000),
            "hour": random.integers(0, 24, 2_000),
            "engines": pa.array(random.integers(1, 4, 2_000)).dictionary_encode(),
            "tail": [f"N{one % 120}" for one in range(2_000)],
        }
    )


def scored(rows: pa.Table) -> Scored:
    """Probabilities that are right, except for AA out of JFK, where they are reversed."""
    random = np.random.default_rng(1)
    said = random.beta(1, 2, rows.num_rows)
    label = (random.random(rows.num_rows) < said).astype(float)
    bad = np.array(rows["carrier"].to_pylist()) == "AA"
    bad &= np.array(rows["origin"].to_pylist()) == "JFK"
    return Scored("binary", np.where(bad, 1 - label, label), said)


def test_a_table_holds_every_value_with_its_metrics(rows: pa.Table) -> None:
    case = scored(rows)
    table = slice_table(case, cut(rows, "carrier"), WANTED, resample(2_000))
    assert [one.where["carrier"] for one in table] == ["UA", "AA", "B6", "(missing)"]
    assert sum(one.rows for one in table) == 2_000
    carriers = np.array([one or "(missing)" for one in rows["carrier"].to_pylist()])
    for one in table:
        where = carriers == one.where["carrier"]
        assert one.rows == where.sum()
        assert one.mean == pytest.approx(case.label[where].mean())
        assert one.metrics["log_loss"] == pytest.approx(log_loss(case.label[where], case.prediction[where]))
        assert one.low is not None
        assert one.high is not None
        assert one.low < (one.metrics["log_loss"] or 0) < one.high
    weighted = sum(one.excess * one.rows for one in table)
    assert weighted == pytest.approx(0, abs=1e-9)


def test_numbers_are_cut_by_quartile_and_rare_values_are_put_together(rows: pa.Table) -> None:
    hours = cut(rows, "hour")
    assert [one["hour"] for one in hours.where] == ["0 to 5", "5 to 11", "11 to 17", "17 to 23"]
    assert np.bincount(hours.place).min() > 300
    holes = rows.append_column("wind", pa.array([None if one % 7 == 0 else one / 3 for one in range(2_000)]))
    wind = cut(holes, "wind")
    assert wind.where[-1] == {"wind": "(missing)"}
    assert (wind.place == 4).sum() == holes["wind"].null_count
    assert [one["engines"] for one in cut(rows, "engines").where] != []
    assert len(cut(rows, "engines").where) == 3
    tails = cut(rows, "tail")
    assert len(tails.where) == 51
    assert tails.where[-1] == {"tail": "(other)"}


def test_the_planted_weak_pair_is_found_first(rows: pa.Table) -> None:
    case = scored(rows)
    groups = [cut(rows, one) for one in ("carrier", "origin", "hour")]
    found = weakest_slices(case, groups, groups[:2], WANTED, fewest=50)
    assert found[0].where == {"carrier": "AA", "origin": "JFK"}
    assert found[0].name() == "carrier = AA, origin = JFK"
    assert found[0].excess > 0.3
    assert {"carrier": "AA"} in [one.where for one in found]
    assert all(one.rows >= 50 for one in found)


def test_chance_alone_finds_no_weak_slices(rows: pa.Table) -> None:
    random = np.random.default_rng(3)
    said = np.full(2_000, 0.3)
    case = Scored("binary", (random.random(2_000) < 0.3).astype(float), said)
    found = weakest_slices(case, [cut(rows, "carrier"), cut(rows, "origin")], [], WANTED, fewest=50)
    assert len(found) <= 1


def test_an_unknown_column_is_answered_with_the_nearest(rows: pa.Table) -> None:
    with pytest.raises(NotFound) as error:
        cut(rows, "carier")
    assert "Did you mean 'carrier'?" in error.value.hint
