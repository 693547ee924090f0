"""Holding a state that no branch has yet: contracts on changed tables, gates on changed models, and what serves."""

from __future__ import annotations

from bascule.contracts import Contract, Report
from bascule.delivery.traffic import needed
from bascule.errors import CheckFailed
from bascule.history import Staged, Workspace
from bascule.history.commits import Object
from bascule.naming import model_path
from bascule.project.checking import VIEWS, check_table, check_view, refuse
from bascule.project.definitions import read_by_query
from bascule.project.related import related
from bascule.project.veiled import refuse_veiled
from bascule.registry import PRODUCTION

DEPLOYMENTS = "deployments/"


def check_staged(
    workspace: Workspace, staged: Staged, refused: str, unchanged: str, repair: str, run: str | None = None
) -> tuple[str, ...]:
    """Check a state that no branch has yet: contracts on changed tables, gates on changed models, and what serves.

    A version that a deployment serves must be there.

    Args:
        refused: what does not happen when a check fails, as the beginning of a sentence.
        unchanged: what stays as it is then, as a sentence.
        repair: what to do about a table that fails, as a sentence.

    Returns:
        The tables and models whose checks passed.

    Raises:
        CheckFailed: with the failing rows.
    """
    refuse_veiled(workspace, staged, refused, unchanged)
    paths = {change.path for change in staged.changes if change.after is not None}
    names = {path.partition("/")[2] for path in paths if path.startswith(("tables/", "contracts/"))}
    tables = [change.path.removeprefix("tables/") for change in staged.changes if change.path.startswith("tables/")]
    for path, contract in staged.entries("contracts/") if tables else ():
        if related(Contract.parse(contract["text"], file=contract.get("file", f"{path}.yaml")), tables):
            names.add(contract["table"])
    commit = staged.source.id
    reports = [
        report
        for name in sorted(names)
        if (
            report := check_table(
                workspace, name, staged.read, commit=commit, run=run, onto=staged.target, key_at_least=True
            )
        )
        is not None
    ]
    reports += _check_views(workspace, staged, paths, run)
    refuse(reports, refused, f"{unchanged} {repair}")
    _check_served(staged, refused, unchanged)
    models = sorted(path for path in paths if path.startswith("models/"))
    for path in models:
        _check_model(staged, path, refused, unchanged)
    return (*(f"tables/{report.table}" for report in reports), *models)


def _check_views(workspace: Workspace, staged: Staged, paths: set[str], run: str | None) -> list[Report]:
    """Check the feature views with a contract whose rows may differ: a table that they read, or they themselves."""
    found = []
    contracts = {p for p, _ in staged.entries(f"contracts/{VIEWS}")} if paths else set()
    for path in sorted(contracts):
        name = path.removeprefix(f"contracts/{VIEWS}")
        view = staged.read(VIEWS + name) or {}
        read = {f"tables/{table}" for table in read_by_query(view["sql"])} if "sql" in view else set()
        if paths & {path, VIEWS + name, *read} and all(staged.read(table) is not None for table in read):
            report = check_view(workspace, name, staged.read, commit=staged.source.id, run=run, onto=staged.target)
            found += [report] if report is not None else []
    return found


def _check_served(staged: Staged, refused: str, unchanged: str) -> None:
    """Raise `CheckFailed` when a deployment serves a version that would be gone."""
    changed = {change.path: change for change in staged.changes if change.path.startswith(("models/", DEPLOYMENTS))}
    for path, deployment in staged.entries(DEPLOYMENTS) if changed else ():
        model = model_path(deployment["model"])
        if not (path in changed or model in changed):
            continue
        missing = needed(deployment) - _versions(staged.read(model))
        if path not in changed:  # what was missing before is no fault of this
            missing &= _versions(changed[model].before)
        if missing:
            told = ", ".join(map(str, sorted(missing)))
            raise CheckFailed(
                f"{refused}: {path} serves version {told} of {model}, which would be gone.",
                details=[{"path": path, "model": model, "versions": sorted(missing)}],
                hint=f"{unchanged} Deploy another version first, or keep the model as it is.",
            )


def _versions(model: Object | None) -> set[int]:
    return {int(number) for number in (model or {}).get("versions", ())}


def _check_model(staged: Staged, path: str, refused: str, unchanged: str) -> None:
    model = staged.read(path) or {}
    number = model.get("aliases", {}).get(PRODUCTION)
    version = model.get("versions", {}).get(str(number))
    if version is None or version.get("evaluation_id") == "":
        return  # what a client registered nobody judged: `bascule deploy` asks for no gates of it either
    if not version["passed"] and not version.get("forced"):
        raise CheckFailed(
            f"{refused}: version {number} of {path} did not pass its gates.",
            details=[{"path": path, "version": number}],
            hint=f"{unchanged} See why with: bascule models {path.partition('/')[2]} {number}",
        )
