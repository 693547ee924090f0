"""k-anonymity and l-diversity: what comes out has them, whatever goes in, and is no coarser than it must be."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.errors import InputError, NotFound
from bascule.lake.privacy import Hierarchy, anonymised, measured, read_hierarchy

CITIES = Hierarchy(
    {
        "Bonn": ("Bonn", "NRW", "Germany", "*"),
        "Kiel": ("Kiel", "SH", "Germany", "*"),
        "Lyon": ("Lyon", "ARA", "France", "*"),
        "Nice": ("Nice", "PACA", "France", "*"),
    }
)
QUASI = ("age", "born", "zip", "city", "share")


def naive(rows: list[dict[str, Any]], quasi: tuple[str, ...], sensitive: tuple[str, ...]) -> tuple[int, int]:
    """k and l by a dict of classes."""
    classes: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        classes[tuple(row[name] for name in quasi)].append(row)
    k = min(map(len, classes.values()))
    return k, min(len({row[name] for row in members}) for members in classes.values() for name in sensitive)


def covers(label: str | None, value: Any) -> bool:
    """Tell whether a generalised cell is true of the value that was there."""
    if value is None:
        return label in (None, "*")
    if isinstance(value, float):
        value += 0.0  # both zeros are one value, told as 0.0
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    if label is None:
        return False
    if ".." in label and not isinstance(value, str):
        low, high = (
            type(value).fromisoformat(one) if isinstance(value, date) else type(value)(one) for one in label.split("..")
        )
        return bool(low <= value <= high)
    return (
        label == text
        or text in label.split("|")
        or (label.endswith("*") and text.startswith(label[:-1]))
        or label in CITIES.levels.get(text, ())
    )


rows_of = st.lists(
    st.fixed_dictionaries(
        {
            "age": st.one_of(st.none(), st.integers(0, 99)),
            "born": st.one_of(st.none(), st.dates(date(1940, 1, 1), date(2010, 1, 1))),
            "zip": st.one_of(st.none(), st.text("0123", max_size=3)),
            "city": st.one_of(st.none(), st.sampled_from(list(CITIES.levels))),
            "share": st.one_of(st.none(), st.floats(allow_nan=True, width=32)),
            "illness": st.one_of(st.none(), st.sampled_from("abcd")),
        }
    ),
    min_size=2,
    max_size=40,
)
SCHEMA = pa.schema(
    {
        "age": pa.int64(),
        "born": pa.date32(),
        "zip": pa.string(),
        "city": pa.string(),
        "share": pa.float64(),
        "illness": pa.string(),
        "n": pa.int64(),
    }
)


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_both_zeros_are_one_value(kind: pa.DataType) -> None:
    for zeros in ([-0.0, -0.0], [-0.0, 0.0], [0.0, -0.0]):
        done = anonymised(pa.table({"share": pa.array(zeros, kind)}), ["share"], k=2)
        assert done.table["share"].to_pylist() == ["0.0", "0.0"]
        assert done.cost.penalty == 0


@pytest.mark.slow
@settings(deadline=None)
@given(
    rows_of,
    st.integers(2, 6),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.lists(st.sampled_from(QUASI), min_size=1, max_size=5, unique=True),
)
def test_what_comes_out_has_k_and_l(
    rows: list[dict[str, Any]],
    k: int,
    l: int,  # noqa: E741
    suppress: float,
    quasi: list[str],
) -> None:
    table = pa.Table.from_pylist([{**row, "n": n} for n, row in enumerate(rows)], SCHEMA)
    enough = len(rows) >= k and len({row["illness"] for row in rows}) >= l
    hierarchies = {"city": CITIES} if "city" in quasi else {}
    if not enough:
        with pytest.raises(InputError, match="cannot be made anonymous"):
            anonymised(table, quasi, ["illness"], k=k, l=l, suppress=suppress, hierarchies=hierarchies)
        return
    done = anonymised(table, quasi, ["illness"], k=k, l=l, suppress=suppress, hierarchies=hierarchies)
    out = done.table.to_pylist()
    assert naive(out, tuple(quasi), ("illness",)) == (done.cost.anonymity.k, done.cost.anonymity.l)
    assert done.cost.anonymity.k >= k
    assert (done.cost.anonymity.l or 0) >= l
    assert done.cost.suppressed == len(rows) - len(out) <= suppress * len(rows)
    assert 0 <= done.cost.penalty <= 1
    for row in out:
        before = rows[row["n"]]
        assert row["illness"] == before["illness"]
        for name in QUASI:
            value = before[name]
            if isinstance(value, float) and value != value:
                value = None
            if name in quasi:
                assert covers(row[name], value), (name, row[name], value)
            elif not isinstance(before[name], float):
                assert row[name] == value


def test_it_is_cut_as_long_as_it_can_be() -> None:
    table = pa.table({"age": list(range(100)), "ill": ["a", "b"] * 50})
    done = anonymised(table, ["age"], ["ill"], k=5, l=2)
    assert done.cost.anonymity.classes >= 100 // (2 * 5 + 1)
    assert done.cost.penalty < 0.15
    assert set(done.table["age"].to_pylist()) >= {"0..5"} or done.table["age"][0].as_py().startswith("0..")


def test_an_outlier_costs_less_when_it_may_be_suppressed() -> None:
    table = pa.table({"pay": [1.0, 1.1, 1.2, 1.3, 1e9]})
    whole = anonymised(table, ["pay"], k=4)
    assert (whole.cost.suppressed, whole.table["pay"][0].as_py()) == (0, "1.0..1000000000.0")
    less = anonymised(table, ["pay"], k=4, suppress=0.2)
    assert (less.cost.suppressed, set(less.table["pay"].to_pylist())) == (1, {"1.0..1.3"})


def test_types_and_labels() -> None:
    days = [date(2000, 1, 1) + timedelta(n) for n in range(4)]
    table = pa.table(
        {
            "day": days,
            "price": [Decimal("1.50"), Decimal("1.60"), Decimal("9.00"), Decimal("9.10")],
            "yes": [True, True, True, True],
            "zip": ["10115", "10117", "10119", "10999"],
        }
    )
    done = anonymised(table, ["day", "price", "yes", "zip"], k=4).table.to_pylist()
    assert done[0] == {"day": "2000-01-01..2000-01-04", "price": "1.50..9.10", "yes": "True", "zip": "10*"}


def test_measuring_what_there_is() -> None:
    table = pa.table({"a": ["x", "x", "y"], "s": [1, 1, 2]})
    found = measured(table, ["a"], ["s"])
    assert (found.rows, found.classes, found.k, found.l) == (3, 2, 1, 1)
    assert measured(table.slice(0, 0), ["a"]).k == 0


def test_a_hierarchy_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "towns.csv"
    file.write_text("Bonn,West\nKiel,North\nEssen,West\nHusum,North\n")
    table = pa.table({"town": ["Bonn", "Kiel", "Essen", "Husum"]})
    done = anonymised(table, ["town"], k=2, hierarchies={"town": read_hierarchy(file)})
    assert sorted(done.table["town"].to_pylist()) == ["North", "North", "West", "West"]
    with pytest.raises(InputError, match="does not name 1 of its values"):
        anonymised(pa.table({"town": ["Bonn", "Rome"]}), ["town"], k=2, hierarchies={"town": read_hierarchy(file)})
    for text, words in (("", "is empty"), ("a,b\nc\n", "line 2: 1 levels"), ("a,x,p\nb,x,q\n", "two different groups")):
        file.write_text(text)
        with pytest.raises(InputError, match=words):
            read_hierarchy(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_hierarchy(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"quasi": ["aeg"]}, NotFound, "aeg"),
        ({"quasi": []}, InputError, "No quasi-identifier"),
        ({"k": 1}, InputError, "a row alone"),
        ({"l": 0}, InputError, "l is 0"),
        ({"l": 2, "sensitive": []}, InputError, "none is named"),
        ({"sensitive": ["age"]}, InputError, "named twice"),
        ({"suppress": 1.0}, InputError, "may be suppressed"),
        ({"quasi": ["nested"]}, InputError, "only plain columns"),
        ({"hierarchies": {"ill": CITIES}}, NotFound, "ill"),
    ],
)
def test_mistakes(options: dict[str, Any], error: type[Exception], words: str) -> None:
    table = pa.table({"age": [1, 2], "ill": ["a", "b"], "nested": [[1], [2]]})
    asked = {"quasi": ["age"], "sensitive": ["ill"], "k": 2, **options}
    with pytest.raises(error, match=words):
        anonymised(table, asked.pop("quasi"), asked.pop("sensitive"), **asked)


@pytest.mark.slow
def test_many_rows() -> None:
    draw = np.random.default_rng(1)
    size = 200_000
    table = pa.table(
        {"age": draw.integers(0, 100, size), "zip": draw.integers(0, 10_000, size), "s": draw.integers(0, 9, size)}
    )
    done = anonymised(table, ["age", "zip"], ["s"], k=10, l=3)
    assert done.cost.anonymity.k >= 10
    assert (done.cost.anonymity.l or 0) >= 3
