"""The files of a version as the bytes of a bundle's model: as they were when somebody consented to them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bascule.errors import InputError
from bascule.serving.pickled.recipe import Recipe
from bascule.tracking.artifacts import confined
from bascule.tracking.vouching import digest_of_files

PICKLED = "pickled"  # the bundle's format
LARGEST = 2 << 30


class PackedFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What the process gets: the files by their paths, and how the model is found in them."""

    recipe: Recipe
    files: dict[str, bytes]

    @property
    def digest(self) -> str:
        """The digest of all files together, which consent is given to."""
        return digest_of_files(self.files)


def pack_files(recipe: Recipe, files: Mapping[str, bytes]) -> bytes:
    """Return the files as one text of bytes; equal files give equal bytes."""
    return msgspec.msgpack.encode(PackedFiles(recipe=recipe, files=dict(files)), order="deterministic")


def read_files(model: bytes) -> PackedFiles:
    """Read what `pack_files` wrote.

    Raises:
        InputError: the bytes are something else.
    """
    try:
        return msgspec.msgpack.decode(model, type=PackedFiles)
    except msgspec.MsgspecError as error:
        raise InputError(f"This is no bundle of a model's files: {error}.", hint="Deploy the version again.") from None


def packed_torchscript(data: bytes, width: int) -> PackedFiles:
    """Return an archive of TorchScript that was made of a model as what a process gets instead of that one's files.

    Args:
        width: how many inputs the model reads, which a frozen archive does not say.
    """
    name = "torchscript.pt"
    return PackedFiles(recipe=Recipe(how="object", path=name, width=width), files={name: data})


def unpack_into(packed: PackedFiles, folder: Path) -> None:
    """Write the files below a folder that nobody else may read.

    Raises:
        InputError: a path leads out of it.
    """
    for name, data in packed.files.items():
        path = folder / confined(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            target.write(data)
