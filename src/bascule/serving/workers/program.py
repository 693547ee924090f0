"""What a worker runs: a model's file, and the steps, members and code that stand around it. It travels as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Program(msgspec.Struct, frozen=True):
    """Everything that a worker needs; it reads nothing else of ours.

    Attributes:
        name, version: of the model, for what is said about it.
        bundle: the model's file.
        graph: the steps around it, as the registry holds them (`bascule.serving.graph.Graph`); empty for none.
        members: name to the file of another model that the graph uses.
        code: path below the project's folder to the source of a module.
        recipe: which engines answer for the model (`bascule.serving.engines.Recipe`); empty for its own library.
        engines: digest to the file of an engine.
        recipes: name of a member to which engines answer for it; its own library where there is none.
    """

    name: str
    version: int
    bundle: bytes
    graph: Mapping[str, Any] = {}
    members: Mapping[str, bytes] = {}
    code: Mapping[str, bytes] = {}
    recipe: Mapping[str, Any] = {}
    engines: Mapping[str, bytes] = {}
    recipes: Mapping[str, Mapping[str, Any]] = {}

    def label(self) -> str:
        """Return how it is called in messages."""
        return f"Version {self.version} of model {self.name!r}"
