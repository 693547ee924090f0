"""What each feature tells: of known information, of noise, of a copy, of what held for a while only."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from bascule.training.selection import information, judge_features

ROWS = 4000


def table() -> pa.Table:
    random = np.random.default_rng(5)
    label = random.integers(0, 2, ROWS)
    good = label + random.normal(0, 0.7, ROWS)
    passing = np.where(np.arange(ROWS) < ROWS // 4, label + random.normal(0, 0.3, ROWS), random.normal(0, 1, ROWS))
    text = np.where(random.random(ROWS) < 0.7, label, 1 - label).astype(str)
    columns = {
        "good": good,
        "copy": np.exp(good) + random.normal(0, 0.01, ROWS),
        "noise": random.normal(0, 1, ROWS),
        "passing": passing,
        "text": text,
        "constant": np.ones(ROWS),
    }
    return pa.table({**{name: pa.array(values) for name, values in columns.items()}, "label": label.astype(float)})


def test_information_is_that_of_the_textbook() -> None:
    one = np.array([0, 0, 1, 1] * 1000)
    assert information(one, one) == pytest.approx(1, abs=1e-3)
    assert information(one, np.array([0, 1, 0, 1] * 1000)) == 0
    noisy = np.where(np.arange(4000) % 10 == 0, 1 - one, one)
    share = np.bincount(one * 2 + noisy) / 4000
    expected = sum(p * math.log2(p / 0.25) for p in share if p)
    assert information(one, noisy) == pytest.approx(expected, abs=1e-3)


def test_what_is_kept_and_why_not() -> None:
    found = judge_features(
        rows := table(), rows.column_names[:-1], regression=False, least=0.01, correlated=0.95, folds=4
    )
    judged = {one.feature: one for one in found}
    assert {name for name, one in judged.items() if one.kept} == {"text", max("good", "copy", key=_told(judged))}
    dropped = judged[min("good", "copy", key=_told(judged))]
    assert dropped.reason.startswith("says the same as")
    assert "bits of the label" in judged["noise"].reason
    assert "bits of the label" in judged["constant"].reason
    assert "of the time folds only" in judged["passing"].reason
    assert [one.information for one in found] == sorted((one.information for one in found), reverse=True)


def test_a_label_that_is_a_number() -> None:
    rows = table()
    rows = rows.set_column(rows.num_columns - 1, "label", pa.array(np.asarray(rows.column("good")) * 3))
    found = judge_features(rows, ["good", "noise"], regression=True, least=0.01, correlated=0.95, folds=3)
    assert [one.kept for one in found] == [True, False]


def _told(judged: dict[str, object]):  # type: ignore[no-untyped-def]
    return lambda name: judged[name].information  # type: ignore[attr-defined]
