"""Formats of models that other tools write, of those that run no code when they are read: skops and ONNX.

Boosters are in `boosters`.

A skops file names the types in it, and one with a type that is not known as harmless is refused, whatever the file
itself says to trust. Trees are arrays that scikit-learn's own code follows unseen, so they are looked at first.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from bascule.capture import module
from bascule.errors import InputError, MissingExtra
from bascule.training.formats import Predictor
from bascule.training.signature import Field, Signature
from bascule.training.threads import calm_threads
from bascule.training.trials import demand_survived

# Types of scikit-learn and NumPy that skops leaves to its caller: data, trees, which `_demand_sound` looks at, and
# calls of functions that are known too (HistGradientBoosting checks its categories by a partial of `check_array`).
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
DEEPEST = 32


def open_skops(model: bytes) -> Any:
    """Return the estimator in a skops file.

    Raises:
        InputError: the bytes are none, or hold types that are not known as harmless, or trees that lead astray.
        MissingExtra: skops or scikit-learn is not installed.
    """
    calm_threads()
    try:
        import skops
    except ImportError:
        raise MissingExtra("Models in skops files", "models") from None
    import sklearn

    releases = f"{skops.__version__} {sklearn.__version__}"
    demand_survived("scikit-learn", "bascule.training.attempts:skops", releases, model)
    return read_skops(model)


def read_skops(model: bytes) -> Any:
    """Return the estimator in bytes that its library is known to live through (`trials`), or may die of.

    Raises:
        InputError: the bytes are none, or hold types that are not known as harmless, or trees that lead astray, or less
            than the model had.
    """
    from skops import io as skops

    try:
        asked = skops.get_untrusted_types(data=model)
        if unknown := set(asked) - HARMLESS:
            raise InputError(
                f"This skops file holds types that are not known as harmless: {', '.join(sorted(unknown)[:5])}.",
                hint="Log it as ONNX, which is data whatever the model is.",
            )
        with zipfile.ZipFile(io.BytesIO(model)) as held:
            why = module("bascule_frameworks.skops_files").lost(held.read("schema.json").decode())
        if why:
            raise InputError(
                f"This skops file has lost a part of the model: {why}.",
                hint="Give the dicts that the model was made with keys of one type, fit it and log it again.",
            )
        estimator = skops.loads(model, trusted=asked)
        _demand_sound(estimator)
        return estimator
    except InputError:
        raise
    except Exception as error:  # whatever a damaged zip file or an estimator of another release may raise
        raise InputError(
            f"This is no skops file that can be read here: {type(error).__name__}: {str(error)[:200]}.",
            hint="Check that scikit-learn here is not older than the one that wrote it.",
        ) from None


def _demand_sound(estimator: Any) -> None:
    """Refuse trees whose nodes lead out of them: the compiled code that follows them does not look.

    Raises:
        InputError: a tree is one of those.
    """
    for tree in _trees_in(estimator, DEEPEST, set()):
        told = getattr(tree, "nodes", None)
        if told is None:
            left, right, features = tree.children_left, tree.children_right, tree.feature
            leaf, width = left == -1, tree.n_features
        else:
            left, right, features = (told[name].astype(np.int64) for name in ("left", "right", "feature_idx"))
            leaf, width = told["is_leaf"] != 0, None
        places, count = np.arange(len(left)), len(left)
        sound = (left > places) & (right > places) & (left < count) & (right < count) & (features >= 0)
        if width is not None:
            sound &= features < width
        if not count or not (leaf | sound).all():
            raise InputError("A tree in this skops file leads out of itself.", hint="Log the model again.")


def _trees_in(value: Any, deep: int, seen: set[int]) -> Iterator[Any]:
    if id(value) in seen or isinstance(value, (str, bytes, int, float, type)):
        return
    seen.add(id(value))
    if type(value).__name__ in ("Tree", "TreePredictor"):
        yield value
        return
    if not deep:
        raise InputError(f"This skops file nests more than {DEEPEST} deep.", hint="Log the model's last step alone.")
    if isinstance(value, dict):
        parts: Any = value.values()
    elif isinstance(value, (list, tuple, set)):
        parts = value
    elif isinstance(value, np.ndarray):
        parts = value.ravel() if value.dtype == object else ()
    else:
        parts = getattr(value, "__dict__", {}).values()
    for one in parts:
        yield from _trees_in(one, deep - 1, seen)


def are_texts(classes: Any) -> bool:
    """Tell whether an estimator's classes are one list, of texts."""
    return getattr(classes, "ndim", 1) == 1 and any(isinstance(one, str) for one in classes)


