"""What models are asked, held to the contract of the version that answers: it is made of what that learned from."""

from __future__ import annotations

import json

from bascule.contracts import Contract, Report, run_checks, suggest
from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.lake.engine import opened
from bascule.lake.iceberg.types import literal, quoted
from bascule.project.checking import keep
from bascule.project.pasts import past_values
from bascule.project.querying import logged
from bascule.registry import PRODUCTION, get_version
from bascule.registry.versions import said_version
from bascule.serving.log import PREDICTIONS
from bascule.training import Signature, TrainingSet, read_signature, training_rows

MODELS = "models/"


def request_contract(workspace: Workspace, made: TrainingSet, signature: Signature) -> str:
    """Return the contract of a model's inputs, as commented text: what the rows that it learned from promise.

    Args:
        made: the training set.
        signature: the model's inputs; others are left out.
    """
    names = [name for name in signature.names() if name in made.columns.features]
    rows = training_rows(workspace, made, "train").select(names)
    with opened(workspace.temporary_folder) as connection:
        connection.register("learned_from", rows)
        return suggest(connection, "learned_from", made.spec.name, repeated=True)


def contract_of(workspace: Workspace, branch: str, model: str, which: str | int = PRODUCTION) -> str:
    """Return the text of the contract that a version's inputs are held to.

    Raises:
        NotFound: there is no such version, or it was registered without one.
    """
    found = get_version(workspace, branch, model, which)
    if found.contract is None:
        raise NotFound(
            "contract", f"{MODELS}{found.name()}", hint="Versions that are registered from now on have one: bascule run"
        )
    return workspace.store.get(found.contract).decode()


def check_requests(workspace: Workspace, branch: str, name: str) -> Report:
    """Check what a version of a model was asked on a branch against its own contract, and keep the results.

    Args:
        name: `MODEL` for its production version, or `MODEL@VERSION`.

    Raises:
        NotFound: there is no such version, or it has no contract.
    """
    model, which = said_version(name)
    found = get_version(workspace, branch, model, which or PRODUCTION)
    path = f"{MODELS}{model}"
    contract = Contract.parse(contract_of(workspace, branch, model, found.version), file=f"{MODELS}{found.name()}")
    with logged(workspace) as connection:
        relation = _requests(read_signature(dict(found.signature)), branch, model, found.version)
        past = past_values(workspace, path)
        report = run_checks(connection, relation, contract, past=past)
    keep(workspace, report, None, found.run_id, subject=path)
    return report


def _requests(signature: Signature, branch: str, model: str, version: int) -> str:
    """Text usable after FROM with the inputs that a version was given, one column each."""
    shape = json.dumps({field.name: field.type.upper() for field in signature.inputs})
    read = f"from_json(features, {literal(shape)}) AS asked"
    where = f"branch = {literal(branch)} AND model = {literal(model)} AND version = {version}"
    columns = ", ".join(f"asked.{quoted(field.name)} AS {quoted(field.name)}" for field in signature.inputs)
    return f"(SELECT {columns} FROM (SELECT {read} FROM {PREDICTIONS} WHERE {where}) AS q)"
