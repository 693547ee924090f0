"""Partition specs and sort orders: how they are said, and a partition's values in manifests.

A record's `partition` is a dict of field id to value, in the form of `transforms.plain`, and its `spec-id` says which
spec that is. Manifests hold it under names and types that depend on the spec.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bascule.errors import InputError
from bascule.lake.iceberg import bounds, schemas, transforms
from bascule.lake.iceberg.metadata import Metadata, schema_of
from bascule.lake.iceberg.types import Type, decimal_of

Spec = dict[str, Any]
Order = dict[str, Any]
Values = dict[int, Any]

SPEC_ID = "spec-id"
_TERM = re.compile(
    r"""^\s*(?:(?P<transform>[a-z]+)\s*\(\s*(?:(?P<size>\d+)\s*,\s*)?(?P<inner>[^()]+?)\s*\)|(?P<column>[^()]+?))
    (?:\s+(?P<direction>asc|desc))?(?:\s+nulls\s+(?P<nulls>first|last))?\s*$""",
    re.IGNORECASE | re.VERBOSE,
)
_SUFFIX = {
    "bucket": "bucket_{}",
    "truncate": "trunc_{}",
    "year": "year",
    "month": "month",
    "day": "day",
    "hour": "hour",
}
_AVRO: dict[str, Any] = {
    "boolean": "boolean",
    "int": "int",
    "long": "long",
    "float": "float",
    "double": "double",
    "string": "string",
    "binary": "bytes",
    "date": {"type": "int", "logicalType": "date"},
    "time": {"type": "long", "logicalType": "time-micros"},
    "timestamp": {"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": False},
    "timestamptz": {"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": True},
    "uuid": {"type": "fixed", "name": "uuid_fixed", "size": 16, "logicalType": "uuid"},
}


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a partition spec, bound to the column that it is made of.

    Attributes:
        id, name: the field's.
        source: the column's id.
        kind: the column's type.
        transform: what is made of the column's values.
    """

    id: int
    name: str
    source: int
    kind: Type
    transform: str

    @property
    def type(self) -> Type:
        """The type of the field's values."""
        return transforms.result_type(self.transform, self.kind)


def spec_of(metadata: Metadata, number: int | None = None) -> Spec:
    """Return a table's spec by its id, or the one that new files have."""
    wanted = metadata["default-spec-id"] if number is None else number
    found: Spec = next(s for s in metadata["partition-specs"] if s["spec-id"] == wanted)
    return found


def order_of(metadata: Metadata) -> Order:
    """Return the sort order that new files have."""
    found: Order = next(o for o in metadata["sort-orders"] if o["order-id"] == metadata["default-sort-order-id"])
    return found


def parts(metadata: Metadata, number: int | None = None) -> list[Part]:
    """Return the fields of a spec, also where the column that one is made of was dropped meanwhile."""
    kinds: dict[int, Type] = {}
    for schema in (*metadata.get("schemas", ()), schema_of(metadata)):
        kinds |= {number: field["type"] for _, number, field in leaves(schema)}
    return [
        Part(f["field-id"], f["name"], f["source-id"], kinds.get(f["source-id"], "int"), f["transform"])
        for f in spec_of(metadata, number)["fields"]
    ]


def leaves(schema: schemas.Schema) -> Iterable[tuple[tuple[str, ...], int, schemas.Field]]:
    """Yield the columns that a transform may take, with the way to each: also a struct's fields."""

    def walk(fields: Sequence[schemas.Field], above: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], int, Any]]:
        for field in fields:
            way = (*above, field["name"])
            if isinstance(field["type"], str):
                yield way, field["id"], field
            elif field["type"]["type"] == "struct":
                yield from walk(field["type"]["fields"], way)

    return walk(schema["fields"], ())


def way_to(schema: schemas.Schema, number: int) -> tuple[str, ...]:
    """Return the names that lead to a column.

    Raises:
        InputError: when it is not there any more.
    """
    for way, found, _ in leaves(schema):
        if found == number:
            return way
    raise InputError(
        "The table is partitioned or sorted by a column that was dropped.",
        hint="Give it another layout: bascule table layout TABLE --partition …",
    )


