"""Lightning: what a `Trainer` is set to, its metrics of each epoch, and the model that it fitted."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from bascule_frameworks import models
from bascule_frameworks.telling import params, point, warn
from bascule_frameworks.torch_loops import keep_state
from bascule_frameworks.wrapping import Call, wrap

FRAMEWORK = "lightning"
SETTINGS = ("max_epochs", "max_steps", "precision", "gradient_clip_val", "accumulate_grad_batches", "num_devices")


def wrap_trainer(module: ModuleType) -> None:
    """Look at `fit`, `validate` and `test`, and at what the trainer tells its loggers and its progress bar."""
    trainer = module.Trainer
    wrap(FRAMEWORK, trainer, "fit", _fitted)
    for name in ("validate", "test"):
        wrap(FRAMEWORK, trainer, name, _measured)
    original = trainer.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        try:
            self.callbacks.append(_teller(module))
        except Exception as error:
            warn(FRAMEWORK, "epochs are not captured", error)

    __init__.__wrapped__ = original  # type: ignore[attr-defined]
    trainer.__init__ = __init__


def _teller(module: ModuleType) -> Any:
    """Return a callback that notes the metrics at the end of each epoch; it has no state for a checkpoint to hold."""
    package = module.__name__.rpartition(".trainer.trainer")[0]
    base = importlib.import_module(f"{package}.callbacks.callback").Callback

    class Teller(base):  # type: ignore[misc]
        def on_train_epoch_end(self, trainer: Any, model: Any) -> None:
            _note_metrics(trainer)

        def on_validation_epoch_end(self, trainer: Any, model: Any) -> None:
            if not trainer.sanity_checking and not trainer.training:
                _note_metrics(trainer)

    return Teller()


def _note_metrics(trainer: Any) -> None:
    try:
        for key, value in dict(trainer.callback_metrics).items():
            point(str(key), value, trainer.current_epoch)
    except Exception as error:
        warn(FRAMEWORK, "an epoch is not captured", error)


def _measured(call: Call) -> None:
    for told in call.result or ():
        for key, value in told.items():
            point(str(key), value, call.args[0].current_epoch)


def _fitted(call: Call) -> None:
    trainer, model = call.args[0], call.get(1, "model")
    told = {key: getattr(trainer, key, None) for key in SETTINGS}
    told = {key: value for key, value in told.items() if value is not None}
    told["strategy"] = type(trainer.strategy).__name__
    chosen = getattr(model, "hparams", None)
    if isinstance(chosen, Mapping):
        told |= {str(key): value for key, value in chosen.items()}
    told |= {f"optimizer{place or ''}": type(one).__name__ for place, one in enumerate(trainer.optimizers)}
    params(told, "lightning.")
    if trainer.global_rank:
        return
    metrics = {str(key): value for key, value in dict(trainer.callback_metrics).items()}
    models.note_fit(
        FRAMEWORK,
        type(model).__name__,
        params=told,
        values={**metrics, "epochs": trainer.current_epoch, "steps": trainer.global_step},
        texts={"summary.txt": f"{model}\n"},
        model=keep_state(model),
        cls=type(model),
    )
