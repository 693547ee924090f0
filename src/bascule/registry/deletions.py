"""Versions that were deleted: noted with the commit that took them from a branch, restored, and at last purged.

Who deletes says who and why. Until `bascule gc` purges a version, its record holds what brings it back; from then on
the record says what became of it, to whoever comes upon it in an older state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from bascule.catalog import audit, new_id, now
from bascule.catalog.schema import model_deletions, ref_log, step_cache
from bascule.errors import Expired, InputError, NotFound
from bascule.history import Commit, Staged, Workspace
from bascule.history.deleted import Deletion, deletions, ids_in
from bascule.naming import MODELS
from bascule.registry.runtimes import blobs_of
from bascule.registry.withdrawals import blobs_of_version

Object = Mapping[str, Any]
DELETE, RESTORE, PURGE, RENAME = "delete-version", "restore-version", "purge-version", "rename"
BESIDE = ("card", "contract")


def note(
    conn: Connection, branch: str, before: Object, numbers: Iterable[int], reason: str, who: str, commit: Commit
) -> None:
    """Record that versions were deleted, inside the transaction of the commit that took them from a branch.

    Args:
        before: the model's object as it was; `commit` does not have the versions any more.
    """
    model = before["name"]
    for number in numbers:
        entry = before["versions"][str(number)]
        aliases = sorted(alias for alias, target in before["aliases"].items() if target == number)
        held = {
            "entry": entry,
            "runtime": before.get("runtimes", {}).get(str(number)),
            "about": before.get("about"),
            "aliases": aliases,
        }
        made = Deletion(
            id=new_id("del"),
            model=model,
            version=number,
            version_id=entry["id"],
            branch=branch,
            commit_id=commit.id,
            actor=who,
            reason=reason,
            at=commit.created_at,
            held=held,
        )
        row = {name: getattr(made, name) for name in made.__struct_fields__ if name != "held"}
        conn.execute(insert(model_deletions).values(**row, held_json=msgspec.json.encode(held).decode()))
        detail = {"branch": branch, "reason": reason, "commit": commit.id, "artifact": entry["artifact"]}
        audit.append(conn, actor=who, action=DELETE, subject=f"{MODELS}{made.name}", detail=detail)


def note_restored(conn: Connection, branch: str, one: Deletion, reason: str, who: str, commit: Commit) -> None:
    """Record that a version came back, inside the transaction of its commit.

    Raises:
        Expired: it was purged meanwhile; nothing lands.
    """
    audit.take_turn(conn)
    d = model_deletions.c
    purged = conn.execute(select(d.purged_at).where(d.id == one.id)).scalar()
    if purged is not None:
        raise gone(msgspec.structs.replace(one, purged_at=purged))
    detail = {"branch": branch, "reason": reason, "commit": commit.id, "deletion": one.id}
    audit.append(conn, actor=who, action=RESTORE, subject=f"{MODELS}{one.name}", detail=detail)


def deleted(ws: Workspace, ref: str | Commit, model: str | None = None, *, purged: bool = False) -> list[Deletion]:
    """Return the versions that were deleted from a state or from what it came from, and that it lacks; youngest first.

    Args:
        purged: also those that went for good.
    """
    found = lacking(ws, ref, model, purged=purged)
    return [one for one in found if model is None or one.model == model]


def lacking(ws: Workspace, ref: str | Commit, model: str | None = None, *, purged: bool = False) -> list[Deletion]:
    """As `deleted`, also those of a model that has another name at the state, each by the name that it would have."""
    head = ws.history.resolve(ref) if isinstance(ref, str) else ref  # first: a name that is none is no empty answer
    with ws.catalog.read() as conn:
        found = deletions(conn, model=model, purged=None if purged else False)
    if not found:
        return []
    here = ws.history.came_from(head, {one.commit_id for one in found})
    models = [value for _, value in ws.history.entries(head, MODELS)]
    there = {one for value in models for one in ids_in(value)}
    since = {
        value["name"]: min((one["created_at"] for one in value["versions"].values()), default=0) for value in models
    }
    last: dict[str, Deletion] = {}
    for one in found:
        if one.commit_id in here and one.version_id not in there:
            known = last.setdefault(one.version_id, one)
            if 0 < since.get(one.model, 0) < one.at or not 0 < since.get(known.model, 0) < known.at:
                last[one.version_id] = one  # else the renaming was reverted: its model is there by the earlier name
    return sorted(last.values(), key=lambda one: (one.at, one.version), reverse=True)


def note_renamed(conn: Connection, going: Sequence[Deletion], new: str, commit: Commit) -> None:
    """Record that deleted versions have another name since a commit that renamed their model, in its transaction."""
    if going:
        audit.take_turn(conn)  # nobody purges one meanwhile
    d = model_deletions.c
    for row in conn.execute(select(model_deletions).where(d.id.in_([one.id for one in going]))).all():
        named = {"id": new_id("del"), "model": new, "commit_id": commit.id}
        conn.execute(insert(model_deletions).values(**{**row._mapping, **named}))


def mend_renamed(ws: Workspace) -> list[str]:
    """Record what renamings left out that an earlier release made: it did not rename the versions that were deleted.

    Returns:
        The deleted versions that got their models' names, such as `late@2`.
    """
    moves, mended = ref_log.c, dict[str, str]()
    with ws.catalog.read() as conn:
        noted = {(one.version_id, one.commit_id) for one in deletions(conn)}
        query = select(moves.before, moves.after).where(moves.action == RENAME).order_by(moves.seq)
        renamings = conn.execute(query).all() if noted else []
    for before, after in renamings:
        state, commit = ws.history.commit_by_id(before), ws.history.commit_by_id(after)
        changes = ws.history.diff(state, commit, MODELS)
        old = [change.before["name"] for change in changes if change.before is not None and change.after is None]
        new = [change.after["name"] for change in changes if change.after is not None and change.before is None]
        for one, other in zip(old, new, strict=True):
            going = [gone for gone in deleted(ws, state, one, purged=True) if (gone.version_id, after) not in noted]
            with ws.catalog.write() as conn:
                note_renamed(conn, going, other, commit)
            mended |= {gone.version_id: f"{other}@{gone.version}" for gone in going}
    return list(mended.values())


def of_version(ws: Workspace, ref: str | Commit, model: str, number: int) -> Deletion:
    """Return the last deletion of a version that a state lacks.

    Raises:
        NotFound: it was not deleted there; names those that were.
    """
    found = lacking(ws, ref, model, purged=True)
    for one in found:
        if one.version == number and one.model == model:
            return one
    known = [one.name for one in found if one.purged_at is None]
    hint = "" if known else "bascule model list --deleted shows what can be restored."
    for one in found:
        if one.version == number:
            hint = f"The model {model} was renamed; it is {one.name} now."
    raise NotFound("deleted version", f"{model}@{number}", known, hint=hint)


def purge(conn: Connection, going: Sequence[Deletion], who: str) -> list[Deletion]:
    """Note that versions go for good, in the caller's transaction; what they held is collected from then on.

    What steps of pipelines remember of them is forgotten, too: a step that made one is run again.

    Returns:
        The records as they are now.
    """
    done = [purged(one) for one in going]
    for one in done:
        of_it, held = model_deletions.c.version_id == one.version_id, msgspec.json.encode(one.held).decode()
        conn.execute(update(model_deletions).where(of_it).values(purged_at=one.purged_at, held_json=held))
        for digest in one.held["blobs"]:
            made = step_cache.c.receipt_json.contains(digest, autoescape=True)
            conn.execute(delete(step_cache).where(made))
        detail = {"deleted_by": one.actor, "deleted_at": one.at, "reason": one.reason, "blobs": one.held["blobs"]}
        audit.append(conn, actor=who, action=PURGE, subject=f"{MODELS}{one.name}", detail=detail)
    return done


def purged(one: Deletion) -> Deletion:
    """Return a deletion as it is once the version went for good."""
    entry = one.held["entry"]
    digests = blobs_of_version(entry) | {str(entry[name]) for name in BESIDE if entry.get(name)}
    digests |= set(blobs_of(one.held.get("runtime") or {}))
    blobs = sorted(digest for digest in digests if ":" not in digest)  # an address is not the store's
    return msgspec.structs.replace(one, held={"blobs": blobs}, purged_at=now())


def gone_for_good(ws: Workspace) -> list[Deletion]:
    """Return what was purged, the last deletion of each version."""
    with ws.catalog.read() as conn:
        return list({one.version_id: one for one in deletions(conn, purged=True)}.values())


def refuse_purged(ws: Workspace, staged: Staged) -> None:
    """Refuse what would bring a version back whose files are gone.

    Raises:
        Expired: saying who deleted it, when and why.
    """
    fresh: set[str] = set()
    for change in staged.changes:
        if change.path.startswith(MODELS) and change.after is not None:
            fresh |= ids_in(change.after) - (ids_in(change.before) if change.before is not None else set())
    for one in gone_for_good(ws) if fresh else ():
        if one.version_id in fresh:
            raise gone(one)


def explained(ws: Workspace, ref: str | Commit, model: str, which: int | str, error: NotFound) -> NotFound:
    """Return the error for a version that a state lacks; it says who deleted it, if somebody did."""
    for one in deleted(ws, ref, model, purged=True) if str(which).isdecimal() else ():
        if one.version == int(which):
            error.message = told(one)
            error.hint = f"Bring it back with: bascule model restore {one.name}"
            if one.purged_at is not None:
                error.message, error.hint = gone(one).message, gone(one).hint
            error.args = (error.message,)
    return error


def purged_version(ws: Workspace, version_id: str) -> Deletion | None:
    """Return the deletion of a version that went for good, by the id of its entry; None for any other version."""
    with ws.catalog.read() as conn:
        found = deletions(conn, purged=True, version_id=version_id)
    return found[-1] if found else None


def gone(one: Deletion) -> Expired:
    """Return what whoever asks for a version that was purged is told."""
    error = Expired(one.name, moment(one.purged_at or now()), "")
    error.message = f"{told(one)} Its files are gone since {moment(one.purged_at or now())}."
    error.args = (error.message,)
    error.hint = f"Take another version (bascule model list {one.model}), or train one: bascule run"
    return error


def as_dict(one: Deletion) -> dict[str, Any]:
    """Return a deletion as one JSON object, without what restores it."""
    shown = {field: getattr(one, field) for field in one.__struct_fields__ if field != "held"}
    return {"name": one.name, **shown}


def told(one: Deletion) -> str:
    """Return a deletion in a sentence."""
    return f"{one.name} was deleted on {moment(one.at)} by {one.actor}: {one.reason or 'no reason was given'}."


def moment(at: int) -> str:
    """Return a time, in microseconds since 1970 UTC, as people read it."""
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")


def without(model: Object, numbers: Iterable[int]) -> dict[str, Any]:
    """Return a model's object without some versions, the aliases that point to them and what answers for them."""
    gone = {str(number) for number in numbers}
    versions = {number: entry for number, entry in model["versions"].items() if number not in gone}
    aliases = {alias: number for alias, number in model["aliases"].items() if str(number) not in gone}
    chosen = {number: one for number, one in model.get("runtimes", {}).items() if number not in gone}
    rest = {key: value for key, value in model.items() if key != "runtimes"}
    return {**rest, "versions": versions, "aliases": aliases, **({"runtimes": chosen} if chosen else {})}


def restored(found: Object | None, one: Deletion) -> dict[str, Any]:
    """Return a model with a deleted version; without the aliases that it had, which may point to others since.

    Raises:
        InputError: another version has its number.
    """
    number = str(one.version)
    model: dict[str, Any] = {"kind": "model", "name": one.model, "versions": {}, "aliases": {}}
    if found is None and one.held.get("about"):
        model["about"] = one.held["about"]
    model |= found or {}
    if number in model["versions"]:
        raise InputError(f"{one.name} is there.", hint="There is nothing to restore.")
    runtime = one.held.get("runtime")
    chosen = {**model.get("runtimes", {}), **({number: runtime} if runtime else {})}
    versions = {**model["versions"], number: one.held["entry"]}
    return {**model, "versions": versions, **({"runtimes": chosen} if chosen else {})}
