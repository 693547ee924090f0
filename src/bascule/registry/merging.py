"""Merging a model that two branches changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]


def merge_models(path: str, base: Object | None, ours: Object | None, theirs: Object | None) -> Object | None:
    """Settle a model that both sides changed: keep the versions of both, and one-sided changes of aliases.

    A `Resolver` of the history. Numbers are unique over all branches, so versions of both sides never clash.

    Returns:
        The merged model; None, which means conflict, when the path is not a model, one side removed it, both sides
        moved one alias to different versions, or a version differs.
    """
    sides = [one for one in (ours, theirs) if one is not None]
    if len(sides) < 2 or any(one.get("kind") != "model" for one in sides):
        return None
    first, second = sides
    versions = dict(first["versions"])
    for number, version in second["versions"].items():
        if versions.setdefault(number, version) != version:
            return None
    aliases = _merge_aliases(base["aliases"] if base else {}, first["aliases"], second["aliases"])
    if aliases is None:
        return None
    return {**first, "versions": versions, "aliases": aliases}


def _merge_aliases(
    base: Mapping[str, int], ours: Mapping[str, int], theirs: Mapping[str, int]
) -> dict[str, int] | None:
    merged: dict[str, int] = {}
    for alias in sorted({*base, *ours, *theirs}):
        before, mine, other = base.get(alias), ours.get(alias), theirs.get(alias)
        if mine != other and before not in (mine, other):
            return None
        settled = other if mine == before else mine
        if settled is not None:
            merged[alias] = settled
    return merged
