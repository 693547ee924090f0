"""The process that loads a pickle and predicts with it: `python worker.py`, run as a file by any Python.

It is alone: it imports nothing of Bascule but a file beside it, so that the interpreter may be one that has what the
model needs and nothing else. Messages come and go over the socket that is its standard input: eight bytes with the
length of a JSON text, the text, and as many bytes as its `bytes` says. What a model prints goes to the standard error.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import warnings
from typing import Any

MOST_TEXT = 1 << 24
LENGTH = struct.Struct("<q")
# By machine: the number of its system for filters, and of `setsid` and `setpgid` there.
_SYSTEMS = {"x86_64": (0xC000003E, 112, 109), "aarch64": (0xC00000B7, 157, 154)}
MAKES = ("torchscript", "onnx")
_ALLOWED, _REFUSED = 0x7FFF0000, 0x00050001  # the latter with EPERM


def main() -> None:
    """Load what the first message names, say what it is, and answer the rows of every further one."""
    sys.path.pop(0)  # this file's folder: its modules must not hide others
    channel = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    _stay_together()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    asked, data = receive(channel)
    try:
        model = _load(asked)
        send(channel, _told(model, asked, _matrix(asked["rows"], data) if "rows" in asked else None))
    except BaseException as error:  # foreign code may raise whatever it likes, also SystemExit
        send(channel, {"error": _text(error)})
        return
    while True:
        try:
            message, data = receive(channel)
        except EOFError:
            return
        try:
            if "make" in message:
                send(channel, {}, _made(model, message["make"]))
                continue
            found = _numbers(model(_matrix(message, data)))
            send(channel, {"shape": list(found.shape)}, found.tobytes())
        except BaseException as error:
            send(channel, {"error": _text(error)})


def send(channel: socket.socket, message: dict[str, Any], data: bytes = b"") -> None:
    """Write a message and the bytes that belong to it."""
    text = json.dumps({**message, "bytes": len(data)}).encode()
    channel.sendall(LENGTH.pack(len(text)) + text)
    if data:
        channel.sendall(data)


def receive(
    channel: socket.socket, most: int | None = None, until: float | None = None
) -> tuple[dict[str, Any], bytearray]:
    """Read a message and its bytes.

    Args:
        most: more bytes than so many are no message.
        until: when all of it must be here, by the monotonic clock.

    Raises:
        EOFError: the other end is gone, or says what is no message.
        OverflowError: it is longer than `most`.
        TimeoutError: it came too slowly.
    """
    (length,) = LENGTH.unpack(_read(channel, LENGTH.size, until))
    if not 0 < length <= MOST_TEXT:
        raise EOFError
    message = json.loads(_read(channel, length, until))
    count = message["bytes"]
    if most is not None and count > most:
        raise OverflowError(f"{count} bytes, where {most} are the most")
    return message, _read(channel, count, until)


def _read(channel: socket.socket, count: int, until: float | None) -> bytearray:
    data = bytearray(count)
    rest = memoryview(data)
    while rest:
        if until is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            channel.settimeout(left)
        got = channel.recv_into(rest)
        if not got:
            raise EOFError
        rest = rest[got:]
    return data


def _end_with(parent: int) -> None:
    """End when whoever started this does: a model that never comes back would not notice that nobody listens."""
    while os.getppid() == parent:
        time.sleep(1)
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with all that it has started
    os._exit(1)


def _stay_together() -> bool:
    """Let neither this process nor what it starts leave its group, so that whoever ends the group ends all of it.

    Linux refuses `setsid` and `setpgid` from here on (seccomp, which what is started inherits and cannot take off).

    Returns:
        Whether the system does that.
    """
    if not sys.platform.startswith("linux") or struct.calcsize("P") != 8 or os.uname().machine not in _SYSTEMS:
        return False
    import ctypes

    system, *refused = _SYSTEMS[os.uname().machine]
    steps = [
        (0x20, 0, 0, 4),  # the system whose call it is: no other one's numbers
        (0x15, 1, 0, system),
        (0x06, 0, 0, _REFUSED),
        (0x20, 0, 0, 0),  # the call's number
        (0x35, len(refused) + 1, 0, 0x40000000),  # those of x32 stand above
        *((0x15, len(refused) - place, 0, number) for place, number in enumerate(refused)),
        (0x06, 0, 0, _ALLOWED),
        (0x06, 0, 0, _REFUSED),
    ]
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(text)))
    try:
        call = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return False
    none = ctypes.c_ulong(0)
    call(38, ctypes.c_ulong(1), none, none, none)  # PR_SET_NO_NEW_PRIVS
    return bool(call(22, ctypes.c_ulong(2), program, none, none) == 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:2000]}"


def _matrix(message: dict[str, Any], data: bytearray) -> Any:
    import numpy as np

    if "texts" in message:
        return _beside("cells").unpack(message, data)
    return np.frombuffer(data, dtype="<f8").reshape(message["shape"])


class _Object:
    """An estimator, or anything that has `predict`: classes' probabilities where it tells them, else its numbers.

    Of a classifier that tells none and whose classes are texts, the class that it chose has the probability one.
    """

    def __init__(self, held: Any, recipe: dict[str, Any]) -> None:
        if not callable(getattr(held, "predict", None)):
            raise TypeError(f"the pickle holds a {type(held).__name__}, which has no predict")
        lists = getattr(held, "pandas_categorical", None)  # a Booster of LightGBM
        if any(list(one) != list(range(len(one))) for one in lists or ()):
            raise TypeError(
                f"columns were pandas categories, {str(lists)[:80]}, which LightGBM knows by their places alone: sent "
                "as they are they would be taken for others; make them texts and log the Booster as LightGBM's own text"
            )
        names = getattr(held, "feature_names_in_", None)
        if names is None and callable(getattr(held, "feature_name", None)):
            names = held.feature_name()  # a Booster of LightGBM
        self.names = None if names is None else [str(one) for one in names]
        self.framed = getattr(held, "feature_names_in_", None) is not None
        self.width = int(getattr(held, "n_features_in_", 0) or len(self.names or ()))
        classes = getattr(held, "classes_", None)
        known = classes if classes is not None and getattr(classes, "ndim", 1) == 1 else ()
        self.shares = callable(getattr(held, "predict_proba", None))
        labelled = self.shares or any(isinstance(one, str) for one in known)
        self.classes = [str(one) for one in known] if labelled and len(known) else None
        self.held, self.kinds = held, dict(recipe["columns"] or ())
        self.texts, self.known = _beside("cells").texts_of(held), _beside("cells").categories_of(held)

    def __call__(self, matrix: Any) -> Any:
        rows = self._rows(matrix)
        if self.classes is None:
            return _numbers(self.held.predict(rows))
        found = _numbers(self.held.predict_proba(rows)) if self.shares else self._chosen(self.held.predict(rows))
        return found[:, 1:] if len(self.classes) == 2 else found

    def _rows(self, matrix: Any) -> Any:
        """Return rows as it was fitted on them: named columns, a matrix, or the texts themselves."""
        if matrix.dtype == object:
            if self.framed:
                return _beside("cells").frame(matrix, self.names, self.kinds, self.known)
            return matrix[:, 0].tolist() if matrix.shape[1] == 1 else matrix
        if self.known:
            raise TypeError(
                "columns were categories of pandas, and nothing says which are texts; log the model with a signature"
            )
        return _frame(matrix, self.names) if self.framed else matrix

    def _chosen(self, labels: Any) -> Any:
        """Return float64 [rows, classes], one where a row has that class."""
        import numpy as np

        return (np.asarray(labels).reshape(-1, 1) == np.asarray(self.held.classes_)).astype("<f8")


def _made(model: Any, kind: str) -> bytes:
    make = getattr(model, kind, None) if kind in MAKES else None
    if make is None:
        how = "MLflow's Python function hides what it runs" if isinstance(model, _Function) else "this is none"
        raise TypeError(f"only a model of PyTorch becomes {kind}, and {how}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PyTorch would rather have, and whoever reads this cannot change
        return bytes(make())


class _Function:
    """MLflow's Python function of a folder."""

    names, classes, texts = None, None, None

    def __init__(self, folder: str, recipe: dict[str, Any]) -> None:
        try:
            import mlflow.pyfunc
        except ImportError:
            raise ImportError(
                f"this model is loaded by MLflow, which {sys.executable} does not have; let BASCULE_WORKER_PYTHON "
                "name a Python that has it"
            ) from None
        self.held = mlflow.pyfunc.load_model(folder)
        self.columns = recipe["columns"]
        self.width, self.dtype = recipe["width"], recipe["dtype"]

    def __call__(self, matrix: Any) -> Any:
        if matrix.dtype == object:
            return _numbers(self.held.predict(self._told(matrix)))
        if not self.columns:
            import numpy as np

            with np.errstate(over="ignore"):
                rows = matrix.astype(self.dtype or matrix.dtype)
            return _numbers(self.held.predict(rows))
        rows = _frame(matrix, [name for name, _ in self.columns])
        for name, kind in self.columns:
            column = rows[name]
            to = {"long": "int64", "integer": "int32", "float": "float32", "boolean": "bool"}.get(kind)
            # A missing whole number stays what it is: MLflow says then that its schema has none.
            if to is not None and (to == "float32" or not column.isna().any()):
                rows[name] = column.astype(to)
        return _numbers(self.held.predict(rows))

    def _told(self, matrix: Any) -> Any:
        """Return rows with texts or times as the signature names them: columns, an array, or a list of texts."""
        if self.columns:
            return _beside("cells").frame(matrix, [name for name, _ in self.columns], dict(self.columns))
        if not self.dtype:
            return matrix[:, 0].tolist()
        rows = matrix if self.width else matrix[:, 0]
        return rows.astype(str) if self.dtype == "str" else rows


