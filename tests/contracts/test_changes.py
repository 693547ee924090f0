"""How contracts differ, judged for readers."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.contracts import Contract
from bascule.contracts.changes import compare_contracts
from tests.contracts.writing import column, contract_of, ours


def values(*listed: str, **more: Any) -> dict[str, Any]:
    return {"metric": "invalidValues", "arguments": {"validValues": list(listed)}, "mustBe": 0, **more}


BASE: dict[str, Any] = {
    "id": column("id", primaryKey=True, logicalType="integer"),
    "size": column("size", ours("range", maximum=10), logicalType="number", required=True),
    "kind": column("kind", values("a", "b"), logicalType="string", description="What it is."),
    "at": column("at", logicalType="timestamp", unique=True),
}


def contract(**changed: Any) -> Contract:
    columns = {name: one for name, one in {**BASE, **changed}.items() if one is not None}
    return contract_of(list(columns.values()))


CASES = {
    "a column is gone": ({"size": None}, [("breaking", "size", "is not promised any more")]),
    "a new column": ({"new": column("new")}, [("compatible", "new", "is promised now")]),
    "a wider type": (
        {"id": column("id", primaryKey=True, logicalType="number")},
        [("breaking", "id", "type integer → number")],
    ),
    "a narrower type": (
        {"size": column("size", ours("range", maximum=10), logicalType="integer", required=True)},
        [("compatible", "size", "type number → integer")],
    ),
    "any type": (
        {"at": column("at", unique=True)},
        [("breaking", "at", "type timestamp → any type")],
    ),
    "may be missing": (
        {"size": column("size", ours("range", maximum=10), logicalType="number")},
        [("breaking", "size", "size: not null is not checked any more")],
    ),
    "must be there": (
        {"at": column("at", logicalType="timestamp", unique=True, required=True)},
        [("compatible", "at", "at: not null is checked now")],
    ),
    "not unique": ({"at": column("at", logicalType="timestamp")}, [("breaking", "at", "at: unique is not checked")]),
    "a new value": (
        {"kind": column("kind", values("a", "b", "c"), logicalType="string", description="What it is.")},
        [("breaking", "kind", "accepts 'c' too")],
    ),
    "a value less": (
        {"kind": column("kind", values("a"), logicalType="string", description="What it is.")},
        [("compatible", "kind", "accepts 'b' no more")],
    ),
    "only a warning": (
        {"kind": column("kind", values("a", "b", severity="warning"), logicalType="string", description="What it is.")},
        [("breaking", "kind", "is only warning now")],
    ),
    "another range": (
        {"size": column("size", ours("range", maximum=20), logicalType="number", required=True)},
        [("compatible", "size", "asks something else")],
    ),
    "other words": (
        {"kind": column("kind", values("a", "b"), logicalType="string", description="Else.")},
        [("documentation", "kind", "is described otherwise")],
    ),
    "private": (
        {"at": column("at", logicalType="timestamp", unique=True, classification="pii")},
        [("compatible", "at", "is private now")],
    ),
    "no key": ({"id": column("id", logicalType="integer")}, [("breaking", None, "key id → none")]),
    "nothing": ({}, []),
}


@pytest.mark.parametrize(("changed", "expected"), CASES.values(), ids=CASES)
def test_a_change_is_judged(changed: dict[str, Any], expected: list[tuple[str, str | None, str]]) -> None:
    found = compare_contracts(contract(), contract(**changed))
    if expected and expected[0][2].startswith("key"):  # its column may be missing then, too
        found = [one for one in found if one.column is None]
    assert [(one.verdict, one.column) for one in found] == [(verdict, name) for verdict, name, _ in expected]
    for one, (_, _, words) in zip(found, expected, strict=True):
        assert words in one.what


def test_a_unit_is_what_values_mean() -> None:
    def unit(word: str) -> Any:
        return column(
            "at", logicalType="timestamp", unique=True, customProperties=[{"property": "unit", "value": word}]
        )

    (one,) = compare_contracts(contract(at=unit("s")), contract(at=unit("ms")))
    assert (one.verdict, one.column, one.what) == ("breaking", "at", "unit s → ms")
    (one,) = compare_contracts(contract(), contract(at=unit("ms")))
    assert one.verdict == "compatible"


def test_a_contract_begins_and_ends() -> None:
    assert [one.verdict for one in compare_contracts(None, contract())] == ["compatible"]
    assert [one.verdict for one in compare_contracts(contract(), None)] == ["breaking"]
    assert compare_contracts(None, None) == []


def test_words_around_the_checks_are_documentation() -> None:
    old = contract()
    new = Contract.parse(old.text + "\n# a remark\nprice: {priceAmount: 3}\n", old.file)
    assert [one.verdict for one in compare_contracts(old, new)] == ["documentation"]
