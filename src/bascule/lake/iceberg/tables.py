"""One state of one table: its metadata document and where its files are."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bascule.errors import InputError
from bascule.lake.iceberg import files, manifests, metadata, partitions, schemas
from bascule.lake.iceberg.datafiles import DataFile, Record
from bascule.lake.iceberg.manifests import Entry, ManifestFile
from bascule.lake.iceberg.metadata import Metadata, Snapshot
from bascule.store import Place
from bascule.store.places import place_named

# Where the table was before its workspace was moved: the paths in older manifests begin with one of these.
FORMER_LOCATIONS = "bascule.former-locations"
# The forgettings that rewrote the table's files, by id.
FORGOTTEN = "bascule.forgotten"
LOCK = "table.lock"
# Whoever holds it is the next to land on the table: see `Lake.land`.
TURN = "turn.lock"

_VERSION = re.compile(r"^(\d+)-")


@dataclass(frozen=True, slots=True)
class Table:
    """A table as one metadata document says it is.

    Attributes:
        name: what messages call it.
        folder: where its files are now.
        path: the document's own file.
        metadata: the document.
    """

    name: str
    folder: Place
    path: Place
    metadata: Metadata

    @classmethod
    def load(cls, path: Place, name: str) -> Table:
        """Read the table that a metadata document describes. Its folder is the one that the document lies in."""
        return cls(name, path.parent.parent, path, metadata.read(path))

    @property
    def schema(self) -> schemas.Schema:
        """The current schema."""
        return metadata.schema_of(self.metadata)

    @property
    def snapshot(self) -> Snapshot | None:
        """The current snapshot."""
        return metadata.snapshot_of(self.metadata)

    @property
    def summary(self) -> Mapping[str, str]:
        """What the current snapshot says of itself."""
        return self.snapshot["summary"] if self.snapshot else {}

    @property
    def properties(self) -> Mapping[str, str]:
        """The table's properties."""
        found: Mapping[str, str] = self.metadata.get("properties", {})
        return found

    def resolve(self, place: str) -> Place:
        """Return where a file is that a manifest names: below this folder, even when the workspace was moved.

        Raises:
            InputError: when it lies in an object storage that is not open.
        """
        for former in self.locations():
            if place.startswith(former + "/"):
                return self.folder / place[len(former) + 1 :]
        return place_named(place.removeprefix("file://"))

    def locations(self) -> list[str]:
        """Return the places below which this table's files are or were, as manifests may write them."""
        former = self.properties.get(FORMER_LOCATIONS, "").split("\n")
        return [place.rstrip("/") for place in (self.metadata["location"], *former) if place]

    def manifests(self, snapshot: Snapshot | None = None, *, fresh: bool = False) -> list[ManifestFile]:
        """Return the manifest records of a snapshot, of the current one unless given; with `fresh`, from no cache."""
        snapshot = snapshot or self.snapshot
        if snapshot is None:
            return []
        if "manifest-list" in snapshot:
            return manifests.read_list(self.resolve(snapshot["manifest-list"]), None if fresh else self._mark)
        return [_bare(place, snapshot["snapshot-id"]) for place in snapshot.get("manifests", [])]

    def entries(self, manifest: ManifestFile, *, fresh: bool = False) -> list[Entry]:
        """Return the entries of one manifest, inheritance applied; with `fresh`, from no cache."""
        path = self.resolve(manifest["manifest_path"])
        return manifests.read_manifest(manifest, path, None if fresh else self._mark)

    @property
    def _mark(self) -> str:
        # Nothing but a forgetting rewrites a manifest or a list, and it writes its id into every document after that.
        return self.properties.get(FORGOTTEN, "")

    def live(
        self, content: int | None = None, matters: Callable[[ManifestFile], bool] = lambda manifest: True
    ) -> Iterator[Entry]:
        """Yield the entries of files that the current snapshot has.

        Args:
            content: only data or only delete files.
            matters: False for a manifest that need not be read.
        """
        wanted = [m for m in self.manifests() if content is None or (m.get("content") or 0) == content]
        wanted = [m for m in wanted if manifests.holds_files(m) and matters(m)]
        for entries in files.at_once(self.entries, wanted, self.folder):
            yield from (e for e in entries if e["status"] != manifests.DELETED)

    def deletes(self) -> list[Record]:
        """Return the records of the files that take rows out of the current snapshot's data files."""
        if self.snapshot is None or self.summary.get("total-delete-files") == "0":
            return []
        return [entry["data_file"] for entry in self.live(manifests.DELETES)]

    def data_files(self, matters: Callable[[ManifestFile], bool] = lambda manifest: True) -> list[DataFile]:
        """Return the current snapshot's data files, in the order in which they came; `matters` is that of `live`."""
        entries = sorted(self.live(manifests.DATA, matters), key=lambda entry: int(entry["sequence_number"]))
        return [self.data_file(entry) for entry in entries]

    def data_file(self, entry: Entry) -> DataFile:
        """Return an entry as a data file."""
        record = entry["data_file"]
        return DataFile(
            self.resolve(record["file_path"]),
            record["record_count"],
            record["file_size_in_bytes"],
            record,
            entry["snapshot_id"],
        )

    def for_writing(self) -> Table:
        """Return the table as a writer may go on from it.

        Raises:
            InputError: when it is of a format or a partitioning that Bascule does not write.
        """
        if self.metadata["format-version"] != metadata.FORMAT_VERSION:
            raise InputError(
                f"Table {self.name!r} is of Iceberg format version {self.metadata['format-version']}; "
                f"Bascule writes version {metadata.FORMAT_VERSION}.",
                hint="Write it with the engine that made it.",
            )
        unknown = partitions.unknown_transform(self.metadata)
        if unknown is not None:
            raise InputError(
                f"Table {self.name!r} is divided or sorted by {unknown!r}, which Bascule does not know.",
                hint="Write it with the engine that made it.",
            )
        return self.here()

    def here(self) -> Table:
        """Return the table with its location where its folder is now; it may have been moved with its workspace."""
        location = str(self.folder)
        if self.metadata["location"] == location:
            return self
        former = "\n".join(self.locations())
        moved = metadata.with_properties({**self.metadata, "location": location}, {FORMER_LOCATIONS: former})
        return Table(self.name, self.folder, self.path, moved)

    def written(self, document: Metadata) -> Table:
        """Write a new metadata document beside the present one and return the table that it describes."""
        match = _VERSION.match(self.path.name)
        version = int(match[1]) + 1 if match else 0
        path = self.folder / "metadata" / f"{version:05d}-{uuid.uuid4()}.metadata.json"
        log = document.get("metadata-log", [])
        if match:
            log = [*log, {"timestamp-ms": self.metadata["last-updated-ms"], "metadata-file": str(self.path)}]
        document = {**document, "metadata-log": log[-metadata.KEPT_SNAPSHOTS :]}
        metadata.write(path, document)
        return Table(self.name, self.folder, path, document)


def create(name: str, folder: Place, schema: schemas.Schema, last_column: int, properties: Mapping[str, str]) -> Table:
    """Return an empty table in a new folder. It has no document yet: its first state, or `written`, makes one."""
    for part in ("data", "metadata"):
        files.make_folder(folder / part)
    document = metadata.new(str(folder), schema, last_column, properties)
    return Table(name, folder, folder / "metadata" / "none", document)


def _bare(place: str, snapshot_id: int) -> dict[str, Any]:
    return {"manifest_path": place, "added_snapshot_id": snapshot_id, "content": 0, "partition_spec_id": 0}