def _frame(matrix: Any, names: Any) -> Any:
    import pandas as pd

    return pd.DataFrame(matrix, columns=names)


def _numbers(said: Any) -> Any:
    """Return an answer as float64 [rows, outputs]."""
    import numpy as np

    found = np.asarray(said)
    if found.dtype.kind not in "biuf":
        try:
            found = found.astype("<f8")
        except (TypeError, ValueError):
            raise TypeError("the model answers other things than numbers: " + str(found.ravel()[:1])[:100]) from None
    found = np.ascontiguousarray(found, dtype="<f8")
    return found.reshape(len(found), -1)


def _load(asked: dict[str, Any]) -> Any:
    model = _loaded(asked)
    for name in ("keras", "tf_keras"):
        cls = getattr(sys.modules.get(name), "Model", None)
        if cls is not None:
            _quieten(cls)
    return model


def _quieten(cls: Any) -> None:
    """Let Keras draw no bar for each answer, as its `predict` does for somebody who looks on: here nobody does.

    Its own switch is kept by thread, and the bar is drawn in another one.
    """
    predict = cls.predict

    def quiet(*args: Any, **more: Any) -> Any:
        if len(args) < 4:  # (self, x, batch_size, verbose)
            more.setdefault("verbose", 0)
        return predict(*args, **more)

    cls.predict = quiet


