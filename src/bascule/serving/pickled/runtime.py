"""A pickle behind the contract of a runtime, as long as somebody's consent to its bytes holds."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bascule.errors import BasculeError, EnvironmentProblem, InputError
from bascule.history import Workspace
from bascule.registry import seals
from bascule.serving.case import UNLOADABLE, Case
from bascule.serving.pickled.packing import PackedFiles, packed_torchscript, read_files
from bascule.serving.pickled.process import NOTHING, Ended, ModelProcess, plain_row, raw_of
from bascule.training import Field, ModelBundle

PAUSE_S = 5.0


def consented(ws: Workspace, subject: str, digest: str) -> bool:
    """Tell whether a consent that holds is recorded for exactly these bytes of a version."""
    return any(one.digest == digest for one in seals.seals(ws, "trust", subject))


class PickledRuntime:
    """A model in a process of its own, which is started again when it ended.

    Attributes:
        subject: the version as the records name it: `models/clf@3`.
        digest: of the files that run.
        agreed: tells whether somebody consented to the files of a digest.
        allowed: whether consent holds. It is set false when it was taken back: the process ends, and nothing answers.

    Args:
        packed: what runs instead of the bundle's own files.
        case: where what becomes of its process is noted.

    Raises:
        InputError: the bundle is none, or cannot be loaded.
    """

    apart = True  # it waits for another process: never where requests come in

    def __init__(
        self,
        bundle: ModelBundle,
        subject: str,
        agreed: Callable[[str], bool] = lambda digest: False,
        packed: PackedFiles | None = None,
        case: Case | None = None,
    ) -> None:
        self._case = case or Case()
        packed = packed or read_files(bundle.model)
        self.subject, self.digest, self.agreed = subject, packed.digest, agreed
        self._bundle, self._packed, self._width = bundle, packed, _outputs(bundle)
        self._raw = raw_of(bundle.signature.inputs) if bundle.signature.is_raw else NOTHING
        self._single = bundle.signature.output.task != "multiclass"
        self._lock = threading.Lock()
        self._held: list[ModelProcess] = []
        self._not_before = 0.0
        self._allowed = True
        weakref.finalize(self, _close, self._held)

    @property
    def allowed(self) -> bool:
        """Whether consent holds."""
        return self._allowed

    @allowed.setter
    def allowed(self, holds: bool) -> None:
        self._allowed = holds
        if not holds:
            for one in list(self._held):
                one.kill()  # also while somebody waits for it
            with self._lock:
                _close(self._held)

    @property
    def consents(self) -> tuple[PickledRuntime, ...]:
        """All whose consents have to hold for it to answer."""
        return (self,)

    def torchscript(self, data: bytes) -> PickledRuntime:
        """Return the TorchScript that was made of this model, in a process of its own, running.

        Raises:
            InputError: nobody consented to these bytes, or they cannot be loaded.
        """
        packed = packed_torchscript(data, len(self._bundle.signature.inputs))
        made = PickledRuntime(self._bundle, self.subject, self.agreed, packed, self._case)
        _demand(made)
        made.start()
        return made

    def made(self, kind: str) -> bytes:
        """Return the model in another form: `torchscript` or `onnx`.

        Raises:
            RuntimeError: the process cannot make it; the text says why.
        """
        with self._lock:
            return self._running().made(kind)

    def memory(self) -> int | None:
        """Return the bytes that its process holds in memory, libraries and all; None where the system does not say."""
        with self._lock:
            return self._running().memory()

    def start(self) -> None:
        """Load it now, so that what is wrong is told now."""
        with self._lock:
            self._running()

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row."""
        kind = object if self._raw is not NOTHING else np.float64
        found: list[float] = np.atleast_1d(self.predict(np.array([row], dtype=kind))[0]).tolist()
        return found

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs for many rows.

        Raises:
            EnvironmentProblem: consent was taken back, or the process cannot be started.
            RuntimeError: the model failed.
        """
        with self._lock:
            process = self._running()
            try:
                found = process.predict(matrix)
            except Ended as ended:
                _close(self._held)
                if self._allowed:  # else it was taken out of service
                    self._case.note(ended.kind, str(ended))
                raise
        if found.shape[1] != self._width:
            raise RuntimeError(f"it answered {found.shape[1]} numbers a row; its signature says {self._width}")
        return found[:, 0] if self._single else found

    def _running(self) -> ModelProcess:
        if not self._allowed:
            raise EnvironmentProblem(
                f"The consent to load the pickles of {self.subject} was taken back.",
                hint="`bascule model trust` gives it again; `bascule rollback` goes back to the version before.",
            )
        if self._held and self._held[0].alive:
            return self._held[0]
        _close(self._held)
        if time.monotonic() < self._not_before:
            raise EnvironmentProblem(f"The process of {self.subject} could not be started; it is tried again soon.")
        try:
            known = self._width if self._raw is not NOTHING else 0  # zeros show it of a model of numbers alone
            self._held.append(ModelProcess(self._packed, self.subject, self._raw, outputs=known))
        except BasculeError as error:
            self._not_before = time.monotonic() + PAUSE_S
            self._case.note(UNLOADABLE, str(error))
            raise
        self._case.over(UNLOADABLE)
        return self._held[0]


def pickled_runtime(ws: Workspace, subject: str, bundle: ModelBundle, case: Case | None = None) -> PickledRuntime:
    """Return the runtime of a bundle of pickles; its process is started when it is first asked.

    Raises:
        InputError: nobody consented to exactly these bytes.
    """
    made = PickledRuntime(bundle, subject, lambda digest: consented(ws, subject, digest), case=case)
    _demand(made)
    return made


def _demand(made: PickledRuntime) -> None:
    if not made.agreed(made.digest):
        name = made.subject.partition("/")[2]
        raise InputError(
            f"{name} runs code when it is loaded, and no consent to these bytes holds.",
            hint=f'See `bascule model scan {name}`, then: bascule model trust {name} --reason "why"',
        )


def described(
    packed: PackedFiles, name: str, inputs: Sequence[Field] = (), rows: np.ndarray | None = None
) -> dict[str, Any]:
    """Load the files once in a process, and return what the model says of itself.

    Args:
        inputs: what is known of its inputs.
        rows: of these inputs, that it answers.
    """
    is_plain = rows is None and any(one.is_raw for one in inputs)
    rows = plain_row(inputs) if is_plain else rows
    process = ModelProcess(packed, name, raw_of(inputs), rows, is_plain=is_plain)
    try:
        return dict(process.told)
    finally:
        process.close()


def _outputs(bundle: ModelBundle) -> int:
    output = bundle.signature.output
    return len(output.classes) if output.task == "multiclass" else 1


def _close(held: list[ModelProcess]) -> None:
    while held:
        held.pop().close()
