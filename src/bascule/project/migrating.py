"""Moving a workspace to another catalog and another storage, either way, with every id kept.

The source is only read. What is copied is proven before `workspace.toml` is changed, which is one step; killed before
it, nothing has happened, and the same command goes on where it was. The audit log of the copy says where it came from.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, make_url, select

from bascule.catalog import Catalog, actor, audit, copying
from bascule.catalog.schema import commits, refs
from bascule.errors import Busy, EnvironmentProblem, InputError
from bascule.history import Workspace
from bascule.history.workspace import Settings
from bascule.lake import doctor, moving
from bascule.store import ObjectPath, Place
from bascule.store.copying import blob_sizes, copy_blobs, copy_files, file_sizes
from bascule.store.places import demand
from bascule.tracking.artifacts import FOLDER as ARTIFACTS

# What is said for "in the workspace's folder".
SQLITE, DISK = "sqlite", "disk"
MARK = "copy-of.txt"
PARTS = ("lake", "blobs", ARTIFACTS)

# Told what is being done, how much of it is, and of how much: bytes or rows.
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Migration:
    """What was moved, or would be.

    Attributes:
        catalog, storage: where they are now (with `dry_run`: would be), as a person reads it.
        former_catalog, former_storage: where they were.
        rows: how many rows of the catalog were copied, by table; none when it stayed.
        blobs, blob_bytes, files, file_bytes: what of the storage was copied; 0 when it stayed.
        commits, branches: how many the workspace has.
        audit_entries, audit_head: the audit chain's length and last hash, the same on both sides.
        left: where the old copy lies.
        moved: whether anything was to do.
    """

    catalog: str
    storage: str
    former_catalog: str
    former_storage: str
    rows: dict[str, int]
    blobs: int
    blob_bytes: int
    files: int
    file_bytes: int
    commits: int
    branches: int
    audit_entries: int
    audit_head: str
    left: tuple[str, ...] = ()
    moved: bool = True
    dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The migration as one JSON object."""
        return asdict(self)