def _loaded(asked: dict[str, Any]) -> Any:
    folder, recipe = asked["folder"], asked["recipe"]
    if recipe["code"]:
        sys.path.insert(0, os.path.join(folder, recipe["code"]))
    if recipe["how"] == "function":
        return _Function(folder, recipe)
    path = os.path.join(folder, recipe["path"])
    if path.endswith((".pt", ".pt2", ".pth")):
        return _beside("pytorch").Torch(path, recipe)
    return _Object(_unpickled(path), recipe)


@functools.cache
def _beside(name: str) -> Any:
    """Return the module of a file beside this one, under a name that no model's own module has."""
    place = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_bascule_{name}", place)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def _unpickled(path: str) -> Any:
    with open(path, "rb") as source:
        start = source.read(2)
    if path.endswith(".skops") or start == b"PK":
        from skops import io as skops

        return skops.load(path, trusted=skops.get_untrusted_types(file=path))
    if path.endswith(".joblib") or start[:1] != b"\x80":
        try:
            import joblib  # what is compressed, and arrays beside the pickle
        except ImportError:
            pass
        else:
            return joblib.load(path)
    import pickle  # cloudpickle's files are such too, when cloudpickle is there

    with open(path, "rb") as source:
        return pickle.load(source)


def _told(model: Any, asked: dict[str, Any], rows: Any = None) -> dict[str, Any]:
    """Say what it reads and gives.

    Args:
        rows: what shows how many numbers it gives; a row of zeros where there are none. Nobody said that it takes them
            where they are `plain`. Not looked at where `outputs` was said already.
    """
    import numpy as np

    columns = asked["recipe"]["columns"]
    width = len(model.names or ()) or model.width or len(columns or ())
    texts = model.texts
    outputs = asked.get("outputs")
    if not (width or texts or outputs or rows is not None):
        raise ValueError("nothing says how many inputs the model reads; log it with a signature")
    about = {"names": model.names, "width": width, "classes": model.classes, "texts": texts}
    if not outputs and model.classes and (asked.get("plain") or (rows is None and texts)):
        outputs = 1 if len(model.classes) == 2 else len(model.classes)  # an empty text may be none that it takes
    elif not outputs:
        rows = rows if rows is not None else _empty_texts(model) if texts else np.zeros((1, width))
        outputs = int(_numbers(model(rows)).shape[1])
    return {**about, "outputs": outputs}


def _empty_texts(model: Any) -> Any:
    """Return a row of empty texts and zeros, of a model that says itself which texts it reads."""
    import numpy as np

    row = [""] if model.texts is True else ["" if name in model.texts else 0.0 for name in model.names]
    found = np.empty((1, len(row)), dtype=object)
    found[0] = row
    return found


if __name__ == "__main__":
    main()
