"""Training sets: immutable, named objects that a model can always be traced back to."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Row, select
from sqlalchemy.exc import IntegrityError

from bascule.catalog import now, schema
from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.store import digest_of
from bascule.training.frame import UNKNOWN_TIME, ArrowStream, Frame, read_frame
from bascule.training.label import Target, encode_target, infer_target
from bascule.training.signature import infer_signature
from bascule.training.spec import TrainingSpec, cut_off_micros
from bascule.training.split import EMBARGOED, NAMES, TRAIN, split_by_hash, split_by_time
from bascule.training.trainer import Part, TrainingData

ROW_GROUP = 131_072
SHORT = 8


class SplitPart(msgspec.Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """The rows of one split. `start` and `end` are its first and last prediction times, microseconds UTC, or None."""

    rows: int
    start: int | None = None
    end: int | None = None


class Excluded(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of the population that are in no split, counted by the first reason that holds."""

    rows: int = 0
    reasons: dict[str, int] = {}


class Splits(msgspec.Struct, frozen=True, kw_only=True):
    """What each split holds, and what none does."""

    train: SplitPart
    validation: SplitPart
    test: SplitPart
    excluded: Excluded = Excluded()


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """What the columns mean: the features in the model's order, the label's meaning, and the names of the times."""

    features: tuple[str, ...]
    target: Target
    types: dict[str, str]
    prediction_time: str | None = None
    label_time: str | None = None


class TrainingSet(msgspec.Struct, frozen=True, kw_only=True):
    """One training set. The same rows and the same definition always give the same id.

    Attributes:
        id: BLAKE3 over the definition and the bytes.
        name: `delays@` and the first eight characters of the id.
        blob: digest of the Parquet file in the store.
        rows: in all splits together.
        columns: what the columns mean.
        spec: the definition.
        feature_set: the definition of the features, JSON-able, or None.
        split: rows and times of each split, and what was left out.
        commit_id: the commit whose tables it was made from.
        run_id: the run that made it, or None.
        created_at: microseconds since 1970 UTC.
    """

    id: str
    name: str
    blob: str
    rows: int
    columns: Columns
    spec: TrainingSpec
    feature_set: dict[str, Any] | None
    split: Splits
    commit_id: str
    run_id: str | None
    created_at: int


class _Definition(msgspec.Struct, frozen=True, kw_only=True):
    spec: TrainingSpec
    feature_set: dict[str, Any] | None = None


def build_training_set(
    ws: Workspace,
    rows: ArrowStream,
    spec: TrainingSpec,
    feature_set: dict[str, Any] | None = None,
    *,
    commit_id: str,
    run_id: str | None = None,
) -> TrainingSet:
    """Make a training set of a population that has been joined with its features, and keep it.

    The Parquet file holds the features, the other columns of the rows (keys and slices, for evaluation and for
    forgetting), `label` (double: class code or value) and `split` (`train`, `validation` or `test`). Rows are in a
    canonical order and the bytes are the same for the same rows, whatever order they came in; a set that exists
    already is returned as it is.

    Rows whose label is null or not known by the cut-off are left out and counted, as are rows whose label was known
    at the prediction time already, and rows that the embargo holds back (see `split_by_time`).

    Args:
        ws: the workspace.
        rows: a pyarrow Table, a RecordBatchReader or a DuckDB relation. Columns that begin with `__` are dropped.
        spec: the definition.
        feature_set: JSON-able; its `features` are the model's inputs unless `spec.features` names some.
        commit_id: the commit whose tables the rows come from.
        run_id: the run that makes it.

    Raises:
        InputError: the rows, the label, the times or the splits cannot be used; says which and what to do.
    """
    frame = read_frame(rows, spec, spec.features or tuple((feature_set or {}).get("features", ())))
    frame, target, excluded = _eligible(frame, spec)
    sides = _sides(frame, spec)
    if held := int((sides == EMBARGOED).sum()):
        excluded["known too late for its split"] = held
    label = encode_target(frame.label, target)
    _refuse_unlearnable(label, sides, target, spec.label)
    table = _table(frame, label, sides)
    data = _parquet(table)
    blob = digest_of(data)
    definition = _Definition(spec=spec, feature_set=feature_set)
    name = digest_of(msgspec.json.encode([definition, blob], order="deterministic"))
    made = TrainingSet(
        id=name,
        name=f"{spec.name}@{name[:SHORT]}",
        blob=blob,
        rows=table.num_rows,
        columns=_columns(table, frame, target, spec),
        spec=spec,
        feature_set=feature_set,
        split=_splits(frame, sides, excluded),
        commit_id=commit_id,
        run_id=run_id,
        created_at=now(),
    )
    ws.store.put(data)
    return _record(ws, made)


