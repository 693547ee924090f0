"""Pickles are read and never run: what they would call is named, wherever it hides."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import pickletools
import subprocess
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bascule.registry.pickles import PickleScan, scan


class Evil:
    """Runs a command when it is loaded."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call, self.arguments


def scanned(data: bytes, name: str = "model.pkl") -> list[PickleScan]:
    return scan(name, io.BytesIO(data), len(data))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (os.system, "posix.system"),
        (subprocess.Popen, "subprocess.Popen"),
        (eval, "builtins.eval"),
        (getattr, "builtins.getattr"),
        (__import__, "builtins.__import__"),
    ],
)
def test_what_runs_commands_is_named_in_every_protocol(protocol: int, call: Any, named: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    data = pickle.dumps({"a": [1, OrderedDict(x=2)], "b": Evil(call, f"touch {mark}")}, protocol=protocol)
    for packed in (data, gzip.compress(data), zlib.compress(data), zipped({"archive/data.pkl": data})):
        (found,) = scanned(packed)
        assert named in found.dangerous
        assert "collections.OrderedDict" in found.globals
        assert found.complete
    assert not mark.exists()


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_a_model_of_the_field_is_a_pickle_and_names_nothing_dangerous(tmp_path: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    joblib = pytest.importorskip("joblib")
    model = linear_model.LogisticRegression().fit(np.arange(20).reshape(-1, 1), np.arange(20) > 9)
    (found,) = scanned(pickle.dumps(model))
    assert not found.dangerous
    assert not found.unknown
    assert found.complete
    assert "sklearn.linear_model._logistic.LogisticRegression" in found.globals
    for compress in (0, 3):
        path = tmp_path / f"m{compress}.joblib"
        joblib.dump([model, Evil(os.system, "true")], path, compress=compress)
        (found,) = scanned(path.read_bytes(), path.name)
        assert "posix.system" in found.dangerous
        assert "sklearn.linear_model._logistic.LogisticRegression" in found.globals


def test_second_pickles_members_and_object_arrays_are_found(tmp_path: Path) -> None:
    evil = pickle.dumps(Evil(os.system, "true"))
    (found,) = scanned(pickle.dumps([1]) + evil)
    assert found.dangerous == ("posix.system",)
    inner = zipped({"weights/data": evil, "notes.txt": b"hello"})
    assert [one.path for one in scanned(zipped({"a.zip": inner, "b.json": b"{}"}), "m")] == ["m!a.zip!weights/data"]
    deep = inner
    for _ in range(4):
        deep = zipped({"a": deep})
    assert not scanned(deep)[0].complete
    (member,) = scanned(inner, "m.anything")
    assert member.path == "m.anything!weights/data"
    assert member.dangerous
    out = io.BytesIO()
    np.save(out, np.array([Evil(os.system, "true")], dtype=object), allow_pickle=True)
    (found,) = scanned(out.getvalue(), "a.npy")
    assert found.dangerous == ("posix.system",)
    plain = io.BytesIO()
    np.save(plain, np.arange(5))
    assert scanned(plain.getvalue(), "a.npy") == []


def test_what_hides_or_is_broken_is_not_called_safe() -> None:
    hidden = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93."  # names by way of the memo
    assert scanned(hidden)[0].dangerous == ("posix.system",)
    built = b"\x80\x04\x8c\x02po\x94N\x93."  # a name that is not a text
    assert scanned(built)[0].dangerous == ("?.?",)
    cut = pickle.dumps([list(range(1000)), Evil(os.system, "true")])[:-40]
    assert not scanned(cut)[0].complete
    assert not scanned(gzip.compress(pickle.dumps(1))[:-9])[0].complete
    assert not scanned(b"PK\x03\x04broken")[0].complete
    dotted = pickletools.optimize(b"\x80\x02cnumpy\ncore.os.system\n.")
    assert "numpy.core.os.system" in scanned(dotted)[0].globals
    for data in (b"", b"hello", b'{"a": 1}', b"\x08\x07onnx", b"tree\nversion=v4\n"):
        assert scanned(data, "model.onnx") == []
