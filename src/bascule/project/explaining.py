"""The chain of one answer: prediction, deployment, version, run, code, data, contracts, people.

Every link is a row or an object that was written when it happened; this module only joins them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import desc, or_, select

from bascule.catalog.schema import approvals, check_results, evaluations, rollouts, runs
from bascule.counting import counted
from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.history.commits import Object
from bascule.naming import model_path
from bascule.project.querying import query
from bascule.registry.versions import served
from bascule.training import read_training_set

Link = dict[str, Any]

# The truth may be corrected: what was heard last holds, as it does in monitoring.
_TRUTH = "select * from ground_truth where prediction_id = $1 order by received_at desc limit 1"


def explain_prediction(workspace: Workspace, name: str) -> dict[str, Link]:
    """Return what made an answer, link by link, in the order of DESIGN section 2.

    Returns:
        `prediction`, `truth`, `deployment`, `version`, `evaluation`, `run`, `code`, `training_set`, `tables`,
        `contracts`, `approvals`, `people`: JSON-able; a link that does not exist is empty.

    Raises:
        NotFound: there is no such prediction.
    """
    prediction = _prediction(workspace, name)
    commit = prediction["commit_id"]
    history = workspace.history
    deployment = history.get(commit, f"deployments/{prediction['deployment']}")
    version: Object = history.get(commit, model_path(prediction["model"]))["versions"][str(prediction["version"])]
    run = _row(workspace, select(runs).where(runs.c.id == (version.get("run_id") or "")))
    training = _training_set(workspace, version)
    tables = _tables(workspace, training)
    subject = f"models/{prediction['model']}@{prediction['version']}"
    chain: dict[str, Link] = {
        "prediction": prediction,
        "truth": _named(_first(query(workspace, _TRUTH, [name])), version),
        "deployment": {
            "name": prediction["deployment"],
            "revision": prediction["revision"],
            "branch": prediction["branch"],
            "commit": commit,
            "traffic": deployment["traffic"],
            "change": _rollout(workspace, prediction),
        },
        "version": {"model": prediction["model"], **version},
        "evaluation": _evaluation(workspace, version),
        "run": _timed(
            {k: run[k] for k in ("id", "name", "step", "status", "branch", "user_name", "started_at")} if run else {}
        ),
        "code": {k: run[k] for k in ("code_commit", "code_dirty", "code_snapshot")} if run else {},
        "training_set": training,
        "tables": tables,
        "contracts": _contracts(workspace, tables),
        "approvals": {"decisions": _rows(workspace, select(approvals).where(approvals.c.subject == subject))},
    }
    chain["people"] = {"names": _people(chain, workspace)}
    return chain


def added(prediction: Mapping[str, Any]) -> tuple[str, dict[str, float]] | None:
    """Return what each input added to an answer, the largest first, after its `base`; None when nobody asked for that.

    Of several classes it is told of the one that was answered.

    Returns:
        What the numbers are, in words, and the numbers.
    """
    output = prediction.get("output")
    output = output if isinstance(output, Mapping) else {}
    told = output.get("explanation")
    if not told:
        return None
    scale, one = str(told["scale"]), told
    if "classes" in told:
        label = str(output.get("label"))
        one = told["classes"].get(label)
        if one is None:
            return None
        scale = f"{scale} of {label}"
    about = f"{scale}, {told['method']}" + (f" in {told['samples']} orders" if told.get("samples") else "")
    against = told.get("background") or {}
    if against.get("from") == "requests":
        about += f", against the last {against['of']} rows that it was asked"
        about += f" (not of {', '.join(against['held'])})" if against.get("held") else ""
    if one.get("left_out"):
        about += f"; the log leaves {counted(one['left_out'], 'input')} out, so the sum is not the score"
    return about, {"base": one["base"], **dict(sorted(one["contributions"].items(), key=lambda kv: -abs(kv[1])))}


def outcome(truth: Mapping[str, Any]) -> str:
    """Return what became true as a person reads it: the class, or the number; empty while it is not known."""
    label = truth.get("label")
    return "" if label is None else str(truth.get("class") or f"{label:g}")


def _named(truth: Link, version: Object) -> Link:
    """Return what became true with the name of the class; the log has its place."""
    name = class_at(version, truth.get("label"))
    return truth if name is None else {**truth, "class": name}


def class_at(version: Mapping[str, Any], label: float | None) -> str | None:
    """Return the class at a place, as a version of a model names it; None where it has no classes, or not so many."""
    output = (served(version).get("signature") or {}).get("output") or {}
    classes = output.get("classes") or ()
    if output.get("task") == "regression" or label is None or label not in range(len(classes)):
        return None
    return str(classes[int(label)])


def _prediction(workspace: Workspace, name: str) -> Link:
    found = query(workspace, "select * from predictions where prediction_id = $1", [name])
    if not found:
        some = query(workspace, 'select prediction_id from predictions order by "at" desc limit 3')
        raise NotFound(
            "prediction",
            name,
            hint="The last ones: " + ", ".join(row["prediction_id"] for row in some)
            if some
            else "No prediction has been made in this workspace yet.",
        )
    row = found[0]
    for key in ("inputs", "features", "output", "shadow"):
        row[key] = msgspec.json.decode(row[key]) if row.get(key) else None
    return row


def _training_set(workspace: Workspace, version: Object) -> Link:
    if not version.get("training_set"):  # a client registered the model: it was trained elsewhere
        return {}
    made = read_training_set(workspace, version["training_set"])
    return {
        "id": made.id,
        "name": made.name,
        "rows": made.rows,
        "commit": made.commit_id,
        "features": list(made.columns.features),
        "split": msgspec.to_builtins(made.split),
    }


def _tables(workspace: Workspace, training: Link) -> Link:
    """The tables of the commit that the training set was made from, with the commit that last changed each."""
    found: Link = {}
    if not training:
        return found
    for path, obj in workspace.history.entries(training["commit"], "tables/"):
        changed = workspace.history.log(training["commit"], limit=1, path=path)
        found[path] = {
            "snapshot": obj["snapshot_id"],
            "rows": obj["rows"],
            "digest": obj["digest"],
            "commit": changed[0].id if changed else None,
            "message": changed[0].message if changed else None,
            "author": changed[0].author if changed else None,
        }
    return found


def _contracts(workspace: Workspace, tables: Link) -> Link:
    """The last check results of each table at or before the state that was learned from."""
    found: Link = {}
    with workspace.catalog.read() as conn:
        for path, table in tables.items():
            commit = workspace.history.commit_by_id(table["commit"]) if table["commit"] else None
            states = [table["commit"], *(commit.parents if commit else ())]
            query = (
                select(check_results.c.status, check_results.c.severity, check_results.c.check_name, check_results.c.at)
                .where(check_results.c.subject == path, or_(*(check_results.c.commit_id == s for s in states if s)))
                .order_by(desc(check_results.c.at))
            )
            results = conn.execute(query).all()
            newest = [row for row in results if row.at == results[0].at]
            found[path] = {
                "checks": len(newest),
                "passed": sum(row.status == "passed" for row in newest),
                "failed": [f"{row.check_name} ({row.severity})" for row in newest if row.status != "passed"],
            }
    return found


def _rollout(workspace: Workspace, prediction: Link) -> Link:
    history = workspace.history
    path = f"deployments/{prediction['deployment']}"
    changed = history.log(prediction["commit_id"], limit=1, path=path)
    if not changed:
        return {}
    row = _row(workspace, select(rollouts).where(rollouts.c.commit_id == changed[0].id))
    return _timed({k: row[k] for k in ("id", "action", "actor", "commit_id", "at")}) if row else {}


def _evaluation(workspace: Workspace, version: Object) -> Link:
    row = _row(workspace, select(evaluations).where(evaluations.c.id == (version.get("evaluation_id") or "")))
    if not row:
        return {}
    report = msgspec.json.decode(row["report_json"])
    return {
        "id": row["id"],
        "passed": bool(row["passed"]),
        "gates": [{k: gate[k] for k in ("name", "passed", "reason")} for gate in report["gates"]],
    }


def _people(chain: dict[str, Link], workspace: Workspace) -> list[str]:
    who = {f"{chain['run'].get('user_name')} ran the training"} if chain["run"] else set()
    who.add(f"{chain['version'].get('created_by')} registered the version")
    if change := chain["deployment"]["change"]:
        who.add(f"{change['actor']} did the last {change['action']} of the deployment")
    for path, table in chain["tables"].items():
        if table["author"]:
            who.add(f"{table['author']} brought in {path}")
    for row in chain["approvals"]["decisions"]:
        who.add(f"{row['actor']} {row['decision']} it: {row['reason']}")
    return sorted(who)


def _row(workspace: Workspace, statement: Any) -> Link:
    with workspace.catalog.read() as conn:
        found = conn.execute(statement).mappings().first()
    return dict(found) if found else {}


def _rows(workspace: Workspace, statement: Any) -> list[Link]:
    with workspace.catalog.read() as conn:
        return [_timed(dict(row)) for row in conn.execute(statement).mappings()]


def _first(rows: list[Link]) -> Link:
    return rows[0] if rows else {}


def _timed(row: Link) -> Link:
    """Write times as people read them."""
    return {
        key: datetime.fromtimestamp(value / 1e6, UTC).isoformat(timespec="milliseconds")
        if key.endswith("at") and isinstance(value, int)
        else value
        for key, value in row.items()
    }
