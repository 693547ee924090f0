"""The `MLmodel` file of a captured model, by which MLflow's clients know how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

# Types of columns, as pandas, NumPy, Polars and Arrow name them, in the words of MLflow's signatures.
TYPES = {
    **dict.fromkeys(("float64", "Float64", "double", "float"), "double"),
    **dict.fromkeys(("float32", "Float32"), "float"),
    **dict.fromkeys(("int64", "Int64", "int"), "long"),
    **dict.fromkeys(("int32", "Int32", "int16", "int8", "Int16", "Int8", "uint8", "uint16"), "integer"),
    **dict.fromkeys(("bool", "boolean", "Boolean"), "boolean"),
    **dict.fromkeys(("object", "str", "string", "String", "category"), "string"),
}
BOOSTERS = {
    "lightgbm.txt": ("lightgbm", {"model_class": "lightgbm.basic.Booster"}),
    "xgboost.json": ("xgboost", {"model_class": "xgboost.core.Booster", "model_format": "json"}),
    "cbm": ("catboost", {"save_format": "cbm"}),
}


def mlmodel(entry: Mapping[str, Any], model: str, run: str, at: int) -> str | None:
    """Return the file's text for a fitted model, or None where MLflow has no such kind of model.

    Args:
        entry: with `model`, `version`, `signature`, `class`.
        model, run: ids.
        at: microseconds since 1970 UTC.
    """
    form = entry["model"]["format"]
    file = f"model.{form}"
    if form in ("pkl", "skops") and entry["framework"] == "sklearn":
        name = "sklearn"
        kind = "pickle" if form == "pkl" else "skops"
        own = {"pickled_model": file, "serialization_format": kind, "sklearn_version": entry.get("version")}
        if entry["model"].get("trusted"):
            own["skops_trusted_types"] = entry["model"]["trusted"]
        function = {"loader_module": "mlflow.sklearn", "model_path": file, "predict_fn": "predict"}
    elif form in BOOSTERS:
        name, more = BOOSTERS[form]
        if name == "catboost":
            more = {**more, "model_type": str(entry.get("class", "")).rpartition(".")[2]}
        own = {"data": file, **more}
        function = {"loader_module": f"mlflow.{name}", "data": file}
    else:
        return None
    told: dict[str, Any] = {
        "flavors": {"python_function": function, name: {**own, "code": None}},
        "model_id": model,
        "model_uuid": model[2:],
        "run_id": run,
        "utc_time_created": datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
    signature = _signature(entry.get("signature") or {})
    if signature:
        told["signature"] = signature
    return msgspec.yaml.encode(told).decode()


def _signature(told: Mapping[str, Any]) -> dict[str, str | None] | None:
    """Return a signature as MLflow has it, or None when a column's type has no name there, or columns have no names."""
    columns = told.get("inputs") or []
    if len(columns) != told.get("columns") or any(kind not in TYPES for _, kind in columns):
        return None
    if all(name == f"x{place}" for place, (name, _) in enumerate(columns)):  # an array
        return None
    inputs = [{"type": TYPES[kind], "name": name, "required": True} for name, kind in columns]
    return {"inputs": msgspec.json.encode(inputs).decode(), "outputs": None, "params": None}
