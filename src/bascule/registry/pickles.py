"""What a pickle would call when it is loaded, found without loading it.

A pickle is a program: its opcodes name functions of any module and call them. Here the opcodes are read and never run,
also inside of zip archives (PyTorch, NumPy), compressed files (joblib) and files of several pickles. What cannot be
read to the end is searched for names all the same, and said to be unread: nobody should trust what hides.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickletools
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

NAMES = (".pkl", ".pickle", ".joblib", ".pt", ".pt2", ".pth", ".ckpt", ".sav", ".dill", ".cloudpickle")
MOST_BYTES = 1 << 28  # of one pickle, also after decompression
MOST_TOTAL = 1 << 30  # of all that is unpacked from one archive
MOST_MEMBERS = 10_000
DEEPEST = 3  # archives in archives
MOST_NAMES = 500
ARCHIVE = (b"PK\x03\x04", b"PK\x05\x06")
START = re.compile(rb"\x80[\x02-\x05]")
# What a loaded pickle could do harm by, by module; None stands for all of it.
_WHOLE = """
os posix nt subprocess sys shutil socket ssl http urllib requests httpx ftplib smtplib telnetlib ctypes _ctypes cffi
importlib imp runpy pkgutil pty pdb bdb code codeop timeit trace cProfile profile webbrowser asyncio multiprocessing
threading _thread signal pickle _pickle marshal dill shelve tempfile pathlib glob fileinput zipimport zipapp venv
ensurepip pip pydoc doctest site sysconfig platform atexit gc inspect commands
"""
_BUILTINS = """
eval exec compile execfile __import__ open input breakpoint getattr setattr delattr globals locals vars dir
"""
DANGEROUS: dict[str, frozenset[str] | None] = {
    **dict.fromkeys(_WHOLE.split()),
    "builtins": frozenset(_BUILTINS.split()),
    "types": frozenset(("FunctionType", "CodeType", "LambdaType")),
    "operator": frozenset(("attrgetter", "methodcaller", "itemgetter")),
    "functools": frozenset(("reduce",)),
    "numpy.testing": None,
    "torch.hub": None,
    "torch.utils.cpp_extension": None,
    "torch.serialization": frozenset(("load",)),
    "joblib": frozenset(("load",)),
    "pandas": frozenset(("read_pickle", "eval")),
    "numpy": frozenset(("load", "fromfile", "memmap", "savetxt")),
}
ALIASES = {
    "__builtin__": "builtins",
    "__builtins__": "builtins",
    "_operator": "operator",
    "_io": "os",
    "io": "os",
    "commands": "subprocess",
}
# Code that travels inside of the pickle itself.
CARRIERS = ("cloudpickle", "_cloudpickle", "dill._dill", "torch.package", "torch._package")
# Modules whose names are what models of the field are made of.
_KNOWN = """
numpy scipy sklearn pandas lightgbm xgboost catboost torch collections copy copyreg copy_reg datetime decimal fractions
statsmodels joblib polars pyarrow builtins functools operator _codecs codecs re uuid array math random types enum typing
category_encoders imblearn mlflow tensorflow keras transformers
"""
KNOWN = frozenset(_KNOWN.split())


class PickleScan(msgspec.Struct, frozen=True, kw_only=True):
    """What a pickle names.

    Attributes:
        path: the file, with the member inside of an archive after `!`.
        globals: all that it names, as `module.name`.
        dangerous: those that can do anything: run commands or code, open files, reach a network, hide their name.
        carries_code: whether code travels inside, as cloudpickle does for functions of a script.
        unknown: modules that are none of the field's.
        complete: whether it was read to its end.
    """

    path: str
    globals: tuple[str, ...]
    dangerous: tuple[str, ...]
    carries_code: bool
    unknown: tuple[str, ...]
    complete: bool


def scan(name: str, source: BinaryIO, size: int) -> list[PickleScan]:
    """Return the scans of all pickles in a file, whatever it is called; nothing for a file that holds none.

    Args:
        name: its path, to say where.
        source: where it is read from; it can seek.
        size: its length in bytes.
    """
    return _scan(name, source, size, [MOST_TOTAL], DEEPEST)


def _scan(name: str, source: BinaryIO, size: int, left: list[int], depth: int) -> list[PickleScan]:
    head = source.read(16)
    source.seek(0)
    if head[:4] in ARCHIVE:
        return list(_members(name, source, left, depth)) if depth else [_scanned(name, set(), False)]
    data = _plain(head, source, min(size, MOST_BYTES))
    if data is None:
        return [_scanned(name, set(), False)]
    if head[:6] == b"\x93NUMPY":
        return [_pickled(name, data[_numpy_header(data) :])] if b"'O'" in data[:200] or b"|O" in data[:200] else []
    if not START.match(data) and not (name.lower().endswith(NAMES) and data[:1] in b"(]}cilN\x80"):
        return []
    found = _pickled(name, data)
    return [found if size <= MOST_BYTES else msgspec.structs.replace(found, complete=False)]


def _members(name: str, source: BinaryIO, left: list[int], depth: int) -> Iterator[PickleScan]:
    try:
        with zipfile.ZipFile(source) as archive:
            for place, member in enumerate(archive.infolist()):
                with archive.open(member) as opened:
                    head = opened.read(16)
                    if not _is_worth(member.filename, head):
                        continue
                    if place >= MOST_MEMBERS or left[0] <= 0:
                        yield _scanned(f"{name}!", set(), False)
                        return
                    data = head + opened.read(min(MOST_BYTES, left[0]) + 1)
                left[0] -= len(data)
                yield from _scan(f"{name}!{member.filename}", io.BytesIO(data), len(data), left, depth - 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, OSError, EOFError):
        yield _scanned(name, set(), False)


def _is_worth(name: str, head: bytes) -> bool:
    """Tell whether a member of an archive may be a pickle, or hold one."""
    packed = head[:2] == b"\x1f\x8b" or head[:3] == b"BZh" or head[:6] == b"\xfd7zXZ\x00"
    named = name.lower().endswith(NAMES) or head[:6] == b"\x93NUMPY"
    return bool(START.match(head)) or head[:4] in ARCHIVE or packed or named


def _plain(head: bytes, source: BinaryIO, size: int) -> bytes | None:
    """Return a file's bytes, decompressed and bounded; None when it cannot be."""
    try:
        if head[:2] == b"\x1f\x8b":
            return gzip.GzipFile(fileobj=source).read(MOST_BYTES)
        if head[:3] == b"BZh":
            return bz2.BZ2File(source).read(MOST_BYTES)
        if head[:6] == b"\xfd7zXZ\x00" or head[:3] == b"\x5d\x00\x00":
            return lzma.LZMAFile(source).read(MOST_BYTES)
        if head[:1] == b"\x78" and len(head) > 1 and (head[0] * 256 + head[1]) % 31 == 0:
            return zlib.decompressobj().decompress(source.read(size), MOST_BYTES)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return None
    return source.read(size)


