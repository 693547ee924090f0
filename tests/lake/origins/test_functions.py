"""Python functions as sources, and kinds of source that others bring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.lake.origins import Asked, Part, gathering

Rows = Callable[..., list[tuple[Any, ...]]]
MODULE = """
import pyarrow as pa

def batches(known, size="3"):
    start = sum(one.rows for one in known)
    for n in range(start, start + int(size)):
        yield pa.record_batch({"n": [n], "word": [f"w{n}"]})

def nothing():
    return pa.table({"n": pa.array([], pa.int64())})

def dies():
    yield pa.record_batch({"n": [1]})
    raise RuntimeError("the well is dry")

def other():
    yield pa.record_batch({"n": [1]})
    yield pa.record_batch({"n": ["x"]})

def same():
    return pa.table({"n": [3, 1, 2]})
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "feeds.py").write_text(MODULE)
    return tmp_path


@pytest.mark.slow
def test_what_a_function_yields_is_brought(project: Path, bring: Any, rows: Rows, local_workspace: Workspace) -> None:
    told = {"folder": project}
    assert bring("python://feeds:batches", **told).report.rows == 3
    assert bring("python://feeds:batches", more={"size": "2"}, **told).report.rows == 2
    assert rows("select n from t order by n") == [(0,), (1,), (2,), (3,), (4,)]
    assert local_workspace.history.resolve("main").meta["ingest"][0]["origin"] == "python://feeds:batches"


@pytest.mark.slow
def test_the_same_rows_change_nothing(project: Path, bring: Any) -> None:
    bring("python://feeds:same", folder=project)
    assert bring("python://feeds:same", folder=project).commit is None
    feeds = project / "feeds.py"
    feeds.write_text(MODULE.replace("[3, 1, 2]", "[1, 2, 3]"))
    assert bring("python://feeds:same", folder=project).commit is None


def test_a_function_that_dies_brings_nothing(project: Path, bring: Any, local_workspace: Workspace) -> None:
    with pytest.raises(InputError, match="RuntimeError: the well is dry"):
        bring("python://feeds:dies", folder=project)
    with pytest.raises(InputError):
        bring("python://feeds:other", folder=project)
    with pytest.raises(InputError, match="has nothing yet"):
        bring("python://feeds:nothing", folder=project)
    with pytest.raises(NotFound, match="batchs"):
        bring("python://feeds:batchs", folder=project)
    with pytest.raises(InputError, match="has no parameter 'sise'"):
        bring("python://feeds:batches", folder=project, more={"sise": "1"})
    assert local_workspace.history.read("main", "tables/t") is None


class Lines:
    """A kind of source as a plugin has it."""

    def versions(self, asked: Asked) -> dict[str, str]:
        return {"edition": "7"}

    def parts(self, asked: Asked) -> Iterator[Part]:
        path = asked.spool / "lines.csv"
        path.write_text("n,word\n1,a\n")
        yield Part(path, "edition-7", "lines", asked.shown, {"edition": "7"})


@pytest.mark.slow
def test_a_plugin_uses_the_same_door(bring: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("lines", f"{__name__}:Lines", "bascule.sources")
    monkeypatch.setattr(EntryPoint, "load", lambda self: Lines if self.name == "lines" else object)
    broken = EntryPoint("broken", "x:y", "bascule.sources")
    monkeypatch.setattr(gathering, "entry_points", lambda group: [point, broken])
    assert bring("lines://somewhere").report.rows == 1
    assert rows() == [(1, "a")]
    assert bring("lines://somewhere").commit is None
    with pytest.raises(InputError, match="has no method 'versions'"):
        bring("broken://somewhere")
    with pytest.raises(NotFound) as refused:
        bring("line://somewhere")
    assert refused.value.hint == "Did you mean 'lines'?"
