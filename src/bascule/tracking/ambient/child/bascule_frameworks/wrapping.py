"""Wrappers: a function runs as it was called, then somebody may look at what it did, and may fail without harm."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from bascule_frameworks.telling import warn

MOST_PARTS = 50


class Call(NamedTuple):
    """A call of a wrapped function that came to its end.

    Attributes:
        result: what it returned.
        args, kwargs: as it was called; of a method, its object is the first argument.
        parts: the names of what was fitted inside, in order; only so many.
    """

    result: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    parts: list[str]

    def get(self, place: int, name: str, default: Any = None) -> Any:
        """Return an argument by its place or its name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)


After = Callable[[Call], None]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Before = Callable[[tuple[Any, ...], dict[str, Any]], Arguments]


@dataclass(frozen=True)
class _Watch:
    framework: str
    after: After
    part: Callable[[tuple[Any, ...]], str] | None
    always: bool
    before: Before | None


class _State(threading.local):
    depth = 0
    parts: list[str] | None = None
    owner: Any = None


_state = _State()
_watches: dict[str, _Watch] = {}
_replaced: list[tuple[Any, Any]] | None = None


def wrap(
    framework: str,
    owner: Any,
    name: str,
    after: After,
    *,
    part: Callable[[tuple[Any, ...]], str] | None = None,
    always: bool = False,
    before: Before | None = None,
) -> bool:
    """Put a wrapper on a function of a module or a class; False when it has none of that name.

    The wrapper holds nothing but the original and a word: pickled by value (as joblib does with what a script defines)
    and loaded where nobody watches, it is the original. Its name is where it stands, so that it is pickled by name.

    Args:
        after: called with each call that was not made inside another wrapped one.
        part: names what a call inside another one fitted, from its arguments.
        always: call `after` inside others too.
        before: returns the arguments to call it with instead, such as with a callback more.
    """
    original = getattr(owner, name, None)
    if original is None or isinstance(inspect.getattr_static(owner, name), classmethod | staticmethod | property):
        return False
    key = f"{owner.__module__}.{owner.__qualname__}.{name}" if isinstance(owner, type) else f"{owner.__name__}.{name}"
    wrapper = wrapped(framework, key, original, after, part=part, always=always, before=before)
    if not isinstance(owner, type):
        wrapper.__module__, wrapper.__qualname__ = owner.__name__, name
        replaced(original, wrapper)
    wrapper.__name__ = name
    setattr(owner, name, wrapper)
    return True


def replaced(original: Any, wrapper: Any) -> None:
    """Say that a function of a module has got a wrapper, for `rebinding`."""
    if _replaced is not None:
        _replaced.append((original, wrapper))


@contextmanager
def rebinding(modules: Callable[[], Iterable[ModuleType]]) -> Any:
    """Put the functions that are wrapped in the block into modules, too, which have them by their own names already.

    Args:
        modules: returns those that did `from FRAMEWORK import FUNCTION` before anybody watched.
    """
    global _replaced
    _replaced = []
    try:
        yield
        held = {id(original): wrapper for original, wrapper in _replaced}
        for module in modules() if held else ():
            own = vars(module)
            for name, value in list(own.items()):
                if id(value) in held:
                    own[name] = held[id(value)]
    finally:
        _replaced = None


def wrapped(
    framework: str,
    key: str,
    original: Callable[..., Any],
    after: After,
    *,
    part: Callable[[tuple[Any, ...]], str] | None = None,
    always: bool = False,
    before: Before | None = None,
) -> Any:
    """Return a function that does as the original and is looked at, as `wrap` says; `key` is its own name."""
    _watches[key] = _Watch(framework, after, part, always, before)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            from bascule_frameworks.wrapping import call
        except ImportError:
            return original(*args, **kwargs)
        return call(key, original, args, kwargs)

    try:
        functools.update_wrapper(wrapper, original)
    except (AttributeError, TypeError):  # made by another language
        wrapper.__doc__ = getattr(original, "__doc__", None)
    return wrapper


def call(key: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a wrapped function. What it raises is raised; what looking at it raises is told once and swallowed."""
    watch = _watches.get(key)
    if watch is None:
        return original(*args, **kwargs)
    state = _state
    outside = state.depth
    if outside and not watch.always:
        if watch.part is not None:
            _note_part(watch, args)
        return original(*args, **kwargs)
    if watch.before is not None:
        try:
            args, kwargs = watch.before(args, dict(kwargs))
        except Exception as error:
            warn(watch.framework, f"{key} is captured less", error)
    outer = state.parts, state.owner
    state.depth, state.parts, state.owner = outside + 1, [], args[0] if args else None
    try:
        result = original(*args, **kwargs)
        parts = state.parts
    finally:
        state.depth = outside
        state.parts, state.owner = outer
    state.depth = outside + 1  # what looking at it calls is not the script's doing either
    try:
        watch.after(Call(result, args, kwargs, parts))
    except Exception as error:
        warn(watch.framework, f"{key} is not captured", error)
    finally:
        state.depth = outside
    return result


def tried(framework: str, work: Callable[..., Any], *args: Any) -> Any:
    """Return what a part of looking comes to, or None when it fails, which is told: the other parts are noted."""
    try:
        return work(*args)
    except Exception as error:
        warn(framework, f"{work.__name__} of what {framework} did is not captured", error)
        return None


def below(base: type) -> list[type]:
    """Return all classes that there are below one."""
    found: dict[type, None] = {}
    waiting = list(base.__subclasses__())
    while waiting:
        cls = waiting.pop()
        if cls not in found:
            found[cls] = None
            waiting += cls.__subclasses__()
    return list(found)


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of a name, so that it may be given one that its caller did not give."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def depth() -> int:
    """Return how many wrapped functions this thread is inside of."""
    return _state.depth


@contextmanager
def inside() -> Any:
    """Let what happens in the block be a part of something else."""
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1


def _note_part(watch: _Watch, args: tuple[Any, ...]) -> None:
    parts = _state.parts
    if args and args[0] is _state.owner:  # its own method, or what it inherits
        return
    if parts is not None and watch.part is not None and len(parts) < MOST_PARTS:
        try:
            parts.append(watch.part(args))
        except Exception as error:
            warn(watch.framework, "a part is not captured", error)
