"""Models of PyTorch, in the process that loads them: it imports nothing of Bascule, as `worker.py` that loads it."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from contextlib import suppress
from typing import Any


class Torch:
    """PyTorch: a module, a TorchScript archive or an exported program. It reads a matrix and gives one of numbers.

    Attributes:
        rows: how many an exported program reads at a time; 0 for any number.
        dtype: of the matrix, as PyTorch calls it.
    """

    names, classes, texts = None, None, None

    def __init__(self, path: str, recipe: dict[str, Any]) -> None:
        try:
            import torch
        except ImportError:
            raise ImportError(
                f"this model is loaded by PyTorch, which {sys.executable} does not have; let BASCULE_WORKER_PYTHON "
                "name a Python that has it"
            ) from None
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1)  # threads that wait for each other cost small requests more than they save
        self.torch, self.rows, self.dtype = torch, 0, torch.float32
        self.exported = path.endswith(".pt2")
        self.scripted = scripted = not self.exported and is_scripted(path)
        if self.exported:
            self._export_read(torch.export.load(path))
            return
        held = torch.jit.load(path, "cpu") if scripted else torch.load(path, "cpu", weights_only=False)
        if not isinstance(held, torch.nn.Module):
            raise TypeError(_no_module(held, torch.Tensor))
        held.eval()
        matrices = (one.shape[1] for one in held.parameters() if one.dim() == 2)  # a layer's weights: [out, in]
        self.width = len(recipe["columns"] or ()) or recipe["width"] or next(matrices, 0)
        self.held = held
        if scripted:
            with suppress(RuntimeError):  # it was frozen before it was saved, or changes itself
                self.held = torch.jit.freeze(held)

    def _export_read(self, program: Any) -> None:
        """Take an exported program: what `torch.export` writes, and MLflow where it is not told otherwise."""
        asked = set(program.graph_signature.user_inputs)
        reads = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in asked]
        if [one.dim() for one in reads] != [2]:
            shapes = " and ".join(str(tuple(one.shape)) for one in reads)
            raise TypeError(f"the exported program reads {shapes}, not one matrix of rows")
        rows, width = reads[0].shape
        self.rows = rows if isinstance(rows, int) else 0  # a symbol where the number is free
        self.width, self.dtype, self.held = int(width), reads[0].dtype, program.module()

    def __call__(self, matrix: Any) -> Any:
        """Return what the model says of rows, as a matrix of numbers."""
        import numpy as np

        with self.torch.inference_mode(), np.errstate(over="ignore"):
            rows = self.torch.from_numpy(matrix.astype("float32")).to(self.dtype)
            found = self._by_parts(rows) if self.rows else self.held(rows)
        return found.numpy()

    def _by_parts(self, rows: Any) -> Any:
        """Ask for as many rows at a time as the program reads, the last filled up."""
        pad, parts = self.torch.nn.functional.pad, rows.split(self.rows)
        return self.torch.cat([self.held(pad(one, (0, 0, 0, self.rows - len(one))))[: len(one)] for one in parts])

    def _traced(self) -> Any:
        """Return what a row does, as TorchScript that reads any number of rows."""
        if self.rows:
            raise TypeError(
                f"the exported program reads {self.rows} row{'s' * (self.rows > 1)} at a time; log it with an input "
                "example of two rows or more"
            )
        example = self.torch.zeros((2, self.width), dtype=self.dtype)
        return self.torch.jit.trace(self.held, example, check_trace=False)

    def torchscript(self) -> bytes:
        """Return the module as TorchScript, frozen: of its code, or where that says too much, of what a row does."""
        if self.scripted:
            raise TypeError("the version is TorchScript already, and `native` runs it, frozen")
        jit = self.torch.jit
        try:
            made = jit.script(self.held)
        except Exception:  # an exported program is never scripted
            made = self._traced()
        out = io.BytesIO()
        jit.save(jit.freeze(made.eval()), out)
        return out.getvalue()

    def onnx(self) -> bytes:
        """Return the module as ONNX that reads any number of rows."""
        try:
            import onnx  # noqa: F401
        except ImportError:
            raise ImportError(f"PyTorch makes it by the package onnx, which {sys.executable} does not have") from None
        out, rows = io.BytesIO(), {0: "rows"}
        names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": rows, "y": rows}}
        held = self._traced() if self.exported else self.held
        example = self.torch.zeros((2, self.width), dtype=self.dtype)
        self.torch.onnx.export(held, (example,), out, dynamo=False, **names)
        return out.getvalue()


def is_scripted(path: str) -> bool:
    """Tell whether a file is an archive of TorchScript, which has its constants beside its code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _no_module(held: Any, tensor: type) -> str:
    """Return what is said of a file that holds another thing than a module."""
    if not isinstance(held, dict) or not any(isinstance(one, (tensor, dict)) for one in held.values()):
        return f"the file holds a {type(held).__name__}, not a module; save the module, or its TorchScript"
    return (
        f"the file holds weights alone ({len(held)} entries, such as {str(next(iter(held)))[:60]!r}) and not the "
        "module that they belong to: make the module where its code is, give it these with load_state_dict(...), save "
        "torch.jit.script(module.eval()).save('model.pt'), and register that file"
    )
