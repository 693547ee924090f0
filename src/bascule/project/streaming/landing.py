"""Events into the lake: a batch of the log becomes one commit of its table, by write, audit, publish, and once.

What a part is called says which entries of which log it has, and how far the source was read then: so the table itself
tells what it has, to a log that was killed on the way and to the log of another branch.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bascule.catalog import now
from bascule.errors import CheckFailed, EnvironmentProblem
from bascule.features.streams.consuming import TableNow
from bascule.history import Workspace
from bascule.history.commits import Object
from bascule.lake import Lake, quarantined, seen
from bascule.lake.engine import opened
from bascule.lake.ingested import IngestedFile, IngestReport
from bascule.lake.origins import Gathered, Part, plain, told_by_name
from bascule.lake.origins.origin import named
from bascule.lake.records import RecordTable
from bascule.lake.seen import Source
from bascule.lake.sources import Rejected
from bascule.project.batches import bring_parts
from bascule.project.file import ProjectFile
from bascule.project.required import Required
from bascule.project.sections import Stream as Settings

LOG = "log"
#: The record table `stream_landings`: what landed when, how many were set aside, and how old (µs) the newest event was.
LANDINGS = pa.schema(
    [
        ("at", pa.timestamp("us", "UTC")),
        ("stream", pa.string()),
        ("branch", pa.string()),
        ("rows", pa.int64()),
        ("aside", pa.int64()),
        ("newest", pa.timestamp("us", "UTC")),
        ("age", pa.int64()),
    ]
)


class LakeLanding:
    """The table of a stream on a branch; see `Landing`."""

    def __init__(self, workspace: Workspace, project: ProjectFile, name: str, settings: Settings, branch: str) -> None:
        self.workspace, self.project, self.name, self.settings, self.branch = workspace, project, name, settings, branch
        self.origin = f"stream:{plain(settings.path)}"
        self._refused = ""

    def offsets(self) -> dict[str, str]:
        """How far the table says that the source was read."""
        newest = self._newest(self._object(), None)
        return dict(msgspec.json.decode(newest.version["offsets"])) if newest is not None else {}

    def land(
        self, rows: pa.Table, log: str, after: int, through: int, offsets: dict[str, str], aside: Sequence[Rejected]
    ) -> None:
        """See `Landing`. What was set aside goes to the table `quarantine`."""
        digest = named("stream", self.name, log, str(after), str(through))
        if aside:
            self._set_aside(aside, digest)
        if rows.num_rows and not self._has(self._newest(self._object(), log), through):
            self._bring(rows, log, after, through, offsets, digest)
        self._note(rows, len(aside), digest)

    def _bring(self, rows: pa.Table, log: str, after: int, through: int, offsets: dict[str, str], digest: str) -> None:
        version = {LOG: log, "from": str(after), "to": str(through), "offsets": msgspec.json.encode(offsets).decode()}
        name = f"{self.name} {after + 1}-{through}"

        @contextmanager
        def gathered(known: Sequence[Source]) -> Iterator[Gathered]:
            held = [one for one in known if one.version.get(LOG) == log and self._has(one, through)]
            if held:
                yield Gathered((), (held[-1],))
                return
            spool = self.workspace.temporary_folder / "spool" / f"stream-{uuid.uuid4().hex[:12]}"
            spool.mkdir(parents=True)
            try:
                path = spool / "events.parquet"
                _write(rows, path)
                part = Part(path, digest, name, self.origin, version)
                with told_by_name([part]):
                    yield Gathered((part,))
            finally:
                shutil.rmtree(spool, ignore_errors=True)

        if self._refused:  # what the contract refused is tried again: one branch of it is enough
            self.workspace.history.delete_branch(self._refused, force=True)
            self._refused = ""
        before = {ref.name for ref in self.workspace.history.branches()}
        try:
            bring_parts(
                self.workspace,
                self.name,
                f"The stream {self.name}",
                gathered,
                self.branch,
                key=self.settings.key,
                required=Required.of(self.project),
            )
        except CheckFailed:
            mine = f"ingest/{self.name}-"
            fresh = {ref.name for ref in self.workspace.history.branches()} - before
            self._refused = next((one for one in sorted(fresh) if one.startswith(mine)), "")
            raise

    def _note(self, rows: pa.Table, aside: int, digest: str) -> None:
        """Put down what landed and how old it was, once."""
        times = rows.column(self.settings.time)
        newest = pc.max(times).as_py()
        at = now()
        age = None if newest is None else at - pc.max(times).cast(pa.int64()).as_py()
        row = {"at": at, "stream": self.name, "branch": self.branch, "rows": rows.num_rows, "aside": aside}
        batch = pa.RecordBatch.from_pylist([{**row, "newest": newest, "age": age}], schema=LANDINGS)
        RecordTable(self.workspace, "stream_landings", LANDINGS).move_segment(digest, iter([batch]))

    @contextmanager
    def table(self, log: str) -> Iterator[TableNow]:
        """See `Landing`."""
        value = self._object()
        with opened(self.workspace.temporary_folder) as connection:
            if value is None:
                yield TableNow(connection, None, 0)
                return
            newest = self._newest(value, log)
            through = int(newest.version["to"]) if newest is not None else 0
            yield TableNow(connection, Lake(self.workspace).scan(value), through)

    def _object(self) -> Object | None:
        return self.workspace.history.read(self.branch, f"tables/{self.name}")

    def _newest(self, value: Object | None, log: str | None) -> Source | None:
        """The newest part that came from a log, or from any."""
        if value is None:
            return None
        found = [
            source
            for source in seen.sources(Lake(self.workspace).table(value)).values()
            if source.origin == self.origin and LOG in source.version and log in (None, source.version[LOG])
        ]
        return found[-1] if found else None

    def _has(self, newest: Source | None, through: int) -> bool:
        return newest is not None and int(newest.version["to"]) >= through

    def _set_aside(self, aside: Sequence[Rejected], digest: str) -> None:
        counts: dict[str, int] = {}
        for one in aside:
            counts[one.file] = counts.get(one.file, 0) + 1
        files = tuple(
            IngestedFile(Path(file), digest, 0, "skipped", file, count, self.origin) for file, count in counts.items()
        )
        report = IngestReport(self.name, files, 0, {}, rejected=tuple(aside))
        quarantined.keep(self.workspace, self.name, self.branch, "", report)


def _write(rows: pa.Table, path: Path) -> None:
    try:
        pq.write_table(rows, path, compression="zstd")
    except OSError as error:
        hint = "Free some space; the events wait in the stream's log."
        raise EnvironmentProblem(f"{path} cannot be written: {error}.", hint=hint) from error