def column_of(field: Field, codes: np.ndarray, missing: str | float = np.nan) -> np.ndarray:
    """Return an input's values [rows] as a model of another tool reads them: texts instead of their codes.

    Args:
        codes: float64 [rows]; NaN is a text that is missing, or was never seen. Of an input that `is_raw` objects: a
            missing text is None, and times are those of NumPy.
        missing: what stands for a text that has no code.
    """
    if field.type == "timestamp":
        moments = np.array(["NaT" if one is None else one for one in codes.tolist()], dtype="datetime64[us]")
        return moments
    if field.is_raw:
        return codes
    codes = codes.astype(np.float64, copy=False)
    if field.categories is None:
        return codes
    texts = np.array([*field.categories, missing], dtype=object)
    known = (codes >= 0) & (codes < len(field.categories))
    return np.asarray(texts[np.where(known, codes, len(field.categories)).astype(np.int64)])


class SkopsPredictor:
    """A scikit-learn estimator behind its signature.

    Attributes:
        estimator: the estimator itself.
    """

    def __init__(self, estimator: Any, signature: Signature) -> None:
        self._inputs = signature.inputs if hasattr(estimator, "feature_names_in_") else None
        self._lone = signature.is_raw and len(signature.inputs) == 1
        self._shares = hasattr(estimator, "predict_proba")
        self._task = signature.output.task
        self.estimator = estimator

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return probabilities [rows] or [rows, classes], or values [rows]."""
        rows = self.rows(matrix)
        if self._task == "regression":
            return np.asarray(self.estimator.predict(rows), dtype=np.float64).reshape(len(matrix))
        if self._shares:
            found = np.asarray(self.estimator.predict_proba(rows), dtype=np.float64)
        else:  # it tells the class alone
            labels = np.asarray(self.estimator.predict(rows)).reshape(-1, 1)
            found = (labels == np.asarray(self.estimator.classes_)).astype(np.float64)
        return found[:, 1] if self._task == "binary" else found

    def rows(self, matrix: np.ndarray) -> Any:
        """Return rows as the estimator reads them: named columns where it was fitted on such, texts for their codes,
        and a list of texts where it reads one a row."""
        if self._inputs is None:
            return matrix[:, 0].tolist() if self._lone else matrix
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtra("Models that were fitted on named columns", "models") from None
        columns = {one.name: column_of(one, matrix[:, place]) for place, one in enumerate(self._inputs)}
        text = pd.Series([""]).dtype  # as this release of pandas has texts, and their gaps
        for one in self._inputs:
            if one.is_raw and one.type == "varchar":
                columns[one.name] = pd.Series(columns[one.name].tolist(), dtype=text)
        return pd.DataFrame(columns)

    def importance(self) -> np.ndarray:
        """Return what the estimator says of each input: importances, or the size of its coefficients."""
        found = getattr(self.estimator, "feature_importances_", None)
        if found is None:
            weights = getattr(self.estimator, "coef_", None)
            found = np.abs(np.atleast_2d(weights)).sum(axis=0) if weights is not None else None
        width = int(getattr(self.estimator, "n_features_in_", 0))
        return np.zeros(width) if found is None else np.asarray(found, dtype=np.float64)


def load_skops(model: bytes, signature: Signature) -> Predictor:
    """Load a scikit-learn estimator from a skops file."""
    estimator = open_skops(model)
    width = getattr(estimator, "n_features_in_", len(signature.inputs))
    if width != len(signature.inputs):
        raise InputError(f"The estimator reads {width} inputs; its signature says {len(signature.inputs)}.")
    return SkopsPredictor(estimator, signature)


def open_onnx(model: bytes, threads: int = 1) -> Any:
    """Return a session over an ONNX model whose threads sleep while they wait.

    Raises:
        InputError: the bytes are none, or need files beside them.
        MissingExtra: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra("ONNX models", "models") from None
    demand_survived("ONNX", "bascule.training.attempts:onnx", onnxruntime.__version__, model)
    return read_onnx(model, threads)


