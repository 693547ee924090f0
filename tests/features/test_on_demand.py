"""Types of what requests bring, told from the expressions that read it."""

from __future__ import annotations

import pytest

from bascule.errors import InputError
from bascule.features import Entity, FeatureView, RequestView
from bascule.features.on_demand import request_set

USER = Entity("user", ("user",))
VIEW = FeatureView(
    name="spent",
    entity="user",
    sql="select 1",
    event_time="at",
    fields=("total", "city"),
    types={"user": "BIGINT", "at": "TIMESTAMP", "total": "DOUBLE", "city": "VARCHAR"},
)


@pytest.mark.slow
def test_each_column_has_the_first_type_that_all_expressions_take() -> None:
    texts = {
        "share": "amount / spent.total",
        "hour": "hour(asked_at)",
        "here": "place = spent.city",
        "either": "if(flag, amount, user)",
        "same": "other = place",
    }
    found = request_set(
        "shop", RequestView("asked", texts), [VIEW], [USER], {"place": "VARCHAR", "more": "BLOB"}, "asked_at"
    )
    assert found.columns == {
        "user": "BIGINT",
        "amount": "DOUBLE",
        "asked_at": "TIMESTAMP",
        "place": "VARCHAR",
        "flag": "BOOLEAN",
        "other": "VARCHAR",
    }
    assert found.types["asked__hour"] == "BIGINT"
    assert found.prediction_time == "asked_at"


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"a": "nope(x)"}, "nope cannot be used"),
        ({"a": "x + spent.totl"}, "Did you mean 'spent.total'"),
        ({"a": "hour(x)", "b": "lower(x)"}, "expressions"),
    ],
)
def test_what_fits_nothing_is_told(texts: dict[str, str], words: str) -> None:
    with pytest.raises(InputError) as refused:
        request_set("shop", RequestView("asked", texts), [VIEW], [USER], {}, "")
    assert words in f"{refused.value.message} {refused.value.hint}"
