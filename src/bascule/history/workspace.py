"""Where a history, its catalog and its blobs live together."""

from __future__ import annotations

import gc
import json
import os
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path

import msgspec

from bascule.catalog import Catalog
from bascule.errors import AlreadyExists, Busy, EnvironmentProblem, InputError, NotFound
from bascule.history import reserve
from bascule.history.repository import MAIN, History
from bascule.store import BlobStore, Place, open_place, open_store
from bascule.store.locking import FileLock, Locked, held
from bascule.store.places import demand, expect_objects

FOLDER = ".bascule"
FILE = "workspace.toml"
# Held by the one process that serves a workspace, and shared by all that have it open.
SERVED = "up.lock"
OPEN = "open.lock"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `workspace.toml` says.

    Attributes:
        catalog: a SQLAlchemy URL; empty means SQLite in the workspace's folder.
        storage: where blobs and tables live: empty means the workspace's folder, else another folder or
            `s3://bucket/prefix`.
        online: where online features live: empty means the workspace's folder, else `redis://host:port/db`.
    """

    catalog: str = ""
    storage: str = ""
    online: str = ""


class Workspace:
    """A folder `.bascule/` with everything of one system: its catalog, its blobs, its lake and its logs.

    Opening costs a file read; the catalog and the store are opened when they are first used.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self._held = ExitStack()
        if settings.storage.startswith("s3:"):
            expect_objects()

    @classmethod
    def create(cls, where: Path | str, *, catalog: str = "", storage: str = "") -> Workspace:
        """Make a workspace: `where` is the project's folder, or the workspace's own when it is named `.bascule`.

        Raises:
            AlreadyExists: when there is one.
            EnvironmentProblem: when the folder cannot be written, or the database or the storage does not answer;
                nothing stays.
        """
        folder = _folder(where)
        if (folder / FILE).exists():
            raise AlreadyExists("workspace", str(folder), hint="Use it as it is, or choose another folder.")
        fresh = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
            workspace = cls(folder, Settings(catalog=catalog, storage=storage))
            demand(workspace.storage)
            workspace.history.begin()
            workspace.write_settings()
            reserve.keep(folder)
        except BaseException as error:
            if fresh:
                shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise EnvironmentProblem(
                    f"Cannot make a workspace in {folder}: {error.strerror}.",
                    hint="Check the rights and the space of the folder, then repeat.",
                ) from error
            raise
        return workspace

    @classmethod
    def open(cls, where: Path | str) -> Workspace:
        """Open a workspace that exists.

        Raises:
            NotFound: when there is none at that place.
            InputError: when its settings cannot be read.
        """
        if "://" in str(where):
            raise InputError(
                f"{where!s} is a server's address; this command works on a workspace's folder.",
                hint="Give the folder that holds workspace.toml.",
            )
        folder = _folder(where)
        try:
            raw = tomllib.loads((folder / FILE).read_text(encoding="utf-8"))
            settings = msgspec.convert(raw, Settings)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound("workspace", str(folder), hint="Make one with: bascule init") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
            raise InputError(
                f"{folder / FILE} cannot be read: {error}",
                hint="It has three settings, catalog, storage and online, each a text in quotes.",
            ) from error
        return cls(folder, settings)

    def write_settings(self) -> None:
        """Write `workspace.toml`, in one step: who opens the folder finds the old settings or these."""
        text = (
            "# The workspace's three settings. Empty means: in this folder.\n"
            f"catalog = {json.dumps(self.settings.catalog)}  # for a team: postgresql://user@host/name\n"
            f"storage = {json.dumps(self.settings.storage)}  # for a team: s3://bucket/prefix\n"
            f"online = {json.dumps(self.settings.online)}  # for a team: redis://host:6379/0\n"
        )
        temporary = self.folder / f"{FILE}.new"
        with open(temporary, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, self.folder / FILE)

    @cached_property
    def catalog(self) -> Catalog:
        """The database. Opened, and migrated if need be, on first use.

        Raises:
            Busy: when the workspace is being moved.
        """
        try:
            with suppress(PermissionError):  # a folder that may only be read is not moved by anybody who may do no more
                self._held.enter_context(held(self.folder / OPEN, exclusive=False, wait=False))
        except BlockingIOError:
            raise Busy(
                f"The workspace {self.folder} is being moved to another catalog or storage.",
                hint="Repeat when `bascule migrate` has ended.",
            ) from None
        return self.open_catalog()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the workspace to oneself for the length of a block: nobody else of this machine opens it meanwhile.

        Raises:
            Busy: when another process has it open, or another object of this one.
        """
        self.close()
        gc.collect()  # objects of this process that nobody uses any more have it open no longer
        try:
            with held(self.folder / OPEN, exclusive=True, wait=False):
                yield
        except BlockingIOError:
            try:
                with FileLock(self.folder / SERVED):
                    who = "a command, a notebook or a script that still runs"
            except Locked as lock:
                who = f"the server, {lock.note or 'another process'}"
            raise Busy(
                f"The workspace {self.folder} is open elsewhere: {who}.", hint="Stop it first, then repeat."
            ) from None

    def served_at(self) -> str:
        """Return the address of the page that `bascule up` serves from here; empty when none runs on this machine."""
        path = self.folder / SERVED
        if not path.is_file() or not path.stat().st_size:  # who ends in order leaves it empty
            return ""
        try:
            with FileLock(path):
                return ""
        except Locked as lock:
            return lock.note.partition(" at ")[2]

    def open_catalog(self) -> Catalog:
        """Open the database anew; the caller closes it."""
        return Catalog.open(self.catalog_url)

    @property
    def catalog_url(self) -> str:
        """Where the database is, as SQLAlchemy writes it."""
        return self.settings.catalog or f"sqlite:///{self.folder / 'catalog.db'}"

    @cached_property
    def storage(self) -> Place:
        """Where blobs and tables live: a folder, or a prefix of a bucket."""
        if not self.settings.storage:
            return self.folder
        return open_place(
            self.settings.storage,
            self.folder / "tmp",
            cache=self.cache_folder,
            locks=lambda name, *, exclusive, wait=True: self.catalog.locked(name, exclusive=exclusive, wait=wait),
        )

    @cached_property
    def store(self) -> BlobStore:
        """The blobs."""
        return open_store(self.storage / "blobs")

    @cached_property
    def history(self) -> History:
        """The commits, branches and tags."""
        return History(self.catalog)

    @property
    def lake_folder(self) -> Place:
        """Where tables' files live."""
        return self.storage / "lake"

    @property
    def cache_folder(self) -> Path:
        """Where blocks of tables in object storage are kept; it may be deleted at any time."""
        return self.folder / "cache"

    @property
    def log_folder(self) -> Path:
        """Where the inference workers write before anything else."""
        return self.folder / "log"

    @property
    def online_folder(self) -> Path:
        """Where online features live when no server keeps them."""
        return self.folder / "online"

    @property
    def online(self) -> Path | str:
        """Where online features live: a folder, or a server's address."""
        return self.settings.online or self.online_folder

    @property
    def has_online(self) -> bool:
        """Whether there may be online features: nothing was ever written where the folder is missing."""
        return bool(self.settings.online) or self.online_folder.exists()

    def namespace(self, branch: str) -> str:
        """The name under which what is kept of a branch beside its history lies: timelines, logs of streams.

        A branch that is made anew under a deleted one's name has another, so it finds nothing of that one.
        """
        found = None if branch == MAIN else self.history.named(branch)
        return branch if found is None else f"{branch}@{found.created_at}"

    @property
    def temporary_folder(self) -> Path:
        """A place for files that need not survive a command."""
        folder = self.folder / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def close(self) -> None:
        """Give back what was opened; it is opened anew when it is used again."""
        if "catalog" in self.__dict__:
            self.catalog.close()
        for name in ("catalog", "history", "storage", "store"):
            self.__dict__.pop(name, None)
        self._held.close()


def _folder(where: Path | str) -> Path:
    folder = Path(where).resolve()
    return folder if folder.name == FOLDER else folder / FOLDER
