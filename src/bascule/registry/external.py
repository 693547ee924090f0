"""Models that clients register from outside: where their files lie, and what people say of them.

They are the same `models/NAME` objects as those that Bascule trains, with versions counted over all branches. What only
the registry of a client knows (description, tags, stage, source) lies under `about`, so that merges carry it along.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from bascule.catalog import new_id, now, schema
from bascule.errors import AlreadyExists, Conflict, InputError, NotFound
from bascule.history import Commit, Workspace
from bascule.history.deleted import Deletion
from bascule.naming import model_path
from bascule.registry.deletions import RENAME, deleted, gone_for_good, note_renamed
from bascule.registry.register import TRIES, busy, next_number
from bascule.registry.versions import LATEST, PREFIX

STAGES = ("None", "Staging", "Production", "Archived")
FORMAT = "mlflow"
SCHEME = "mlflow-artifacts:"
# What a version has that nobody here trained or judged.
_BLANK: dict[str, Any] = {
    "format": FORMAT,
    "signature": {},
    "features": None,
    "training_set": "",
    "evaluation_id": "",
    "passed": False,
    "metrics": {},
    "forced": "",
    "card": None,
}
Object = dict[str, Any]
Change = Callable[[Object], Object]


def find_model(ws: Workspace, branch: str, model: str) -> Object:
    """Return a model's object on a branch.

    Raises:
        NotFound: with the nearest name.
    """
    found = ws.history.read(branch, model_path(model))
    if found is None:
        known = [one["name"] for _, one in ws.history.entries(branch, PREFIX)]
        raise NotFound("registered model", model, known, where=branch)
    return found


def find_version(found: Object, version: str) -> Object:
    """Return a version's entry.

    Raises:
        NotFound, InputError: there is none, or the number is none.
    """
    if not version.isdecimal() or len(version) > 9:
        raise InputError(f"Parameter 'version' must be an integer, got '{version[:40]}'.", hint="Such as 3.")
    entry: Object | None = found["versions"].get(str(int(version)))
    if entry is None:
        raise NotFound(f"version of the model {found['name']!r}", version, found["versions"])
    return entry


def create_model(
    ws: Workspace, branch: str, model: str, *, author: str, description: str = "", tags: Mapping[str, str] | None = None
) -> Object:
    """Make a model without versions.

    Raises:
        AlreadyExists: the branch has one of that name.
    """
    path, at = model_path(model), now()
    about = {"description": description, "tags": dict(tags or {}), "created_at": at, "updated_at": at}
    made = {"kind": "model", "name": model, "versions": {}, "aliases": {}, "about": about}
    if ws.history.digest(branch, path) is not None:
        raise AlreadyExists("registered model", model, hint="Use it, or take another name.")
    try:
        _commit(ws, branch, path, None, made, f"Create the model {model}", author)
    except Conflict:
        raise AlreadyExists("registered model", model, hint="Use it, or take another name.") from None
    return made


def change_model(ws: Workspace, branch: str, model: str, change: Change, *, author: str, message: str) -> Object:
    """Change a model on a branch; the change is asked again when somebody else was first.

    Raises:
        NotFound: there is none. What `change` raises.
    """
    path = model_path(model)
    for _ in range(TRIES):
        find_model(ws, branch, model)
        before = ws.history.digest(branch, path)
        if before is None:
            continue
        found = ws.history.object(before)
        changed = change(found)
        if changed == found:
            return found
        try:
            _commit(ws, branch, path, before, changed, message, author)
        except Conflict:
            continue
        return changed
    raise busy(model)


def rename_model(ws: Workspace, branch: str, model: str, new: str, *, author: str) -> Object:
    """Give a model another name on a branch, with all its versions; their numbers go on where they were.

    Raises:
        NotFound: there is none.
        AlreadyExists: the other name is taken, or a number was another version's there.
    """
    path, target = model_path(model), model_path(new)
    for _ in range(TRIES):
        find_model(ws, branch, model)
        before = ws.history.digest(branch, path)
        if before is None:
            continue
        if target != path and ws.history.digest(branch, target) is not None:
            raise AlreadyExists("registered model", new, hint="Take another name.")
        changed = touched({**ws.history.object(before), "name": new})
        gone = deleted(ws, branch, model, purged=True) if target != path else []

        def note(conn: Connection, commit: Commit, gone: Sequence[Deletion] = gone) -> None:
            _note_renamed(conn, model, new)
            note_renamed(conn, gone, new, commit)

        try:
            ws.history.commit(
                branch,
                {path: None, target: changed} if target != path else {path: changed},
                message=f"Rename the model {model} to {new}",
                author=author,
                expect={path: before} | ({target: None} if target != path else {}),
                action=RENAME,
                also=note,
            )
        except (Conflict, IntegrityError):
            continue
        return changed
    raise busy(model)


def _note_renamed(conn: Connection, model: str, new: str) -> None:
    """Record all versions that a model ever had under its new name, so that none of their numbers is used again."""
    mv = schema.model_versions
    had, has = (
        {row.version: row._asdict() for row in conn.execute(select(mv).where(mv.c.model == name))}
        for name in (model, new)
    )
    for number in sorted(had.keys() & has.keys()):
        if had[number]["artifact"] != has[number]["artifact"]:
            raise AlreadyExists(
                f"version of a model that was {new!r} before", str(number), hint="Take a name that none has had."
            )
    rows = [{**row, "id": new_id("mv"), "model": new} for number, row in had.items() if number not in has]
    if rows:
        conn.execute(insert(mv), rows)
    _copy_incidents(conn, model, new)


def _copy_incidents(conn: Connection, model: str, new: str) -> None:
    """Record what broke of a model's versions under its new name too: on other branches it has the one before."""
    table = schema.incidents
    known = {
        name: {(row.version, row.artifact, row.kind): row._asdict() for row in conn.execute(query)}
        for name in (model, new)
        for query in [select(table).where(table.c.model == name)]
    }
    rows = [{**row, "model": new} for key, row in known[model].items() if key not in known[new]]
    if rows:
        conn.execute(insert(table), rows)


