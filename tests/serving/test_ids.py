"""Prediction ids sort by time and never repeat."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.catalog import now
from bascule.serving.ids import Ids, IdSource, is_prediction_id, json_of, json_text_of, logged, made_at, read_logged


@pytest.mark.slow
@given(st.lists(st.integers(0, 2**54), min_size=1, max_size=50))
def test_ids_increase_whatever_the_clock_does(moments: list[int]) -> None:
    source = IdSource()
    ids = [source.next(moment) for moment in moments]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert all(is_prediction_id(one) for one in ids)


@pytest.mark.slow
@given(st.integers(0, 2**54))
def test_an_id_holds_its_moment(moment: int) -> None:
    assert made_at(IdSource().next(moment)) == moment


def test_the_counter_wraps_in_order() -> None:
    source = IdSource()
    source._count = (1 << 30) - 3
    ids = source.many(now(), 6)
    assert ids == sorted(ids)
    assert len(set(ids)) == 6


def test_two_processes_do_not_meet() -> None:
    moment = now()
    assert not set(IdSource().many(moment, 1_000)) & set(IdSource().many(moment, 1_000))


def test_other_texts_are_not_ids() -> None:
    good = IdSource().next(now())
    for text in ("", "pred_", good[:-1], good + "0", good.upper(), "run_" + good[5:], good[:-1] + "l"):
        assert not is_prediction_id(text)


@pytest.mark.parametrize("count", [0, 1, 2, 1_000, 40_000])
@pytest.mark.parametrize("at", [5, 32_760, (1 << 30) - 3])
def test_many_at_once_are_what_one_after_the_other_would_be(at: int, count: int) -> None:
    source = IdSource()
    source._count = at
    before = source.next(7)
    found = [before, *source.many(7, count), source.next(7)]
    assert len(set(found)) == count + 2
    assert found == sorted(found)
    assert all(is_prediction_id(one) for one in found)


@pytest.mark.parametrize("at", [0, 31_800, 32_766, 32_767, 65_534])
def test_many_never_need_a_text_each(at: int) -> None:
    source = IdSource()
    source._count = at
    found = source.many(now(), 10_000)
    assert isinstance(found, Ids)
    assert len({*found, source.next(0)}) == 10_001


@pytest.mark.parametrize("count", [0, 1, 2, 1_000])
def test_many_are_written_as_a_list_of_texts_is(count: int) -> None:
    found = IdSource().many(now(), count)
    texts = list(found)
    assert [found[place] for place in range(count)] == texts == [*found[:1], *found[1:]]
    assert msgspec.json.decode(json_of(found)) == texts
    assert msgspec.json.decode(msgspec.json.decode(json_text_of(found))) == texts
    assert read_logged(msgspec.msgpack.decode(msgspec.msgpack.encode(logged(found)))) == texts