def _columns(table: pa.Table, frame: Frame, target: Target, spec: TrainingSpec) -> Columns:
    return Columns(
        features=frame.features,
        target=target,
        types={one.name: str(one.type) for one in table.schema},
        prediction_time=spec.prediction_time,
        label_time=spec.label_time,
    )


def read_training_set(ws: Workspace, name: str) -> TrainingSet:
    """Return a training set by its id, the beginning of its id (four characters at least), or `delays@3fa94b11`.

    Raises:
        NotFound: there is none, or more than one begins so.
    """
    sets = schema.training_sets
    start = name.rpartition("@")[2]
    known = sets.c.id.startswith(start, autoescape=True) if len(start) >= 4 else sets.c.id == start
    with ws.catalog.read() as conn:
        found = conn.execute(select(sets).where(known).limit(2)).all()
        if len(found) == 1:
            made = _from_row(found[0])
            if "@" not in name or made.name.startswith(name.partition("@")[0] + "@"):
                return made
        names = [row.name for row in conn.execute(select(sets.c.name).order_by(sets.c.created_at.desc()).limit(100))]
    hint = f"More than one training set begins with {start!r}; write more of the id." if len(found) > 1 else ""
    raise NotFound("training set", name, names, hint=hint)


def training_rows(ws: Workspace, made: TrainingSet, split: str | None = None) -> pa.Table:
    """Return the rows of a training set, or of one split (`train`, `validation`, `test`), in their canonical order.

    Raises:
        NotFound: there is no such split, or the set's file is not in the store.
    """
    if split is not None and split not in NAMES:
        raise NotFound("split", split, NAMES)
    table = pq.read_table(pa.BufferReader(ws.store.get(made.blob)))
    return table if split is None else table.filter(pc.equal(table.column("split"), split))


def training_data(ws: Workspace, made: TrainingSet) -> TrainingData:
    """Return the training and validation rows as a trainer takes them."""
    table = training_rows(ws, made)
    parts = [_part(table, made, name) for name in ("train", "validation")]
    return TrainingData(
        signature=infer_signature(parts[0].rows, made.columns.target),
        train=parts[0],
        validation=parts[1],
        training_set=made.id,
    )


def _part(table: pa.Table, made: TrainingSet, split: str) -> Part:
    rows = table.filter(pc.equal(table.column("split"), split))
    return Part(rows.select(list(made.columns.features)), rows.column("label").to_numpy())


def _eligible(frame: Frame, spec: TrainingSpec) -> tuple[Frame, Target, dict[str, int]]:
    target = infer_target(frame.label, name=spec.label, task=spec.task, positive=spec.positive)
    keep, reasons = np.ones(len(frame.label), dtype=bool), {}

    def leave_out(reason: str, rows: np.ndarray) -> None:
        if count := int((keep & rows).sum()):
            reasons[reason] = count
        keep[rows] = False

    leave_out("label is null", ~_has_value(frame.label))
    known = frame.label_time if frame.label_time is not None else frame.prediction_time
    cut_off = cut_off_micros(spec)
    if frame.label_time is not None:
        leave_out("label is not known yet", frame.label_time == UNKNOWN_TIME)
        if frame.prediction_time is not None:
            leave_out("label was known before the prediction", frame.label_time < frame.prediction_time)
    if cut_off is not None:
        if known is None:
            raise InputError("cut_off needs a prediction_time or a label_time.", hint="Declare one, or remove cut_off.")
        late = known > cut_off
        if frame.prediction_time is not None:
            late |= frame.prediction_time > cut_off
        leave_out("known after the cut-off", late)
    if not keep.any():
        shown = ", ".join(f"{reason}: {count:,}" for reason, count in reasons.items())
        raise InputError(
            f"None of the {len(keep):,} rows can be learned from ({shown}).",
            hint="Look at label_time, prediction_time and cut_off.",
        )
    left = _only(frame, keep)
    if reasons:
        target = infer_target(left.label, name=spec.label, task=target.task, positive=spec.positive)
    return left, target, reasons


def _has_value(label: pa.ChunkedArray) -> np.ndarray:
    valid = pc.is_valid(label)
    if pa.types.is_floating(label.type):
        valid = pc.and_(valid, pc.invert(pc.fill_null(pc.is_nan(label), True)))
    return np.asarray(valid.to_numpy(), dtype=bool)