def create_version(
    ws: Workspace,
    branch: str,
    model: str,
    about: Mapping[str, Any],
    *,
    artifact: str,
    author: str,
    facts: Mapping[str, Any] | None = None,
) -> Object:
    """Add a version to a model.

    Args:
        about: `source`, `run_id`, `description`, `tags`, `run_link`, `model_id`.
        artifact: where the files lie.
        facts: of the files, such as their `digest` and `bytes`; they never change.

    Returns:
        The version's entry.

    Raises:
        NotFound: there is no such model.
    """
    path = model_path(model)
    for _ in range(TRIES):
        find_model(ws, branch, model)
        before = ws.history.digest(branch, path)
        if before is None:
            continue
        found, at = ws.history.object(before), now()
        number = next_number(ws, model)
        run = str(about.get("run_id") or "") or None
        entry = {
            **_BLANK,
            "id": new_id("mv"),
            "version": number,
            "artifact": artifact,
            "run_id": run,
            "created_at": at,
            "created_by": author,
            **(facts or {}),
            "about": {"stage": STAGES[0], "updated_at": at, **about},
        }
        row = {key: entry[key] for key in ("id", "version", "artifact", "run_id", "created_at")}
        changed = touched({**found, "versions": {**found["versions"], str(number): entry}}, at)

        def note(conn: Connection, _commit: Commit, row: dict[str, Any] = row) -> None:
            conn.execute(insert(schema.model_versions).values(model=model, **row))

        try:
            ws.history.commit(
                branch,
                {path: changed},
                message=f"Register {model} version {number}",
                author=author,
                expect={path: before},
                meta={"registers": f"{model}@{number}"},
                action="register",
                also=note,
            )
        except (Conflict, IntegrityError):
            continue
        return entry
    raise busy(model)


