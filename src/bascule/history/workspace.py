"""Where a history, its catalog and its blobs live together."""

from __future__ import annotations

import os
import shutil
import tomllib
from functools import cached_property
from pathlib import Path

import msgspec

from bascule.catalog import Catalog
from bascule.errors import AlreadyExists, EnvironmentProblem, InputError, NotFound
from bascule.history.repository import History
from bascule.store import BlobStore, Place, open_place, open_store
from bascule.store.places import expect_objects

FOLDER = ".bascule"
FILE = "workspace.toml"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `workspace.toml` says.

    Attributes:
        catalog: a SQLAlchemy URL; empty means SQLite in the workspace's folder.
        storage: where blobs and tables live: empty means the workspace's folder, else another folder or
            `s3://bucket/prefix`.
    """

    catalog: str = ""
    storage: str = ""


class Workspace:
    """A folder `.bascule/` with everything of one system: its catalog, its blobs, its lake and its logs.

    Opening costs a file read; the catalog and the store are opened when they are first used.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        if settings.storage.startswith("s3:"):
            expect_objects()

    @classmethod
    def create(cls, where: Path | str, *, catalog: str = "", storage: str = "") -> Workspace:
        """Make a workspace: `where` is the project's folder, or the workspace's own when it is named `.bascule`.

        Raises:
            AlreadyExists: when there is one.
            EnvironmentProblem: when the folder cannot be written or the database does not answer; nothing stays.
        """
        folder = _folder(where)
        if (folder / FILE).exists():
            raise AlreadyExists("workspace", str(folder), hint="Use it as it is, or choose another folder.")
        text = (
            "# The workspace's two settings. Empty means: in this folder.\n"
            f'catalog = "{catalog}"  # for a team: postgresql://user@host/name\n'
            f'storage = "{storage}"  # for a team: s3://bucket/prefix\n'
        )
        fresh = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
            temporary = folder / f"{FILE}.new"
            workspace = cls(folder, Settings(catalog=catalog, storage=storage))
            workspace.history.begin()
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, folder / FILE)
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
                hint="It has two settings, catalog and storage, each a text in quotes.",
            ) from error
        return cls(folder, settings)

    @cached_property
    def catalog(self) -> Catalog:
        """The database. Opened, and migrated if need be, on first use."""
        return Catalog.open(self.settings.catalog or f"sqlite:///{self.folder / 'catalog.db'}")

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
        """Where online features live."""
        return self.folder / "online"

    @property
    def temporary_folder(self) -> Path:
        """A place for files that need not survive a command."""
        folder = self.folder / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def close(self) -> None:
        """Give back what was opened."""
        if "catalog" in self.__dict__:
            self.catalog.close()


def _folder(where: Path | str) -> Path:
    folder = Path(where).resolve()
    return folder if folder.name == FOLDER else folder / FOLDER