def merged(base: Metadata, ours: Metadata, theirs: Metadata) -> Metadata | None:
    """Return our document with the layout that has both sides' changes, or None when both changed it differently."""
    names = ("partition-specs", "default-spec-id", "last-partition-id", "sort-orders", "default-sort-order-id")
    was, mine, other = ({name: side.get(name) for name in names} for side in (base, ours, theirs))
    if other in (was, mine):
        return ours
    return {**ours, **other} if mine == was else None


def unknown_transform(metadata: Metadata) -> str | None:
    """Return a transform by which new files would be divided or sorted, and which Bascule does not know."""
    every = [*spec_of(metadata)["fields"], *order_of(metadata)["fields"]]
    return next((f["transform"] for f in every if not transforms.known(f["transform"])), None)


# As text -------------------------------------------------------------------------------------------------------------


def parse_spec(terms: Sequence[str], schema: schemas.Schema) -> Spec:
    """Return a partition spec from terms such as `region`, `day(at)`, `bucket(16, id)` and `truncate(4, code)`.

    Raises:
        InputError: for a term that says none of these.
        NotFound: for a column that is not there.
    """
    fields = []
    for term in terms:
        field, transform, said = _parsed(term, schema)
        if said["direction"] or said["nulls"]:
            raise InputError(f"{term!r} is a sort order, and partitions have none.", hint="Leave the direction out.")
        word, _, size = transform.partition("[")
        suffix = _SUFFIX.get(word, "").format(size.rstrip("]"))
        name = f"{field['name']}_{suffix}" if suffix else field["name"]
        fields.append({"name": name, "transform": transform, "source-id": field["id"]})
    return {"fields": fields}


def parse_order(terms: Sequence[str], schema: schemas.Schema) -> Order:
    """Return a sort order from terms such as `id`, `at desc` and `day(at) desc nulls last`; errors as `parse_spec`."""
    fields = []
    for term in terms:
        field, transform, said = _parsed(term, schema)
        direction = (said["direction"] or "asc").lower()
        nulls = (said["nulls"] or ("first" if direction == "asc" else "last")).lower()
        told = {"direction": direction, "null-order": f"nulls-{nulls}"}
        fields.append({"transform": transform, "source-id": field["id"], **told})
    return {"fields": fields}


def told(field: Mapping[str, Any], metadata: Metadata) -> str:
    """Return a field of a spec or an order as `parse_spec` and `parse_order` take it."""
    names = {number: ".".join(way) for schema in metadata["schemas"] for way, number, _ in leaves(schema)}
    column = names.get(field["source-id"], f"dropped column {field['source-id']}")
    word, _, size = field["transform"].partition("[")
    said = column if word == "identity" else f"{word}({size[:-1]}, {column})" if size else f"{word}({column})"
    if "direction" not in field:
        return said
    said += " desc" if field["direction"] == "desc" else ""
    usual = "nulls-first" if field["direction"] == "asc" else "nulls-last"
    return said if field["null-order"] == usual else f"{said} {field['null-order'].replace('-', ' ')}"


def _parsed(term: str, schema: schemas.Schema) -> tuple[schemas.Field, str, dict[str, str | None]]:
    match = _TERM.match(term)
    said = match.groupdict() if match else {}
    word = (said.get("transform") or "identity").lower()
    sized = word in ("bucket", "truncate")
    if (
        match is None
        or said["size"] == "0"
        or (word not in transforms.PLAIN and not sized)
        or sized != bool(said["size"])
        or word == "void"
    ):
        raise InputError(
            f"{term!r} says no way to divide or sort rows.",
            hint="Write a column, or year(c), month(c), day(c), hour(c), truncate(WIDTH, c) or bucket(COUNT, c).",
        )
    column = (said["inner"] or said["column"] or "").strip().strip('"')
    nested = {".".join(way).casefold(): field for way, _, field in leaves(schema)}
    field = nested.get(column.casefold()) or schemas.find(schema, column)
    return field, f"{word}[{int(said['size'] or 0)}]" if sized else word, said


