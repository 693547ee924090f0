from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bascule.durations import DAY
from bascule.errors import InputError
from bascule.training import Split, split_by_hash, split_by_time
from bascule.training.split import EMBARGOED, TEST, TRAIN, VALIDATION

ROWS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), min_size=5, max_size=60)


@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(ROWS, st.integers(1, 15), st.integers(1, 15), st.integers(0, 5))
def test_no_row_is_used_before_its_label_was_known(
    rows: list[tuple[int, int]], validation: int, test: int, embargo: int
) -> None:
    rows = [*rows, *((day, 0) for day in range(61))]  # so that most splits can be made
    asked = np.array([day for day, _ in rows]) * DAY
    known = asked + np.array([lag for _, lag in rows]) * DAY
    try:
        sides, bounds = split_by_time(
            asked, known, Split(validation=f"{validation}d", test=f"{test}d", embargo=f"{embargo}d")
        )
    except InputError:
        assume(False)
        return
    assert bounds.test - bounds.validation == validation * DAY
    for one, moment, learned in zip(sides, asked, known + embargo * DAY, strict=True):
        if moment >= bounds.test:
            assert one == TEST
        elif moment >= bounds.validation:
            assert one == (VALIDATION if learned < bounds.test else EMBARGOED)
        else:
            assert one == (TRAIN if learned < bounds.validation else EMBARGOED)


def test_the_last_thirty_days_are_the_test() -> None:
    asked = np.arange(100) * DAY
    sides, bounds = split_by_time(asked, None, Split(validation="20d", test="30d"))
    assert [int((sides == one).sum()) for one in (TRAIN, VALIDATION, TEST)] == [50, 20, 30]
    assert bounds.end == 99 * DAY + 1


def test_shares_take_the_last_rows_and_never_separate_equal_times() -> None:
    asked = np.repeat(np.arange(10), 7)
    sides, _ = split_by_time(asked, None, Split(validation=0.2, test=0.2))
    assert [int((sides == one).sum()) for one in (TRAIN, VALIDATION, TEST)] == [42, 14, 14]
    for moment in range(10):
        assert len(set(sides[asked == moment])) == 1


@settings(deadline=None, max_examples=20)
@given(st.integers(1_000, 3_000), st.integers(1, 200))
def test_a_group_stays_on_its_side_when_others_are_added(groups: int, more: int) -> None:
    uniform = np.random.default_rng(1).random(groups + more)
    before = split_by_hash(uniform[:groups], Split())
    after = split_by_hash(uniform, Split())
    assert (before == after[:groups]).all()


@pytest.mark.parametrize("groups", [3, 4, 10, 57, 999])
def test_few_groups_still_fill_all_sides(groups: int) -> None:
    uniform = np.repeat(np.random.default_rng(0).random(groups), 2)
    sides = split_by_hash(uniform, Split(validation=0.2, test=0.2))
    sizes = [int((sides == one).sum()) for one in (TRAIN, VALIDATION, TEST)]
    assert min(sizes) > 0
    assert sizes[1] == sizes[2] == 2 * max(1, round(0.2 * groups))
    assert (sides[::2] == sides[1::2]).all()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(validation="80d", test="80d"), "train and the validation split would be empty"),
        (Split(validation="10d", test=0.2), "Write both"),
        (Split(validation="soon", test="10d"), "not a span of time"),
        (Split(validation=0.0, test=0.2), "between 0 and 1"),
        (Split(validation=0.5, test=0.5), "nothing is left to train on"),
    ],
)
def test_a_split_that_cannot_be_is_refused(split: Split, message: str) -> None:
    with pytest.raises(InputError) as error:
        split_by_time(np.arange(60) * DAY, None, split)
    assert message in f"{error.value.message} {error.value.hint}"


def test_a_span_without_a_time_column_is_refused() -> None:
    with pytest.raises(InputError, match="no prediction_time was declared"):
        split_by_hash(np.linspace(0, 0.99, 50), Split(validation="30d", test="30d"))
