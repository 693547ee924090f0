"""Bascule's own models as folders that MLflow's clients load: an MLmodel file, the model, a loader that stands alone.

Such a folder is made from the model's bundle when it is asked for. It has the address of the bundle's digest, so it
never changes, and nobody writes to it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import msgspec
import yaml

from bascule.errors import BasculeError, InputError, NotFound
from bascule.protocols.mlflow.messages import Answer, Ask, present
from bascule.protocols.mlflow.version import VERSION
from bascule.registry.external import SCHEME
from bascule.store import BlobStore
from bascule.tracking.artifacts import confined
from bascule.training import ModelBundle, unpack_model

FOLDER = "bascule-models"
LOADER = "bascule_pyfunc"
# How each format's file is called, and what it takes to read it.
FORMATS = {
    "linear": ("model.json", ()),
    "lightgbm": ("model.txt", ("lightgbm",)),
    "skops": ("model.skops", ("scikit-learn", "skops")),
}
TYPES = {"double": "double", "varchar": "string", "bigint": "long", "boolean": "boolean"}
_DIGEST = re.compile(r"[0-9a-f]{64}")


def address_of(artifact: str) -> str:
    """Return where clients find a version's files: a bundle's folder for a digest, else what it says."""
    return f"{SCHEME}/{FOLDER}/{artifact}" if _DIGEST.fullmatch(artifact) else artifact


def is_exported(path: str) -> bool:
    """Tell whether a path of artifacts is one of these folders, or in one."""
    clean = confined(path)
    return clean == FOLDER or clean.startswith(f"{FOLDER}/")


def file_of(store: BlobStore, path: str) -> bytes:
    """Return a file of a model's folder.

    Raises:
        NotFound: there is no such model or file. InputError: it is a folder.
    """
    digest, inside = _split(path)
    held = _folder(store, digest)
    if inside in held:
        return held[inside]
    if not inside or any(name.startswith(f"{inside}/") for name in held):
        raise InputError(f"{path[:120]!r} is a folder.", hint="List it, and ask for its files.")
    raise NotFound("artifact", path[:120], hint="List the folder to see what there is.")


def list_exported(ask: Ask, path: str) -> Answer:
    """List a folder of a model; nothing for a file, and for what is not there."""
    digest, inside = _split(path)
    try:
        held = _folder(ask.tracker.workspace.store, digest)
    except NotFound:
        return Answer()
    start = f"{inside}/" if inside else ""
    found: dict[str, int | None] = {}
    for name, data in held.items():
        if name.startswith(start):
            first, below, _ = name[len(start) :].partition("/")
            found[first] = None if below else len(data)
    listed = [
        present({"path": name, "is_dir": size is None, "file_size": size}) for name, size in sorted(found.items())
    ]
    return Answer(present({"files": listed}))


def _split(path: str) -> tuple[str, str]:
    digest, _, inside = confined(path).removeprefix(FOLDER).lstrip("/").partition("/")
    return digest, inside


def _folder(store: BlobStore, digest: str) -> Mapping[str, bytes]:
    if not _DIGEST.fullmatch(digest) or not store.has(digest):
        raise NotFound("model", digest[:80], hint="List the versions of registered models.")
    return _made(store, digest)


def _made(store: BlobStore, digest: str) -> Mapping[str, bytes]:
    try:
        bundle = unpack_model(store.get(digest))
    except BasculeError:
        raise NotFound("model", digest[:80], hint="List the versions of registered models.") from None
    if bundle.format not in FORMATS:
        raise InputError(
            f"A model in the format {bundle.format!r} is not given to MLflow's clients.",
            hint="Ask it over the inference protocol, or train it in another format.",
        )
    return files_of_bundle(bundle, digest)


def files_of_bundle(bundle: ModelBundle, digest: str) -> dict[str, bytes]:
    """Return the files of a bundle's folder by their paths."""
    name, packages = FORMATS[bundle.format]
    libraries = bundle.meta.get("libraries") or {}
    needs = ["numpy", "pandas", *(f"{one}=={libraries[one]}" if one in libraries else one for one in packages)]
    signature = bundle.signature
    told = {
        "format": bundle.format,
        "file": name,
        "inputs": [msgspec.to_builtins(one) for one in signature.inputs],
        "task": signature.output.task,
        "classes": list(signature.output.classes),
    }
    return {
        "MLmodel": _yaml(_about(bundle, digest)),
        "requirements.txt": "".join(f"{one}\n" for one in needs).encode(),
        "python_env.yaml": _yaml(
            {"python": _python(), "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
        ),
        f"code/{LOADER}.py": files("bascule.protocols.mlflow.pyfunc").joinpath(f"{LOADER}.py").read_bytes(),
        "data/signature.json": msgspec.json.encode(told),
        f"data/{name}": bundle.model,
    }


def _about(bundle: ModelBundle, digest: str) -> dict[str, Any]:
    shape = [-1, len(bundle.signature.output.classes)] if bundle.signature.output.task == "multiclass" else [-1]
    outputs = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": shape}}]
    return {
        "artifact_path": "model",
        "flavors": {
            "python_function": {
                "loader_module": LOADER,
                "code": "code",
                "data": "data",
                "env": {"virtualenv": "python_env.yaml"},
                "python_version": _python(),
            },
            "bascule": {"digest": digest, "format": bundle.format, "code": None},
        },
        "mlflow_version": VERSION,
        "model_uuid": digest[:32],
        "utc_time_created": "1970-01-01 00:00:00.000000",
        "signature": {
            "inputs": msgspec.json.encode([_column(one) for one in bundle.signature.inputs]).decode(),
            "outputs": msgspec.json.encode(outputs).decode(),
            "params": None,
        },
    }


def _column(field: Any) -> dict[str, Any]:
    """Return an input as MLflow's signature has it.

    MLflow's whole numbers and truths have no missing value: where ours may miss one the type is `any`, and the loader
    looks at the values itself.
    """
    kind = "any" if field.nullable and field.type in ("bigint", "boolean") else TYPES[field.type]
    return {"type": kind, "name": field.name, "required": True}


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode()
