"""The process of a pickle that means no good: what it answers, and what it leaves behind."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from bascule.errors import InputError
from bascule.serving.mlsignature import matrix_told
from bascule.serving.pickled import PackedFiles, Recipe, packed_torchscript, pytorch, recipe_of, worker
from bascule.serving.pickled.process import Ended, ModelProcess

cloudpickle = pytest.importorskip("cloudpickle")


class Hostile:
    """Does what the first input says."""

    n_features_in_ = 1

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def predict(self, rows: Any) -> Any:
        what = rows[0][0]
        channel = next(held for held in gc.get_objects() if type(held).__name__ == "socket")
        if what == 1:  # more than a row may have
            return np.zeros((len(rows), 50))
        if what == 2:  # a length that no memory takes
            text = b'{"bytes": 1000000000000}'
            channel.sendall(len(text).to_bytes(8, "little") + text)
        if what == 3:  # an answer that is nested without end
            text = b'{"shape": ' + b"[" * 200_000
            channel.sendall(len(text).to_bytes(8, "little") + text)
        if what == 4:  # bit by bit, each in time, and never all
            channel.sendall((1 << 20).to_bytes(8, "little"))
            while True:
                channel.sendall(b"[")
                time.sleep(0.1)
        if what == 5:  # somebody who stays when it is gone
            for options in ({"start_new_session": True}, {"process_group": 0}, {}):  # what would leave is refused
                with contextlib.suppress(OSError):
                    stays = subprocess.Popen(["sleep", "300"], **options)
                    break
            Path(self.mark).write_text(str(stays.pid))
            os._exit(3)
        return rows[:, 0]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        data = cloudpickle.dumps(Hostile(str(tmp_path / "mark")))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    process = ModelProcess(PackedFiles(recipe=Recipe(how="object", path="m.pkl"), files={"m.pkl": data}), "odd@1")
    monkeypatch.setattr("bascule.serving.pickled.process.ANSWER_S", 2.0)
    yield process
    process.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "word"),
    [(1, "are the most"), (2, "are the most"), (3, "ended with code"), (4, "did not answer within 2 s")],
)
def test_an_answer_that_is_none_ends_the_process(model: ModelProcess, what: float, word: str) -> None:
    assert model.predict(np.array([[9.0]])).tolist() == [[9.0]]
    with pytest.raises(Ended, match=word):
        model.predict(np.array([[what]]))
    model._process.wait(30)
    assert not model.alive


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process may leave its group")
def test_what_a_model_started_ends_with_it_also_when_it_went_first(model: ModelProcess, tmp_path: Path) -> None:
    with pytest.raises(Ended, match="code 3"):
        model.predict(np.array([[5.0]]))
    assert not model.alive
    model.close()
    pid = int((tmp_path / "mark").read_text())
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("it is still there")


@pytest.mark.parametrize(
    "flavors",
    [
        {"python_function": {"loader_module": "mlflow.pyfunc.model", "python_model": "/tmp/later.pkl"}},
        {"python_function": {"loader_module": "mlflow.sklearn", "data": "../../later.pkl"}},
        {"python_function": {"loader_module": "x", "artifacts": {"a": {"path": "C:\\later.pkl"}}}},
        {"python_function": {"loader_module": "x"}, "sklearn": {"pickled_model": "file:///tmp/later.pkl"}},
    ],
)
def test_a_model_that_is_loaded_from_elsewhere_is_refused(flavors: dict[str, Any]) -> None:
    """What lies there may be another program than the one that somebody consented to."""
    with pytest.raises(InputError, match=r"later\.pkl' \(flavors\..*consented to"):
        recipe_of({"flavors": flavors}, ["model.pkl"], None)
    here = {"python_function": {"data": "model.pkl", "artifacts": {"a": {"path": "artifacts/a", "uri": "/tmp/a"}}}}
    assert recipe_of({"flavors": here}, ["model.pkl"], None).how == "function"


@pytest.mark.parametrize("name", ["model.pth", "model.pt2"])
def test_a_model_of_pytorch_is_read_without_mlflow(name: str) -> None:
    flavors = {"pytorch": {"model_data": "data"}, "python_function": {"loader_module": "mlflow.pytorch"}}
    recipe = recipe_of({"flavors": flavors}, [f"data/{name}"], None)
    assert (recipe.how, recipe.path) == ("object", f"data/{name}")


def test_a_matrix_is_given_in_the_type_that_the_model_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Keras' models say it; MLflow refuses another type."""
    spec = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}
    about = {"flavors": {"python_function": {"data": "data"}}, "signature": {"inputs": json.dumps([spec])}}
    recipe = recipe_of(about, ["data"], None, matrix_told(about))
    assert (recipe.width, recipe.dtype) == (2, "float32")
    held = ModuleType("mlflow.pyfunc")
    held.load_model = lambda folder: SimpleNamespace(predict=lambda rows: [rows.dtype.itemsize] * len(rows))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(pyfunc=held))
    monkeypatch.setitem(sys.modules, "mlflow.pyfunc", held)
    keras = SimpleNamespace(Model=type("Model", (), {"predict": lambda self, x, size=None, verbose="auto": verbose}))
    monkeypatch.setitem(sys.modules, "keras", keras)
    asked = {"folder": str(tmp_path), "recipe": msgspec.to_builtins(recipe)}
    model = worker._load(asked)
    assert keras.Model().predict(1) == 0  # no bar is drawn for each answer
    assert model(np.zeros((3, 2))).tolist() == [[4.0]] * 3
    assert worker._told(model, asked)["width"] == 2


