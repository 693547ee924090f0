"""Two contents compared: by bytes, then by numbers where their kind is known."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bascule.cli.reproducing import verdict
from bascule.project.reproducing import environment, script
from bascule.project.reproducing.comparing import compare
from bascule.project.reproducing.recorded import Recorded, is_interactive
from bascule.project.reproducing.result import Reproduction, worst

CLOSE = 1e-12


def _npy(values: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(values))
    return out.getvalue()


def _npz(at: tuple[int, ...], values: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.npy", (*at, 0, 0, 0)), _npy(values))
    return out.getvalue()


def _parquet(values: Any, names: Any = ("x", "y")) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": values, "b": list(names)}), out)
    return out.getvalue()


def _arrow(values: Any) -> bytes:
    out = io.BytesIO()
    table = pa.table({"a": pa.array(values, pa.list_(pa.float64()))})
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def _tensors(*values: float) -> bytes:
    raw = np.asarray(values, "<f8").tobytes()
    head = json.dumps({"w": {"dtype": "F64", "shape": [len(values)], "data_offsets": [0, len(raw)]}}).encode()
    return len(head).to_bytes(8, "little") + head + raw


PAIRS = {
    "npy": (_npy([1.0, 2.0]), _npy([1.0, 2.0 + CLOSE])),
    "npz": (_npz((2020, 1, 1), [1.0, 2.0]), _npz((2021, 1, 1), [1.0, 2.0 + CLOSE])),
    "parquet": (_parquet([1.0, None]), _parquet([1.0 + CLOSE, None])),
    "lists": (_arrow([[1.0], [2.0, 3.0]]), _arrow([[1.0], [2.0, 3.0 + CLOSE]])),
    "safetensors": (_tensors(1, 2), _tensors(1, 2 + CLOSE)),
    "csv": (b"a,b\n1.5,x\n2,y\n", b"a,b\n1.500000000001,x\n2,y\n"),
    "json": (b'{"a": 1.5, "b": [NaN]}', b'{"b": [NaN], "a": 1.500000000001}'),
    "text": (b"tree\nsplit=3 leaf=-0.25e-3", b"tree\nsplit=3 leaf=-0.25000000000001e-3"),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_numbers_that_are_close_are_equal_within_the_tolerance(kind: str) -> None:
    then, now = PAIRS[kind]
    assert compare("x", then, then, 0).verdict == "identical"
    found = compare("x", then, now, 1e-9)
    assert found.verdict == "equal", found
    assert found.values >= 2
    assert 0 < found.relative < 1e-11
    assert compare("x", then, now, 0).verdict == "different"


def test_how_far_numbers_are_apart_is_told() -> None:
    found = compare("x", _npy([1.0, 4.0, np.nan]), _npy([1.5, 4.0, np.nan]), 1e-9)
    assert (found.verdict, found.values, found.absolute) == ("different", 3, 0.5)
    assert found.relative == pytest.approx(1 / 3)
    assert compare("x", _npy([1.0]), _npy([np.nan]), 1.0).relative == np.inf
    assert compare("x", _npy(2**60), _npy(2**60 + 1), 0).verdict == "different"


@pytest.mark.parametrize(
    ("then", "now", "note"),
    [
        (b"a,b\n1,x\n", b"a,b\n1,z\n", "text differs"),
        (b"1 2 3", b"1 2", "text differs"),
        (b"1152921504606846976", b"1152921504606846977", "text differs"),
        (_npy([1.0]), _npy([1.0, 2.0]), "text differs"),
        (_npy([1.0]), b"1.0", "text differs"),
        (_parquet([1.0, None]), _parquet([None, 1.0]), "text differs"),
        (_parquet([1.0, 2.0]), _parquet([1.0, 2.0], ("x", "z")), "text differs"),
        (b"\x80\x04pickle\0", b"\x80\x04pickl_\0", "the bytes differ"),
        (_parquet([1.0, 2.0]), _parquet([1.0, 2.0])[:-9], "cannot be read"),
        (_npz((2020, 1, 1), [1.0]), _npz((2020, 1, 1), [1.0])[:40], "cannot be read"),
    ],
)
def test_what_differs_in_more_than_numbers_is_different(then: bytes, now: bytes, note: str) -> None:
    found = compare("x", then, now, 1.0)
    assert found.verdict == "different"
    assert note in found.note


def test_an_archive_with_other_times_holds_equal_things() -> None:
    found = compare("x", _npz((2020, 1, 1), [1.0]), _npz((2021, 1, 1), [1.0]), 0)
    assert (found.verdict, found.relative) == ("equal", 0)


def test_a_pytorch_file_is_compared_without_its_own_name() -> None:
    def file(name: str, weight: float) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(f"{name}/data.pkl", b"\x80\x02pickle")
            archive.writestr(f"{name}/data/0", np.asarray([weight], "<f4").tobytes())
            archive.writestr(f"{name}/.data/serialization_id", f"{name}{weight}")
        return out.getvalue()

    assert compare("x", file("model-1", 0.3), file("model-2", 0.3), 0).verdict == "equal"
    assert compare("x", file("model-1", 0.3), file("model-1", 0.4), 1).verdict == "different"


def _recorded(points: dict[tuple[str, int], list[float]], **more: Any) -> Recorded:
    none: dict[str, Any] = {"row": {}, "environment": {}, "params": {}, "tags": {}, "inputs": [], "outputs": []}
    return Recorded(**{**none, **more}, points=points)


def test_another_end_is_a_difference_also_where_no_exit_code_is_known() -> None:
    well = _recorded({}, row={"status": "done", "error": None}, tags={"exit_code": "0"})
    ill = _recorded({}, row={"status": "failed", "error": "OSError: x"}, tags={"exit_code": "1"})
    itself = _recorded({}, row={"status": "done", "error": None})  # a kernel, or `import bascule.ambient`
    assert [one.note for one in script._ended(well, ill)] == ["0 then, 1 now: OSError: x"]
    assert [(one.path, one.note) for one in script._ended(itself, ill)] == [
        ("end", "done then, failed now: OSError: x")
    ]
    assert not [*script._ended(itself, well)]


def test_a_session_in_which_somebody_typed_is_told_from_a_command() -> None:
    assert is_interactive(["python", "-m", "ipykernel_launcher", "-f", "x.json"])
    assert is_interactive(["/bin/python3", "/bin/ipython", "--quick"])
    assert not is_interactive(["/bin/python3", "/bin/ipython", "work.ipy"])
    assert is_interactive(["python3.11", "-u", "-"])
    assert is_interactive(["python"])
    for words in (["-m", "work"], ["-c", "print(1)"], ["train.py", "-"], ["--version"]):
        assert not is_interactive(["python", *words])


def test_a_python_is_meant_from_where_it_ran(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    argv = [".venv/bin/python", "train.py"]
    run = _recorded({}, environment={"command": argv, "working_folder": str(tmp_path)})
    meant = environment._meant(run)
    assert meant == str(tmp_path / ".venv" / "bin" / "python")
    assert environment.Ready(None, {}, "3", {}, meant).command(argv) == [meant, "train.py"]
    assert environment.Ready(None, {}, "3", {}, None).command(["make", "all"]) == ["make", "all"]
    gone = _recorded({}, environment={"command": argv, "working_folder": str(tmp_path / "x")})
    assert environment._here(argv, environment._meant(gone)) == ("not found", {})


def test_metrics_are_compared_point_by_point() -> None:
    then = _recorded({("loss", 0): [1.0], ("loss", 1): [0.5], ("auc", 0): [0.75], ("gone", 0): [1.0]})
    now = _recorded({("loss", 0): [1.0], ("loss", 1): [0.5 + CLOSE], ("auc", 0): [0.75]})
    found = {one.path: one for one in script._metrics(then, now, 1e-9)}
    assert {path: one.verdict for path, one in found.items()} == {
        "metric auc": "identical",
        "metric gone": "different",
        "metric loss": "equal",
    }
    assert found["metric loss"].values == 2
    assert found["metric gone"].note == "1 points then, 0 now"
    assert [one.verdict for one in script._metrics(then, now, 0) if one.path == "metric loss"] == ["different"]


def test_the_worst_of_all_is_the_verdict_and_is_told() -> None:
    then, now = _recorded({("loss", 0): [0.5]}), _recorded({("loss", 0): [0.5 + CLOSE]})
    near = tuple(script._metrics(then, now, 1e-9))
    done = Reproduction(of="run_a", run_id="run_b", verdict=worst(near), compared=near, tolerance=1e-9)
    assert verdict(done).startswith("Equal within 2e-12: run run_a came out the same")
    assert worst((*near, *script._metrics(then, _recorded({}), 1e-9))) == "different"
    assert worst(()) == "identical"
