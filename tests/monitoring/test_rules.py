import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.monitoring import read_rule

VALUES = {"quality.auc": 0.70, "training.auc": 0.74, "drift.share": 0.4, "traffic.rows": 900.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quality.auc < training.auc - 0.03", True),
        ("quality.auc < training.auc - 0.05", False),
        ("quality.auc<=0.70", True),
        ("quality.auc > .5e0", True),
        ("drift.share >= 0.4 and traffic.rows > 1000", False),
        ("drift.share >= 0.4 or traffic.rows > 1000", True),
        ("drift.share > 1 or drift.share > 0.1 and traffic.rows > 800", True),
        ("(training.auc - quality.auc) / training.auc > 0.05", True),
        ("2 + 3 * 4 > 13.9", True),
        ("-quality.auc < -0.6", True),
        ("quality.auc - 0.1 - 0.1 < 0.51", True),
        ("quality.brier > 0.2", None),
        ("quality.brier > 0.2 or drift.share > 0.3", True),
        ("quality.brier > 0.2 and drift.share > 0.9", False),
        ("traffic.rows / 0 > 1", None),
    ],
)
def test_conditions(text: str, expected: bool | None) -> None:
    assert read_rule(text).condition(VALUES.get) is expected


def test_the_parts_of_a_rule() -> None:
    rule = read_rule("quality.auc < training.auc - 0.03 for 3 of 5 days")
    assert rule.persistence == (3, 5)
    assert rule.unit == "day"
    assert rule.names == ("quality.auc", "training.auc")
    assert read_rule("drift.share > 0.3 for 1 of 1 hour").unit == "hour"
    assert read_rule("drift.share > 0.3").persistence == (1, 1)
    assert read_rule("drift.weather__wind > 0.3", ["weather__wind"]).names == ("drift.weather__wind",)


@pytest.mark.parametrize(
    ("text", "at", "message", "hint"),
    [
        ("quality.auk < 0.7", 1, "no 'quality.auk'", "'quality.auc'"),
        ("qualty.auc < 0.7", 1, "no 'qualty.auc'", "'quality.auc'"),
        ("quality.auc < trainin.auc", 15, "no 'trainin.auc'", "'training.auc'"),
        ("drift.weather__wnd > 0.1", 1, "no 'drift.weather__wnd'", "'drift.weather__wind'"),
        ("quality.auc < 0.7 fro 3 of 5 days", 19, "found 'fro'", "'for'"),
        ("quality.auc < 0.7 for 3 off 5 days", 25, "found 'off'", "'of'"),
        ("quality.auc < 0.7 for 3 of 5 dys", 30, "found 'dys'", "'days'"),
        ("quality.auc < 0.7 for 6 of 5 days", 28, "from 6 up", ""),
        ("quality.auc < 0.7 for 0 of 5 days", 28, "found '5'", ""),
        ("quality.auc < 0.7 for 3.5 of 5 days", 23, "whole number", ""),
        ("quality.auc 0.7", 13, "one of < <= > >=", ""),
        ("quality.auc < ", 14, "found the end", ""),
        ("(quality.auc < 0.7", 14, "Expected ')'", ""),
        ("quality.auc < 0.7 days", 19, "the rule to end", ""),
        ("quality.auc ~ 0.7", 13, "'~' means nothing", ""),
        ("", 1, "found the end", ""),
        ("(" * 5000, 102, "at most 100", ""),
        ("quality < 1", 1, "no 'quality'", ""),
    ],
)
def test_what_cannot_be_read_is_shown(text: str, at: int, message: str, hint: str) -> None:
    with pytest.raises(InputError) as found:
        read_rule(text, ["weather__wind"])
    shown = found.value.message
    assert f"at character {at}:" in shown
    assert message in shown
    assert shown.endswith("\n  " + " " * (at - 1) + "^")
    assert hint in found.value.hint


@pytest.mark.slow
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_clearly(text: str) -> None:
    with contextlib.suppress(InputError):
        read_rule(text)
