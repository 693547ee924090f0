"""PyTorch: the loops that people write themselves, by what each of them calls: `backward` and an optimizer's `step`.

The loss of a step is what `backward` was called on. It stays where it was computed until many are read at once, so that
no step waits for an accelerator. A model is known as the one whose parameters the optimizer was given.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
import weakref
from types import ModuleType
from typing import Any

from bascule_frameworks import models
from bascule_frameworks.describing import short
from bascule_frameworks.saved_files import wrap_torch_files
from bascule_frameworks.telling import allowed, at_end, params, point, warn
from bascule_frameworks.wrapping import Call, depth, tried, wrap

FRAMEWORK = "torch"
AT_ONCE = 1000
WAIT = 1.0
MOST_MODELS = 20
MOST_LAYERS = 500

_lock = threading.Lock()
_losses: list[tuple[int, Any]] = []
_read = 0.0
_steps: weakref.WeakKeyDictionary[Any, _Loop] = weakref.WeakKeyDictionary()
_candidates: weakref.WeakSet[Any] = weakref.WeakSet()
_current: _Loop | None = None
_total = 0


class _Loop:
    """What is known of one optimizer: its steps, its learning rate, and the model that it trains."""

    def __init__(self, optimizer: Any, number: int) -> None:
        self.name = "torch" if number == 1 else f"torch{number}"
        self.steps = 0
        self.rate: Any = None
        self.settings = {"optimizer": type(optimizer).__name__, **optimizer.defaults}
        # Inside the loop of a framework it is the framework that says what it fitted.
        self.model = None if depth() else _model_of(optimizer)
        # On an accelerator memory is dear: there the model is not kept alive, only looked for at the end.
        first = next(iter(self.model.parameters()), None) if self.model is not None else None
        self.weak = weakref.ref(self.model) if self.model is not None else None
        if first is not None and first.device.type != "cpu":
            self.model = None


def wrap_torch(module: ModuleType) -> None:
    """Look at `backward`, at the steps of all optimizers, and at which model's parameters are asked for."""
    wrap(FRAMEWORK, module.Tensor, "backward", _after_backward, always=True)
    for name in ("parameters", "named_parameters"):
        wrap(FRAMEWORK, module.nn.Module, name, _after_parameters)
    tried(FRAMEWORK, wrap_torch_files, module)
    register = getattr(sys.modules.get("torch.optim.optimizer"), "register_optimizer_step_post_hook", None)
    if register is None:
        warn(FRAMEWORK, f"torch {module.__version__} does not say when an optimizer steps: loops are not captured")
        return
    register(_after_step)
    at_end(_end)


def _after_parameters(call: Call) -> None:
    _candidates.add(call.args[0])


def _after_backward(call: Call) -> None:
    global _read
    loss = call.args[0]
    if loss.dim() or len(_losses) > AT_ONCE or (depth() > 1 and not _steps):  # a framework's own loop tells itself
        return
    with _lock:
        _losses.append((_total, loss.detach()))
        waits = time.monotonic() - _read > WAIT or len(_losses) >= AT_ONCE
    if waits:
        _read_losses()


def _after_step(optimizer: Any, args: Any, kwargs: Any) -> None:
    global _current, _total
    try:
        loop = _steps.get(optimizer)
        if loop is None:
            if not allowed("optimizers", MOST_MODELS):
                return
            loop = _steps[optimizer] = _Loop(optimizer, len(_steps) + 1)
            params(loop.settings, f"{loop.name}.")
            _follow(loop)
        _total += 1
        loop.steps += 1
        rate = optimizer.param_groups[0].get("lr")
        if rate is not loop.rate and rate != loop.rate:
            loop.rate = rate
            point(f"{loop.name}.lr", rate, loop.steps)
    except Exception as error:
        warn(FRAMEWORK, "a training loop is not captured", error)


def _follow(loop: _Loop) -> None:
    """Note the model of the loop before, unless both train together as the parts of one."""
    global _current
    before, _current = _current, loop
    if before is not None and before.weak is not None and loop.weak is not None:
        old, new = before.weak(), loop.weak()
        if old is not None and old is not new and before.steps > 1:
            _note(before)


def _model_of(optimizer: Any) -> Any:
    """Return the smallest model that has all parameters of an optimizer; None when nobody saw it."""
    wanted = {id(one) for group in optimizer.param_groups for one in group["params"]}
    fitting = []
    for module in list(_candidates):
        own = {id(one) for one in module.parameters()}
        if wanted <= own:
            fitting.append((len(own), len(list(module.modules())), module))
    return min(fitting, key=lambda one: one[:2])[2] if fitting else None


def _read_losses() -> None:
    global _read
    with _lock:
        held = _losses[:]
        _losses.clear()
        _read = time.monotonic()
    if not held:
        return
    torch = sys.modules["torch"]
    try:
        values = torch.stack([loss.float().cpu() for _, loss in held]).tolist()
    except RuntimeError:
        values = [float(loss) for _, loss in held]
    for (step, _), value in zip(held, values, strict=True):
        point("torch.loss", value, step)


def _end() -> None:
    _read_losses()
    if _current is not None:
        _note(_current)
    for loop in list(_steps.values()):
        params({"steps": loop.steps}, f"{loop.name}.")


def _note(loop: _Loop) -> None:
    model = loop.model if loop.model is not None else loop.weak() if loop.weak is not None else None
    loop.model = None
    if model is None:
        return
    name = type(model).__name__
    weights = list(model.parameters())
    values = {
        "parameters": sum(one.numel() for one in weights),
        "trainable_parameters": sum(one.numel() for one in weights if one.requires_grad),
        "steps": loop.steps,
    }
    layers = [
        f"{path or '(model)'}: {type(one).__name__} {sum(p.numel() for p in one.parameters(recurse=False))}"
        for path, one in list(model.named_modules())[:MOST_LAYERS]
    ]
    told = {**loop.settings, **{key: values[key] for key in ("parameters", "trainable_parameters")}}
    params(values, f"{loop.name}.")
    models.note_fit(
        FRAMEWORK,
        name,
        params={key: value if not isinstance(value, str) else short(value) for key, value in told.items()},
        values=values,
        texts={"summary.txt": f"{model}\n\n" + "\n".join(layers) + "\n"},
        model=keep_state(model),
        cls=type(model),
    )


def keep_state(model: Any) -> dict[str, Any] | None:
    """Keep a model's weights: as safetensors where that is installed, else as torch writes them."""
    torch = sys.modules["torch"]
    state = {key: value.detach() for key, value in model.state_dict().items() if hasattr(value, "detach")}
    if importlib.util.find_spec("safetensors") is None:
        return models.keep(FRAMEWORK, "pt", lambda path: torch.save(state, path), safe=False)
    from safetensors.torch import save_file

    seen: dict[tuple[Any, ...], str] = {}
    single, shared = {}, {}
    for key, value in state.items():  # tied weights are written once, and their other names beside them
        mark = (value.device, value.data_ptr(), tuple(value.shape), value.stride()) if value.numel() else (key,)
        if mark in seen:
            shared[key] = seen[mark]
        else:
            seen[mark] = key
            single[key] = value.contiguous().clone() if value.numel() else value
    return models.keep(FRAMEWORK, "safetensors", lambda path: save_file(single, path, metadata=shared), safe=True)
