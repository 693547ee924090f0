"""Files of this machine, in every format that is known; what the engine does not read is converted on the way."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bascule.errors import BasculeError, InputError
from bascule.lake.iceberg import files
from bascule.lake.origins import archives, arrowfiles, avro, excel
from bascule.lake.origins.origin import Asked, Options, Part, refuse_options
from bascule.lake.origins.spool import whole
from bascule.lake.sources import discovery, encodings, text

# What is converted: to a list of files that `read_source` reads, each with what it is called.
Convert = Callable[[Path, Path, Asked], list[Path]]
CONVERTED: Mapping[str, str] = {
    ".avro": "avro",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xlsb": "excel",
    ".xls": "excel",
    ".ods": "excel",
    ".zip": "zip",
}
CONVERTERS: Mapping[str, Convert] = {"avro": avro.convert, "arrow": arrowfiles.convert, "excel": excel.convert}
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Local:
    """Files by a path, a folder or a pattern."""

    def versions(self, asked: Asked) -> dict[str, str]:
        """See `Origin`: the contents tell, so nothing does without reading them."""
        return {}

    def parts(self, asked: Asked) -> Iterator[Part]:
        """See `Origin`. Files whose content the table has are offered too: their digests are known."""
        refuse_options(asked, "sheet", "encoding")
        held = {one.digest for one in asked.known}
        unpacked = {one.version.get("of") for one in asked.known}
        for path in discovery.find(asked.folder / asked.address, CONVERTED):
            digest = files.digest(path)
            version = {"mtime": str(path.stat().st_mtime_ns)}
            part = Part(path, digest, path.name, asked.shown, version)
            if digest in held and not asked.whole:
                yield part
            elif digest not in unpacked or asked.whole:
                yield from readable(part, asked)


@contextmanager
def readable_files(source: str | Path, temporary: Path | None = None) -> Iterator[list[Part]]:
    """Give the files of a source, in formats that `read_source` reads, for the length of a block.

    Args:
        source: a file, a folder or a pattern, in any format that is known.
        temporary: where files are converted to meanwhile; the system's folder by default.

    Raises:
        NotFound, InputError: as `discovery.find` and `readable`. Errors of the block name the files themselves.
    """
    if temporary is not None:
        temporary.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=temporary, prefix="reading-") as folder:
        asked = Asked(str(source), str(source), Options(), (), True, Path(folder), Path(), False)
        parts: list[Part] = []
        for path in discovery.find(source, CONVERTED):
            parts += readable(Part(path, "", str(path)), asked)
        kinds = sorted({discovery.format_of(part.path) for part in parts})
        if len(kinds) != 1:
            held = f"files of several formats: {', '.join(kinds)}" if kinds else "no file with rows"
            raise InputError(f"{source} holds {held}.", hint="Give files of one format.")
        with told_by_name(parts):
            yield parts


@contextmanager
def told_by_name(parts: Sequence[Part]) -> Iterator[None]:
    """Let errors call parts by their names, and not by where they were put meanwhile."""
    try:
        yield
    except BasculeError as error:
        for part in parts:
            error.message = error.message.replace(str(part.path), part.name)
        raise


def readable(part: Part, asked: Asked) -> Iterator[Part]:
    """Return a file as parts that `read_source` reads: itself, what it is converted to, or what is packed in it.

    Raises:
        InputError: it cannot be read, or unpacks to far more than it should.
    """
    kind = discovery.format_of(part.path, CONVERTED)
    if kind == "zip":
        for member in archives.members(part.path, asked, {**discovery.FORMATS, **CONVERTED}):
            name = f"{part.name}/{member.name}"
            digest = files.digest(member.path)
            told = {**part.version, "of": part.digest}
            yield from readable(replace(part, path=member.path, digest=digest, name=name, version=told), asked)
        return
    if kind in CONVERTERS:
        asked.tell(f"converting {part.name}")
        for path in CONVERTERS[kind](part.path, asked.spool, asked):
            yield replace(part, path=path)
        return
    if part.path.suffix.lower() in discovery.COMPRESSIONS:
        archives.refuse_bomb(part.path)
    yield _utf8(part, asked) if kind in ("csv", "json") else part


def _utf8(part: Part, asked: Asked) -> Part:
    """Return a text file in UTF-8: itself, or a copy of one that is in another encoding.

    That is what its mark says, else what is said of it, else what its letters show; then it is said what was assumed.
    """
    with text.opened(part.path) as source:
        start = source.read(4)
    encoding = next((name for mark, name in MARKS if start.startswith(mark)), asked.options.more.get("encoding", ""))
    found = None if encoding else encodings.find(part.path)
    if not encoding and found is None:
        return part
    name = encoding or (found.name if found else "")
    try:
        codecs.lookup(name)
    except LookupError:
        raise InputError(f"{name!r} is no encoding.", hint="For example: latin1, cp1252, utf-16.") from None
    assumed = f"{part.name} is not UTF-8; it is read as {name} ({found.title})" if found else ""
    path = _recoded(part.path, name, asked.spool)
    version = {**part.version, "encoding": name}
    return replace(part, path=path, version=version, assumed=(assumed,) if assumed else ())


def _recoded(path: Path, encoding: str, spool: Path) -> Path:
    """Return a copy of a text file in UTF-8, made piece by piece."""
    plain = path.with_suffix("") if path.suffix.lower() in discovery.COMPRESSIONS else path
    target = spool / f"{plain.stem}.{len(list(spool.iterdir()))}.utf8{plain.suffix}"
    try:
        with text.opened(path) as source, whole(target) as out:
            for piece in codecs.iterdecode(iter(partial(source.read, 1 << 20), b""), encoding):
                out.write(piece.encode())
    except UnicodeError as error:
        raise InputError(f"{path} is not {encoding} text: {error}", hint="Name another encoding.") from None
    return target
