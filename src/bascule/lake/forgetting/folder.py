"""One table's folder as forgetting sees it: every file on disk, whether any state still refers to it or not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bascule.errors import InputError, NotFound
from bascule.lake import engine
from bascule.lake.iceberg import scans, schemas
from bascule.lake.iceberg.datafiles import DataFile
from bascule.lake.iceberg.files import readable
from bascule.lake.iceberg.manifests import AvroFile
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import FIELD_ID, literal, may_widen, quoted, to_duckdb
from bascule.lake.staging import by_file
from bascule.store import Place
from bascule.store.places import below, named, place_named, sizes

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Folder:
    """A table's files.

    Attributes:
        path: the folder.
        documents: all its metadata documents, oldest version first.
        manifests: all its manifests, by path.
        lists: all its manifest lists, by path.
        delete_files: its position delete files.
    """

    path: Place
    documents: tuple[Table, ...]
    manifests: Mapping[Place, AvroFile]
    lists: Mapping[Place, AvroFile]
    delete_files: tuple[Place, ...]

    @classmethod
    def read(cls, path: Place, name: str) -> Folder:
        """Read all metadata of a table's folder.

        Raises:
            InputError: when the table holds what forgetting cannot rewrite.
            EnvironmentProblem: when a file is damaged.
        """
        places = named(path / "metadata", "*.metadata.json")
        documents = tuple(Table(name, path, t.path, t.metadata) for t in (Table.load(p, name) for p in places))
        avro = {place: AvroFile(place) for place in named(path / "metadata", "*.avro")}
        kinds = {place: file.schema["name"].rpartition(".")[2] for place, file in avro.items()}
        manifests = {place: file for place, file in avro.items() if kinds[place] == "manifest_entry"}
        lists = {place: file for place, file in avro.items() if kinds[place] == "manifest_file"}
        folder = cls(path, documents, manifests, lists, _delete_files(documents, manifests))
        folder._refuse_outside()
        return folder

    @property
    def newest(self) -> Table:
        """The newest document: the one that knows all former locations."""
        return self.documents[-1]

    def data_files(self) -> list[DataFile]:
        """Return every data file on disk."""
        found = [(p, size) for p, size in sizes(self.path / "data") if p.name.endswith(".parquet")]
        data = sorted((pair for pair in found if pair[0] not in self.delete_files), key=lambda pair: str(pair[0]))
        return [DataFile(p, 0, size, {"file_path": str(p)}, 0) for p, size in data]

    def matching(self, key: Mapping[str, Any], temporary: Path) -> dict[Place, np.ndarray]:
        """Return the rows of a subject by file: those whose key columns, by whatever name they had, hold its values.

        Raises:
            NotFound: when the table never had such columns.
            InputError: when a value is none of its column's type.
        """
        found: dict[Place, np.ndarray] = {}
        for fields in self._keyed(list(key)):
            schema = {"schema-id": 0, "type": "struct", "fields": fields}
            tests = [
                f"{quoted(field['name'])} = {literal(str(value))}::{_kind(field['type'], str(value))}"
                for field, value in zip(fields, key.values(), strict=True)
            ]
            for path, rows in self.where(" AND ".join(tests), temporary, schema).items():
                found[path] = np.union1d(found[path], rows) if path in found else rows
        return found

    def where(self, condition: str, temporary: Path, schema: schemas.Schema | None = None) -> dict[Place, np.ndarray]:
        """Return the rows for which a SQL condition is true, by file, also those that deletes take out."""
        data = self.data_files()
        source = scans.scan(self.newest, only=data, positions=True, schema=schema, deleted_too=True)
        with engine.opened(temporary) as connection, engine.told(f"Rows of {self.newest.name!r} cannot be found"):
            engine.confine(connection, [self.path])
            query = f"SELECT __file, __row FROM {source} WHERE (\n{condition}\n)"
            found = by_file(connection.sql(query).to_arrow_table())
        return {place_named(path): rows for path, rows in found.items()}

    def _keyed(self, columns: list[str]) -> list[list[schemas.Field]]:
        # A name may have been another column's before: every column that ever had it is looked at, in its widest type.
        every = [s for d in self.documents for s in d.metadata.get("schemas", [d.schema])]
        widest: dict[int, schemas.Field] = {}
        keyed: set[tuple[int, ...]] = set()
        for schema in every:
            named = {field["name"].casefold(): field for field in schema["fields"]}
            for field in schema["fields"]:
                known = widest.get(field["id"])
                if known is None or may_widen(known["type"], field["type"]):
                    widest[field["id"]] = field
            if all(column.casefold() in named for column in columns):
                keyed.add(tuple(named[column.casefold()]["id"] for column in columns))
        if not keyed:
            known_names = schemas.names(self.newest.schema)
            folded = {name.casefold() for name in known_names}
            missing = next((c for c in columns if c.casefold() not in folded), columns[0])
            raise NotFound("column", missing, known_names)
        return [[widest[number] for number in ids] for ids in sorted(keyed)]

    def _refuse_outside(self) -> None:
        self._refuse_partitions()
        for file in self.manifests.values():
            for entry in file.records:
                within = self.path if entry["data_file"].get("content") else self.path / "data"
                if below(self.newest.resolve(entry["data_file"]["file_path"]), within) is None:
                    raise InputError(
                        f"Table {self.newest.name!r} has files outside of its folder, which Bascule does not rewrite: "
                        f"{entry['data_file']['file_path']}.",
                        hint="Copy the table into the lake, then forget.",
                    )

    def _refuse_partitions(self) -> None:
        """Refuse partitions whose values stand where they cannot be taken out of, or where rows do not hold them."""
        name = self.newest.name
        if any(document.metadata.get("partition-statistics") for document in self.documents):
            raise InputError(
                f"Table {name!r} has statistics of partitions, whose files hold values themselves.",
                hint="Remove them with the engine that wrote them, then forget.",
            )
        divided = {f["source-id"] for d in self.documents for s in _specs(d) for f in s["fields"] if _is_plain(f)}
        for file in self.data_files() if divided else ():
            there = pq.read_schema(readable(file.path))
            ids = {int(column.metadata.get(FIELD_ID, -1)) for column in there if column.metadata}
            if missing := divided - ids:
                raise InputError(
                    f"Table {name!r} is partitioned by columns that its files do not hold (field {min(missing)}).",
                    hint="Rewrite its data files with the engine that wrote them, then forget.",
                )


def _kind(kind: Any, value: str) -> str:
    """Return the SQL type to read a value as: sixteen bytes are told as a UUID is, where somebody writes one."""
    return "UUID" if kind == "fixed[16]" and _UUID.fullmatch(value) else to_duckdb(kind)


def spec_id(file: AvroFile) -> int:
    """Return the id of the partition spec of a manifest's files."""
    return int(file.metadata.get("partition-spec-id") or 0)


def partition_fields(file: AvroFile) -> list[dict[str, Any]]:
    """Return the Avro fields of the partitions in a manifest."""
    columns = {column["name"]: column["type"] for column in file.schema["fields"]}
    inner = {column["name"]: column["type"] for column in columns["data_file"]["fields"]}
    found: list[dict[str, Any]] = inner["partition"]["fields"]
    return found


def _specs(document: Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document.metadata.get("partition-specs", [])
    return found


def _is_plain(field: Mapping[str, Any]) -> bool:
    return bool(field["transform"] == "identity")


def _delete_files(documents: tuple[Table, ...], manifests: Mapping[Place, AvroFile]) -> tuple[Place, ...]:
    found = {
        documents[-1].resolve(entry["data_file"]["file_path"]): entry["data_file"]["content"]
        for file in manifests.values()
        for entry in file.records
        if entry["data_file"].get("content")
    }
    for content in found.values():
        if content != 1:
            raise InputError(
                f"Table {documents[-1].name!r} has equality deletes, whose files hold values themselves.",
                hint="Rewrite its data files with the engine that wrote them, then forget.",
            )
    return tuple(sorted((path for path in found if path.exists()), key=str))
