"""The protocol that every kind of origin fulfils, and what passes through it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

from blake3 import blake3

from bascule.errors import InputError
from bascule.lake.seen import Source
from bascule.lake.sources.quarantine import Rejected

Tell = Callable[[str], None]
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Options:
    """What may be said beside an address; each kind of origin reads what concerns it and refuses the rest.

    Attributes:
        query: what is asked of a database; its table otherwise.
        cursor: a column that only grows: only rows beyond its last value are brought.
        more: what a plugin is told.
    """

    query: str = ""
    cursor: str = ""
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an origin is asked for.

    Attributes:
        address: where, with secrets.
        shown: the same without them: what messages and records say.
        options: what was said beside it.
        known: what the table has taken in of this origin, oldest first.
        whole: everything is wanted, for the whole table is replaced.
        spool: a folder of this origin's own, which stays until what was brought is in the table; what is found there
            was left by a killed command.
        folder: where relative paths and modules are looked for.
        confined: a server asks: only what anybody may reach is fetched, nothing in this machine or its network.
        tell: told what is going on.
    """

    address: str
    shown: str
    options: Options
    known: Sequence[Source]
    whole: bool
    spool: Path
    folder: Path
    confined: bool = False
    tell: Tell = lambda text: None


@dataclass(frozen=True, slots=True)
class Part:
    """What is taken in at once, and once only: a local file, and where it came from.

    Attributes:
        path: the file, in a format that `read_source` reads.
        digest: the BLAKE3 of its content, or of what names it for ever; equal digests are taken in once.
        name: how it is called in messages and in the table's list.
        origin: the address that it came from, without secrets.
        version: what the origin said of it: `etag`, `mtime`, `query`, `from` and `to`, …
        rejected: records that could not be read on the way here.
        assumed: what the file left open, and how it was read, a sentence each.
    """

    path: Path
    digest: str
    name: str
    origin: str = ""
    version: Mapping[str, str] = field(default_factory=dict)
    rejected: Sequence[Rejected] = ()
    assumed: tuple[str, ...] = ()


class Origin(Protocol):
    """A kind of origin.

    A plugin names one in the entry points of the group `bascule.sources`; the entry point's name is the scheme of the
    addresses that it takes: `ftp` for `ftp://…`.
    """

    def versions(self, asked: Asked) -> Mapping[str, str]:
        """Return what tells the present state of the origin from any other, as cheaply as it can: ETags, offsets.

        An empty answer says that only fetching can tell.

        Raises:
            NotFound, InputError: the address or an option is wrong.
            EnvironmentProblem: it does not answer.
        """

    def parts(self, asked: Asked) -> Iterator[Part]:
        """Bring what `asked.known` does not have, piece by piece, as files in `asked.spool`.

        Whatever is not durable in the spool may be lost at any moment, and is then brought again.

        Raises:
            NotFound, InputError: the address or an option is wrong, or what it holds cannot be read.
            EnvironmentProblem: it does not answer, or stopped in the middle.
        """


def resolved(text: str) -> str:
    """Return an address with `${NAME}` replaced by that environment variable, quoted as addresses want it.

    Raises:
        InputError: there is no such variable.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise InputError(
                f"The address {plain(text)} needs the environment variable {found[1]}, which is not set.",
                hint=f"Set it: export {found[1]}=…",
            )
        return quote(os.environ[found[1]], safe="")

    return _VARIABLE.sub(value, text)


def plain(address: str) -> str:
    """Return an address without its user, its password and whatever else may be secret in it."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    kept = [pair for pair in parts.query.split("&") if pair and not _is_secret(pair.partition("=")[0])]
    return f"{parts.scheme}://{host}{parts.path}{'?' + '&'.join(kept) if kept else ''}"


def _is_secret(name: str) -> bool:
    return bool(re.search(r"pass|secret|token|key|sig|credential|auth", name, re.IGNORECASE))


def named(*words: str) -> str:
    """Return a digest of what names a part for ever, as 64 hexadecimal characters."""
    return blake3("\x00".join(words).encode()).hexdigest()


def refuse_options(asked: Asked, *known: str) -> None:
    """Raise `InputError` when something was said that this kind of origin does not read."""
    said = {name for name in ("query", "cursor") if getattr(asked.options, name)} | set(asked.options.more)
    if other := sorted(said - set(known)):
        what = f"It reads {', '.join(known)}." if known else "It reads none."
        raise InputError(f"{asked.shown} has no option {other[0]!r}.", hint=what)