def _only(frame: Frame, keep: np.ndarray) -> Frame:
    mask = pa.array(keep)

    def some(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[keep]

    return Frame(
        columns=frame.columns.filter(mask),
        features=frame.features,
        label=frame.label.filter(mask),
        prediction_time=some(frame.prediction_time),
        label_time=some(frame.label_time),
        uniform=some(frame.uniform),
    )


def _sides(frame: Frame, spec: TrainingSpec) -> np.ndarray:
    if frame.prediction_time is not None:
        return split_by_time(frame.prediction_time, frame.label_time, spec.split)[0]
    if frame.uniform is None:
        raise InputError("Rows can be split neither by time nor by hash.")
    return split_by_hash(frame.uniform, spec.split)


def _refuse_unlearnable(label: np.ndarray, sides: np.ndarray, target: Target, name: str) -> None:
    learned = label[sides == TRAIN]
    if target.task == "regression":
        if learned.min() == learned.max():
            raise InputError(
                f"The label {name!r} is {learned[0]:g} in every row of the train split.",
                hint="Look at the label expression, or make split.validation and split.test smaller.",
            )
        return
    taught = _classes_of(label, sides, TRAIN, target, name, "Bring more rows, or make the other splits smaller.")
    for code, side in enumerate(NAMES[1:], start=1):
        hint = f"A model cannot be judged by one class: make split.{side} larger, or bring more rows."
        unseen = _classes_of(label, sides, code, target, name, hint) - taught
        if unseen:
            raise InputError(
                f"The {side} split has classes that the train split does not: {', '.join(sorted(unseen)[:5])}.",
                hint="Merge rare classes in the label expression, or leave their rows out of the population.",
            )


def _classes_of(label: np.ndarray, sides: np.ndarray, code: int, target: Target, name: str, hint: str) -> set[str]:
    """Return the classes in a split, after refusing a split of one class."""
    found = {target.classes[int(one)] for one in np.unique(label[sides == code])}
    if len(found) == 1:
        raise InputError(
            f"The label {name!r} has one class only in the {NAMES[code]} split: {found.pop()!r}.", hint=hint
        )
    return found


def _table(frame: Frame, label: np.ndarray, sides: np.ndarray) -> pa.Table:
    names = pa.DictionaryArray.from_arrays(pa.array(np.maximum(sides, 0), pa.int8()), pa.array(NAMES)).cast(pa.string())
    table = frame.columns.append_column("label", pa.array(label)).append_column("split", names)
    table = table.replace_schema_metadata(None).filter(pa.array(sides != EMBARGOED))
    return table.combine_chunks()


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=3, row_group_size=ROW_GROUP, version="2.6")
    return bytes(sink.getvalue().to_pybytes())


def _splits(frame: Frame, sides: np.ndarray, excluded: dict[str, int]) -> Splits:
    parts = {}
    for code, name in enumerate(NAMES):
        of_side = sides == code
        times = None if frame.prediction_time is None else frame.prediction_time[of_side]
        parts[name] = SplitPart(
            rows=int(of_side.sum()),
            start=None if times is None else int(times.min()),
            end=None if times is None else int(times.max()),
        )
    return Splits(**parts, excluded=Excluded(rows=sum(excluded.values()), reasons=excluded))


def _record(ws: Workspace, made: TrainingSet) -> TrainingSet:
    values = {
        "id": made.id,
        "name": made.name,
        "blob": made.blob,
        "rows": made.rows,
        "columns_json": msgspec.json.encode(made.columns).decode(),
        "spec_json": msgspec.json.encode(_Definition(spec=made.spec, feature_set=made.feature_set)).decode(),
        "split_json": msgspec.json.encode(made.split).decode(),
        "commit_id": made.commit_id,
        "run_id": made.run_id,
        "created_at": made.created_at,
    }
    sets = schema.training_sets
    try:
        with ws.catalog.write() as conn:
            before = conn.execute(select(sets).where(sets.c.id == made.id)).first()
            if before is not None:
                return _from_row(before)
            conn.execute(sets.insert().values(**values))
    except IntegrityError:  # another process made the same set at the same moment
        return read_training_set(ws, made.id)
    return made


def _from_row(row: Row[Any]) -> TrainingSet:
    if '"asked":' in row.spec_json[:10]:
        hint = f"Read it with: bascule training-set show {row.name}"
        raise InputError(f"{row.name} is the training set of no model.", hint=hint)
    definition = msgspec.json.decode(row.spec_json, type=_Definition)
    return TrainingSet(
        id=row.id,
        name=row.name,
        blob=row.blob,
        rows=row.rows,
        columns=msgspec.json.decode(row.columns_json, type=Columns),
        spec=definition.spec,
        feature_set=definition.feature_set,
        split=msgspec.json.decode(row.split_json, type=Splits),
        commit_id=row.commit_id,
        run_id=row.run_id,
        created_at=row.created_at,
    )
