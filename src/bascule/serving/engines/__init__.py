"""Other ways to the same answers: a model's forest walked by compiled code, ONNX Runtime, plain Python for one row.

An engine is made of a version that stays as it is. `optimizing` beside this package finds out which are right and how
fast they are; what was chosen is a `Recipe` beside the version in the history, and `load_recipe` makes a runtime of it.
"""

from bascule.serving.engines.loading import (
    Engine,
    Guard,
    ReadBlob,
    Recipe,
    Stage,
    load_engine,
    load_recipe,
    read_recipe,
)

__all__ = ["Engine", "Guard", "ReadBlob", "Recipe", "Stage", "load_engine", "load_recipe", "read_recipe"]
