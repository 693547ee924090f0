"""Models that run code when they are loaded: pickles and MLflow's Python functions, each in a process of its own.

Owned here: what such a bundle holds, the process that loads it, and the question whether somebody consented to exactly
these bytes. No other process opens them. `serving.loading` and `delivery.adopting` call this.
"""

from bascule.serving.pickled.packing import PICKLED, PackedFiles, pack_files, packed_torchscript, read_files
from bascule.serving.pickled.recipe import Recipe, recipe_of
from bascule.serving.pickled.runtime import PickledRuntime, consented, described, pickled_runtime
from bascule.serving.pickled.signature import signed_by

__all__ = [
    "PICKLED",
    "PackedFiles",
    "PickledRuntime",
    "Recipe",
    "consented",
    "described",
    "pack_files",
    "packed_torchscript",
    "pickled_runtime",
    "read_files",
    "recipe_of",
    "signed_by",
]