def _numpy_header(data: bytes) -> int:
    wide = data[6:7] != b"\x01"
    length = int.from_bytes(data[8:12] if wide else data[8:10], "little")
    return (12 if wide else 10) + length


def _pickled(name: str, data: bytes) -> PickleScan:
    names: set[str] = set()
    place, complete = 0, True
    while place < len(data) and len(names) < MOST_NAMES:
        stream = io.BytesIO(data)
        stream.seek(place)
        try:
            names |= set(_named(stream))
            place = stream.tell()
        except Exception:  # whatever a broken pickle makes the reader raise
            # What lies between is data of arrays (joblib), or hidden: names are looked for without the opcodes.
            names |= _searched(data[place:])
            complete = False
            break
        following = START.match(data, place)
        if following is None:
            break
    return _scanned(name, names, complete)


def _named(stream: BinaryIO) -> Iterator[str]:
    """Yield what one pickle names. A name that is put together from parts that are not written down is `?.?`."""
    texts: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            module, _, name = str(argument).partition(" ")
            yield f"{module}.{name}"
            texts.append(None)
        elif opcode.name == "STACK_GLOBAL":
            module, name = ([None, None, *texts])[-2:]
            yield f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "?.?"
            texts.append(None)
        elif opcode.name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            place = len(memo) if argument is None else int(argument)
            memo[place] = texts[-1] if texts else None
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            texts.append(memo.get(int(argument or 0)))
        elif opcode.name in ("EXT1", "EXT2", "EXT4"):
            yield "?.?"
            texts.append(None)
        elif opcode.stack_after and opcode.name not in ("PROTO", "FRAME"):
            texts.append(argument if isinstance(argument, str) else None)
        if len(texts) > 10_000:
            del texts[:-100]


def _searched(data: bytes) -> set[str]:
    found = {f"{m.decode()}.{n.decode()}" for m, n in re.findall(rb"c([\w.]{1,200})\n([\w.]{1,200})\n", data)}
    pairs = rb"\x8c.([\w.]{1,200})\x94?\x8c.([\w.]{1,200})\x94?\x93"
    return found | {f"{m.decode()}.{n.decode()}" for m, n in re.findall(pairs, data, re.DOTALL)}


def _scanned(name: str, names: set[str], complete: bool) -> PickleScan:
    plain = sorted(_plain_name(one) for one in names)
    return PickleScan(
        path=name,
        globals=tuple(plain[:MOST_NAMES]),
        dangerous=tuple(one for one in plain if _is_dangerous(one)),
        carries_code=any(one.startswith(CARRIERS) for one in plain),
        unknown=tuple(sorted({one.partition(".")[0] for one in plain} - KNOWN - DANGEROUS.keys() - {"?"})),
        complete=complete,
    )


def _plain_name(name: str) -> str:
    module, dot, rest = name.partition(".")
    return f"{ALIASES.get(module, module)}{dot}{rest}"


def _is_dangerous(name: str) -> bool:
    if name.startswith("?"):
        return True
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        if module in DANGEROUS:
            held = DANGEROUS[module]
            # `builtins.eval.__call__` and `numpy.load` alike: what comes right after the module decides.
            return held is None or parts[length] in held
    return any(part.startswith("__") and part not in ("__main__",) for part in parts[1:-1])
