"""A file that ends whoever reads it is a refusal, and the process that serves goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import InputError
from bascule.training import trials
from bascule.training.formats import load_predictor
from bascule.training.signature import Field, Output, Signature
from bascule.training.trials import demand_survived

WAYS = "tests.training.dying"


@pytest.fixture(autouse=True)
def _untried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(trials, "_SURVIVED", set())
    here = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(here))  # where WAYS are


@pytest.fixture
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a process for each file, as is done outside of tests."""
    monkeypatch.setattr(trials, "subprocess", subprocess)


@pytest.mark.slow
@pytest.mark.usefixtures("_anew")
def test_a_file_is_tried_once_for_each_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    for release in ("1", "1", "2"):
        demand_survived("A", f"{WAYS}:lives", release, str(asked).encode())
    assert asked.read_text() == "xx"
    monkeypatch.setattr(trials, "_SURVIVED", set())  # as another process of the same user
    demand_survived("A", f"{WAYS}:lives", "2", str(asked).encode())
    assert asked.read_text() == "xx"
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert [path.stat().st_size for path in kept] == [0] * len(kept)
    assert len([path for path in kept if not path.name.startswith("lock-")]) == 2


@pytest.mark.usefixtures("_anew")
@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("dies", r"ended the process that tried it \(SIGSEGV\)"),
        ("fails", "cannot be read: KeyError: 'nodes'"),
        pytest.param("chatters", "cannot be read: KeyError: 'nodes'", marks=pytest.mark.slow),
        pytest.param("leaves", r"ended the process that tried it \(exit code 4\)", marks=pytest.mark.slow),
        pytest.param("grows", "cannot be read: MemoryError", marks=pytest.mark.slow),
        pytest.param("lasts", "came to no end in 2 s", marks=pytest.mark.slow),
    ],
)
def test_what_does_not_live_is_refused_and_not_tried_again(
    way: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if way == "lasts":
        monkeypatch.setattr(trials, "SECONDS", 2.0)
    tried: list[str] = []
    plain = trials._try
    monkeypatch.setattr(trials, "_try", lambda what, *rest: tried.append(what) or plain(what, *rest))  # type: ignore[func-returns-value]
    for _ in range(2):
        with pytest.raises(InputError, match=words) as refused:
            demand_survived("A", f"{WAYS}:{way}", "1", b"abc")
        assert "bascule model retry" in refused.value.hint
    assert len(tried) == 1
    with pytest.raises(InputError, match=words):
        demand_survived("A", f"{WAYS}:{way}", "2", b"abc")  # another release may read it
    assert len(tried) == 2
    (folder,) = {one.parent for one in (tmp_path / "cache").rglob(f"*{trials.REFUSALS}")}
    (folder / trials.REFUSALS).mkdir()  # whoever made these folders: they are no refusals
    (folder / f"mine{trials.REFUSALS}").mkdir()
    assert trials.forget_refusals() == 2
    with pytest.raises(InputError, match=words):
        demand_survived("A", f"{WAYS}:{way}", "1", b"abc")
    assert len(tried) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("_anew")
@pytest.mark.parametrize(("way", "again"), [("grows", True), ("killed", True), ("dies", False)])
def test_what_may_be_the_machines_fault_is_believed_for_an_hour(
    way: str, again: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(InputError):
        demand_survived("A", f"{WAYS}:{way}", "1", b"abc")
    (kept,) = (tmp_path / "cache").rglob(f"*{trials.REFUSALS}")
    before = kept.stat().st_mtime - 2 * trials.BELIEVED_S
    os.utime(kept, (before, before))
    monkeypatch.setattr(trials, "_try", lambda *rest: None)
    if again:
        demand_survived("A", f"{WAYS}:{way}", "1", b"abc")
        assert not kept.exists()
    else:
        with pytest.raises(InputError, match="SIGSEGV"):
            demand_survived("A", f"{WAYS}:{way}", "1", b"abc")


ONE = """
import sys
from bascule.training.trials import demand_survived
demand_survived("A", "tests.training.dying:lives_slowly", "1", sys.argv[1].encode())
"""


@pytest.mark.slow
def test_two_processes_try_a_file_once(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    both = [subprocess.Popen([sys.executable, "-c", ONE, str(asked)]) for _ in range(2)]
    assert [one.wait(60) for one in both] == [0, 0]
    assert asked.read_text() == "x"


@pytest.mark.slow
def test_a_process_without_a_cache_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    line = ONE + "from bascule.cachefolder import cache_folder\nprint(cache_folder('trials'))"
    done = subprocess.run(
        [sys.executable, "-c", line, str(tmp_path / "asked")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(done.stdout.strip())
    assert folder.parent == tmp_path
    assert folder.name.startswith("bascule-trials-")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["asked", "file"]


@pytest.mark.slow
@pytest.mark.usefixtures("_anew")
def test_a_large_file_has_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "SECONDS", 2.0)
    monkeypatch.setattr(trials, "BYTES_A_SECOND", 1)
    demand_survived("A", f"{WAYS}:needs_three_seconds", "1", bytes(60))


@pytest.mark.slow
@pytest.mark.usefixtures("_anew")
def test_a_script_called_like_a_library_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('this is a script')")
    monkeypatch.chdir(tmp_path)
    demand_survived("A", f"{WAYS}:lives", "1", str(tmp_path / "asked").encode())
    assert (tmp_path / "asked").read_text() == "x"


def damaged(**arrays: list[int]) -> tuple[bytes, Signature]:
    """An XGBoost model with categories, of whose first tree with sets these arrays are replaced."""
    xgboost = pytest.importorskip("xgboost")
    pandas = pytest.importorskip("pandas")
    rows = pandas.DataFrame({"a": pandas.Categorical(list("abcdefgh") * 20), "b": range(160)})
    given = xgboost.DMatrix(rows, [one in "aceg" for one in rows["a"]], enable_categorical=True)
    booster = xgboost.train({"nthread": 1, "max_depth": 2, "objective": "binary:logistic"}, given, 3)
    told: dict[str, Any] = json.loads(bytes(booster.save_raw("json")))
    trees = told["learner"]["gradient_booster"]["model"]["trees"]
    next(tree for tree in trees if tree["categories"]).update(arrays)
    inputs = (Field(name="a", type="double"), Field(name="b", type="double"))
    return json.dumps(told).encode(), Signature(inputs=inputs, output=Output(task="binary", classes=("0", "1")))


@pytest.mark.parametrize(
    "arrays",
    [
        {"categories_segments": [1_000_000_000]},
        {"categories_nodes": [1_000_000]},
        {"categories": [2**31 - 1]},
        {"categories": []},
    ],
)
def test_sets_of_categories_that_end_xgboost_are_refused(arrays: dict[str, list[int]]) -> None:
    whole, signature = damaged()
    assert load_predictor("xgboost", whole, signature).importance().sum() > 0
    broken, signature = damaged(**arrays)
    with pytest.raises(InputError, match=r"Reading this XGBoost model ended the process that tried it \(SIG"):
        load_predictor("xgboost", broken, signature)
