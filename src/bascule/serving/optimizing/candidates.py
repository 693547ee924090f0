"""The ways in which a version might be answered for, and why some do not apply to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from bascule.errors import BasculeError
from bascule.serving.engines.converting import onnx_of_estimator, quantized
from bascule.serving.engines.exporting import onnx_of
from bascule.serving.engines.forest import Forest, Unfit, pack_forest
from bascule.serving.engines.kernel import libraries
from bascule.serving.engines.loading import Engine, Kind, load_engine
from bascule.serving.engines.reading import TREES
from bascule.serving.engines.treelite import treelite_of
from bascule.serving.pickled import PickledRuntime
from bascule.serving.runtime import Runtime
from bascule.store import digest_of
from bascule.training import ModelBundle

NAMES = (
    "native",
    "plain",
    "compiled",
    "compiled-threads",
    "onnx",
    "onnx-threads",
    "onnx-float32",
    "onnx-int8",
    "treelite",
    "torchscript",
)
MOST_THREADS = 8
RAW = "the version reads texts or times as they are, which only its own library is given"


@dataclass(frozen=True)
class Candidate:
    """One way that applies.

    Attributes:
        artifact: the file made of the version; None when the version's own bytes are read.
        size: bytes on disk of what it reads.
    """

    engine: Engine
    artifact: bytes | None
    size: int
    load: Callable[[], Runtime]

    @property
    def name(self) -> str:
        """As people choose it."""
        return self.engine.name


@dataclass(frozen=True)
class Excluded:
    """One way that does not apply, and why."""

    name: str
    reason: str


def candidates(
    bundle: ModelBundle, forest: Forest | Unfit, names: tuple[str, ...] = NAMES, own: PickledRuntime | None = None
) -> Iterator[Candidate | Excluded]:
    """Yield the ways by name, in the order of `NAMES`; `native` is the version's own library.

    Args:
        forest: the model's trees, or why there are none.
        names: those that are asked for; `native` is always among them, since the others are held to it.
        own: the version in a process of its own, where it runs code when it is loaded.
    """
    making = _Making(bundle, forest, own)
    for name in NAMES:
        if name != "native" and name not in names:
            continue
        if name != "native" and bundle.signature.is_raw:
            yield Excluded(name, RAW)
            continue
        try:
            yield _MAKERS[name](making, name)
        except Unfit as why:
            yield Excluded(name, str(why))
        except BasculeError as error:
            yield Excluded(name, f"{error.message} {error.hint}".strip())
        except Exception as error:  # converters raise whatever they like about what they do not know
            yield Excluded(name, f"it cannot be made: {type(error).__name__}: {str(error).strip()[:200]}")


@dataclass
class _Making:
    """What the makers share: files that several candidates read are made once."""

    bundle: ModelBundle
    forest: Forest | Unfit
    own: PickledRuntime | None = None

    def trees(self) -> Forest:
        if isinstance(self.forest, Unfit):
            raise self.forest
        return self.forest

    @cached_property
    def packed(self) -> bytes:
        return pack_forest(self.trees())

    @cached_property
    def onnx(self) -> bytes | None:
        """The model as ONNX, in the precision that its own library computes in; None when it is ONNX already."""
        if self.bundle.format == "onnx":
            return None
        if isinstance(self.forest, Forest) and not self.forest.steps:
            return onnx_of(self.forest, single=self.forest.single)
        if self.bundle.format == "skops":
            return onnx_of_estimator(self.bundle, single=False)
        if self.own is not None:
            return self.made_apart("onnx")
        raise self.unfit()

    def made_apart(self, kind: str) -> bytes:
        """Return another form of a model that runs code when it is loaded, made by its own process."""
        if self.own is None:
            raise Unfit(f"{kind} is made of PyTorch's modules, and the version is of the format {self.bundle.format}")
        try:
            return self.own.made(kind)
        except RuntimeError as error:
            raise Unfit(f"its process cannot make it: {error}") from None

    def unfit(self) -> Unfit:
        if isinstance(self.forest, Unfit) and self.bundle.format in TREES:
            return self.forest  # ONNX is made of the trees that are read
        return Unfit(f"nothing here makes ONNX of a model of the format {self.bundle.format}")


def _made(making: _Making, name: str, kind: Kind, artifact: bytes | None, threads: int = 1) -> Candidate:
    bundle = making.bundle
    data = bundle.model if artifact is None else artifact
    engine = Engine(name=name, kind=kind, threads=threads, artifact="" if artifact is None else digest_of(artifact))
    return Candidate(engine, artifact, len(data), lambda: load_engine(engine, bundle, data, making.own))


def _native(making: _Making, name: str) -> Candidate:
    return _made(making, name, "native", None)


def _plain(making: _Making, name: str) -> Candidate:
    if making.bundle.format != "linear":
        raise Unfit("one row in plain Python is for linear models of Bascule's own")
    return _made(making, name, "plain", None)


def _compiled(making: _Making, name: str) -> Candidate:
    packed = making.packed
    libraries()
    return _made(making, name, "compiled", packed, threads() if name.endswith("threads") else 1)


def _onnx(making: _Making, name: str) -> Candidate:
    if name.endswith("threads"):
        return _made(making, name, "onnx", making.onnx, threads())
    if making.bundle.format == "onnx":
        raise Unfit("the version is ONNX already, and `native` is ONNX Runtime with one thread")
    return _made(making, name, "onnx", making.onnx)


def _float32(making: _Making, name: str) -> Candidate:
    if making.bundle.format == "onnx":
        raise Unfit("the version is ONNX already, in the precision that it was exported in")
    if isinstance(making.forest, Forest) and not making.forest.steps:
        if making.forest.single:
            raise Unfit("the model computes in float32, and so does `onnx`")
        return _made(making, name, "onnx", onnx_of(making.forest, single=True))
    if making.bundle.format == "skops":
        return _made(making, name, "onnx", onnx_of_estimator(making.bundle, single=True))
    if making.own is not None:
        raise Unfit("PyTorch computes in float32, and so does `onnx`")
    raise making.unfit()


def _int8(making: _Making, name: str) -> Candidate:
    if isinstance(making.forest, Forest):
        raise Unfit("trees have no matrices to quantise")
    if making.bundle.format == "skops":
        return _made(making, name, "onnx", quantized(onnx_of_estimator(making.bundle, single=True)))
    return _made(making, name, "onnx", quantized(making.onnx or making.bundle.model))


def _treelite(making: _Making, name: str) -> Candidate:
    return _made(making, name, "treelite", treelite_of(making.trees()))


def _torchscript(making: _Making, name: str) -> Candidate:
    return _made(making, name, "torchscript", making.made_apart("torchscript"))


def threads() -> int:
    """Return how many threads the candidates with threads have: one for each core that this process may use.

    Raises:
        Unfit: there is one core.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2:
        raise Unfit("there is one core here")
    return min(cores, MOST_THREADS)


_MAKERS: dict[str, Callable[[_Making, str], Candidate]] = {
    "native": _native,
    "plain": _plain,
    "compiled": _compiled,
    "compiled-threads": _compiled,
    "onnx": _onnx,
    "onnx-threads": _onnx,
    "onnx-float32": _float32,
    "onnx-int8": _int8,
    "treelite": _treelite,
    "torchscript": _torchscript,
}
