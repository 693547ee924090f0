"""Merging a model that two branches changed, and undoing a change of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Object = dict[str, Any]
Side = Literal["ours", "theirs"]


def merge_models(
    path: str, base: Object | None, ours: Object | None, theirs: Object | None, *, prefer: Side | None = None
) -> Object | None:
    """Settle a model that both sides changed: keep the versions of both, and one-sided changes of aliases.

    A `Resolver` of the history. Numbers are unique over all branches, so versions of both sides never clash. When both
    sides moved one alias and one of them to a version that is new there, that one is taken: the other side went back to
    a version that both knew, as a rollback does, and that says nothing against the new one.

    Args:
        prefer: whose alias is taken where both sides moved it; the versions of both are kept all the same.

    Returns:
        The merged model; None, which means conflict, when the path is not a model, one side removed it, both sides
        moved one alias to different new versions, or a version differs: also one that a side deleted, and the other
        changed or pointed an alias to.
    """
    sides = [one for one in (ours, theirs) if one is not None]
    if len(sides) < 2 or any(one.get("kind") != "model" for one in sides):
        return None
    first, second = sides
    versions = _merge_versions((base or {}).get("versions", {}), first["versions"], second["versions"], prefer)
    if versions is None:
        return None
    aliases = _merge_aliases(base or {"aliases": {}, "versions": {}}, first["aliases"], second["aliases"], prefer)
    if aliases is None or not _settle_aliases(aliases, versions, first["versions"], second["versions"], prefer):
        return None
    runtimes = _merge_runtimes((base or {}).get("runtimes", {}), first, second, prefer)
    runtimes = {number: one for number, one in runtimes.items() if number in versions}
    rest = {key: value for key, value in first.items() if key != "runtimes"}
    return {**rest, "versions": versions, "aliases": aliases, **({"runtimes": runtimes} if runtimes else {})}


def undo_model(made: Object | None, current: Object | None, back: Object | None) -> Object | None:
    """Return a model without what a commit made of it; what came later stays.

    Args:
        made: the model in the commit.
        current: on the branch.
        back: before the commit; None when it made the model.

    Returns:
        A model without versions when none is left. None, which means conflict, when the branch does not have the model,
        or a version that the commit changed is another one there.
    """
    if made is None or current is None:
        return None
    before = back or {"versions": {}, "aliases": {}}
    versions, aliases = dict(current["versions"]), dict(current["aliases"])
    runtimes = dict(current.get("runtimes", {}))
    for field, found in (("versions", versions), ("aliases", aliases), ("runtimes", runtimes)):
        for name in {*made.get(field, {}), *before.get(field, {})}:
            then, earlier = made.get(field, {}).get(name), before.get(field, {}).get(name)
            if then != earlier and found.get(name) == then:
                found[name] = earlier
            elif then != earlier and field == "versions" and found.get(name) != earlier:
                return None
    versions = {number: version for number, version in versions.items() if version is not None}
    for name, number in aliases.items():
        if str(number) not in versions:  # it was pointed at what goes
            aliases[name] = before["aliases"].get(name)
    kept = {name: number for name, number in aliases.items() if str(number) in versions}
    chosen = {number: one for number, one in runtimes.items() if one is not None and number in versions}
    rest = {key: value for key, value in current.items() if key != "runtimes"}
    return {**rest, "versions": versions, "aliases": kept, **({"runtimes": chosen} if chosen else {})}


def _merge_versions(
    base: Mapping[str, Any], ours: Mapping[str, Any], theirs: Mapping[str, Any], prefer: Side | None
) -> dict[str, Any] | None:
    """Return the versions of both sides, without those that one side deleted; None when a version differs."""
    merged: dict[str, Any] = {}
    for number in sorted({*ours, *theirs}, key=int):
        mine, other, before = ours.get(number), theirs.get(number), base.get(number)
        if mine == other or (other is None and before is None):
            merged[number] = mine
        elif mine is None and before is None:
            merged[number] = other
        elif None in (mine, other) and before in (mine, other):
            continue  # it was deleted, and nobody did anything else with it
        elif None in (mine, other) and prefer is not None:
            if (kept := mine if prefer == "ours" else other) is not None:
                merged[number] = kept
        else:
            return None
    return merged


def _settle_aliases(
    aliases: dict[str, int], versions: dict[str, Any], ours: Object, theirs: Object, prefer: Side | None
) -> bool:
    """Bring a version back that one side deleted and the other points an alias to, or drop the alias, by preference.

    Returns:
        False for a conflict: there is such an alias, and no preference.
    """
    for alias, number in list(aliases.items()):
        name = str(number)
        if name in versions or name not in {**ours, **theirs}:
            continue
        if prefer is None:
            return False
        if (kept := (ours if prefer == "ours" else theirs).get(name)) is not None:
            versions[name] = kept
        else:
            del aliases[alias]
    return True


def _merge_aliases(
    base: Object, ours: Mapping[str, int], theirs: Mapping[str, int], prefer: Side | None
) -> dict[str, int] | None:
    merged: dict[str, int] = {}
    for alias in sorted({*base["aliases"], *ours, *theirs}):
        before, mine, other = base["aliases"].get(alias), ours.get(alias), theirs.get(alias)
        settled = other if mine == before else mine
        if mine != other and before not in (mine, other):
            if prefer is None and (settled := _only_new(base, mine, other)) is None:
                return None
            settled = settled if prefer is None else mine if prefer == "ours" else other
        if settled is not None:
            merged[alias] = settled
    return merged


def _merge_runtimes(base: Mapping[str, Any], ours: Object, theirs: Object, prefer: Side | None) -> dict[str, Any]:
    """Return what answers for each version. All of it answers alike, so two choices are no conflict: ours is taken."""
    mine, other = ours.get("runtimes", {}), theirs.get("runtimes", {})
    merged = {}
    for number in sorted({*mine, *other}):
        before = base.get(number)
        changed = mine.get(number) == before or (prefer == "theirs" and other.get(number) != before)
        settled = other.get(number) if changed else mine.get(number)
        if settled is not None:
            merged[number] = settled
    return merged


def _only_new(base: Object, mine: int | None, other: int | None) -> int | None:
    """Return the one of two versions that the base does not have, or None when it is not just one of them."""
    fresh = [one for one in (mine, other) if one is not None and str(one) not in base["versions"]]
    return fresh[0] if len(fresh) == 1 and None not in (mine, other) else None
