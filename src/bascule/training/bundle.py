"""A model as one file: everything that is needed to predict, in bytes that no reader has to trust.

The file is MessagePack, never pickle: a map with the format, the model's own text, the signature, the feature set, the
baseline, the parameters and free notes. Equal content gives equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from bascule.errors import InputError
from bascule.store import digest_of
from bascule.training.background import pack_background, unpack_background
from bascule.training.formats import Predictor, load_predictor
from bascule.training.linear import LinearModel
from bascule.training.signature import Signature, encode
from bascule.training.trainer import TrainedModel

MAGIC = "bascule-model"
REVISION = 1


class _File(msgspec.Struct, frozen=True, kw_only=True):
    magic: str
    revision: int
    format: str
    model: bytes
    model_digest: str
    signature: Signature
    feature_set: dict[str, Any] | None
    baseline: LinearModel | None
    params: dict[str, Any]
    meta: dict[str, Any]
    background: bytes | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True)
class ModelBundle:
    """A model that has been read: it predicts, and says what it takes and what it came from.

    Attributes:
        format: the model's format, such as `lightgbm`.
        model: the bytes of the model alone, in that format.
        signature: inputs and output.
        feature_set: the definition of its features as JSON-able values, or None when rows come with all inputs.
        baseline: the linear model that was fitted on the same rows, or None.
        params: the parameters of the fit.
        meta: notes of whoever packed it, such as the id of the training set.
        digest: of the whole file.
        background: float64 [rows, inputs], what its inputs are like (`training.background`); None where it tells
            itself what they add to an answer, or nobody said.
    """

    format: str
    model: bytes
    signature: Signature
    feature_set: dict[str, Any] | None = None
    baseline: LinearModel | None = None
    params: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    background: np.ndarray | None = None

    @cached_property
    def predictor(self) -> Predictor:
        """The loaded model; the first access loads it."""
        return load_predictor(self.format, self.model, self.signature)

    def predict(self, rows: pa.Table | pa.RecordBatch) -> np.ndarray:
        """Return the positive class' probability [rows], each class' [rows, classes], or values [rows].

        Raises:
            InputError: an input is missing or has the wrong type.
        """
        return self.predictor.predict(encode(self.signature, rows))

    def importance(self) -> dict[str, float]:
        """Return how much the model leans on each input, as shares that sum to one, greatest first."""
        gains = self.predictor.importance()
        total = float(gains.sum()) or 1.0
        shares = {name: float(gain) / total for name, gain in zip(self.signature.names(), gains, strict=True)}
        return dict(sorted(shares.items(), key=lambda one: (-one[1], one[0])))


def pack_model(
    model: TrainedModel, feature_set: dict[str, Any] | None = None, meta: dict[str, Any] | None = None
) -> bytes:
    """Return a trained model as one file.

    Equal content gives equal bytes, so `meta` must hold nothing that differs from one training to the next, such as the
    time or a run's id; those belong to the records.

    Args:
        model: what the trainer gave.
        feature_set: JSON-able; kept as it is.
        meta: JSON-able notes; `libraries` is added.
    """
    return msgspec.msgpack.encode(
        _File(
            magic=MAGIC,
            revision=REVISION,
            format=model.format,
            model=model.artifact,
            model_digest=digest_of(model.artifact),
            signature=model.signature,
            feature_set=feature_set,
            baseline=model.baseline,
            params=model.params,
            meta={**(meta or {}), "libraries": model.libraries},
            background=msgspec.UNSET if model.background is None else pack_background(model.background),
        ),
        order="deterministic",
    )


def unpack_model(data: bytes) -> ModelBundle:
    """Read the file of a model. The model itself is loaded at the first prediction.

    Raises:
        InputError: the bytes are not such a file, are damaged, or were written by a later Bascule.
    """
    try:
        head = msgspec.msgpack.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        head = {}
    if head.get("magic") != MAGIC:
        raise InputError(
            f"These {len(data):,} bytes are not a Bascule model.",
            hint="Give a file that `bascule run` or pack_model wrote; models in pickle files are never read.",
        )
    if head.get("revision") != REVISION:
        raise InputError(
            f"This model file has the revision {head.get('revision')!r}; this Bascule reads {REVISION}.",
            hint="Update Bascule: pip install --upgrade bascule",
        )
    try:
        file = msgspec.convert(head, _File)
    except msgspec.ValidationError as error:
        raise InputError(
            f"This model file is damaged: {error}.", hint="Restore the blob from a copy, or train again: bascule run"
        ) from None
    if digest_of(file.model) != file.model_digest:
        raise InputError(
            "This model file is damaged: the model differs from its digest.",
            hint="Restore the blob from a copy, or train again: bascule run",
        )
    return ModelBundle(
        format=file.format,
        model=file.model,
        signature=file.signature,
        feature_set=file.feature_set,
        baseline=file.baseline,
        params=file.params,
        meta=file.meta,
        digest=digest_of(data),
        background=_background(file),
    )


def _background(file: _File) -> np.ndarray | None:
    if file.background is msgspec.UNSET:
        return None
    return unpack_background(file.background, len(file.signature.inputs), file.signature.is_raw)
