"""A model that MLflow logged, made into a bundle: the one file that everything here serves.

Formats that run no code when they are read are opened here. A pickle is not: it is told what it is, and a process of
its own loads it when somebody consented (`bundle_of_pickles`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePosixPath
from typing import Any

import msgspec
import numpy as np
import yaml
from msgspec.structs import replace

from bascule.errors import InputError, NotFound
from bascule.serving.inputexample import example_background, example_rows, inputs_of_example
from bascule.serving.mlsignature import (
    RAW_TYPES,
    Columns,
    inputs_told,
    kinds_told,
    matrix_told,
    numbered,
    of_another_type,
)
from bascule.serving.pandas_categories import demand_places, with_pandas_categories
from bascule.serving.pickled.cells import texts_of
from bascule.serving.pickled.signature import LONE_TEXT
from bascule.serving.texts import with_texts
from bascule.training import Field, Output, Signature, pack_model
from bascule.training.foreign import are_texts
from bascule.training.trainer import TrainedModel

# Which types beside numbers and truths the models of a flavor may read.
READ = {"catboost": ("string",), "lightgbm": ("string",), "sklearn": ("string", "datetime")}
TORCH = (".pt", ".pt2", ".pth")
LARGEST = 4 << 30
LARGEST_TEXT = 16 << 20
UNSAFE = (
    "Log it in a format that runs no code: scikit-learn with serialization_format='skops', a LightGBM Booster, "
    "XGBoost, CatBoost (cbm), ONNX."
)
# Reads one file of a model by its path: the bytes, of at most so many.
Read = Callable[[str, int], bytes]


def bundle_of(read: Read, notes: Mapping[str, Any]) -> bytes:
    """Return the bundle of a model that MLflow logged.

    Args:
        read: reads a file of it; NotFound when there is none.
        notes: where it comes from; kept in the bundle.

    Raises:
        InputError: there is no flavor that can be served, or a file is damaged; the text says which and what to do.
        MissingExtra: the library of its format is not installed.
    """
    about = _about(read)
    flavors = about.get("flavors")
    flavors = flavors if isinstance(flavors, dict) else {}
    raw = next((READ[name] for name in _FLAVORS if name in READ and isinstance(flavors.get(name), dict)), ())
    columns = inputs_told(about, raw) or (inputs_of_example(about, read) if raw else None)
    for name, make in _FLAVORS.items():
        flavor = flavors.get(name)
        if isinstance(flavor, dict):
            format, data, signature = make(flavor, read, columns)
            model = TrainedModel(
                format=format,
                artifact=data,
                signature=signature,
                libraries=_libraries(flavor),
                background=example_background(about, read, format, signature),
            )
            packed = pack_model(model, meta=dict(notes))
            _tried(packed, example_rows(about, read, signature))
            return packed
    known = ", ".join(sorted(str(one) for one in flavors if one != "python_function")) or "python_function alone"
    raise InputError(
        f"This model has the flavor {known}, whose code a server does not run.",
        hint=f"{UNSAFE} Or serve it with its own code, outside: mlflow models serve.",
    )


def bundle_of_pickles(files: Mapping[str, bytes], name: str, notes: Mapping[str, Any]) -> bytes:
    """Return the bundle of a version that runs code when it is loaded: its files, and what it says of itself.

    It is loaded once for that, in a process of its own. Whoever calls this has seen to it that somebody consented.

    Args:
        name: what messages call it.

    Raises:
        InputError: it cannot be loaded, or does not answer numbers for numbers.
    """
    from bascule.serving.pickled import PICKLED, PackedFiles, described, pack_files, recipe_of, signed_by

    def read(path: str, most: int) -> bytes:
        return files[path]

    about = _about(read) if "MLmodel" in files else {}
    recipe = recipe_of(about or None, sorted(files), kinds_told(about), matrix_told(about))
    columns = inputs_told(about, () if recipe.path.endswith(TORCH) else tuple(RAW_TYPES))
    if columns is None and not recipe.path.endswith(TORCH):
        columns = inputs_of_example(about, read)
    rows = None
    if any(one.is_raw for one in columns or ()):
        rows = example_rows(about, read, Signature(inputs=columns or (), output=Output(task="regression")))
    told = described(PackedFiles(recipe=recipe, files=dict(files)), name, columns or (), rows)
    signature = signed_by(told, columns)
    model = TrainedModel(
        format=PICKLED,
        artifact=pack_files(recipe, files),
        signature=signature,
        background=example_background(about, read, PICKLED, signature),
    )
    return pack_model(model, meta=dict(notes))


def _tried(packed: bytes, example: np.ndarray | None) -> None:
    """Load the bundle and let it predict what it need not keep, so that what cannot be served is told now.

    Args:
        example: rows that it answers. Without such zeros are taken, and nothing where it reads texts: nobody knows
            which of them it refuses.
    """
    from bascule.serving.runtime import load_runtime
    from bascule.training import unpack_model

    bundle = unpack_model(packed)
    runtime = load_runtime(bundle)
    rows = example
    if rows is None or not bundle.signature.is_raw:
        rows = np.zeros((0 if bundle.signature.is_raw else 1, len(bundle.signature.inputs)))
    try:
        if len(rows):
            runtime.predict(rows[:1])
    except InputError:
        raise
    except Exception as error:  # whatever a model may raise on a row
        raise InputError(f"The model cannot predict here: {type(error).__name__}: {str(error)[:200]}.") from None


def _about(read: Read) -> dict[str, Any]:
    try:
        found = yaml.safe_load(read("MLmodel", LARGEST_TEXT))
    except NotFound:
        raise InputError(
            "There is no MLmodel file with this version.", hint="Register the model's own folder."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"The MLmodel file cannot be read: {str(error)[:200]}.", hint="Log the model again.") from None
    if not isinstance(found, dict):
        raise InputError("The MLmodel file says nothing.", hint="Log the model again.")
    return found


def _of_lightgbm(flavor: Mapping[str, Any], read: Read, columns: Columns) -> tuple[str, bytes, Signature]:
    data = _data(flavor, "data", read)
    if not data.startswith(b"tree\n"):
        raise _pickled("LightGBM", flavor)
    _opened(_try_lightgbm, data, flavor["data"])
    header = dict(
        line.partition("=")[::2]
        for line in data[:LARGEST_TEXT].decode("utf-8", "replace").partition("\n\n")[0].splitlines()
        if "=" in line
    )
    names = header.get("feature_names", "").split()
    objective, classes = header.get("objective", "").partition(" ")[0], int(header.get("num_class", "1") or 1)
    task = "multiclass" if classes > 1 else "binary" if objective in ("binary", "cross_entropy") else "regression"
    inputs = _fitting(columns, names or None, int(header.get("max_feature_idx", "-1")) + 1)
    inputs = with_pandas_categories(data, header, inputs)
    for one in inputs:
        if one.type == "varchar" and one.categories is None:
            raise of_another_type(one.name, "string")
    return "lightgbm", data, _signature(inputs, task, classes)


def _try_lightgbm(data: bytes) -> None:
    from bascule.training.trials import demand_survived

    demand_survived("LightGBM", "bascule.serving.runtimes.lightgbm:attempt", _release("lightgbm"), data)


def _release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # it is told when it is asked for
        return ""


def _of_xgboost(flavor: Mapping[str, Any], read: Read, columns: Columns) -> tuple[str, bytes, Signature]:
    from bascule.training.boosters import open_xgboost

    data = _data(flavor, "data", read)
    booster = _opened(open_xgboost, data, flavor["data"])
    learner = msgspec.json.decode(booster.save_config())["learner"]
    objective = str(learner.get("objective", {}).get("name", ""))
    classes = int(learner.get("learner_model_param", {}).get("num_class", 0))
    task = "multiclass" if classes > 1 else "binary" if objective == "binary:logistic" else "regression"
    inputs = _fitting(columns, booster.feature_names, booster.num_features())
    demand_places(booster, inputs)
    return "xgboost", data, _signature(inputs, task, classes)


def _of_onnx(flavor: Mapping[str, Any], read: Read, columns: Columns) -> tuple[str, bytes, Signature]:
    from bascule.training.foreign import open_onnx, probabilities_of

    data = _data(flavor, "data", read)
    session = _opened(open_onnx, data, flavor["data"])
    given = session.get_inputs()
    if len(given) > 1:
        inputs = _fitting(columns, [one.name for one in given], len(given))
    else:
        shape = given[0].shape
        width = shape[1] if len(shape) == 2 and isinstance(shape[1], int) else len(columns or ())
        inputs = _fitting(columns, None, width)
    labels = [one for one in session.get_outputs() if one.type in ("tensor(int64)", "tensor(string)")]
    if not labels:
        return "onnx", data, _signature(inputs, "regression", 1)
    name, mapped = probabilities_of(session)
    shape = next(one.shape for one in session.get_outputs() if one.name == name)
    classes = shape[1] if len(shape) == 2 and isinstance(shape[1], int) else 2
    if mapped:
        (rows,) = session.run([name], {given[0].name: np.zeros((1, len(inputs)), dtype=np.float32)})
        classes = len(rows[0])
    return "onnx", data, _signature(inputs, "binary" if classes == 2 else "multiclass", classes)


def _of_sklearn(flavor: Mapping[str, Any], read: Read, columns: Columns) -> tuple[str, bytes, Signature]:
    from bascule.training.foreign import open_skops

    data = _data(flavor, "pickled_model", read)
    if not data.startswith(b"PK"):
        raise _pickled("scikit-learn", flavor)
    estimator = _opened(open_skops, data, flavor["pickled_model"])
    told = getattr(estimator, "feature_names_in_", None)
    names = None if told is None else [str(one) for one in told]
    columns = columns or _by_itself(estimator, names)
    width = int(getattr(estimator, "n_features_in_", 0) or len(columns or ()))
    inputs = with_texts(estimator, _fitting(columns, names, width))
    classes = getattr(estimator, "classes_", None)
    if classes is None or not (hasattr(estimator, "predict_proba") or are_texts(classes)):
        return "skops", data, _signature(inputs, "regression", 1)
    texts = tuple(str(one) for one in classes)
    return "skops", data, _signature(inputs, "binary" if len(texts) == 2 else "multiclass", len(texts), texts)


def _by_itself(estimator: Any, names: list[str] | None) -> Columns:
    """Return the inputs as a pipeline that reads texts tells them itself; None where it tells of none."""
    texts = texts_of(estimator)
    if texts is True:
        return (LONE_TEXT,)
    if not texts or names is None:
        return None
    return tuple(Field(name=one, type="varchar" if one in texts else "double") for one in names)


def _of_catboost(flavor: Mapping[str, Any], read: Read, columns: Columns) -> tuple[str, bytes, Signature]:
    from bascule.training.catboost_models import open_catboost, with_hashed

    if str(flavor.get("save_format", "cbm")) != "cbm":
        raise InputError("This CatBoost model is not in its own format.", hint="Log it with format='cbm'.")
    data = _data(flavor, "data", read)
    model = _opened(open_catboost, data, flavor["data"])
    names = [str(one) for one in model.feature_names_]
    inputs = _fitting(columns, names, len(names))
    inputs = _texts_where_nothing_is_told(inputs, columns, model.get_cat_feature_indices())
    classes = () if flavor.get("model_type") == "CatBoostRegressor" else tuple(str(one) for one in model.classes_)
    task = "regression" if len(classes) < 2 else "binary" if len(classes) == 2 else "multiclass"
    return "catboost", data, with_hashed(model, _signature(inputs, task, len(classes), classes))


def _texts_where_nothing_is_told(
    inputs: tuple[Field, ...], columns: Columns, categories: Iterable[int]
) -> tuple[Field, ...]:
    """Return inputs, those that are categories being texts where no signature says what they are."""
    if columns is not None:
        return inputs
    places = set(categories)
    return tuple(replace(one, type="varchar") if at in places else one for at, one in enumerate(inputs))


_FLAVORS: dict[str, Callable[[Mapping[str, Any], Read, Columns], tuple[str, bytes, Signature]]] = {
    "catboost": _of_catboost,
    "lightgbm": _of_lightgbm,
    "xgboost": _of_xgboost,
    "onnx": _of_onnx,
    "sklearn": _of_sklearn,
}


def _data(flavor: Mapping[str, Any], key: str, read: Read) -> bytes:
    path = str(flavor.get(key) or "")
    if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise InputError(f"The MLmodel file names {path[:80]!r} as the model's file.", hint="Log the model again.")
    try:
        return read(path, LARGEST)
    except NotFound:
        raise InputError(f"The model's file {path[:80]!r} is missing.", hint="Log the model again.") from None


def _opened(opened: Callable[[bytes], Any], data: bytes, path: str) -> Any:
    """Return what a library reads in a file; a refusal names the file."""
    try:
        return opened(data)
    except InputError as error:
        raise InputError(f"The model's file {path[:80]!r} is refused. {error.message}", hint=error.hint) from None


def _fitting(columns: Columns, names: list[str] | None, width: int) -> tuple[Field, ...]:
    """Return the inputs in the order in which the model reads them, with the types that the signature says."""
    if width <= 0:
        raise InputError("Nothing says how many inputs the model reads.", hint="Log it with a signature.")
    told = {field.name: field for field in columns or ()}
    if columns is not None and (names is None or not set(names) <= told.keys()) and len(columns) == width:
        return columns
    if names is not None and len(names) == width:
        return tuple(told.get(name, Field(name=name, type="double")) for name in names)
    return numbered(width)


def _signature(inputs: tuple[Field, ...], task: str, classes: int, names: tuple[str, ...] | None = None) -> Signature:
    if task == "regression":
        return Signature(inputs=inputs, output=Output(task="regression"))
    labels = names or tuple(str(place) for place in range(2 if task == "binary" else classes))
    return Signature(inputs=inputs, output=Output(task=task, classes=labels))  # type: ignore[arg-type]


def _libraries(flavor: Mapping[str, Any]) -> dict[str, str]:
    return {key.removesuffix("_version"): str(value) for key, value in flavor.items() if key.endswith("_version")}


def _pickled(what: str, flavor: Mapping[str, Any]) -> InputError:
    how = str(flavor.get("serialization_format") or "pickle")[:40]
    return InputError(
        f"This {what} model is kept as {how}: reading it would run whatever code it holds, so no process here does.",
        hint=UNSAFE,
    )
