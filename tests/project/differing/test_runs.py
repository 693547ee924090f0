"""Runs listed by filter, shown, set side by side, and why two differ; by command, and in SQL."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import update
from tests.cli.conftest import Said, bascule, folder, start

from bascule.catalog.schema import runs
from bascule.history import Workspace
from bascule.project import differing
from bascule.tracking import capture_code, find_run, recorded
from bascule.tracking.artifacts import Artifacts
from bascule.tracking.listing import artifacts_of

__all__ = ["bascule", "folder", "start"]

Bascule = Callable[..., Said]
EVIL = "\x1b[31m<script>`|"


@pytest.fixture
def two(folder: Path) -> tuple[str, str]:
    """Two tracked runs, between which code, data, a package, a thread setting and a parameter changed."""
    workspace = Workspace.create(folder)
    made = []
    for number in range(2):
        (folder / "train.py").write_text(f"import numpy\nrate = {0.1 + number}\n")
        (folder / "new.sql").write_text("select 1") if number else (folder / "old.txt").write_text(EVIL + "\n")
        if number:
            (folder / "old.txt").unlink()
        code = capture_code(folder, workspace.store)
        with recorded(workspace, name=f"train {number}", kind="track", branch="main", code=code) as run:
            run.params({"rate": 0.1 + number, "depth": 6, EVIL: number})
            run.metrics([("loss", 1 / (step + 1 + number), step) for step in range(20)])
            run.metrics([("auc", 0.8 + number / 10, 0), ("system/cpu_percent", number, 0)])
            run.tags({"command": "python train.py", "output": workspace.store.put(b"first\nlast line\n")})
            run.reads("data.csv", f"{number}" * 64)
            run.reads("tables/orders", f"{number}" * 64)
            run.reads("shared.csv", "5" * 64)
            run.writes("model.txt", f"{number + 2}" * 64)
        told = msgspec.json.decode(find_run(workspace, run.id)["environment_json"])
        told |= {"packages": {"numpy": f"2.{number}", "same": "1"}, "variables": {"OMP_NUM_THREADS": str(number + 1)}}
        with workspace.catalog.write() as conn:
            values = {"environment_json": json.dumps(told), "commit_id": f"{number}" * 64, "user_name": EVIL}
            conn.execute(update(runs).where(runs.c.id == run.id).values(**values))
        row = find_run(workspace, run.id)
        Artifacts(workspace).put(f"{artifacts_of(row)}/plots/loss.txt", io.BytesIO(b"drawn"))
        made.append(run.id)
    with recorded(workspace, name="daily", kind="pipeline", branch="dev") as parent:
        step = recorded(workspace, name="train", kind="step", step="train", branch="dev", parent=parent.id)
        with step as child:
            child.metric("auc", 0.95)
    workspace.close()
    return made[0], made[1]


def listed(bascule: Bascule, *words: object) -> list[str]:
    return [row["name"] for row in bascule("runs", *words, "--json").json()]


def test_runs_are_filtered_and_sorted(two: tuple[str, str], bascule: Bascule) -> None:
    assert listed(bascule) == ["train", "daily", "train 1", "train 0"]
    assert listed(bascule, "-n", 1) == ["train"]
    assert listed(bascule, "--kind", "track") == ["train 1", "train 0"]
    assert listed(bascule, "--branch", "dev") == ["train", "daily"]
    assert listed(bascule, "--text", "TRAIN") == ["train", "train 1", "train 0"]
    assert listed(bascule, "--status", "failed") == []
    assert listed(bascule, "--since", "1h", "--kind", "pipeline") == ["daily"]
    assert listed(bascule, "--since", "2999-01-01") == []
    assert listed(bascule, "--experiment", "Default") == ["train", "daily", "train 1", "train 0"]
    assert listed(bascule, "--filter", "metrics.auc >= 0.9 AND params.depth = '6'") == ["train 1"]
    assert listed(bascule, "--order", "metrics.auc", "-n", 3) == ["train 0", "train 1", "train"]
    assert listed(bascule, "--order", "params.rate DESC", "--kind", "track") == ["train 1", "train 0"]


def test_chosen_parameters_and_metrics_are_columns(two: tuple[str, str], bascule: Bascule) -> None:
    text = bascule("runs", "--kind", "track", "--param", "ra*", "--metric", "auc", "--metric", "loss").out
    head, *rows = text.splitlines()
    assert head.split()[-3:] == ["rate", "auc", "loss"]
    assert [row.split()[-3:] for row in rows] == [["1.1", "0.9", "0.047619"], ["0.1", "0.8", "0.05"]]
    table = list(csv.DictReader(io.StringIO(bascule("runs", "--param", "*", "--metric", "auc", "--format", "csv").out)))
    assert [row["params.rate"] for row in table] == ["", "", "1.1", "0.1"]
    assert [row["metrics.auc"] for row in table] == ["0.95", "", "0.9", "0.8"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--kind", "trak"), "Did you mean 'track'"),
        (("--status", "finished"), "no status named"),
        (("--branch", "mian"), "Did you mean 'main'"),
        (("--experiment", "default"), "Did you mean 'Default'"),
        (("--since", "yesterday"), "neither a span nor a day"),
        (("--since", "9999-99-99"), "neither a span nor a day"),
        (("--filter", "metrics.auc >"), "it ends where a value should be"),
        (("--filter", "metrics.auc > 'x'"), "numeric value"),
        (("--order", "metrics.auc UP"), "order_by"),
        (("--limit", "0"), "whole number"),
    ],
)
def test_what_cannot_be_looked_for_is_told(
    two: tuple[str, str], bascule: Bascule, words: tuple[str, ...], text: str
) -> None:
    said = bascule("runs", *words)
    assert (said.code, text in said.err) == (2, True), said


def test_all_of_a_run_is_shown(two: tuple[str, str], bascule: Bascule) -> None:
    said = bascule("run", "show", two[0]).out
    for part in ("rate", "auc", "data.csv", "model.txt", "OMP_NUM_THREADS", "last line", "packages", "processor"):
        assert part in said
    assert "█" in said.split("curves")[1].splitlines()[1]
    assert "0.05" in said.split("curves")[1].splitlines()[1]
    assert "\x1b" not in said
    assert "children" in bascule("run", "show", "last").out
    assert bascule("runs", "last", "--json").json()["children"][0]["name"] == "train"
    assert bascule("runs", "show", "last~1").out == bascule("runs", two[1]).out
    found = bascule("runs", two[1], "--json").json()
    assert found["curves"]["loss"]["steps"] == list(range(20))
    assert found["inputs"]["data.csv"] == "1" * 64
    assert found["artifacts"] == {"plots/loss.txt": 5}
    assert bascule("run", "show", "last~9").code == 2


def test_runs_are_set_side_by_side(two: tuple[str, str], bascule: Bascule) -> None:
    found = bascule("run", "compare", *two, "last", "--json").json()
    assert found["params"]["rate"] == ["0.1", "1.1", None]
    assert found["metrics"]["auc"] == [0.8, 0.9, None]
    assert "system/cpu_percent" not in found["metrics"]
    both = bascule("run", "compare", *two, "--json").json()
    assert "depth" not in both["params"]
    assert both["same"]["params"] == 1
    assert both["environment"] == {"OMP_NUM_THREADS": ["1", "2"], "package numpy": ["2.0", "2.1"]}
    assert "depth" in bascule("run", "compare", *two, "--all", "--json").json()["params"]
    said = bascule("run", "compare", *two)
    assert "rate" in said.out
    assert "\x1b" not in said.out
    for words in ((two[0],), (two[0], two[0]), (), (two[0], "run_x")):
        assert bascule("run", "compare", *words).code == 2


def test_what_a_run_that_failed_lacks_does_not_make_it_random(folder: Path, bascule: Bascule) -> None:
    workspace, made = Workspace.create(folder), []
    for last in (1, 2):
        with recorded(workspace, name="fit", kind="track", branch="main") as run:
            run.metrics([("loss", 1 / last, last)])
            run.params({"depth": 6})
            run.tags({"warnings": "first\nsecond"})
            run.finish("done" if last == 2 else "failed")
        made.append(run.id)
    workspace.close()
    said = bascule("run", "diff", *made).out
    assert f"{made[0]} is failed: what came out need not be all of it." in said
    assert "deterministic" not in said
    assert "the same in all: 1 parameter, " in bascule("run", "compare", *made).out
    assert "warnings  first; second" in bascule("run", "show", made[0]).out


def test_two_unlike_environments_are_still_read_at_a_glance(
    two: tuple[str, str], bascule: Bascule, folder: Path
) -> None:
    workspace = Workspace.open(folder)
    told = msgspec.json.decode(find_run(workspace, two[1])["environment_json"])
    told["packages"] |= {f"absent-{number:03}": "1" for number in range(200)}
    with workspace.catalog.write() as conn:
        conn.execute(update(runs).where(runs.c.id == two[1]).values(environment_json=json.dumps(told)))
    workspace.close()
    said = bascule("run", "compare", *two).out
    assert said.index("OMP_NUM_THREADS") < said.index("package numpy") < said.index("package absent-000")
    assert "  and 162 more (--all has all)" in said
    assert "package absent-199" not in said
    assert "package absent-199" in bascule("run", "compare", *two, "--all").out
    assert bascule("run", "diff", *two, "--json").json()["packages"][0] == ["numpy", "2.0", "2.1"]


def test_why_two_runs_differ(two: tuple[str, str], bascule: Bascule, folder: Path) -> None:
    found = bascule("run", "diff", *two, "--json").json()
    assert [(one["path"], one["change"]) for one in found["code"]] == [
        ("new.sql", "added"),
        ("old.txt", "removed"),
        ("train.py", "changed"),
    ]
    assert found["code"][2]["lines"] == ["@@ -1,2 +1,2 @@", " import numpy", "-rate = 0.1", "+rate = 1.1"]
    assert found["packages"] == [["numpy", "2.0", "2.1"]]
    assert found["environment"] == [["OMP_NUM_THREADS", "1", "2"]]
    assert [one[0] for one in found["params"]] == [EVIL, "rate"]
    assert [one[0] for one in found["data"]] == ["data.csv", "tables/orders"]
    assert [one[0] for one in found["metrics"]] == ["auc", "loss"]
    assert found["outputs"] == [["model.txt", "2" * 64, "3" * 64]]
    assert found["hints"] == ["bascule diff 0000000000 1111111111 tables/orders"]
    said = bascule("run", "diff", *two)
    assert (said.code, "\x1b" in said.out) == (0, False)
    assert "They differ in 3 files of code, 2 inputs, 2 parameters, 1 package, 1 term of the environment." in said.out
    assert "  0.8  →  0.9" in said.out
    assert bascule("run", "diff", *two, "--exit-code").code == 1
    assert bascule("runs", "diff", two[0], two[0]).code == 2


def test_a_difference_is_written_in_every_form(two: tuple[str, str], bascule: Bascule, folder: Path) -> None:
    markdown = bascule("run", "diff", *two, "--format", "markdown").out
    assert "| `rate` | `0.1` | `1.1` |" in markdown
    assert "```diff" in markdown
    said = bascule("run", "diff", *two, "--format", "html", "--output", "d.html")
    page = (folder / "d.html").read_text()
    assert (said.code, said.out) == (0, "")
    assert "numpy" in page
    assert "<script>" not in page
    assert "\x1b" not in page + markdown
    assert json.loads(bascule("run", "diff", *two, "--format", "json").out)["params"]
    assert bascule("run", "diff", *two, "--output", "no/such/d.txt").code == 3


def test_runs_whose_code_is_gone_are_compared_without_it(two: tuple[str, str], folder: Path) -> None:
    workspace = Workspace.open(folder)
    workspace.store.delete(find_run(workspace, two[0])["code_snapshot"])
    found = differing.diff_runs(workspace, *two)
    assert found.code == ()
    assert found.notes == (f"The code of run {two[0]} is gone from the store.",)
    assert "is gone from the store" in differing.text(found)
    workspace.close()


@pytest.mark.slow
def test_a_text_without_quotes_in_sql_is_told_with_what_to_do(two: tuple[str, str], bascule: Bascule) -> None:
    said = bascule("sql", "select * from runs where status = done")
    assert (said.code, said.err.splitlines()[-1].strip()) == (
        2,
        'The columns of a table: "describe TABLE". A text stands in single quotes.',
    )


def test_records_are_asked_in_sql(two: tuple[str, str], bascule: Bascule) -> None:
    """The three queries of the page, and that each view has its columns."""
    text = (Path(__file__).parents[3] / "docs" / "runs.md").read_text("utf-8")
    queries = [part.split("```")[0] for part in text.split("```sql\n")[1:]]
    assert len(queries) == 3
    found = [bascule("sql", query, "--json") for query in queries]
    assert [said.code for said in found] == [0, 0, 0], found
    assert [row["auc"] for row in found[0].json()] == [0.95, 0.9, 0.8]
    assert found[1].json()[0]["path"] in ("data.csv", "tables/orders", "shared.csv")
    assert {row["run_id"] for row in found[2].json()} == {*two}
    assert {row["key"] for row in found[2].json()} == {"rate", EVIL}
    for view, columns in {"inputs": "path, version, rows, bytes", "outputs": "path", "tags": "key, value"}.items():
        assert bascule("sql", f"select run_id, {columns} from {view}").code == 0
