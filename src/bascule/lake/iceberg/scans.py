"""Reading a table with DuckDB: the SQL text that returns exactly the rows of a snapshot.

`read_parquet` is told which field id becomes which column and type, so renamed, added, dropped and widened columns come
out right whatever the file calls them. Rows that a position delete or a deletion vector names are taken out by an
anti-join on file and row number. What DuckDB could only read wrong is refused.
`docs/decisions/0001-reading-iceberg.md` says why this way.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from bascule.errors import InputError
from bascule.lake.iceberg import bounds, files, manifests, partitions, schemas, types, vectors
from bascule.lake.iceberg.datafiles import DataFile, is_own
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import FIELD_ID, literal, quoted
from bascule.store import Place

# The rows that a deletion vector takes out stand in the query itself.
MOST_IN_A_VECTOR = 1_000_000
NAME_MAPPING = "schema.name-mapping.default"

# Column name → the least and the greatest value that is wanted, either of them None.
Between = Mapping[str, tuple[Any, Any]]


def scan(
    table: Table,
    *,
    only: Sequence[DataFile] | None = None,
    positions: bool = False,
    schema: schemas.Schema | None = None,
    deleted_too: bool = False,
) -> str:
    """Return SQL text for FROM that yields a table's rows, in the order in which they came.

    Rows of files that position deletes touch come last and in any order.

    Args:
        only: read just these of its data files.
        positions: two columns more, first: `__file` (its path) and `__row` (its number in the file, from 0).
        schema: read the rows as another of the table's schemas has them; the current one unless given.
        deleted_too: also the rows that position deletes take out.

    Raises:
        InputError: when the table holds what DuckDB cannot read rightly here: equality deletes, renamed fields inside
            a struct, or defaults for rows written before a column.
    """
    refuse_unreadable(table)
    reading = _Reading(table, schema or table.schema, positions)
    data = list(table.data_files() if only is None else only)
    deletes = [] if deleted_too else [entry["data_file"] for entry in table.live(manifests.DELETES)]
    for record in deletes:
        _refuse_delete(table, record)
    if not data:
        return nothing(reading.schema, positions)
    files.warm(f.path for f in data)
    hit = touched(table, data, deletes)
    parts = [reading.files(group) for group in _by_naming(table, [f for f in data if f.path not in hit])]
    for group in _by_naming(table, [f for f in data if f.path in hit]):
        parts.append(reading.files(group) + reading.without(deletes))
    return f"({' UNION ALL '.join(parts)})"


def by_ids(table: Table) -> tuple[list[DataFile], list[DataFile]]:
    """Return the files that are read rightly by field ids alone, and those that only `scan` reads rightly.

    Raises:
        InputError: as `scan` does.
    """
    refuse_unreadable(table)
    data, deletes = table.data_files(), [entry["data_file"] for entry in table.live(manifests.DELETES)]
    for record in deletes:
        _refuse_delete(table, record)
    hit = touched(table, data, deletes)
    plain = [file for file in data if file.path not in hit and _named_by_id(file.path, table)]
    kept = {file.path for file in plain}
    return plain, [file for file in data if file.path not in kept]


def nothing(schema: schemas.Schema, positions: bool = False) -> str:
    """Return SQL text for FROM that yields no rows, with a schema's columns."""
    columns = [f"NULL::{types.to_duckdb(f['type'])} AS {quoted(f['name'])}" for f in schema["fields"]]
    if positions:
        columns = ["NULL::VARCHAR AS __file", "NULL::BIGINT AS __row", *columns]
    return f"(SELECT {', '.join(columns)} WHERE false)"


