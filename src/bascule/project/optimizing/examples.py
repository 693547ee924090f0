"""The rows that a version's engines are compared and measured on: its own, of a table, or made up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from bascule.errors import InputError, NotFound
from bascule.project.place import Place
from bascule.project.tabling import BranchTable
from bascule.registry import ModelVersion
from bascule.serving.engines.forest import Unfit
from bascule.serving.engines.reading import forest_of
from bascule.serving.inputexample import encoded_example
from bascule.tracking.mlmodel import read_model_file
from bascule.training import ModelBundle, encode, read_training_set, training_rows
from bascule.training.texthash import hash_of

MOST_LABELLED = 50_000


@dataclass(frozen=True)
class Examples:
    """Encoded rows: float64 [rows, inputs].

    Attributes:
        source: what they are and where they come from, in words that go on after their number.
        labelled: rows with their labels, of the test split; None when there are none.
    """

    source: str
    rows: np.ndarray
    labelled: tuple[np.ndarray, np.ndarray] | None = None


def examples_of(
    place: Place, version: ModelVersion, bundle: ModelBundle, count: int, table: str | None = None, seed: int = 0
) -> Examples:
    """Return about `count` rows for a version: of a table that was named, else of its training set or its input
    example, else made up.

    Raises:
        NotFound: there is no such table.
        InputError: it has no rows, or not the model's inputs.
    """
    if table is not None:
        return _of_table(place, bundle, count, table)
    if version.training_set:
        try:
            made = read_training_set(place.workspace, version.training_set)
            every = training_rows(place.workspace, made)
        except NotFound:
            return _made_up(bundle, count, seed)
        drawn = np.sort(np.random.default_rng(seed).permutation(every.num_rows)[:count])
        rows = encode(bundle.signature, every.take(pa.array(drawn)))
        test = training_rows(place.workspace, made, "test").slice(0, MOST_LABELLED)
        labelled = encode(bundle.signature, test), test.column("label").to_numpy()
        return Examples(f"rows of the training set {made.name}", rows, labelled if test.num_rows else None)
    return _of_example(place, version, bundle, count, seed) or _made_up(bundle, count, seed)


def _of_example(place: Place, version: ModelVersion, bundle: ModelBundle, count: int, seed: int) -> Examples | None:
    """Return the rows that a client logged with its model as an example, and made-up ones to fill up.

    Texts of which nobody says which there are, are drawn from the example.

    Returns:
        None without an example, or when it does not fit the model.
    """
    rows = encoded_example(read_model_file(place.workspace, version.place).example, bundle.signature)
    if rows is None:
        return None
    rows = rows[:count]
    if bundle.signature.is_raw:
        drawn = np.random.default_rng(seed).choice(len(rows), count)
        return Examples("rows, drawn from those of the model's input example (name a table: --table)", rows[drawn])
    more = _made_up(bundle, count - len(rows), seed).rows
    for at, field in enumerate(bundle.signature.inputs):
        if field.is_text and field.categories is None:
            more[:, at] = np.random.default_rng(seed).choice(rows[:, at], len(more))
    source = f"rows, {len(rows):,} of the model's input example and the others made up (name a table: --table)"
    return Examples(source, np.vstack([rows, more]))


def _of_table(place: Place, bundle: ModelBundle, count: int, table: str) -> Examples:
    name, _, at = table.removeprefix("tables/").partition("@")
    source = BranchTable(place, name, at or None)
    missing = [one for one in bundle.signature.names() if one not in source.describe().columns]
    if missing:
        raise InputError(
            f"Table {name!r} lacks what the model reads: {', '.join(missing[:5])}.",
            hint="Name a table with the model's inputs, such as what bascule predict TABLE reads.",
        )
    batches, found = [], 0
    for batch in source.read():
        batches.append(batch)
        found += batch.num_rows
        if found >= count:
            break
    rows = pa.Table.from_batches(batches).slice(0, count) if batches else None
    if rows is None or not rows.num_rows:
        raise InputError(f"Table {name!r} has no rows.", hint="Name another one with --table.")
    return Examples(f"rows of the table {name}", encode(bundle.signature, rows))


def _made_up(bundle: ModelBundle, count: int, seed: int) -> Examples:
    """Make rows where no data are known: beside the thresholds of the trees, else from the normal distribution."""
    if bundle.signature.is_raw:
        raise InputError(
            "The model reads texts or times as they are, and nobody knows rows that it takes.",
            hint="Name a table with its inputs (--table NAME), or log it with input_example=….",
        )
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, len(bundle.signature.inputs)))
    try:
        for place, held in forest_of(bundle).thresholds().items():
            finite = held[np.isfinite(held)]
            if len(finite):
                drawn = rng.choice(finite, count)
                rows[:, place] = drawn + rng.normal(size=count) * 0.1 * (np.std(finite) or 1.0)
    except Unfit:
        pass
    for place, field in enumerate(bundle.signature.inputs):
        if field.hashed:
            known = [float(hash_of(text)) for text in field.categories or ("",)]
            rows[:, place] = rng.choice(known, count)
        elif field.categories is not None:
            rows[:, place] = rng.integers(max(1, len(field.categories)), size=count)
        elif field.type == "boolean":
            rows[:, place] = rng.integers(2, size=count)
        elif field.type == "bigint":
            rows[:, place] = np.round(rows[:, place])
    return Examples("made-up rows, since nothing is known of the model's data (name a table: --table)", rows)
