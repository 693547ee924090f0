"""Keras: the history of `fit`, by epoch, how the model was compiled, and the model in Keras' own format."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from bascule_frameworks import models
from bascule_frameworks.boosters import MOST_CURVES
from bascule_frameworks.describing import rows_of
from bascule_frameworks.telling import curve, params
from bascule_frameworks.wrapping import Call, wrap

FRAMEWORK = "keras"


def wrap_trainer(module: ModuleType) -> None:
    """Look at `fit` of the trainer that the chosen backend gives to every model."""
    for name, cls in list(vars(module).items()):
        if isinstance(cls, type) and name.endswith("Trainer") and "fit" in cls.__dict__:
            wrap(FRAMEWORK, cls, "fit", _fitted)


def _fitted(call: Call) -> None:
    model, history = call.args[0], call.result
    data, target = call.get(1, "x"), call.get(2, "y")
    name = type(model).__name__
    told: dict[str, Any] = {"epochs": history.params.get("epochs"), "steps_per_epoch": history.params.get("steps")}
    told["batch_size"] = call.get(3, "batch_size") or 32
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        told["optimizer"] = type(optimizer).__name__
        told |= {f"optimizer.{key}": value for key, value in optimizer.get_config().items() if key != "name"}
    loss = getattr(model, "loss", None)
    told["loss"] = loss if isinstance(loss, str) else type(loss).__name__
    told["parameters"] = model.count_params()
    for key, values in list(history.history.items())[:MOST_CURVES]:
        curve(key, values, history.epoch[0] if history.epoch else 0)
    params({**told, "fit_rows": rows_of(data)}, f"{name}.")
    if not models.is_kept(name, model, _later):
        return
    lines: list[str] = []
    model.summary(print_fn=lambda line, **_: lines.append(line))
    models.note_fit(
        FRAMEWORK,
        name,
        params=told,
        data=data if hasattr(data, "shape") else None,
        target=target if hasattr(target, "shape") else None,
        values={key: values[-1] for key, values in history.history.items() if values},
        texts={"summary.txt": "\n".join(lines) + "\n"},
        model=_keep(model),
        cls=type(model),
    )


def _later(model: Any) -> None:
    models.note_fit(FRAMEWORK, type(model).__name__, params={}, model=_keep(model), cls=type(model))


def _keep(model: Any) -> dict[str, Any] | None:
    return models.keep(FRAMEWORK, "keras", model.save, safe=True)
