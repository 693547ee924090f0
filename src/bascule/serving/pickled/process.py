"""The process of one model: started, asked, and ended when it hangs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from bascule.errors import EnvironmentProblem, InputError
from bascule.serving.case import CRASHED, HUNG, Kind
from bascule.serving.pickled.cells import pack
from bascule.serving.pickled.packing import LARGEST, PackedFiles, unpack_into
from bascule.serving.pickled.signature import MOST_OUTPUTS
from bascule.serving.pickled.worker import receive, send
from bascule.training import Field

WORKER = Path(__file__).with_name("worker.py")
PYTHON = "BASCULE_WORKER_PYTHON"
START_S, ANSWER_S = 90.0, 60.0
# All that it learns of this process' environment: nothing that opens a door.
ENVIRONMENT = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONPATH", "CUDA_VISIBLE_DEVICES"),
    "KERAS_BACKEND",
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
)


class Raw(NamedTuple):
    """The places of the inputs that are texts, and of those that are times."""

    texts: tuple[int, ...] = ()
    times: tuple[int, ...] = ()


NOTHING = Raw()


def raw_of(inputs: Sequence[Field]) -> Raw:
    """Return which inputs of a signature have no code."""
    places = [(place, one.type) for place, one in enumerate(inputs) if one.is_raw]
    return Raw(
        tuple(place for place, kind in places if kind == "varchar"),
        tuple(place for place, kind in places if kind == "timestamp"),
    )


def plain_row(inputs: Sequence[Field]) -> np.ndarray:
    """Return a row of empty texts, the epoch and zeros, as objects."""
    found = np.empty((1, len(inputs)), dtype=object)
    found[0] = ["" if one.type == "varchar" else 0 if one.type == "timestamp" else 0.0 for one in inputs]
    return found


class Ended(RuntimeError):
    """The process is gone, or was ended because it did not answer.

    Attributes:
        kind: what happened, as an incident has it.
    """

    noted = True

    def __init__(self, text: str, kind: Kind = CRASHED) -> None:
        super().__init__(text)
        self.kind = kind


class ModelProcess:
    """A process with a model in it. It answers one question at a time.

    Attributes:
        told: what the model says of itself: `names`, `width`, `classes`, `outputs`, `texts`.

    Args:
        raw: which of its inputs are texts and times.
        rows: what shows how many numbers it answers; the process makes some up where there are none.
        outputs: how many those are, where it is known.
        is_plain: nobody said that the model takes these rows.

    Raises:
        InputError: it cannot be loaded there; the text has the process' own words.
        EnvironmentProblem: no process could be started.
    """

    def __init__(
        self,
        packed: PackedFiles,
        name: str,
        raw: Raw = NOTHING,
        rows: np.ndarray | None = None,
        outputs: int = 0,
        *,
        is_plain: bool = False,
    ) -> None:
        self.name, self._raw = name, raw
        self._folder = Path(tempfile.mkdtemp(prefix="bascule-model-"))  # 0700
        try:
            unpack_into(packed, self._folder / "model")
            self._channel, self._process = _started(self._folder)
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise EnvironmentProblem(f"No process could be started for {name}: {error}.") from error
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        about, data = ({}, b"") if rows is None or outputs else self._carried(rows)
        asked = {
            "folder": str(self._folder / "model"),
            "recipe": msgspec.to_builtins(packed.recipe),
            "outputs": outputs,
            "plain": is_plain,
            **({"rows": about} if about else {}),
        }
        try:
            self.told: Mapping[str, Any] = self._ask(asked, data, START_S, 0)[0]
        except RuntimeError as error:
            self.close()
            raise InputError(
                f"{name} cannot be loaded by {_python()}: {error}.",
                hint=f"Let {PYTHON} name a Python that has what the model needs." if _lacks(str(error)) else "",
            ) from None
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        if not hasattr(os, "waitid"):  # pragma: no cover
            return self._process.poll() is None
        if self._process.returncode is not None:
            return False
        # It is not reaped here: until it is, its number stays that of all that it has started.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the model's numbers as float64 [rows, outputs].

        Args:
            matrix: float64 [rows, inputs]; objects where some inputs are texts or times.

        Raises:
            Ended: it ended, or did not answer within a minute.
            RuntimeError: the model failed; the text has its words.
        """
        about, rows = self._carried(matrix)
        outputs = self.told.get("outputs")
        most = 8 * len(matrix) * outputs if isinstance(outputs, int) and 0 < outputs <= MOST_OUTPUTS else 0
        told, data = self._ask(about, rows, ANSWER_S, most)
        shape = told.get("shape")
        if not isinstance(shape, list) or [type(one) for one in shape] != [int, int]:
            raise RuntimeError(f"{self.name} answered {len(matrix)} rows with {str(shape)[:60]} numbers")
        if shape[0] != len(matrix) or shape[1] < 0 or len(data) != 8 * shape[0] * shape[1]:
            raise RuntimeError(f"{self.name} answered {len(matrix)} rows with {str(shape)[:60]} numbers")
        return np.frombuffer(data, dtype="<f8").reshape(shape)

    def _carried(self, matrix: np.ndarray) -> tuple[dict[str, Any], bytes]:
        """Return what a message says of rows, and their bytes."""
        if matrix.dtype == object:
            return pack(matrix, *self._raw)
        rows = np.ascontiguousarray(matrix, dtype="<f8")
        return {"shape": list(rows.shape)}, rows.tobytes()

    def made(self, kind: str) -> bytes:
        """Return the model in another form: `torchscript` or `onnx`, of a module of PyTorch.

        Raises:
            RuntimeError: it cannot be made; the text has the process' own words.
        """
        return self._ask({"make": kind}, b"", START_S, LARGEST)[1]

    def memory(self) -> int | None:
        """Return the bytes that the process holds in memory; None where the system does not say."""
        try:
            told = Path(f"/proc/{self._process.pid}/status").read_text("ascii", "replace")
        except OSError:
            return None
        line = next((one for one in told.splitlines() if one.startswith("VmRSS:")), "")
        return int(line.split()[1]) * 1024 if line else None

    def kill(self) -> None:
        """End it at once; whoever waits for its answer is told."""
        _kill(self._process)

    def close(self) -> None:
        """End it, and remove its files."""
        with suppress(OSError):
            self._channel.close()
        _kill(self._process)
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, message: dict[str, Any], data: bytes, seconds: float, most: int) -> tuple[dict[str, Any], bytes]:
        until = time.monotonic() + seconds
        self._channel.settimeout(seconds)
        try:
            send(self._channel, message, data)
            told, found = receive(self._channel, most, until)
        except TimeoutError:
            _kill(self._process)
            raise Ended(f"{self.name} did not answer within {seconds:g} s, and its process was ended", HUNG) from None
        except OverflowError as error:
            _kill(self._process)
            raise Ended(f"{self.name} answered {error}, and its process was ended") from None
        except (EOFError, OSError, ValueError, KeyError, TypeError, MemoryError, RecursionError):
            _kill(self._process)
            raise Ended(f"the process of {self.name} ended with code {self._process.wait()}") from None
        if "error" in told:
            raise RuntimeError(str(told["error"])[:2000])
        return told, bytes(found)


def _lacks(text: str) -> bool:
    """Tell whether an error is that of a Python without what a model needs."""
    return text.startswith(("ImportError", "ModuleNotFoundError", "AttributeError"))


def _python() -> str:
    return os.environ.get(PYTHON) or sys.executable


def _started(folder: Path) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    here, there = socket.socketpair()
    with there:
        try:
            process = subprocess.Popen(
                [_python(), str(WORKER)],
                stdin=there.fileno(),
                stdout=subprocess.DEVNULL,
                cwd=folder,
                env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
                start_new_session=True,  # all that it starts ends with it, and a Ctrl-C here is none there
            )
        except BaseException:
            here.close()
            raise
    return here, process


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":  # pragma: no cover
        process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):
        if process.returncode is None:  # also when it has ended by itself: what it started may live
            os.killpg(process.pid, signal.SIGKILL)