@dataclass(frozen=True, slots=True)
class _Reading:
    table: Table
    schema: schemas.Schema
    positions: bool

    def files(self, group: Sequence[DataFile]) -> str:
        # Read under their ids and named last, so that no name can clash with one of DuckDB's own.
        columns = [f"{_read_as(f, group)} AS {quoted(f['name'])}" for f in self.schema["fields"]]
        if self.positions:
            columns = ["filename AS __file", "file_row_number AS __row", *columns]
        paths = ", ".join(literal(str(f.path)) for f in group)
        by_id = _named_by_id(group[0].path, self.table)
        source = self._by_id(paths) if by_id else self._by_name(group[0].path, paths)
        return f"SELECT {', '.join(columns)} FROM {source} AS data"

    def without(self, deletes: Sequence[dict[str, Any]]) -> str:
        # A delete names its file, and files never share a path, so sequence numbers need not be compared.
        files = [r for r in deletes if not _is_vector(r)]
        gone = [f"SELECT {_moved(self.table)} AS file, pos AS row FROM read_parquet({_paths(self.table, files)})"]
        gone = [*(gone if files else []), *(_vector(self.table, r) for r in deletes if _is_vector(r))]
        listed = " UNION ALL ".join(gone)
        return f" ANTI JOIN ({listed}) AS gone ON data.filename = gone.file AND data.file_row_number = gone.row"

    def _by_id(self, paths: str) -> str:
        wanted = ", ".join(
            f"{f['id']}: {{name: 'c{f['id']}', type: {literal(types.to_duckdb(f['type']))}, default_value: NULL}}"
            for f in self.schema["fields"]
        )
        return f"read_parquet([{paths}], schema = MAP {{{wanted}}})"

    def _by_name(self, example: Place, paths: str) -> str:
        # Files that were adopted as they were: the table's name mapping says which of their columns is which field.
        there = set(pq.read_schema(files.readable(example)).names)
        mapping = json.loads(self.table.properties.get(NAME_MAPPING, "[]"))
        aliases = {entry["field-id"]: entry["names"] for entry in mapping if "field-id" in entry}
        columns = []
        for field in self.schema["fields"]:
            found = next((name for name in aliases.get(field["id"], [field["name"]]) if name in there), None)
            value = quoted(found) if found else "NULL"
            columns.append(f"{value}::{types.to_duckdb(field['type'])} AS c{field['id']}")
        return f"(SELECT {', '.join(columns)}, filename, file_row_number FROM read_parquet([{paths}]))"


def _read_as(field: schemas.Field, group: Sequence[DataFile]) -> str:
    # A file that Bascule wrote tells nothing of floats in its footer; see `datafiles`.
    name = f"c{field['id']}"
    foreign = any(not is_own(file.record) and _may_have_nan(file, field["id"]) for file in group)
    return types.unforetold(name, types.to_duckdb(field["type"])) if foreign else name


def pruned(table: Table, data: Sequence[DataFile], between: Between) -> list[DataFile]:
    """Return the files that may hold a row with every column within its limits, by what manifests say of them."""
    wanted = _limits(table, between)
    parts = _parts_of(table)
    return [
        file
        for file in data
        if all(
            _overlaps(file, field, low, high) and _placed(file, parts, field, low, high) for field, low, high in wanted
        )
    ]


def candidates(table: Table, between: Between) -> list[DataFile]:
    """Return what `pruned` does of all files. Manifests of other partitions are not read."""
    wanted, parts = _limits(table, between), _parts_of(table)

    def matters(manifest: manifests.ManifestFile) -> bool:
        of = parts.get(manifest.get("partition_spec_id") or 0, [])
        summary = manifest.get("partitions") or []
        return all(partitions.may_list(summary, of, field["id"], low, high) for field, low, high in wanted)

    return pruned(table, table.data_files(matters), between)


def _limits(table: Table, between: Between) -> list[tuple[schemas.Field, Any, Any]]:
    found = []
    for name, limits in between.items():
        field = schemas.find(table.schema, name)
        if isinstance(field["type"], str):
            low, high = (None if v is None else bounds.comparable(field["type"], v) for v in limits)
            found.append((field, low, high))
    return found


def _parts_of(table: Table) -> dict[int, list[partitions.Part]]:
    specs = table.metadata.get("partition-specs", [])
    return {spec["spec-id"]: partitions.parts(table.metadata, spec["spec-id"]) for spec in specs if spec["fields"]}


def _placed(file: DataFile, parts: dict[int, list[partitions.Part]], field: schemas.Field, low: Any, high: Any) -> bool:
    of = parts.get(file.record.get(partitions.SPEC_ID, 0), [])
    return partitions.may_hold(file.record["partition"], of, field["id"], low, high)


def refuse_unreadable(table: Table) -> None:
    """Raise `InputError` when reading by this way could be wrong, saying what stands against it."""
    names: dict[int, str] = {}
    for schema in table.metadata.get("schemas", [table.schema]):
        for field in schema["fields"]:
            if field.get("initial-default") is not None:
                raise _refused(table, f"a default for rows older than column {field['name']!r}")
            for number, name in _inner(field["type"]):
                if names.setdefault(number, name) != name:
                    raise _refused(table, f"field {names[number]!r} inside a struct, later renamed to {name!r}")


def _refused(table: Table, what: str) -> InputError:
    return InputError(
        f"Table {table.name!r} has {what}, which Bascule does not read.",
        hint="Rewrite its data files with the engine that wrote them (in Spark: CALL system.rewrite_data_files).",
    )


