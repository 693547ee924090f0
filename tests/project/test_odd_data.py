"""Files as they come out of spreadsheets: `init` reads them, and the project that it writes runs and answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Said

Bascule = Callable[..., Said]

HEADER = ("id", "Sold At", "Price €", "Größe (cm)", "shop name", "returned")


def sales(folder: Path, *, delimiter: str, decimal: str, start: str = "", money: str = "{}") -> None:
    """Write 1,500 sales; dear ones are often sent back."""
    chance, at = random.Random(5), datetime(2025, 1, 1)
    lines = [delimiter.join(HEADER)]
    for number in range(1500):
        at += timedelta(hours=2)
        price = round(chance.uniform(5, 200), 2)
        text = money.format(str(price).replace(".", decimal))
        fields = (
            str(number),
            f"{at:%Y-%m-%d %H:%M:%S}",
            f'"{text}"' if delimiter in text else text,
            str(chance.randint(20, 200)),
            chance.choice(("north", "south", "east")),
            str(int(chance.random() < (0.9 if price > 120 else 0.1))),
        )
        lines.append(delimiter.join(fields))
    (folder / "data").mkdir()
    (folder / "data" / "sales.csv").write_text(start + "\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delimiter", "decimal", "start"),
    [(";", ",", "\ufeff"), ("\t", ".", ""), (",", ",", "")],
    ids=["semicolons, decimal commas and a byte order mark", "tabs", "decimal commas in quotes"],
)
def test_the_project_answers_in_the_names_of_the_data(
    folder: Path, bascule: Bascule, delimiter: str, decimal: str, start: str
) -> None:
    sales(folder, delimiter=delimiter, decimal=decimal, start=start)
    made = bascule("init", "data", "--label", "returned", "--name", "sales", "--no-git")
    assert made.code == 0, made.err
    assert bascule("run", "--quiet").code == 0
    assert bascule("deploy").code == 0
    table = bascule("sql", 'select count(*) as n, max("Price €") as high from sales', "--json").json()
    assert table[0]["n"] == 1500
    assert 150 < table[0]["high"] < 200

    row = ("Größe (cm)=100", "shop name=north", "prediction_time=2025-05-07T12:00:00Z")
    cheap, dear = (bascule("predict", "sales", f"Price €={price}", *row, "--json") for price in (20, 180))
    assert cheap.code == 0, cheap.err
    assert set(cheap.json()["inputs"]) == {"Price €", "Größe (cm)", "shop name", "prediction_time"}
    assert cheap.json()["output"]["label"] == "0"
    assert dear.json()["output"]["label"] == "1"
    assert bascule("predict", "sales", "--example").code == 0
    wrong = bascule("predict", "sales", "Price=20", *row)
    assert wrong.code == 2
    assert "Did you mean 'Price €'?" in wrong.err


@pytest.mark.slow
@pytest.mark.parametrize("money", ["{} €", "$ {}", "EUR {}", "{}%"])
def test_an_amount_that_is_no_number_is_told(folder: Path, bascule: Bascule, money: str) -> None:
    sales(folder, delimiter=";", decimal=".", money=money)
    said = bascule("init", "data", "--label", "returned", "--no-git", "--json").json()["assumptions"]
    assert [one for one in said if "Price €" in one and "its texts look like numbers" in one]


@pytest.mark.slow
def test_a_name_with_quotes_in_it_is_asked_for_by_that_name(folder: Path, bascule: Bascule) -> None:
    sales(folder, delimiter=",", decimal=".")
    file = folder / "data" / "sales.csv"
    file.write_text(file.read_text("utf-8").replace("Price €", '"the ""real"" price"', 1), encoding="utf-8")
    assert bascule("init", "data", "--label", "returned", "--name", "sales", "--no-git").code == 0
    assert bascule("run", "--quiet").code == 0
    assert bascule("deploy").code == 0
    assert 'the "real" price' in bascule("predict", "sales", "--example", "--json").json()["inputs"]