def migrate(
    workspace: Workspace,
    *,
    catalog: str | None = None,
    storage: str | None = None,
    dry_run: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Migration:
    """Move a workspace. Nobody else may have it open; it is closed when this returns.

    Args:
        catalog: a SQLAlchemy URL, `sqlite` for the workspace's folder, None to leave it where it is.
        storage: `s3://bucket/prefix[?…]`, a folder, `disk` for the workspace's folder, None to leave it.
        dry_run: say what would be moved, and whether it can be; change nothing.

    Raises:
        Busy: when somebody has the workspace open, or writes to its catalog.
        InputError: when the target holds something else, or the source something that it does not take.
        EnvironmentProblem: when the source is damaged, or a database or a storage does not answer.
    """
    wanted = Settings(
        _catalog(catalog, workspace.settings), _storage(storage, workspace.settings), workspace.settings.online
    )
    target = Workspace(workspace.folder, wanted)
    with workspace.alone(), ExitStack() as held:
        if wanted == workspace.settings:
            return _nothing_to_do(workspace)
        source = workspace.open_catalog()
        held.callback(source.close)
        if strangers := copying.others(source):
            raise Busy(
                f"The catalog is in use by {', '.join(strangers[:3])}.", hint="Stop what runs there, then repeat."
            )
        held.callback(target.close)
        return _Move(workspace, target, source, progress).run(dry_run)


@dataclass
class _Move:
    workspace: Workspace
    target: Workspace
    source: Catalog
    progress: Progress

    def run(self, dry_run: bool) -> Migration:
        with self._looking(self.workspace, self.source), copying.frozen(self.source) as rows:
            self._refuse_taken(rows)
            before = self._whole()
            plan = self._plan(rows)
            if dry_run:
                return replace(plan, dry_run=True)
            if self._storage_moves:
                self._copy_storage(plan, _name(rows))
            if self._catalog_moves:
                self._copy_catalog(rows, plan)
            self._prove(before)
            self.target.write_settings()  # from here on it is moved
            if self._catalog_moves:
                copying.fence(rows, plan.catalog)
        _tidy(self.target)
        return replace(plan, left=tuple(self._aside()))

    # What there is ---------------------------------------------------------------------------------------------------

    @property
    def _storage_moves(self) -> bool:
        return self.workspace.settings.storage != self.target.settings.storage

    @property
    def _catalog_moves(self) -> bool:
        return self.workspace.settings.catalog != self.target.settings.catalog

    @contextmanager
    def _looking(self, workspace: Workspace, catalog: Catalog) -> Iterator[None]:
        """Let a workspace's rooms use a catalog that was opened for this."""
        workspace.__dict__["catalog"] = catalog
        try:
            yield
        finally:
            for name in ("catalog", "history"):
                workspace.__dict__.pop(name, None)

    def _whole(self) -> doctor.LakeReport:
        self.progress("looking at the tables", 0, None)
        if unfinished := doctor.settle(self.workspace):
            raise EnvironmentProblem(
                f"A forgetting in {unfinished[0]} was killed and not repeated.", hint="Repeat it first, then migrate."
            )
        report = doctor.check(self.workspace)
        if not report.ok:
            raise EnvironmentProblem(
                f"The lake is damaged: {report.problems[0]}", hint="`bascule doctor` lists it all; repair it first."
            )
        chain = audit.verify(self.source)
        if not chain.ok:
            raise EnvironmentProblem(
                f"Entry {chain.first_bad} of the audit log is not what was written.", hint="Restore it from a copy."
            )
        return report

    def _plan(self, rows: Connection) -> Migration:
        blobs: dict[str, int] = {}
        files: dict[str, int] = {}
        if self._storage_moves:
            blobs, files = blob_sizes(self.workspace.storage / "blobs"), moving.contents(self.workspace.lake_folder)
            files |= {
                f"{ARTIFACTS}/{way}": size for way, size in file_sizes(self.workspace.storage / ARTIFACTS).items()
            }
        every = copying.counts(rows)
        chain = audit.verify(self.source)
        return Migration(
            catalog=_shown(self.target.settings.catalog) or f"SQLite in {self.workspace.folder}",
            storage=_shown(self.target.settings.storage) or str(self.workspace.folder),
            former_catalog=_shown(self.workspace.settings.catalog) or f"SQLite in {self.workspace.folder}",
            former_storage=_shown(self.workspace.settings.storage) or str(self.workspace.folder),
            rows=every if self._catalog_moves else {},
            blobs=len(blobs),
            blob_bytes=sum(blobs.values()),
            files=len(files),
            file_bytes=sum(files.values()),
            commits=every[commits.name],
            branches=every[refs.name],
            audit_entries=chain.entries,
            audit_head=chain.head,
        )

    def _refuse_taken(self, rows: Connection) -> None:
        name = _name(rows)
        if self._storage_moves:
            storage = self.target.storage
            demand(storage)
            mark = _read(storage / MARK)
            there = [part for part in PARTS if (storage / part).exists() and any((storage / part).iterdir())]
            if there and mark != name:
                raise InputError(
                    f"{storage / there[0]} is not empty, and no copy of this workspace was begun there.",
                    hint="Choose another place, or move away what is there.",
                )
        if self._catalog_moves:
            found = copying.found_at(self.target.catalog_url)
            if found is not None and found != name:
                raise InputError(
                    f"{_shown(self.target.catalog_url)} is not empty, and no copy of this workspace was begun in it.",
                    hint="Choose an empty database.",
                )
            if rows.dialect.name == "sqlite" and self.target.settings.catalog:
                copying.refuse_unfit(rows)

    # Copying ---------------------------------------------------------------------------------------------------------

    def _copy_storage(self, plan: Migration, name: str) -> None:
        storage = self.target.storage
        _write(storage / MARK, name)
        counted = _Counted(lambda done: self.progress("copying blobs", done, plan.blob_bytes))
        copy_blobs(self.workspace.storage / "blobs", storage / "blobs", self.workspace.temporary_folder, counted)
        counted = _Counted(lambda done: self.progress("copying tables", done, plan.file_bytes))
        moving.copy_lake(self.workspace.lake_folder, storage / "lake", counted)
        copy_files(self.workspace.storage / ARTIFACTS, storage / ARTIFACTS, counted)

    def _copy_catalog(self, rows: Connection, plan: Migration) -> None:
        target = self.target.open_catalog()
        told = {
            "from": {"catalog": plan.former_catalog, "storage": plan.former_storage},
            "to": {"catalog": plan.catalog, "storage": plan.storage},
            "audit_head": plan.audit_head,
        }
        try:
            with target.write() as conn:
                copying.copy(
                    rows, conn, _name(rows), lambda done, total: self.progress("copying the catalog", done, total)
                )
                audit.append(conn, actor=actor(), action="migrate", subject="workspace", detail=told)
        finally:
            target.close()

    def _prove(self, before: doctor.LakeReport) -> None:
        """Look whether the copy holds what the source does: all states, all files, all blobs, the audit chain."""
        self.progress("proving the copy", 0, None)
        catalog = self.target.open_catalog() if self._catalog_moves else self.source
        try:
            with self._looking(self.target, catalog):
                after = doctor.check(self.target)
                chain = audit.verify(catalog)
                whole = after.ok and (after.states, after.files) == (before.states, before.files)
                former, present = self.workspace.storage, self.target.storage
                same = blob_sizes(former / "blobs") == blob_sizes(present / "blobs")
                same = same and file_sizes(former / ARTIFACTS) == file_sizes(present / ARTIFACTS)
        finally:
            if catalog is not self.source:
                catalog.close()
        if not whole or not same or not chain.ok:
            first = f" {after.problems[0]}" if after.problems else ""
            raise EnvironmentProblem(
                f"The copy does not hold what the workspace does.{first}",
                hint="Nothing was switched. Repeat; if it stays so, tell the developers of Bascule.",
            )

    # Afterwards ------------------------------------------------------------------------------------------------------

    def _aside(self) -> Iterator[str]:
        """Move what is left in the workspace's folder out of the way, and say where the old copies are."""
        folder = self.workspace.folder
        kept = folder / f"moved-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        names = list(PARTS) if self._storage_moves and not self.workspace.settings.storage else []
        if self._catalog_moves and not self.workspace.settings.catalog:
            names += ["catalog.db", "catalog.db-wal", "catalog.db-shm"]
        there = [name for name in names if (folder / name).exists()]
        for name in there:
            kept.mkdir(exist_ok=True)
            shutil.move(folder / name, kept / name)
        if there:
            yield str(kept)
        if not isinstance(self.target.storage, ObjectPath):
            shutil.rmtree(self.workspace.cache_folder, ignore_errors=True)
        if self._storage_moves and self.workspace.settings.storage:
            yield _shown(self.workspace.settings.storage)
        if self._catalog_moves and self.workspace.settings.catalog:
            yield _shown(self.workspace.settings.catalog)


class _Counted:
    """Adds up what many threads tell."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._done = 0
        self._lock = threading.Lock()

    def __call__(self, more: int) -> None:
        with self._lock:
            self._done += more
            self._tell(self._done)


def _nothing_to_do(workspace: Workspace) -> Migration:
    _tidy(workspace)
    catalog = workspace.open_catalog()
    try:
        chain = audit.verify(catalog)
        with catalog.read() as conn:
            every = copying.counts(conn)
    finally:
        catalog.close()
    places = [
        _shown(workspace.settings.catalog) or f"SQLite in {workspace.folder}",
        _shown(workspace.settings.storage) or str(workspace.folder),
    ]
    counted = (every[commits.name], every[refs.name], chain.entries, chain.head)
    return Migration(places[0], places[1], places[0], places[1], {}, 0, 0, 0, 0, *counted, moved=False)


def _tidy(workspace: Workspace) -> None:
    """Take the notes away that say that this is a copy: it is the workspace now."""
    catalog = workspace.open_catalog()
    try:
        with catalog.write() as conn:
            copying.finish(conn)
    finally:
        catalog.close()
    (workspace.storage / MARK).unlink(missing_ok=True)


def _name(rows: Connection) -> str:
    """Return what tells a workspace from all others: its first commit."""
    query = select(commits.c.id).where(commits.c.parent.is_(None)).order_by(commits.c.created_at, commits.c.id).limit(1)
    return str(rows.execute(query).scalar_one())


def _catalog(word: str | None, now: Settings) -> str:
    return now.catalog if word is None else ("" if word == SQLITE else word)


def _storage(word: str | None, now: Settings) -> str:
    if word is None or word == DISK:
        return now.storage if word is None else ""
    return word if "://" in word else str(Path(word).resolve())


def _shown(setting: str) -> str:
    """Return a setting without its password and options."""
    if not setting or "://" not in setting:
        return setting
    if setting.startswith("s3://"):
        head, _, rest = setting.partition("?")[0].partition("://")
        return f"{head}://{rest.rpartition('@')[2]}"
    return make_url(setting).render_as_string(hide_password=True)


def _read(path: Place) -> str | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        return path.read_bytes().decode("utf-8", "replace").strip()
    return None


def _write(path: Place, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
