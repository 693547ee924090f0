"""Gathering: from an address to the parts that a table has not taken in yet."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from bascule.errors import InputError, NotFound
from bascule.lake.objects import Object
from bascule.lake.origins.local import told_by_name
from bascule.lake.origins.origin import Asked, Options, Origin, Part, Tell, plain, resolved
from bascule.lake.seen import Source
from bascule.store.locking import FileLock, Locked

# The kinds that come with Bascule, by the scheme of their addresses, named as entry points name them.
KINDS = {
    "file": "bascule.lake.origins.local:Local",
    "http": "bascule.lake.origins.web:Web",
    "https": "bascule.lake.origins.web:Web",
    "s3": "bascule.lake.origins.buckets:Buckets",
    "postgresql": "bascule.lake.origins.databases:Databases",
    "postgres": "bascule.lake.origins.databases:Databases",
    "mysql": "bascule.lake.origins.databases:Databases",
    "mariadb": "bascule.lake.origins.databases:Databases",
    "sqlite": "bascule.lake.origins.databases:Databases",
    "kafka": "bascule.lake.origins.topics:Topics",
    "python": "bascule.lake.origins.functions:Functions",
}


@dataclass(frozen=True, slots=True)
class Gathered:
    """What an address holds for a table.

    Attributes:
        parts: what is to be taken in.
        held: what the table has already.
        versions: what told the origin's present state, by what.
        also: what is committed together with the table, by path.
    """

    parts: tuple[Part, ...]
    held: tuple[Source, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, Object] = field(default_factory=dict)


def is_address(source: str) -> bool:
    """Tell whether a source is an address of some kind, and not the path of files."""
    return "://" in source


@contextmanager
def gather(
    address: str,
    spools: Path,
    *,
    known: Sequence[Source] = (),
    whole: bool = False,
    options: Options = Options(),  # noqa: B008
    folder: Path | None = None,
    confined: bool = False,
    tell: Tell = lambda text: None,
) -> Iterator[Gathered]:
    """Bring what is new at an address; the parts are there within the block, and gone when it ends well.

    When the block raises or is killed, what was fetched stays, and the next call goes on with it.

    Args:
        address: files (a path, a folder, a pattern), or `SCHEME://…`; `${NAME}` in it is that environment variable.
        spools: the folder in which this and other origins keep what they fetch.
        known: what the table has taken in, oldest first.
        whole: the table is to be replaced by all that there is.
        folder: where relative paths and modules are looked for; the current folder by default.
        confined: refuse whatever not anybody may reach; for servers.

    Raises:
        NotFound, InputError: the address or an option is wrong, or what it holds cannot be read.
        EnvironmentProblem: it does not answer.
    """
    with _asked(address, spools, known, whole, options, folder, confined, tell) as (origin, asked):
        versions = origin.versions(asked)
        if versions and is_held(known, asked.shown, versions, whole=whole):
            yield Gathered((), tuple(asked.known), versions)
            return
        parts = tuple(origin.parts(asked))
        with told_by_name([part for part in parts if part.path.is_relative_to(asked.spool)]):
            yield Gathered(parts, tuple(asked.known), versions)
        for path in asked.spool.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def peek(
    address: str,
    spools: Path,
    *,
    known: Sequence[Source] = (),
    options: Options = Options(),  # noqa: B008
    folder: Path | None = None,
) -> dict[str, str]:
    """Return what tells the present state of an address from any other, without fetching it; empty if nothing does."""
    with _asked(address, spools, known, False, options, folder, False, lambda text: None) as (origin, asked):
        return dict(origin.versions(asked))


def is_held(known: Sequence[Source], address: str, versions: Mapping[str, str], *, whole: bool) -> bool:
    """Tell whether a table has what an address says that it holds now.

    Args:
        known: what the table has taken in, oldest first.
        whole: it must have nothing else.
    """
    shown = plain(resolved(address)) if is_address(address) else address
    found: dict[str, str] = {}
    for source in known:
        said = {name: value for name, value in source.version.items() if name in versions}
        if source.origin == shown:
            found |= said
        if whole and (source.origin != shown or not said or any(versions[name] != said[name] for name in said)):
            return False
    return bool(versions) and found == dict(versions)


@contextmanager
def _asked(
    address: str,
    spools: Path,
    known: Sequence[Source],
    whole: bool,
    options: Options,
    folder: Path | None,
    confined: bool,
    tell: Tell,
) -> Iterator[tuple[Origin, Asked]]:
    if confined and urlsplit(address).scheme not in ("http", "https"):
        raise InputError("A server brings in only from http and https.", hint="Bring it yourself, or send the rows.")
    full = resolved(address) if is_address(address) and not confined else address
    origin = kind_of(full)
    shown = plain(full) if is_address(full) else _below(Path(full), folder)
    name = hashlib.blake2b("\x00".join((shown, options.query, options.cursor)).encode(), digest_size=12).hexdigest()
    ours = [source for source in known if source.origin == shown]
    with _spool(spools, name) as spool:
        yield origin, Asked(full, shown, options, ours, whole, spool, folder or Path(os.curdir), confined, tell)


def _below(path: Path, folder: Path | None) -> str:
    """Return the path of files as it is known to everybody who has the project: below its folder, where they are."""
    try:
        return path.relative_to(folder or Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()


@contextmanager
def _spool(spools: Path, name: str) -> Iterator[Path]:
    """Give a folder to one command at a time; a second one, meanwhile, gets one of its own that does not stay."""
    spools.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        spool = spools / name
        try:
            held.enter_context(FileLock(spools / f"{name}.lock", str(os.getpid())))
        except Locked:
            spool = spools / f"{name}-{uuid.uuid4().hex[:8]}"
            held.callback(shutil.rmtree, spool, ignore_errors=True)
        spool.mkdir(exist_ok=True)
        yield spool
        with suppress(OSError):  # nothing is in it
            spool.rmdir()


def kind_of(address: str) -> Origin:
    """Return the kind of an address.

    Raises:
        NotFound: nothing installed takes its scheme.
    """
    scheme = urlsplit(address).scheme.lower() if is_address(address) else "file"
    scheme = scheme.partition("+")[0]
    if scheme in KINDS:
        module, _, name = KINDS[scheme].partition(":")
        found: Origin = getattr(import_module(module), name)()
        return found
    plugins = {point.name: point for point in entry_points(group="bascule.sources")}
    if scheme not in plugins:
        known = [*KINDS, *plugins]
        raise NotFound("kind of source", scheme, known)
    made: Origin = plugins[scheme].load()()
    for method in ("versions", "parts"):
        if not callable(getattr(made, method, None)):
            raise InputError(
                f"The source plugin {plugins[scheme].value} has no method {method!r}.",
                hint="A source has versions(asked) and parts(asked); see docs/ingestion.md.",
            )
    return made
