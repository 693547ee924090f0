"""Registering versions and moving aliases: each is one commit together with its records, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import IntegrityError

from bascule.catalog import actor, new_id, now, schema
from bascule.errors import CheckFailed, Conflict, InputError, NotFound
from bascule.history import Commit, Workspace
from bascule.naming import checked_name, model_path
from bascule.registry.versions import LATEST, get_version, held_metrics

TRIES = 100


@dataclass(frozen=True)
class _New:
    """What is to be registered."""

    model: str
    fields: dict[str, Any]
    report: Mapping[str, Any]
    reason: str
    alias: str | None
    card: Callable[[int], str] | None
    author: str
    message: str | None


def register(
    ws: Workspace,
    branch: str,
    model: str,
    *,
    artifact: str,
    format: str,
    signature: Mapping[str, Any],
    training_set: str,
    evaluation: Mapping[str, Any],
    features: str | None = None,
    run_id: str | None = None,
    metrics: Mapping[str, float] | None = None,
    card: Callable[[int], str] | None = None,
    contract: str | None = None,
    graph: Mapping[str, Any] | None = None,
    alias: str | None = None,
    force: str | None = None,
    author: str | None = None,
    message: str | None = None,
) -> int:
    """Register a version of a model on a branch.

    One transaction writes the commit, the `model_versions` and `evaluations` records, the `approvals` record of a
    forced version, and the audit entry. Numbers count once per model over all branches and are never used again.

    Args:
        ws: the workspace.
        branch: where.
        model: its name.
        artifact: digest of the model's file, which must be in the store.
        format: such as `lightgbm`.
        signature: `Signature.as_dict()`.
        training_set: id of the training set.
        evaluation: `EvaluationReport.as_dict()`; its `passed` decides, its `gates` say why.
        features: digest of the feature set's definition.
        run_id: the run that trained it.
        metrics: such as `EvaluationReport.flat()`.
        card: writes the card's text for the version's number; it is kept in the store.
        graph: the steps around it when it answers, as serving reads them.
        contract: the text of the contract that its inputs are held to; it is kept in the store.
        alias: an alias to point to the new version in the same commit.
        force: why to register it although a gate refuses it; kept as an approval with who forced it.
        author: who registers; the acting user when not given.
        message: of the commit.

    Returns:
        The version's number.

    Raises:
        CheckFailed: a gate refused it and `force` was not given; `details` holds the gates. The evaluation and the
            refusal are recorded, the branch is not changed.
        InputError: `force` is blank, or a name cannot be used.
        NotFound: the branch does not exist or the artifact is not in the store.
    """
    _refuse_unfit(ws, branch, model, artifact, alias, force)
    who = author or actor()
    if not evaluation["passed"] and force is None:
        raise _refused(ws, model, training_set, evaluation, run_id)
    fields = {
        "artifact": artifact,
        "format": format,
        "signature": dict(signature),
        "features": features,
        "training_set": training_set,
        "run_id": run_id,
        "contract": ws.store.put(contract.encode()) if contract else None,
        "passed": bool(evaluation["passed"]),
        "metrics": held_metrics(metrics or {}),
        "forced": (force or "") if not evaluation["passed"] else "",
        **({"graph": dict(graph)} if graph else {}),
    }
    return _until_landed(ws, branch, _New(model, fields, evaluation, force or "", alias, card, who, message))


def _refuse_unfit(ws: Workspace, branch: str, model: str, artifact: str, alias: str | None, force: str | None) -> None:
    checked_name(model, "a model name")
    if alias is not None:
        _checked_alias(alias)
    if force is not None and not force.strip():
        raise InputError("A forced registration needs a reason.", hint='Say why, such as: --force "hotfix for #12".')
    if not ws.store.has(artifact):
        raise NotFound("artifact in the store", artifact, hint="Put the packed model into the store first.")
    ws.history.resolve(branch)


def set_alias(
    ws: Workspace,
    branch: str,
    model: str,
    alias: str,
    version: int | str | None,
    *,
    author: str | None = None,
    message: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Commit:
    """Point an alias at a version on a branch, or remove it with `version=None`.

    Args:
        meta: what else the commit says of itself.

    Raises:
        NotFound: there is no such branch, model, version, or alias to remove.
        InputError: the alias looks like a number or is `latest`.
    """
    _checked_alias(alias)
    history, path = ws.history, model_path(model)
    for _ in range(TRIES):
        head = history.resolve(branch)
        before = history.digest(head, path)
        found = history.get(head, path)
        aliases = dict(found["aliases"])
        if version is None:
            if alias not in aliases:
                raise NotFound(f"alias of {model!r}", alias, aliases)
            del aliases[alias]
            text = f"Remove the alias {alias} of {model}"
        else:
            aliases[alias] = get_version(ws, head, model, version).version
            text = f"Point {model}@{alias} to version {aliases[alias]}"
        try:
            return history.commit(
                branch,
                {path: {**found, "aliases": aliases}},
                message=message or text,
                author=author,
                expect={path: before},
                meta=dict(meta or {}),
                action="alias",
            )
        except Conflict:
            continue
    raise busy(model)


def _until_landed(ws: Workspace, branch: str, new: _New) -> int:
    history, path = ws.history, model_path(new.model)
    for _ in range(TRIES):
        head = history.resolve(branch)
        before = history.digest(head, path)
        found = history.object(before) if before else _empty(new.model)
        number = next_number(ws, new.model)
        entry = {
            **new.fields,
            "id": new_id("mv"),
            "version": number,
            "evaluation_id": new_id("ev"),
            "card": ws.store.put(new.card(number).encode()) if new.card else None,
            "created_at": now(),
            "created_by": new.author,
        }
        changed = {
            **found,
            "versions": {**found["versions"], str(number): entry},
            "aliases": {**found["aliases"], **({new.alias: number} if new.alias else {})},
        }
        try:
            history.commit(
                branch,
                {path: changed},
                message=new.message or f"Register {new.model} version {number}",
                author=new.author,
                expect={path: before},
                meta={"registers": f"{new.model}@{number}"},
                action="register",
                also=_records(new, entry),
            )
        except (Conflict, IntegrityError):  # another registration was first: take the next number on the new head
            continue
        return number
    raise busy(new.model)


def _empty(model: str) -> dict[str, Any]:
    return {"kind": "model", "name": model, "versions": {}, "aliases": {}}


def next_number(ws: Workspace, model: str) -> int:
    """Return the number that the next version of a model takes, over all branches."""
    versions = schema.model_versions
    with ws.catalog.read() as conn:
        last = conn.execute(select(func.max(versions.c.version)).where(versions.c.model == model)).scalar()
    return int(last or 0) + 1


def _records(new: _New, entry: dict[str, Any]) -> Callable[[Connection, Commit], None]:
    def write(conn: Connection, _commit: Commit) -> None:
        conn.execute(
            insert(schema.model_versions).values(
                id=entry["id"],
                model=new.model,
                version=entry["version"],
                artifact=entry["artifact"],
                run_id=entry["run_id"],
                created_at=entry["created_at"],
            )
        )
        _write_evaluation(
            conn, entry["evaluation_id"], new.model, entry["id"], entry["training_set"], new.report, entry
        )
        if new.reason:
            decision = "approved" if entry["passed"] else "forced"
            _write_approval(conn, f"models/{new.model}@{entry['version']}", decision, new.author, new.reason)

    return write


def _refused(
    ws: Workspace, model: str, training_set: str, report: Mapping[str, Any], run_id: str | None
) -> CheckFailed:
    failed = [dict(gate) for gate in report.get("gates", ()) if not gate["passed"]]
    reasons = "; ".join(f"{gate['name']}: {gate['reason']}" for gate in failed)
    with ws.catalog.write() as conn:
        _write_evaluation(conn, new_id("ev"), model, "", training_set, report, {"run_id": run_id, "created_at": now()})
        _write_approval(conn, f"models/{model}", "refused", "gates", reasons)
    listed = "".join(f"\n  {gate['name']}: {gate['reason']}" for gate in failed)
    return CheckFailed(
        f"The gates refuse this version of {model!r}:{listed}",
        details=failed,
        hint='Improve the model, or register it all the same with a reason: --force "why".',
    )


def _write_evaluation(
    conn: Connection,
    evaluation_id: str,
    model: str,
    version_id: str,
    training_set: str,
    report: Mapping[str, Any],
    entry: Mapping[str, Any],
) -> None:
    conn.execute(
        insert(schema.evaluations).values(
            id=evaluation_id,
            run_id=entry["run_id"],
            model=model,
            model_version_id=version_id,
            training_set=training_set,
            passed=bool(report["passed"]),
            report_json=msgspec.json.encode(report).decode(),
            at=entry["created_at"],
        )
    )


def _write_approval(conn: Connection, subject: str, decision: str, who: str, reason: str) -> None:
    conn.execute(
        insert(schema.approvals).values(
            id=new_id("apr"), subject=subject, decision=decision, actor=who, reason=reason, at=now()
        )
    )


def _checked_alias(alias: str) -> None:
    checked_name(alias, "an alias")
    if alias == LATEST:
        raise InputError(f"{alias!r} always means the youngest version.", hint="Choose another name for the alias.")


def busy(model: str) -> Conflict:
    """Return the error for a model that others change all the time."""
    told = f"The model {model!r} was changed by others {TRIES} times in a row."
    return Conflict(told, paths=[model_path(model)], hint="Try again.")
