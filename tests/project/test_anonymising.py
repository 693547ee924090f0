"""`bascule anonymise`: a new table on a branch of its own, with a report that the commit keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bascule = Callable[..., Any]
ASKED = ("anonymise", "orders", "--quasi", "distance,weight", "--sensitive", "depot", "--k", "8", "--l", "2")


@pytest.mark.slow
def test_a_copy_on_a_branch(trained: Path, bascule: Bascule) -> None:
    said = bascule(*ASKED, "--json")
    assert said.code == 0, said.err
    report = said.json()
    assert (report["table"], report["branch"]) == ("orders_anonymous", "anonymised/orders")
    assert "order_id" in report["dropped"]
    rows = bascule(
        "sql", "select * from orders_anonymous", "--at", "anonymised/orders", "--limit", "5000", "--json"
    ).json()
    classes = Counter((row["distance"], row["weight"]) for row in rows)
    assert min(classes.values()) == report["k"] >= 8
    assert len(classes) == report["classes"]
    assert len(rows) == report["rows"] == 2400
    for one in classes:
        assert len({row["depot"] for row in rows if (row["distance"], row["weight"]) == one}) >= 2
    assert bascule("sql", "select * from orders_anonymous").code == 2  # main is as it was
    (entry,) = bascule("log", "--branch", "anonymised/orders", "-n", "1", "--json").json()
    assert "Anonymise orders" in entry["message"]
    (told,) = [one for one in bascule("audit", "log", "--json").json() if one["action"] == "anonymise"]
    assert "penalty" in told["detail_json"]
    again = bascule(*ASKED)
    assert again.code == 2
    assert "--into" in again.err
    assert bascule(*ASKED, "--into", "second").code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("odrers", "--quasi", "a", "--k", "2"), "orders"),
        (("orders", "--quasi", "weigth", "--k", "2"), "weight"),
        (("orders", "--quasi", "weight", "--k", "1"), "not anonymous"),
        (
            ("orders", "--quasi", "weight", "--k", "2", "--memory", "1KB"),
            "different combinations of these columns, which take about",
        ),
        (("orders", "--quasi", "weight", "--k", "2", "--memory", "much"), "memory is 'much', which is no size"),
        (("orders", "--quasi", "weight", "--k", "99999"), "cannot be made anonymous"),
        (("orders", "--quasi", "depot", "--k", "2", "--hierarchy", "depot"), "COLUMN=FILE"),
        (("orders", "--quasi", "depot", "--k", "2", "--hierarchy", "depot=none.csv"), "cannot be read"),
        (("orders", "--quasi", "depot", "--sensitive", "depot", "--k", "2"), "named twice"),
    ],
)
def test_mistakes_leave_nothing(trained: Path, bascule: Bascule, arguments: tuple[str, ...], words: str) -> None:
    said = bascule("anonymise", *arguments)
    assert said.code == 2
    assert words in said.err
    assert "anonymised/" not in bascule("branch").out