# In manifests --------------------------------------------------------------------------------------------------------


def avro_record(of: Sequence[Part]) -> dict[str, Any]:
    """Return the Avro schema of a partition's values."""
    fields = [
        {"name": avro_name(p.name), "type": ["null", _avro_type(p)], "default": None, "field-id": p.id} for p in of
    ]
    return {"type": "record", "name": "r102", "fields": fields}


def avro_name(name: str) -> str:
    """Return a name as Avro allows it, changed in the way in which every Iceberg writer does."""
    first = name[:1]
    changed = first if first.isascii() and (first.isalpha() or first == "_") else ""
    if not changed:
        changed = f"_{first}" if first.isascii() and first.isdigit() else f"_x{ord(first):X}"
    return changed + "".join(c if c.isascii() and (c.isalnum() or c == "_") else f"_x{ord(c):X}" for c in name[1:])


def to_avro(values: Values, of: Sequence[Part]) -> dict[str, Any]:
    """Return a partition's values by the names of `avro_record`."""
    return {avro_name(part.name): values.get(part.id) for part in of}


def from_avro(values: Mapping[str, Any], fields: Sequence[Mapping[str, Any]]) -> Values:
    """Return a partition's values by field id, from a record and the fields of its Avro schema."""
    return {f["field-id"]: transforms.plain(values[f["name"]]) for f in fields if "field-id" in f}


def summaries(records: Sequence[Mapping[str, Any]], of: Sequence[Part]) -> list[dict[str, Any]]:
    """Return what a manifest list says of the partitions of a manifest's files, field by field."""
    return [_summary([record["partition"].get(part.id) for record in records], str(part.type)) for part in of]


def may_hold(values: Values, of: Sequence[Part], source: int, low: Any, high: Any) -> bool:
    """Tell whether a partition may hold a row with a column between two limits."""
    return all(
        transforms.may_hold(part.transform, part.kind, values.get(part.id), low, high)
        for part in of
        if part.source == source and transforms.known(part.transform)
    )


def may_list(summary: Sequence[Mapping[str, Any]], of: Sequence[Part], source: int, low: Any, high: Any) -> bool:
    """Tell whether a manifest may name a file with a row with a column between two limits, by its summary."""
    for part, said in zip(of, summary, strict=False):
        if part.source != source or not transforms.known(part.transform) or part.transform == "void":
            continue
        least, most = said.get("lower_bound"), said.get("upper_bound")
        if least is None or most is None or said.get("contains_nan"):
            continue
        first, last = (bounds.decode(str(part.type), bound) for bound in (least, most))
        if not transforms.within(part.transform, part.kind, first, last, low, high):
            return False
    return True


def _summary(values: Sequence[Any], kind: str) -> dict[str, Any]:
    there = [value for value in values if value is not None]
    nan = any(value != value for value in there)
    there = [value for value in there if value == value]
    return {
        "contains_null": any(value is None for value in values),
        "contains_nan": nan,
        "lower_bound": bounds.encode(kind, min(there)) if there else None,
        "upper_bound": bounds.encode(kind, max(there)) if there else None,
    }


def _avro_type(part: Part) -> Any:
    kind = str(part.type)
    if decimal := decimal_of(kind):
        size = next(n for n in range(1, 17) if 10 ** decimal[0] <= 2 ** (8 * n - 1))
        told = {"logicalType": "decimal", "precision": decimal[0], "scale": decimal[1]}
        return {"type": "fixed", "name": f"decimal_{part.id}", "size": size, **told}
    if kind.startswith("fixed["):
        return {"type": "fixed", "name": f"fixed_{part.id}", "size": int(kind[6:-1])}
    if kind == "uuid":
        return {**_AVRO["uuid"], "name": f"uuid_{part.id}"}
    return _AVRO[kind]