def _refuse_delete(table: Table, record: dict[str, Any]) -> None:
    if record["content"] == manifests.EQUALITY_DELETES:
        raise _refused(table, "equality deletes")
    if _is_vector(record):
        if record["record_count"] > MOST_IN_A_VECTOR:
            raise _refused(table, f"a deletion vector of {record['record_count']:,} rows")
        if not record.get("referenced_data_file"):
            raise _refused(table, "a deletion vector that names no data file")
    elif record["file_format"].upper() != "PARQUET":
        raise _refused(table, f"deletes in {record['file_format']} files")


def _is_vector(record: dict[str, Any]) -> bool:
    return bool(record["file_format"].upper() == vectors.PUFFIN)


def _vector(table: Table, record: dict[str, Any]) -> str:
    # Within the query, because a reader writes no files; as one text, which DuckDB parses in no time.
    rows = ",".join(map(str, vectors.positions(record, table.resolve(record["file_path"])).tolist()))
    file = literal(str(table.resolve(record["referenced_data_file"])))
    return f"SELECT {file} AS file, unnest(string_split('{rows}', ','))::BIGINT AS row"


def _by_naming(table: Table, data: Sequence[DataFile]) -> list[list[DataFile]]:
    if NAME_MAPPING not in table.properties or not data:
        return [list(data)] if data else []
    groups: dict[tuple[str, ...], list[DataFile]] = defaultdict(list)
    for file in data:
        ids = _named_by_id(file.path, table)
        groups[() if ids else tuple(pq.read_schema(files.readable(file.path)).names)].append(file)
    return list(groups.values())


def _named_by_id(path: Place, table: Table) -> bool:
    if NAME_MAPPING not in table.properties:
        return True
    return any(FIELD_ID in (field.metadata or {}) for field in pq.read_schema(files.readable(path)))


def touched(table: Table, data: Sequence[DataFile], deletes: Sequence[dict[str, Any]]) -> set[Place]:
    """Return the files that position deletes may take rows out of: all, where one does not say which."""
    found: set[Place] = set()
    for record in deletes:
        if _is_vector(record):
            found.add(table.resolve(record["referenced_data_file"]))
            continue
        named = {p["key"]: p["value"] for p in record.get("lower_bounds") or []}.get(2147483546)
        upper = {p["key"]: p["value"] for p in record.get("upper_bounds") or []}.get(2147483546)
        if named is not None and named == upper:  # the whole file is about one data file, and says which
            found.add(table.resolve(named.decode()))
        else:
            return {f.path for f in data}
    return found & {f.path for f in data}


def _paths(table: Table, records: Sequence[dict[str, Any]]) -> str:
    return "[" + ", ".join(literal(str(table.resolve(r["file_path"]))) for r in records) + "]"


def _moved(table: Table) -> str:
    text = "file_path"
    for place in table.locations():
        if place != str(table.folder):
            head = literal(f"{place}/")
            text = (
                f"CASE WHEN starts_with(file_path, {head}) "
                f"THEN {literal(str(table.folder) + '/')} || substr(file_path, {len(place) + 2}) ELSE {text} END"
            )
    return text if text != "file_path" else "regexp_replace(file_path, '^file://', '')"


def _overlaps(file: DataFile, field: schemas.Field, low: Any, high: Any) -> bool:
    kind = field["type"]
    least, most = _bound(file, "lower_bounds", field["id"]), _bound(file, "upper_bounds", field["id"])
    if least is not None and high is not None and bounds.decode(kind, least) > high:
        return False
    if most is None or low is None or (kind in ("float", "double") and _may_have_nan(file, field["id"])):
        return True  # NaN is greater than every number, and no bound tells of it
    return not bounds.decode(kind, most) < low


def _may_have_nan(file: DataFile, number: int) -> bool:
    counts = {pair["key"]: pair["value"] for pair in file.record.get("nan_value_counts") or ()}
    return bool(counts.get(number, 1))


def _bound(file: DataFile, which: str, number: int) -> bytes | None:
    for pair in file.record.get(which) or ():
        if pair["key"] == number:
            found: bytes = pair["value"]
            return found
    return None


def _inner(kind: types.Type) -> list[tuple[int, str]]:
    if isinstance(kind, str):
        return []
    if kind["type"] == "struct":
        found = [(field["id"], field["name"]) for field in kind["fields"]]
        return found + [pair for field in kind["fields"] for pair in _inner(field["type"])]
    parts = [kind["element"]] if kind["type"] == "list" else [kind["key"], kind["value"]]
    return [pair for part in parts for pair in _inner(part)]
