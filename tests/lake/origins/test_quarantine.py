"""Records that cannot be read: set aside with file, line and reason when tolerated, else the file is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import InputError
from bascule.history import Workspace

Rows = Callable[..., list[tuple[Any, ...]]]
GOOD = "".join(f"{n},{n}.5,w{n},2025-01-01\n" for n in range(1, 98))
BAD = (
    "n,f,word,day\n"  # line 1
    + GOOD
    + "x98,1.5,w,2025-01-01\n"  # 99: no number
    + "99,1.5,w\n"  # 100: a field is missing
    + "100,1.5,w,not a day\n"  # 101
)


def put(folder: Path, text: str | bytes, name: str = "a.csv") -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def test_bad_lines_go_to_quarantine_and_types_stay(
    tmp_path: Path, bring: Any, rows: Rows, quarantine: Any, local_workspace: Workspace
) -> None:
    told: list[str] = []
    batch = bring(put(tmp_path, BAD), tolerate=0.05, tell=told.append)
    assert (batch.report.rows, len(batch.report.rejected)) == (97, 3)
    assert rows("select typeof(n), typeof(f), typeof(day), count(*) from t group by all") == [
        ("BIGINT", "DOUBLE", "DATE", 97)
    ]
    found = quarantine()
    assert [(one["line"], one["column"], one["raw"]) for one in found] == [
        (99, "n", "x98,1.5,w,2025-01-01"),
        (100, "day", "99,1.5,w"),
        (101, "day", "100,1.5,w,not a day"),
    ]
    assert found[0]["reason"] == "column 'n' is BIGINT and cannot hold 'x98'."
    assert {one["table"] for one in found} == {"t"}
    assert {one["source"] for one in found} == {(tmp_path / "a.csv").as_posix()}
    assert batch.as_dict()["rejected"] == 3
    assert batch.as_dict()["files"][0]["rejected"] == 3
    assert any("3 records set aside" in text for text in told)
    assert local_workspace.history.resolve("main").meta["ingest"][0]["rejected"] == 3

    assert bring(put(tmp_path, BAD), tolerate=0.05).commit is None
    assert len(quarantine()) == 3


def test_more_than_is_tolerated_is_refused_whole(tmp_path: Path, bring: Any, local_workspace: Workspace) -> None:
    with pytest.raises(InputError) as refused:
        bring(put(tmp_path, BAD), tolerate=0.02)
    assert "3 of 100 records cannot be read (3 %), tolerated are 2 %" in refused.value.message or (
        "cannot hold" in refused.value.message
    )
    assert local_workspace.history.read("main", "tables/t") is None
    assert [ref.name for ref in local_workspace.history.branches()] == ["main"]


def test_without_a_tolerated_share_nothing_is_set_aside(tmp_path: Path, bring: Any) -> None:
    bring(put(tmp_path, "n,f,word,day\n" + GOOD))
    with pytest.raises(InputError, match=r"b\.csv:99: column 'n' is BIGINT and cannot hold 'x98'"):
        bring(put(tmp_path, BAD, "b.csv"))


@pytest.mark.slow
def test_values_that_would_change_are_set_aside_for_a_table_that_is_there(
    tmp_path: Path, bring: Any, rows: Rows, quarantine: Any
) -> None:
    bring(put(tmp_path, "n,f,word,day\n" + GOOD))
    more = BAD.replace("\n97,", "\n97.5,").replace("\n96,96.5,w96,2025-01-01", "\n96,96.5,w96,2025-01-01T07:00:00")
    batch = bring(put(tmp_path, more, "b.csv"), tolerate=0.1)
    assert [one["line"] for one in quarantine()] == [97, 98, 99, 100, 101]
    assert batch.report.rows == 95
    assert "cannot hold '97.5'" in quarantine()[1]["reason"]
    assert rows("select count(*) from t") == [(97 + 95,)]


@pytest.mark.slow
def test_json_lines_that_are_none_and_values_that_do_not_fit(
    tmp_path: Path, bring: Any, rows: Rows, quarantine: Any
) -> None:
    good = "".join(f'{{"n": {n}, "w": "a"}}\n' for n in range(50))
    bring(put(tmp_path, good, "a.jsonl"))
    more = "".join(f'{{"n": {n}, "w": "b"}}\n' for n in range(50))
    bad = more + '{"n": 51, "w"\n' + '{"n": "no", "w": "b"}\n' + "[1]\n" + '{"n": 52, "w": "b"}\n'
    with pytest.raises(InputError):
        bring(put(tmp_path, bad, "b.jsonl"))
    batch = bring(put(tmp_path, bad, "b.jsonl"), tolerate=0.1)
    assert batch.report.rows == 51
    found = {one["line"]: one for one in quarantine()}
    assert set(found) == {51, 52, 53}
    assert "not JSON" in found[51]["reason"]
    assert "cannot hold 'no'" in found[52]["reason"]
    assert "not an object" in found[53]["reason"]
    assert found[53]["raw"] == "[1]"


NESTED = [
    '{"id": 1, "w": {"a": 1, "when": "2025-01-01"}, "l": [1, 2], "s": [{"q": 1.5}]}',
    '{"id": 2, "w": {"a": 2}, "l": [], "s": [{"q": 2.5}, {"q": null}]}',
    '{"id": 3, "w": null, "l": [3], "s": null}',
] * 10
STRANGE = {
    "w.a": '{"id": 4, "w": {"a": "bad"}}',
    "l[2]": '{"id": 5, "l": [1, "x"]}',
    "s[1].q": '{"id": 6, "s": [{"q": {"r": 1}}]}',
    "w": '{"id": 7, "w": 5}',
    "s": '{"id": 8, "s": {"q": 1}}',
}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["jsonl", "json"])
@pytest.mark.parametrize("is_there", [True, False])
def test_values_within_others_of_another_type(
    tmp_path: Path, bring: Any, rows: Rows, quarantine: Any, form: str, is_there: bool
) -> None:
    def put_all(records: list[str], name: str) -> Path:
        text = "[" + ",\n".join(records) + "]" if form == "json" else "\n".join(["", *records])
        return put(tmp_path, text, f"{name}.{form}")

    if is_there:
        bring(put_all(NESTED, "a"))
    records = [*NESTED, *STRANGE.values(), NESTED[0]]
    batch = bring(put_all(records, "b"), tolerate=0.2)
    assert (batch.report.rows, len(batch.report.rejected)) == (31, 5)
    first = 31 if form == "json" else 32
    told = [(one["line"], one["column"], one["raw"]) for one in quarantine()]
    assert told == [(first + n, path, raw) for n, (path, raw) in enumerate(STRANGE.items())]
    assert "cannot hold 'bad'" in quarantine()[0]["reason"]
    kinds = [('STRUCT(a BIGINT, "when" DATE)', "BIGINT[]", "STRUCT(q DOUBLE)[]")]
    assert rows("select distinct typeof(w), typeof(l), typeof(s) from t") == kinds
    assert not [path for path in tmp_path.rglob("*.jsonl") if path.parent != tmp_path]  # copies are gone
    with pytest.raises(InputError, match="records cannot be read"):
        bring(put_all([*records, '{"id": 9}'], "c"), tolerate=0.1)
    with pytest.raises(InputError, match=rf"c\.{form}:{first}: column 'w.a' is BIGINT and cannot hold 'bad'"):
        bring(put_all([*records, '{"id": 9}'], "c"))


@pytest.mark.slow
def test_values_within_others_that_would_change(tmp_path: Path, bring: Any, rows: Rows, quarantine: Any) -> None:
    bring(put(tmp_path, '{"n": 1, "w": {"a": 1, "at": "2025-01-01"}}\n' * 10, "a.jsonl"))
    texts = '{"n": 2, "w": {"a": "7", "at": "2025-01-02"}}\n' * 10
    bring(put(tmp_path, texts, "b.jsonl"))  # a number in a text is one, within others as without
    bad = '{"n": 3, "w": {"a": 1.5}}\n[1]\n{"n": 4, "w": {"at": "soon"}}\n{"n": "x", "w": {"a": 2.0}}\n'
    batch = bring(put(tmp_path, bad + texts.replace('"7"', "7"), "c.jsonl"), tolerate=0.4)
    assert [(one["line"], one["column"]) for one in quarantine()] == [(1, "w.a"), (2, ""), (3, "w.at"), (4, "n")]
    assert batch.report.rows == 10
    assert rows("select w.a, count(*) from t group by all order by all") == [(1, 10), (7, 20)]


def test_a_long_record_is_cut(tmp_path: Path, bring: Any, quarantine: Any) -> None:
    text = "n,m\n" + "1,a\n" * 50 + "x," + "y" * 100_000 + "\n"
    bring(put(tmp_path, text), tolerate=0.1)
    assert len(quarantine()[0]["raw"]) == 2001


@pytest.mark.slow
def test_a_refused_batch_tells_what_was_set_aside_before(tmp_path: Path, bring: Any) -> None:
    bring(put(tmp_path, "n,m\n1,a\n2,b\n"), key=["n"])
    told: list[str] = []
    from bascule.errors import CheckFailed

    with pytest.raises(CheckFailed, match="is not merged"):
        bring(put(tmp_path, "n,m\n2,a\n" + "3,b\n4,b\n5,b\nx,b\n", "b.csv"), tolerate=0.5, tell=told.append)
    assert any("1 record set aside" in text for text in told)


@pytest.mark.slow
def test_rows_of_typed_files_that_do_not_fit_are_set_aside_one_by_one(
    tmp_path: Path, bring: Any, rows: Rows, quarantine: Any
) -> None:
    import pyarrow as pa
    import pyarrow.feather as feather
    import pyarrow.parquet as pq

    whole = pa.table({"id": range(100), "n": range(100), "d": pa.array(range(100)).cast(pa.decimal128(22, 2))})
    pq.write_table(whole, tmp_path / "a.parquet")
    bring(tmp_path / "a.parquet")
    floats = [float(n) for n in range(100)]
    floats[17], floats[30], floats[31] = float("nan"), 1.5, 1e30
    cents = pa.array([0.25] * 99 + [0.125])
    other = whole.set_column(1, "n", pa.array(floats)).set_column(2, "d", cents)
    pq.write_table(other, tmp_path / "b.parquet")
    feather.write_feather(other.set_column(0, "id", pa.array(range(100, 200))), tmp_path / "c.feather")

    with pytest.raises(InputError, match=r"4 of 100 records .*\nb.parquet:18: column 'n' is BIGINT and cannot hold"):
        bring(tmp_path / "b.parquet")
    for name in ("b.parquet", "c.feather"):
        assert bring(tmp_path / name, tolerate=0.04).report.rows == 96
    assert [(one["file"], one["line"], one["column"]) for one in quarantine()] == [
        (name, line, column)
        for name in ("b.parquet", "c.feather")
        for line, column in ((18, "n"), (31, "n"), (32, "n"), (100, "d"))
    ]
    assert quarantine()[1]["raw"] == '{"id": 30, "n": 1.5, "d": 0.25}'
    assert rows("select count(*), count(distinct id), sum(n)::bigint from t") == [(292, 196, 3 * 4950 - 2 * 177)]


def test_a_typed_file_of_another_kind_is_refused_by_its_column(tmp_path: Path, bring: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"n": pa.array([1]), "at": pa.array([0], pa.timestamp("us")), "s": pa.array([{"a": 1}])}
    pq.write_table(pa.table(kinds), tmp_path / "a.parquet")
    bring(tmp_path / "a.parquet")
    for column, values, words in (
        ("n", pa.array(["x"]), "cannot hold 'x'"),
        ("n", pa.array(["007"]), "cannot hold '007'"),
        ("at", pa.array([1_700_000_000]), "not each other's values"),
        ("s", pa.array([{"a": 1, "b": 2}]), "its field 'b' would be lost"),
    ):
        pq.write_table(pa.table({**kinds, column: values}), tmp_path / "b.parquet")
        with pytest.raises(InputError, match=words):
            bring(tmp_path / "b.parquet", tolerate=0.5)