def read_onnx(model: bytes, threads: int = 1) -> Any:
    """Return a session over bytes that the runtime is known to live through (`trials`), or may die of.

    Raises:
        InputError: the bytes are no model, or need files beside them.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exceptions have no class of their own to name
        raise InputError(
            f"ONNX Runtime cannot read this model: {str(error)[:300]}.", hint="Weights must lie in the one file."
        ) from None


_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


class OnnxPredictor:
    """An ONNX model behind its signature: one matrix goes in, or each column by its name."""

    def __init__(self, session: Any, signature: Signature) -> None:
        self._session, self._task = session, signature.output.task
        self._inputs = [(one.name, _TYPES.get(one.type)) for one in session.get_inputs()]
        self._fields, names = signature.inputs, signature.names()
        shape = session.get_inputs()[0].shape
        self._columns = len(self._inputs) > 1 or (len(names) > 1 and len(shape) == 2 and shape[1] == 1)
        told = [name for name, _ in self._inputs]
        # A converter leaves out a column that no step reads, so they are found by name where all have one.
        self._places = [names.index(name) for name in told] if set(told) <= set(names) else list(range(len(told)))
        strange = any(kind is None for _, kind in self._inputs) or len(told) > len(names)
        if strange or (self._columns and len(told) < len(names) and not set(told) <= set(names)):
            shown = ", ".join(f"{one.name}: {one.type}" for one in session.get_inputs())
            raise InputError(
                f"This ONNX model reads {shown}: not one matrix of numbers, nor one column for each input."
            )
        self._output, self._mapped = (
            probabilities_of(session) if self._task != "regression" else (value_of(session), False)
        )
        self._width = len(signature.inputs)

    @property
    def output(self) -> str:
        """The name of what is read of the model's outputs."""
        return self._output

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return probabilities [rows] or [rows, classes], or values [rows]."""
        with np.errstate(over="ignore", invalid="ignore"):  # too large for a float32 is infinite, as it is to the model
            if not self._columns:
                name, kind = self._inputs[0]
                given = {name: np.ascontiguousarray(matrix, dtype=kind)}
            else:
                given = {
                    name: column_of(self._fields[place], matrix[:, place], "").astype(kind).reshape(-1, 1)
                    for place, (name, kind) in zip(self._places, self._inputs, strict=True)
                }
        (found,) = self._session.run([self._output], given)
        if self._mapped:
            found = np.array([list(row.values()) for row in found])
        answer = np.asarray(found, dtype=np.float64)
        if self._task == "regression":
            return answer.reshape(len(matrix))
        if self._task == "binary":
            return answer[:, -1] if answer.ndim == 2 else answer
        return answer

    def importance(self) -> np.ndarray:
        """Return zeros: the format does not say it."""
        return np.zeros(self._width)


def probabilities_of(session: Any) -> tuple[str, bool]:
    """Return the output with probabilities, and whether it is a mapping for each row."""
    outputs = session.get_outputs()
    for one in outputs:
        if one.type.startswith("seq(map("):
            return str(one.name), True
    floats = [one for one in outputs if one.type in ("tensor(float)", "tensor(double)")]
    named = [one for one in floats if "prob" in one.name.lower()]
    found = (named or floats or outputs)[-1]
    return str(found.name), False


def value_of(session: Any) -> str:
    """Return the output with values: the first that is a number."""
    floats = [one for one in session.get_outputs() if one.type in ("tensor(float)", "tensor(double)")]
    return str((floats or session.get_outputs())[0].name)


def load_onnx(model: bytes, signature: Signature) -> Predictor:
    """Load an ONNX model."""
    return OnnxPredictor(open_onnx(model), signature)
