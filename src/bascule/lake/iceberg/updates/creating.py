"""The metadata of a table that a client asks to be made: fresh ids for all that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bascule.errors import InputError
from bascule.lake.iceberg.metadata import DEFAULTS, ENFORCED, LAST_COLUMN, Metadata
from bascule.lake.iceberg.updates import columns, layout
from bascule.lake.iceberg.updates.applying import DEFAULT_FORMAT
from bascule.lake.iceberg.updates.draft import NEWEST_FORMAT, empty, finished, understood

FORMAT_PROPERTY = "format-version"


def created(
    uuid: str,
    location: str,
    schema: Any,
    *,
    spec: Any = None,
    order: Any = None,
    properties: Mapping[str, str] | None = None,
) -> Metadata:
    """Return the document of an empty table.

    Args:
        schema, spec, order: as the client describes them; None for a table that is not divided or sorted.
        properties: of the table; `format-version` among them chooses the format.

    Raises:
        InputError: for columns, a spec or an order that a table of that format cannot have.
    """
    with understood("description of the table"):
        return _created(uuid, location, schema, spec, order, dict(properties or {}))


def _created(uuid: str, location: str, schema: Any, spec: Any, order: Any, told: dict[str, str]) -> Metadata:
    document = empty(_format(told.pop(FORMAT_PROPERTY, str(DEFAULT_FORMAT))))
    version = document["format-version"]
    fresh, ids = columns.freshened(columns.checked(schema, version))
    document |= {
        "table-uuid": uuid,
        "location": location,
        "schemas": [fresh],
        "current-schema-id": 0,
        LAST_COLUMN: columns.highest(fresh),
        "default-spec-id": 0,
        "properties": {**DEFAULTS, **told, **ENFORCED},
    }
    made = layout.checked_spec(layout.freshened_spec(spec or {"fields": []}, ids), fresh, document)
    document["partition-specs"] = [made]
    document["last-partition-id"] += len(made["fields"])
    sorted_by = layout.checked_order(layout.freshened_order(order or {"fields": []}, ids), fresh)
    document["sort-orders"] = [sorted_by]
    document["default-sort-order-id"] = sorted_by["order-id"]
    return finished(document)


def _format(text: str) -> int:
    if text not in [str(number) for number in range(1, NEWEST_FORMAT + 1)]:
        raise InputError(f"There is no Iceberg format version {text!r} here.", hint="Write 1, 2 or 3.")
    return int(text)
