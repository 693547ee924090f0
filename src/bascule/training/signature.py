"""What a model takes and gives, and how rows become the matrix that it reads."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import InputError, suggestion
from bascule.training.label import Target
from bascule.training.spec import Task
from bascule.training.texthash import TextHashes

FieldType = Literal["double", "bigint", "boolean", "varchar", "timestamp"]
MOST_CATEGORIES = 1_024


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One input.

    Attributes:
        categories: the known texts of a `varchar` in the order of their codes; None when they are not known.
        hashed: the code of a text is its number to CatBoost (`texthash`), so the model reads any text, and
            `categories` only says which it has seen. Left out where it does not hold.
        optional: a request may leave it out, and it is missing then. Left out where it does not hold.
    """

    name: str
    type: FieldType
    nullable: bool = True
    categories: tuple[str, ...] | None = None
    hashed: bool | msgspec.UnsetType = msgspec.UNSET
    optional: bool | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_text(self) -> bool:
        """Whether texts come in, whose codes are no numbers to reckon with."""
        return self.categories is not None or bool(self.hashed)

    @property
    def is_raw(self) -> bool:
        """Whether values reach the model as they are, since they have no code: any text, or a time."""
        return self.type == "timestamp" or (self.type == "varchar" and not self.is_text)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What comes out: the task and the classes in the order of their codes (the second is a binary's positive one)."""

    task: Task
    classes: tuple[str, ...] = ()


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs in the order in which the model reads them, and the output."""

    inputs: tuple[Field, ...]
    output: Output

    def names(self) -> tuple[str, ...]:
        """Return the names of the inputs in order."""
        return tuple(field.name for field in self.inputs)

    def categorical(self) -> list[int]:
        """Return the positions of the inputs that are categories."""
        return [place for place, field in enumerate(self.inputs) if field.is_text]

    @property
    def is_raw(self) -> bool:
        """Whether an input has no code, so that rows are matrices of objects (`encode`)."""
        return any(field.is_raw for field in self.inputs)

    def by_place(self) -> Signature:
        """Return the signature with the codes that other models have: a category's place, and NaN for any other."""
        plain = (msgspec.structs.replace(one, hashed=msgspec.UNSET) if one.hashed else one for one in self.inputs)
        return msgspec.structs.replace(self, inputs=tuple(plain))

    def as_dict(self) -> dict[str, Any]:
        """Return the signature as JSON-able values, as the history and the bundle hold it."""
        return dict(msgspec.to_builtins(self))


def read_signature(value: dict[str, Any]) -> Signature:
    """Return the signature that `as_dict` wrote.

    Raises:
        InputError: the value is not a signature.
    """
    try:
        return msgspec.convert(value, Signature)
    except msgspec.ValidationError as error:
        raise InputError(f"This is not a model signature: {error}.") from None


def infer_signature(rows: pa.Table, target: Target) -> Signature:
    """Infer the signature from the features of the training split.

    Categories are the texts that occur in these rows, in alphabetical order; of a column with more than 1,024 the most
    frequent are kept. What does not occur here is unseen to the model.

    Args:
        rows: the features of the training split, one column each.
        target: what is predicted.

    Raises:
        InputError: a column has a type that a model cannot read.
    """
    inputs = tuple(_field(name, rows.column(name)) for name in rows.column_names)
    if not inputs:
        raise InputError("There are no features to train on.", hint="Name at least one in [training] features.")
    return Signature(inputs=inputs, output=Output(task=target.task, classes=target.classes))


def field_type(kind: pa.DataType, name: str) -> FieldType:
    """Return the type of an input for a column type.

    Raises:
        InputError: the type cannot be a feature; the hint says what to derive from it.
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "bigint"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return "double"
    if _is_text(kind):
        return "varchar"
    hint = "Derive a number, a boolean or a text from it, or leave it out of the features."
    if pa.types.is_temporal(kind):
        hint = f"Derive a number from it, such as hour({name}) or date_diff('day', {name}, prediction_time)."
    raise InputError(f"The feature {name!r} has the type {kind}, which a model cannot read.", hint=hint)


def encode(signature: Signature, rows: pa.Table | pa.RecordBatch) -> np.ndarray:
    """Return the matrix that the model reads.

    A category becomes its code, an unseen or missing one NaN; of an input that is `hashed` any text has a code. A
    boolean becomes 0 or 1; a number itself; null NaN. The order of the columns in `rows` does not matter and further
    columns are ignored.

    Returns:
        float64 [rows, inputs], in column-major order. Where an input `is_raw` objects instead: a text, a time in
        microseconds since the epoch, None where one is missing, and floats of all other inputs.

    Raises:
        InputError: an input is missing or has another type than the model was trained on.
    """
    present = rows.schema.names
    missing = [field.name for field in signature.inputs if field.name not in present and not field.optional]
    if missing:
        shown = ", ".join(repr(name) for name in missing[:5])
        raise InputError(
            f"The rows have no column for {len(missing)} of the model's {len(signature.inputs)} inputs: {shown}.",
            hint=suggestion(missing[0], present, "column"),
        )
    kind = object if signature.is_raw else np.float64
    matrix = np.empty((rows.num_rows, len(signature.inputs)), dtype=kind, order="F")
    for place, field in enumerate(signature.inputs):
        read = _raw_column if field.is_raw else _encode_column
        column = rows.column(field.name) if field.name in present else pa.nulls(rows.num_rows)
        matrix[:, place] = read(field, column)
    return matrix


def _field(name: str, column: pa.ChunkedArray) -> Field:
    kind = field_type(column.type, name)
    categories = _categories(column) if kind == "varchar" else None
    return Field(name=name, type=kind, nullable=column.null_count > 0, categories=categories)


def _categories(column: pa.ChunkedArray) -> tuple[str, ...]:
    counted = pc.value_counts(_plain_text(column).drop_null()).to_pylist()
    counted.sort(key=lambda one: (-one["counts"], one["values"]))
    return tuple(sorted(one["values"] for one in counted[:MOST_CATEGORIES]))


def _encode_column(field: Field, column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if field.is_text:
        if not _is_text(kind):
            raise _wrong_type(field, kind)
        if field.hashed:
            return _hashes(_plain_text(column))
        known = pa.array(field.categories, pa.string())
        return _to_floats(pc.index_in(_plain_text(column), value_set=known))
    if field.type == "boolean":
        if not pa.types.is_boolean(kind):
            raise _wrong_type(field, kind)
        return _to_floats(pc.cast(column, pa.int8()))
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise _wrong_type(field, kind)
    return _to_floats(column)


def _raw_column(field: Field, column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if field.type == "varchar" and (_is_text(kind) or pa.types.is_null(kind)):
        found = _plain_text(column)
    elif field.type == "timestamp" and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        found = pc.cast(pc.cast(column, pa.timestamp("us", getattr(kind, "tz", None))), pa.int64())
    elif pa.types.is_null(kind):
        found = column
    else:
        raise _wrong_type(field, kind)
    values = np.empty(len(found), dtype=object)
    values[:] = found.to_pylist()
    return values


def _hashes(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    held = pc.dictionary_encode(column)
    held = held.combine_chunks() if isinstance(held, pa.ChunkedArray) else held
    known = TextHashes()
    codes = np.array([*(known[text] for text in held.dictionary.to_pylist()), np.nan])
    return np.asarray(codes[held.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)])


def _to_floats(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    numbers = column if pa.types.is_float64(column.type) else pc.cast(column, pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def _plain_text(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    return column if column.type == pa.string() else pc.cast(column, pa.string())


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _wrong_type(field: Field, kind: pa.DataType) -> InputError:
    return InputError(
        f"The input {field.name!r} has the type {kind}; the model was trained on {field.type}.",
        hint="Cast the column, or train a new version on the new type.",
    )


def differing_inputs(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return what differs between two sets of named, typed inputs, as sentences. `theirs` came first."""
    found = [f"{name!r} is new" for name in ours if name not in theirs]
    found += [f"{name!r} is gone" for name in theirs if name not in ours]
    found += [
        f"{name!r} was {theirs[name]} and is {kind}" for name, kind in ours.items() if theirs.get(name, kind) != kind
    ]
    return found
