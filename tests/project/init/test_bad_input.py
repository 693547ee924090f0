"""Bad data and bad labels: a clear message, and nothing is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Said

from bascule.errors import AlreadyExists, BasculeError, InputError
from bascule.project.beginning import begin_project
from bascule.project.init import init_project
from bascule.verbs import open as open_project

GOOD = "id,at,amount,returned\n" + "".join(f"{n},2024-01-{1 + n % 28:02},{n % 7},{n % 2}\n" for n in range(50))
Prepare = Callable[[Path], None]


def _file(name: str, text: str | bytes) -> Prepare:
    def prepare(folder: Path) -> None:
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    return prepare


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "label", "said", "hint"),
    [
        (lambda folder: folder.rmdir(), "returned", "There is no folder", "CSV"),
        (lambda folder: None, "returned", "is empty", "CSV"),
        (_file("orders.csv", ""), "returned", "orders.csv is empty", "header"),
        (_file("orders.csv", "id,returned\n"), "returned", "orders.csv", ""),
        (_file("orders.csv", GOOD.encode() + b"99,2024-01-01,\x90\xff7,1\n"), "returned", "not UTF-8", "iconv"),
        (_file("orders.csv", GOOD + "51,2024-01-01\n"), "returned", "orders.csv", ""),
        (_file("orders.csv", GOOD.replace("2024-01-09", "yesterday")), "returned", "'yesterday'", "2013-07-01"),
        (_file("orders.parquet", b"PAR1 not really"), "returned", "orders.parquet", ""),
        (_file("orders.csv", GOOD), "retruned", "no column named 'retruned'", "'returned'"),
        (_file("orders.csv", GOOD), "amuont > 3", "no column named 'amuont'", "'amount'"),
        (_file("orders.csv", GOOD), "amuont_over_3", "no column named 'amuont'", "'amount'"),
        (_file("orders.csv", GOOD), "ordrs.amount > 3", "no table named 'ordrs'", "'orders'"),
        (_file("orders.csv", GOOD), "amount >", "is not SQL", "delay > 15"),
        (_file("orders.csv", GOOD), "1 + 1", "reads no column", ""),
        (_file("orders.csv", GOOD), " ", "is empty", ""),
        (_file("orders.csv", GOOD), "amount, id", "more than one expression", ""),
        (_file("orders.csv", GOOD), "amount > 'much'", "cannot be computed", ""),
        (_file("orders.csv", GOOD), "amount > 100", "one value only: 'false'", "threshold"),
        (_file("orders.csv", GOOD), "at", "is a time", "date_diff"),
        (
            _file("orders.csv", GOOD.replace(",0\n", ",\n").replace(",1\n", ",\n")),
            "returned",
            "null in all 50",
            "filled",
        ),
        (_file("orders.csv", "a,b\n" + "".join(f"{n},name {n}\n" for n in range(99))), "b", "99 different", "classes"),
        (_file("orders.csv", "a,b\n" + "".join(f"{n},{n % 2}\n" for n in range(99))), "b", "Nothing is left", ""),
        (_file("cat.png", b"\x89PNG"), "returned", "holds no table: .png 1", "images"),
        (_file("notes.txt", "some"), "returned", "holds no table", "texts"),
        (_file("reviews.csv", "text,good\n" + f"{'word ' * 20},1\n{'other ' * 20},0\n" * 20), "good", "free text", ""),
    ],
)
def test_it_is_told_and_nothing_is_written(
    prepare: Prepare, label: str, said: str, hint: str, folder: Path, bascule: Callable[..., Said]
) -> None:
    (folder / "data").mkdir()
    prepare(folder / "data")
    before = sorted(folder.rglob("*"))
    told = bascule("init", "data", "--label", label, "--into", "project")
    assert (told.code, told.out) == (2, "")
    message, _, advice = told.err.removeprefix("bascule: ").partition("\n  ")
    assert said in message
    assert hint in advice
    assert sorted(folder.rglob("*")) == before
    document = bascule("init", "data", "--label", label, "--into", "project", "--json").json()
    assert document["error"] == message.rstrip("\n")


def test_a_label_that_two_tables_have(tmp_path: Path) -> None:
    for name in ("orders", "returns"):
        (tmp_path / f"{name}.csv").write_text(GOOD)
    with pytest.raises(InputError, match=r"'orders', 'returns': each has 'returned'") as told:
        init_project(tmp_path, "returned", tmp_path / "project")
    assert "orders.returned" in told.value.hint
    report = init_project(tmp_path, "orders.returned", tmp_path / "project")
    assert report.label == "returned"


def test_a_label_over_two_tables(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(GOOD)
    (tmp_path / "limits.csv").write_text("kind,most\na,1\nb,2\n")
    with pytest.raises(InputError, match="No table has all columns of the label 'amount > most'"):
        init_project(tmp_path, "amount > most", tmp_path / "project")


def test_a_folder_that_has_a_project(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(GOOD)
    (tmp_path / "bascule.toml").write_text("mine")
    with pytest.raises(AlreadyExists):
        init_project(tmp_path / "orders.csv", "returned", tmp_path)
    (tmp_path / "bascule.toml").unlink()
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "population.sql").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AlreadyExists, match=r"population\.sql"):
        init_project(tmp_path / "orders.csv", "returned", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(InputError, match="is a file"):
        init_project(tmp_path / "orders.csv", "returned", tmp_path / "orders.csv")


def test_a_disk_that_takes_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "orders.csv").write_text(GOOD)
    target, opened = tmp_path / "project", Path.open

    def full(path: Path, *args: object, **settings: object) -> object:
        if path == target / "contracts" / "orders.yaml.new":
            raise OSError(28, "No space left on device")
        return opened(path, *args, **settings)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(BasculeError, match="No space left on device") as told:
        init_project(tmp_path / "data", "returned", target)
    assert told.value.exit_code == 3
    assert not target.exists()


def test_a_project_for_tracked_scripts_alone_is_what_the_hint_says(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        begin_project(None, None, tmp_path)
    assert 'write [project] and, under it, name = "…" into bascule.toml' in str(error.value.hint)
    (tmp_path / "bascule.toml").write_text('[project]\nname = "mine"\n')
    begin_project(None, None, tmp_path)
    (tmp_path / "a.py").write_text("print(1)")
    project = open_project(tmp_path)
    assert project.track([sys.executable, str(tmp_path / "a.py")]).problem is None
    assert [one["name"] for one in project.runs()] == ["a.py"]
    project.close()
