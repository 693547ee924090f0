"""Which files tables' states lead to, by the folder of the table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from bascule.errors import BasculeError
from bascule.lake import moved, objects, seen
from bascule.lake.iceberg.manifests import DELETED
from bascule.lake.iceberg.metadata import Snapshot
from bascule.lake.iceberg.tables import Table
from bascule.store import Place


@dataclass(slots=True)
class Marked:
    """The files that must stay.

    Attributes:
        lake: the lake's folder.
        files: by table folder.
        damaged: folders of which nobody can tell what is needed, with what was found there: nothing of them goes.
    """

    lake: Place
    files: dict[Place, set[Place]] = field(default_factory=lambda: defaultdict(set))
    damaged: dict[Place, str] = field(default_factory=dict)
    _manifests: set[Place] = field(default_factory=set)

    def state(self, location: str, name: str = "", *, recent: bool = False) -> None:
        """Mark what a state leads to, by its metadata document's place; with `recent`, also what its past names.

        A document is the state of its current snapshot; the history has the others. Only snapshots that a foreign
        engine gave a name inside of the document are kept besides.
        """
        place = {"metadata_location": location}
        path, folder = objects.document_of(place, self.lake), objects.folder_of(place, self.lake)
        if path in self.files[folder] or folder in self.damaged:
            return
        try:
            table = objects.load(place, self.lake, name)
            marked = self.files[folder]
            marked.add(path)
            marked |= {folder / "metadata" / part for part in (*seen.paths(table), *moved.paths(table))}
            for snapshot in _snapshots(table, recent):
                self._snapshot(table, snapshot, marked)
            if recent:
                marked |= {table.resolve(entry["metadata-file"]) for entry in table.metadata.get("metadata-log", [])}
        except BasculeError as error:
            self.damaged[folder] = error.message

    def _snapshot(self, table: Table, snapshot: Snapshot, marked: set[Place]) -> None:
        if "manifest-list" in snapshot:
            marked.add(table.resolve(snapshot["manifest-list"]))
        for kind in ("statistics", "partition-statistics"):
            for entry in table.metadata.get(kind, []):
                if entry["snapshot-id"] == snapshot["snapshot-id"]:
                    marked.add(table.resolve(entry["statistics-path"]))
        for manifest in table.manifests(snapshot):
            path = table.resolve(manifest["manifest_path"])
            if path in self._manifests:
                continue
            marked.add(path)
            for entry in table.entries(manifest):
                if entry["status"] != DELETED:
                    marked.add(table.resolve(entry["data_file"]["file_path"]))
            self._manifests.add(path)


def _snapshots(table: Table, recent: bool) -> Iterator[Snapshot]:
    every = table.metadata.get("snapshots", [])
    named = {ref["snapshot-id"] for name, ref in table.metadata.get("refs", {}).items() if name != "main"}
    if table.snapshot is not None:
        named.add(table.snapshot["snapshot-id"])
    yield from (snapshot for snapshot in every if recent or snapshot["snapshot-id"] in named)
