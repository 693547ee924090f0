from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bascule.evaluation import calibrate, wilson


def test_the_interval_of_a_share_is_scipy_s() -> None:
    for hits, rows in ((0, 10), (3, 10), (400, 1_000), (10, 10)):
        theirs = stats.binomtest(hits, rows).proportion_ci(0.95, method="wilson")
        assert wilson(hits / rows, rows) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_a_calibrated_forecast_shows_no_more_than_the_noise() -> None:
    random = np.random.default_rng(0)
    found = []
    for _ in range(50):
        said = random.beta(1, 3, 4_000)
        found.append(calibrate((random.random(4_000) < said).astype(float), said))
    assert np.mean([one.ece for one in found]) == pytest.approx(found[0].noise, rel=0.15)
    covered = np.mean([one.low <= one.predicted <= one.high for case in found for one in case.bins])
    assert 0.92 <= covered <= 0.98


def test_an_overconfident_forecast_shows() -> None:
    random = np.random.default_rng(0)
    truth = random.uniform(0.3, 0.7, 4_000)
    label = (random.random(4_000) < truth).astype(float)
    found = calibrate(label, 0.5 + 2 * (truth - 0.5))
    assert found.ece > 5 * found.noise
    assert found.bins[0].predicted < found.bins[0].low
    assert found.bins[-1].predicted > found.bins[-1].high
    assert sum(one.rows for one in found.bins) == 4_000


def test_of_several_classes_the_likeliest_counts() -> None:
    random = np.random.default_rng(0)
    said = random.dirichlet([1, 1, 1], 3_000)
    label = np.array([random.choice(3, p=one) for one in said]).astype(float)
    assert calibrate(label, said).ece < 0.03