def test_weights_alone_are_no_module() -> None:
    weights = {"0.weight": np.zeros(3), "0.bias": np.zeros(1)}
    assert "torch.jit.script(module.eval()).save('model.pt'), and register" in pytorch._no_module(weights, np.ndarray)
    assert "weights alone" in pytorch._no_module({"state_dict": weights, "epoch": 3}, np.ndarray)
    assert pytorch._no_module([1], np.ndarray).startswith("the file holds a list, not a module")


TORCH = os.environ.get("BASCULE_TORCH_PYTHON", sys.executable)
MAKES = """
import sys, torch
torch.manual_seed(0)
made = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2)).eval()
torch.jit.script(made).save(sys.argv[1] + "/script.pt")
torch.save(made, sys.argv[1] + "/module.pth")
torch.save(made.state_dict(), sys.argv[1] + "/weights.pth")
for rows, name in ((2, "/many.pt2"), (1, "/one.pt2")):
    free = [{0: torch.export.Dim.AUTO}]
    torch.export.save(torch.export.export(made, (torch.zeros((rows, 4)),), dynamic_shapes=free), sys.argv[1] + name)
print(made(torch.tensor([[1.0, 2, 3, 4], [0, 0, 0, float("nan")]])).tolist())
"""


@pytest.mark.slow
def test_pytorch_answers_as_itself_as_a_module_and_as_torchscript(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if subprocess.run([TORCH, "-c", "import numpy, torch"], capture_output=True, check=False).returncode:
        pytest.skip("PyTorch is not installed; BASCULE_TORCH_PYTHON names a Python that has it")
    made = subprocess.run([TORCH, "-c", MAKES, str(tmp_path)], capture_output=True, text=True, check=True)
    wanted = np.array(eval(made.stdout, {"nan": np.nan}))
    monkeypatch.setenv("BASCULE_WORKER_PYTHON", TORCH)

    def started(name: str) -> ModelProcess:
        files = {name: (tmp_path / name).read_bytes()}
        return ModelProcess(PackedFiles(recipe=recipe_of(None, [name], None), files=files), "net@1")

    with pytest.raises(InputError, match=r"the file holds weights alone \(4 entries, such as '0\.weight'\)") as refused:
        started("weights.pth")
    assert not refused.value.hint  # another Python would not have the module either
    for name in ("script.pt", "module.pth", "many.pt2", "one.pt2"):
        process = started(name)
        assert (process.told["width"], process.told["outputs"]) == (4, 2)
        found = process.predict(np.array([[1.0, 2, 3, 4], [0, 0, 0, np.nan]]))
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
        if name == "one.pt2":
            with pytest.raises(RuntimeError, match="reads 1 row at a time; log it with an input example of two"):
                process.made("onnx")
        elif name != "script.pt":
            assert b"Gemm" in process.made("onnx")
            again = ModelProcess(packed_torchscript(process.made("torchscript"), 4), "net@1")
            np.testing.assert_allclose(again.predict(np.array([[1.0, 2, 3, 4]] * 3)), wanted[[0, 0, 0]], rtol=1e-6)
            again.close()
        process.close()
