"""Copying a lake to another place: data files byte by byte, and metadata that says where they are from then on.

Every file keeps its name, so what the history holds of a table stays true. Metadata documents, manifests, manifest
lists and position delete files hold addresses, which other engines follow: those are written anew with the new ones.
Nothing of the source is changed, and a copy that was cut off is gone on with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bascule.errors import EnvironmentProblem
from bascule.lake import journal
from bascule.lake.iceberg import files, manifests, metadata
from bascule.lake.iceberg.manifests import DATA, AvroFile
from bascule.lake.iceberg.tables import FORMER_LOCATIONS, LOCK, TURN, Table
from bascule.store import Place
from bascule.store.cache import is_immutable
from bascule.store.places import below, copy, sizes

AT_ONCE = 8
# The field of a position delete file that holds addresses, as bounds name it.
FILE_PATH = 2147483546
DOCUMENT = ".metadata.json"
AVRO = ".avro"

# Told how many bytes are there now.
Progress = Callable[[int], None]


def contents(lake: Place) -> dict[str, int]:
    """Return the files of a lake that a copy has too, by their way from its folder, with their sizes in bytes."""
    found = ((below(path, lake) or "", size) for path, size in sizes(lake))
    return {way: size for way, size in sorted(found) if _belongs(way)}


def copy_lake(source: Place, target: Place, progress: Progress) -> None:
    """Bring a copy of a lake to where its source is. Nobody may write to either meanwhile.

    Args:
        progress: called from any thread with the bytes of each file that is there.
    """
    there = contents(source)
    copied = contents(target)
    folders: dict[str, dict[str, int]] = {}
    for way, size in there.items():
        folders.setdefault(way.partition("/")[0], {})[way.partition("/")[2]] = size
    for name, listed in folders.items():
        had = {way.partition("/")[2]: size for way, size in copied.items() if way.startswith(f"{name}/")}
        _Copy(source / name, target / name, listed, had, progress).run()
    for way in copied.keys() - there.keys():  # what the source let go of since an earlier attempt
        (target / way).unlink(missing_ok=True)
    for path, _ in list(sizes(target)):
        if path.name.endswith(files.UNFINISHED):
            path.unlink(missing_ok=True)


def relocated(table: Table, target: Place) -> Callable[[str], str]:
    """Return what turns an address below a table's folder, as its metadata may write it, into one below another."""
    places = sorted({*table.locations(), str(table.folder)}, key=len, reverse=True)
    new = str(target)

    def moved(text: str) -> str:
        plain = text.removeprefix("file://")
        for place in places:
            old = place.removeprefix("file://")
            if plain == old:
                return new
            if plain.startswith(f"{old}/"):
                return new + plain[len(old) :]
        return text

    return moved