def adopt_model(
    ws: Workspace,
    branch: str,
    model: str,
    *,
    about: Mapping[str, Any],
    versions: Mapping[int, Object],
    aliases: Mapping[str, int],
    author: str,
) -> tuple[list[int], list[str]]:
    """Take a model over from another registry, in one commit: its versions keep their numbers.

    What the branch has already stays; what it lacks is added.

    Args:
        versions: number to `artifact`, `run_id`, `created_at`, `created_by` and `about`.

    Returns:
        The numbers that were added, and what could not be, each in a sentence.

    Raises:
        InputError: the name cannot be used.
    """
    path = model_path(model)
    for _ in range(TRIES):
        before = ws.history.digest(branch, path)
        empty: Object = {"kind": "model", "name": model, "versions": {}, "aliases": {}}
        found = ws.history.object(before) if before else empty
        fresh, rows, problems = _fresh(ws, found, versions)
        kept = {alias: number for alias, number in aliases.items() if _is_alias(alias)}
        held = {**found["versions"], **{str(number): entry for number, entry in sorted(fresh.items())}}
        told = {alias: number for alias, number in kept.items() if str(number) in held}
        changed = {
            **found,
            "versions": held,
            "aliases": {**told, **found["aliases"]},
            "about": found.get("about") or dict(about),
        }
        if before is not None and changed == found:
            return [], problems

        def note(conn: Connection, _commit: Commit, rows: list[Object] = rows) -> None:
            if rows:
                conn.execute(insert(schema.model_versions), rows)

        try:
            message = f"Take over the model {model}" + (f" with {len(fresh)} versions" if fresh else "")
            ws.history.commit(
                branch,
                {path: changed},
                message=message,
                author=author,
                expect={path: before},
                action="import",
                also=note,
            )
        except (Conflict, IntegrityError):
            continue
        return sorted(fresh), problems
    raise busy(model)


def _fresh(
    ws: Workspace, found: Object, versions: Mapping[int, Object]
) -> tuple[dict[int, Object], list[Object], list[str]]:
    """Return the entries that a model lacks, their records, and what stands in their way."""
    model, mv = found["name"], schema.model_versions
    with ws.catalog.read() as conn:
        query = select(mv.c.version, mv.c.id, mv.c.artifact).where(mv.c.model == model)
        taken = {row.version: row for row in conn.execute(query)}
    gone = {one.version_id for one in gone_for_good(ws)}
    fresh: dict[int, Object] = {}
    rows, problems = [], []
    for number, given in versions.items():
        here, row = found["versions"].get(str(number)), taken.get(number)
        other = files_of(here) if here else row.artifact if row else given["artifact"]
        if other != given["artifact"]:
            problems.append(f"Version {number} of the model {model} is another one here.")
        elif here is None:
            known = row.id if row and row.id not in gone else new_id("mv")  # what was purged stays so
            entry = {**_BLANK, "id": known, "version": number, **given}
            fresh[number] = entry
            if row is None:
                kept = {key: entry[key] for key in ("id", "version", "artifact", "run_id", "created_at")}
                rows.append({"model": model, **kept})
    return fresh, rows, problems


def _is_alias(alias: str) -> bool:
    try:
        return bool(checked_alias(alias))
    except InputError:
        return False


def files_of(entry: Object) -> str:
    """Return where a version's files lie: an address that begins with `SCHEME`, or the digest of a bundle."""
    return str(entry["artifact"])


def touched(found: Object, at: int | None = None) -> Object:
    """Return a model that says when it was changed."""
    return {**found, "about": {**found.get("about", {}), "updated_at": at or now()}}


def with_version(found: Object, version: str, change: Callable[[Object], Mapping[str, Any]]) -> Object:
    """Return a model with what is said of a version changed.

    Args:
        change: what is said now, to what is said then.
    """
    entry = find_version(found, version)
    about = entry.get("about", {})
    told = {**about, **change(about), "updated_at": now()}
    return {**found, "versions": {**found["versions"], str(entry["version"]): {**entry, "about": told}}}


def with_alias(found: Object, alias: str, version: str | None) -> Object:
    """Return a model with an alias moved, or removed with None."""
    checked_alias(alias)
    aliases = {key: target for key, target in found["aliases"].items() if key != alias}
    if version is not None:
        aliases[alias] = find_version(found, version)["version"]
    return touched({**found, "aliases": aliases}) if aliases != found["aliases"] else found


def checked_alias(alias: str) -> str:
    """Return an alias that may be given.

    Raises:
        InputError: it has other signs, is too long, or means something already.
    """
    if not re.fullmatch(r"[\w\-]{1,255}", alias):
        raise InputError(
            f"Invalid alias name: '{alias[:80]}'.", hint="Use letters, digits, underscores and dashes, at most 255."
        )
    if alias.lower() == LATEST or re.fullmatch(r"v\d+", alias.lower()):
        raise InputError(f"'{alias}' alias name (case insensitive) is reserved.", hint="Take another one.")
    return alias


def _commit(
    ws: Workspace, branch: str, path: str, before: str | None, after: Object | None, message: str, author: str
) -> None:
    ws.history.commit(branch, {path: after}, message=message, author=author, expect={path: before}, action="model")
