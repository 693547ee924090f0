"""One row of values in the order of a model's inputs: read by a decoder that is made for them, and packed as floats."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from bascule.protocols.openinference.messages import BOOLEAN, LONG, NUMBERS, TEXT, Int64, SingleTensor
from bascule.serving.encoding import NAN, Encoder, Slot

Values = Sequence[Any]


class RowReader:
    """Reads rows whose values are of the types of a model's inputs, and leaves all others alone.

    A value is a number (of a whole one without a fraction), a boolean or a text, as the input has it, or missing.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._names = encoder.names
        self._codes = [(place, slot.codes) for place, slot in enumerate(encoder.slots) if slot.codes is not None]
        self._kinds = [_kinds(slot) for slot in encoder.slots]
        self._pack = struct.Struct(f"<{len(self._names)}d").pack
        self._decode = _decoder(encoder)
        self._known: list[tuple[str, type]] | None = None

    def of_instance(self, body: bytes) -> Values | None:
        """Return the row of `{"instances": [{NAME: VALUE, …}]}`; None when the body is anything else."""
        if self._decode is None:
            return None
        try:
            return msgspec.structs.astuple(self._decode(body).instances[0])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def of_tensors(self, tensors: Sequence[SingleTensor]) -> Values | None:
        """Return the row of tensors of one value each; None when they are not the inputs in their order."""
        sent = [(tensor.name, tensor.__class__) for tensor in tensors]
        if sent != self._known:
            fits = [name for name, _ in sent] == list(self._names)
            if not fits or not all(kind in kinds for (_, kind), kinds in zip(sent, self._kinds, strict=True)):
                return None
            self._known = sent
        return [tensor.data[0] for tensor in tensors]

    def packed(self, values: Values) -> bytes:
        """Return a row that was read as little-endian float64: a category as its code; a missing value is NaN."""
        row = [*values]
        for place, codes in self._codes:
            row[place] = codes.get(row[place], NAN)
        try:
            return self._pack(*row)
        except struct.error:
            return self._pack(*[NAN if value is None else value for value in row])


def _kinds(slot: Slot) -> tuple[type, ...]:
    """Return the tensors whose value an input takes as it is."""
    if slot.codes is not None:
        return TEXT
    return BOOLEAN if slot.boolean else LONG if slot.whole else NUMBERS


def _decoder(encoder: Encoder) -> Callable[[bytes], Any] | None:
    """Return what decodes a request of one row of a model's inputs; None when a name is written otherwise in JSON."""
    if any('"' in name or "\\" in name or min(name, default=" ") < " " for name in encoder.names):
        return None
    fields = [(f"input_{place}", _type(slot)) for place, slot in enumerate(encoder.slots)]
    told = {f"input_{place}": name for place, name in enumerate(encoder.names)}
    row = msgspec.defstruct("Row", fields, rename=told, forbid_unknown_fields=True, gc=False)
    asked = msgspec.defstruct("Request", [("instances", tuple[row])], forbid_unknown_fields=True, gc=False)  # type: ignore[valid-type]
    return msgspec.json.Decoder(asked).decode


def _type(slot: Slot) -> Any:
    if slot.codes is not None:
        return str | None
    return bool | None if slot.boolean else Int64 | None if slot.whole else Int64 | float | None