@dataclass(slots=True)
class _Copy:
    """One table's folder on its way.

    Attributes:
        listed: the files of the source, with sizes.
        had: those that the target has already.
    """

    source: Place
    target: Place
    listed: Mapping[str, int]
    had: Mapping[str, int]
    progress: Progress
    _moved: Callable[[str], str] = field(init=False, default=str)
    _lengths: dict[str, int] = field(init=False, default_factory=dict)

    def run(self) -> None:
        documents = [way for way in self.listed if way.endswith(DOCUMENT)]
        avro = {way: AvroFile(self.source / way) for way in self.listed if way.endswith(AVRO)}
        self._moved = self._mover(documents)
        entries = {way: file for way, file in avro.items() if _kind(file) == "manifest_entry"}
        lists = {way: file for way, file in avro.items() if _kind(file) == "manifest_file"}
        deletes = set(self._delete_files(entries))
        plain = [way for way in self.listed if way not in deletes and way not in avro and way not in documents]
        # What is named comes before what names it, so that no reader of a half copy meets a hole.
        self._each(self._bytes, plain)
        self._each(self._delete_file, deletes)
        self._each(lambda way: self._manifest(way, entries[way]), entries)
        self._each(lambda way: self._list(way, lists[way]), lists)
        self._each(self._bytes, [way for way in avro if way not in entries and way not in lists])
        self._each(self._document, documents)

    def _mover(self, documents: list[str]) -> Callable[[str], str]:
        every: dict[str, None] = {}
        for way in documents:
            every.update(dict.fromkeys(Table.load(self.source / way, "").locations()))
        properties = {FORMER_LOCATIONS: "\n".join(every)}
        stand_in = {"location": str(self.source), "properties": properties}
        return relocated(Table("", self.source, self.source, stand_in), self.target)

    def _delete_files(self, entries: Mapping[str, AvroFile]) -> Iterator[str]:
        for file in entries.values():
            for entry in file.records:
                record = entry["data_file"]
                way = self._way(record["file_path"])
                # Deletion vectors are found by what the manifest says of them: their files go as they are.
                parquet = str(record.get("file_format")).upper() == "PARQUET"
                if (record.get("content") or DATA) != DATA and parquet and way in self.listed:
                    yield way

    def _way(self, address: str) -> str:
        """Return an address's way from the table's folder, or what it is when it leads elsewhere."""
        moved, head = self._moved(address), f"{self.target}/"
        return moved[len(head) :] if moved.startswith(head) else address

    def _bytes(self, way: str) -> None:
        if self.had.get(way) != self.listed[way]:
            digest = copy(self.source / way, self.target / way)
            if is_immutable(way) and digest != way.rpartition("/")[2][:64]:
                (self.target / way).unlink(missing_ok=True)
                raise EnvironmentProblem(
                    f"The data file {self.source / way} does not hold what its name says: the disk changed it.",
                    hint="Restore it from a copy; `bascule doctor` tells which commits need it.",
                )
        self.progress(self.listed[way])

    def _delete_file(self, way: str) -> None:
        with pq.ParquetFile(files.readable(self.source / way)) as file:
            rows = file.read()
        if "file_path" in rows.column_names:  # equality deletes hold no addresses
            at = rows.column_names.index("file_path")
            places = pa.array(
                [self._moved(place) for place in rows["file_path"].to_pylist()], rows.schema.field(at).type
            )
            rows = rows.set_column(at, rows.schema.field(at), places)
        with files.creating(self.target / way) as working:
            pq.write_table(rows, working, compression="zstd", store_schema=False)
            self._lengths[way] = working.stat().st_size
        self.progress(self.listed[way])

    def _manifest(self, way: str, file: AvroFile) -> None:
        for entry in file.records:
            record = entry["data_file"]
            size = self._lengths.get(self._way(record["file_path"]))
            if size is not None:
                record["file_size_in_bytes"] = size
                for bound in ("lower_bounds", "upper_bounds"):
                    record[bound] = self._bounds(record.get(bound))
            for name, value in record.items():
                if isinstance(value, str):
                    record[name] = self._moved(value)
        self._lengths[way] = self._write(way, manifests.encode(file.schema, file.metadata, file.records))

    def _bounds(self, pairs: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        # A bound that names one file whole names it anew; one that was cut would say something wrong.
        changed = []
        for pair in pairs or []:
            if pair["key"] == FILE_PATH:
                address = pair["value"].decode()
                if self._way(address) not in self.listed:
                    continue
                pair = {**pair, "value": self._moved(address).encode()}
            changed.append(pair)
        return changed if pairs is not None else None

    def _list(self, way: str, file: AvroFile) -> None:
        for record in file.records:
            length = self._lengths.get(self._way(record["manifest_path"]))
            if length is not None:
                record["manifest_length"] = length
            record["manifest_path"] = self._moved(record["manifest_path"])
        self._write(way, manifests.encode(file.schema, file.metadata, file.records))

    def _document(self, way: str) -> None:
        document = _walked(metadata.read(self.source / way), self._moved)
        document["location"] = str(self.target)
        properties = {k: v for k, v in document.get("properties", {}).items() if k != FORMER_LOCATIONS}
        self._write(way, metadata.encode({**document, "properties": properties}))

    def _write(self, way: str, data: bytes) -> int:
        files.write(self.target / way, data)
        self.progress(self.listed[way])
        return len(data)

    def _each(self, work: Callable[[str], None], ways: Any) -> None:
        for way in ways:
            files.make_folder((self.target / way).parent)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="bascule-copy") as workers:
            for _ in workers.map(work, ways):
                pass


def _kind(file: AvroFile) -> str:
    return str(file.schema["name"]).rpartition(".")[2]


def _belongs(way: str) -> bool:
    name = way.rpartition("/")[2]
    inside = way.split("/")[1:2] != [journal.FOLDER]
    return "/" in way and inside and name not in (LOCK, TURN) and not name.endswith(files.UNFINISHED)


def _walked(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_walked(one, change) for one in value]
    if isinstance(value, dict):
        return {key: _walked(one, change) for key, one in value.items()}
    return value
