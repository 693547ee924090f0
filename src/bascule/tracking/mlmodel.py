"""What a client says of its model in the file `MLmodel`: flavors, signature, input example, environment, licence.

The file is text that somebody sent. It is read as plain data, within bounds, and nothing that it names is opened but
files beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.store import Place
from bascule.tracking.artifacts import Artifacts, confined
from bascule.tracking.vouching import SCHEME

MOST_BYTES = 1 << 20
MOST_COLUMNS = 2000
# Types of MLflow's signatures as Arrow names them.
ARROW = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float",
    "double": "double",
    "string": "string",
    "binary": "binary",
    "datetime": "timestamp[ns]",
}
WHOLE = ("integer", "long")
# Types that skops leaves to its caller, and that are data; `bascule.training.foreign` has the same.
HARMLESS = frozenset(
    (
        "functools.partial",
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",
    )
)
# Flavors whose files are data, unless they are found to be pickles.
DATA = ("python_function", "sklearn", "lightgbm", "xgboost", "catboost", "onnx")
ENVIRONMENTS = ("requirements.txt", "conda.yaml", "python_env.yaml")


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a model's schema, by Arrow's name of its type."""

    name: str
    type: str
    nullable: bool


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says.

    Attributes:
        inputs: the columns that it takes.
        outputs: those that it gives.
        notes: what is odd about the schema, in words.
        example: the rows that were kept as an example, as text; empty when there are none.
        environment: the text of each file that says what it runs in.
        licence: as the client wrote it into the metadata; empty when it did not.
        runs: what the file has run when the model is loaded, beside the loaders of MLflow: a module, a folder of
            sources, types that are to be trusted.
    """

    flavors: tuple[str, ...] = ()
    inputs: tuple[Column, ...] = ()
    outputs: tuple[Column, ...] = ()
    notes: tuple[str, ...] = ()
    example: str = ""
    environment: dict[str, str] = {}
    licence: str = ""
    runs: tuple[str, ...] = ()


def read_model_file(ws: Workspace, artifact: str) -> ModelFile:
    """Return what is said of a model whose files lie at an artifact; empty where nothing is said."""
    if not artifact.startswith(SCHEME):
        return ModelFile()
    root = confined(artifact.removeprefix(SCHEME).lstrip("/"))
    told = _yaml(_text(ws, f"{root}/MLmodel"))
    signature = told.get("signature")
    notes: list[str] = []
    found = {
        side: _columns(signature.get(side) if isinstance(signature, dict) else None, side, notes)
        for side in ("inputs", "outputs")
    }
    about = told.get("saved_input_example_info")
    example = about.get("artifact_path") if isinstance(about, dict) else None
    metadata, flavors = told.get("metadata"), told.get("flavors")
    licence = metadata.get("license", metadata.get("licence", "")) if isinstance(metadata, dict) else ""
    return ModelFile(
        flavors=tuple(str(one) for one in flavors) if isinstance(flavors, dict) else (),
        inputs=found["inputs"],
        outputs=found["outputs"],
        notes=tuple(notes),
        example=_beside(ws, root, example) if isinstance(example, str) else "",
        environment={name: text for name in ENVIRONMENTS if (text := _beside(ws, root, name))},
        licence=licence if isinstance(licence, str) else "",
        runs=tuple(_runs(flavors)) if isinstance(flavors, dict) else (),
    )


def _runs(flavors: dict[Any, Any]) -> Iterator[str]:
    """Yield what loading runs that is not MLflow's own."""
    for name, flavor in flavors.items():
        if not isinstance(flavor, dict):
            continue
        if name not in DATA:
            yield f"the flavor {name!s:.50}, whose own library builds what its files say"
        loader = flavor.get("loader_module")
        if isinstance(loader, str) and not re.fullmatch(r"mlflow(\.\w+)*", loader):
            yield f"the module {loader[:200]}"
        if isinstance(flavor.get("code"), str):
            yield f"the sources in {flavor['code'][:200]}"
        # MLflow writes them beside every model of LightGBM; a Booster is read as LightGBM's text, and they by nobody.
        plain = name == "lightgbm" and flavor.get("model_class") == "lightgbm.basic.Booster"
        trusted = None if plain else flavor.get("skops_trusted_types")
        if trusted and not (isinstance(trusted, list) and HARMLESS.issuperset(map(str, trusted))):
            yield f"types that {name!s:.50} is told to trust: {str(trusted)[:200]}"


def _columns(text: Any, side: str, notes: list[str]) -> tuple[Column, ...]:
    try:
        told = json.loads(text) if isinstance(text, str) else []
    except (ValueError, RecursionError):
        notes.append(f"The {side} of the signature cannot be read.")
        return ()
    columns = []
    for place, one in enumerate(told[:MOST_COLUMNS] if isinstance(told, list) else []):
        if not isinstance(one, dict):
            continue
        name = str(one.get("name", place))
        nullable = one.get("required", True) is False or one.get("optional", False) is True
        columns.append(Column(name=name, type=_arrow(one), nullable=nullable))
        if side == "inputs" and one.get("type") in WHOLE and not nullable:
            notes.append(f"{name} is {_arrow(one)} and may not be missing: a missing whole number would be refused.")
    return tuple(columns)


def _arrow(one: dict[str, Any], depth: int = 0) -> str:
    kind = one.get("type")
    if depth > 20:
        return "null"
    if kind == "tensor":
        spec = one.get("tensor-spec")
        spec = spec if isinstance(spec, dict) else {}
        shape = spec.get("shape")
        inner = list(shape)[1:] if isinstance(shape, list) else []
        return f"fixed_shape_tensor[{spec.get('dtype', 'double')}, {inner}]"
    if kind == "array":
        items = one.get("items")
        return f"list<{_arrow(items, depth + 1) if isinstance(items, dict) else 'null'}>"
    if kind == "map":
        values = one.get("values")
        return f"map<string, {_arrow(values, depth + 1) if isinstance(values, dict) else 'null'}>"
    if kind == "object":
        fields = one.get("properties")
        parts = fields.items() if isinstance(fields, dict) else ()
        return f"struct<{', '.join(f'{k}: {_arrow(v, depth + 1)}' for k, v in parts if isinstance(v, dict))}>"
    return ARROW.get(str(kind), "null")


def _beside(ws: Workspace, root: str, name: str) -> str:
    try:
        return _text(ws, f"{root}/{confined(name)}")
    except InputError:
        return ""


def _text(ws: Workspace, path: str) -> str:
    try:
        place: Place = Artifacts(ws).file(path)
    except (NotFound, InputError):
        return ""
    if place.stat().st_size > MOST_BYTES:
        return ""
    return place.read_bytes().decode("utf-8", "replace")


def _yaml(text: str) -> dict[str, Any]:
    import yaml

    if text.count("*") > 1000:  # aliases that multiply
        return {}
    try:
        told = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
