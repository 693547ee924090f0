"""scikit-learn's pipelines as ONNX, and ONNX models with matrices of eight-bit numbers."""

from __future__ import annotations

import logging
import warnings
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bascule.errors import MissingExtra
from bascule.serving.engines.forest import Unfit
from bascule.serving.engines.pipelines import onnx_of_columns
from bascule.training import ModelBundle
from bascule.training.foreign import open_skops

MATRICES = ("MatMul", "Gemm", "LSTM", "Attention")


def onnx_of_estimator(bundle: ModelBundle, *, single: bool) -> bytes:
    """Return a scikit-learn estimator as ONNX, in float64 or float32; one that was fitted on named columns reads each
    by its name.

    Raises:
        Unfit: skl2onnx does not know a part of it.
        MissingExtra: skl2onnx is not installed.
    """
    try:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
        from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
    except ImportError:
        raise MissingExtra("Pipelines of scikit-learn as ONNX", "optimize") from None
    estimator = open_skops(bundle.model)
    if not single:
        with suppress(Unfit):
            return onnx_of_columns(estimator, bundle.signature)
    kind = FloatTensorType if single else DoubleTensorType
    inputs = bundle.signature.inputs
    given: list[tuple[str, Any]] = [("rows", kind([None, len(inputs)]))]
    if hasattr(estimator, "feature_names_in_"):  # its steps may choose columns by their names
        texts = [one.categories is not None for one in inputs]
        given = [
            (one.name, (StringTensorType if text else kind)([None, 1])) for one, text in zip(inputs, texts, strict=True)
        ]
    options: dict[Any, Any] | None = None
    if bundle.signature.output.task != "regression":
        options = {id(estimator): {"zipmap": False}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = to_onnx(
                estimator,
                initial_types=given,
                options=options,
                target_opset={"": 18, "ai.onnx.ml": 3},
            )
    except (MissingConverter, MissingShapeCalculator):
        raise Unfit(f"skl2onnx does not know {type(estimator).__name__} or a step of it") from None
    return bytes(made.SerializeToString(deterministic=True))


def quantized(model: bytes) -> bytes:
    """Return an ONNX model whose matrices hold eight-bit numbers; what flows between them stays as it is.

    Raises:
        Unfit: it has no matrices of its own.
        MissingExtra: the package onnx is not installed.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        raise MissingExtra("Quantised models", "optimize") from None
    held = onnx.load_from_string(model)
    constants = {one.name for one in held.graph.initializer}
    found = [one for one in held.graph.node if one.op_type in MATRICES and constants & set(one.input)]
    if not found:
        raise Unfit("it has no matrices to quantise")
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "int8.onnx"
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it advises, and whoever reads this cannot follow
        try:
            quantize_dynamic(held, str(path), weight_type=QuantType.QInt8)
        finally:
            logging.disable(before)
        return path.read_bytes()
