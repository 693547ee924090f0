"""Step `register`: a version that passed its gates becomes the branch's production version; another is refused."""

from __future__ import annotations

from typing import Any

import msgspec

from bascule.evaluation import model_card, read_report
from bascule.naming import model_path
from bascule.project.graphs import graph_of
from bascule.project.receipt import Output
from bascule.project.requests import request_contract
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.steps import evaluating, training, training_set
from bascule.project.steps.evaluating import model_name, production
from bascule.registry import PRODUCTION, register, set_alias
from bascule.store import digest_of
from bascule.tracking import Run
from bascule.training import read_training_set, unpack_model

NAME = "register"


def inputs(context: Context) -> Terms:
    """The model, what its evaluation said, and the reason to force it, if any."""
    return {
        "input:model": context.receipts[training.NAME].output("model").version,
        "input:evaluation": context.receipts[evaluating.NAME].output("evaluation").version,
        "force": context.force,
        **({"steps": str(graph)} if (graph := graph_of(context)) else {}),
    }


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Register the version with its signature and card, as `production` of this branch.

    Where the branch has a version of this content, and its gates still let it pass, that one becomes `production`.

    Raises:
        CheckFailed: a gate refused it and no reason to force it was given. The branch is unchanged.
    """
    artifact = context.receipts[training.NAME].output("model").version
    made = context.receipts[training_set.NAME].output(training_set.NAME).version
    source = read_training_set(context.workspace, made)
    bundle = unpack_model(context.workspace.store.get(artifact))
    report = read_report(context.workspace.store.get(context.receipts[evaluating.NAME].output("evaluation").version))
    model = source.spec.name
    run.reads("model", artifact)
    if report.passed and (known := _known(context)) is not None:
        set_alias(
            context.workspace, context.branch, model, PRODUCTION, known, author=context.author, meta={"run": run.id}
        )
        return Outcome(
            (_output(context, model),),
            summary=f"{model} version {known} is this model, and is in production again",
            metrics={"version": float(known)},
            commit=context.head.id,
        )
    progress("writing the contract of its requests")
    number = register(
        context.workspace,
        context.branch,
        model,
        artifact=artifact,
        format=bundle.format,
        signature=bundle.signature.as_dict(),
        training_set=made,
        evaluation=report.as_dict(),
        features=digest_of(msgspec.json.encode(bundle.feature_set, order="deterministic")),
        run_id=context.receipts[training.NAME].run_id,
        metrics=report.flat(),
        card=lambda number: model_card(
            report, bundle, source, version=number, author=context.author, forced=context.force
        ),
        contract=request_contract(context.workspace, source, bundle.signature),
        graph=graph_of(context),
        alias=PRODUCTION,
        force=context.force or None,
        author=context.author,
    )
    forced = "" if report.passed else f", forced: {context.force}"
    return Outcome(
        (_output(context, model),),
        summary=f"{model} version {number}{forced}",
        metrics={"version": float(number)},
        commit=context.head.id,
    )


def idle(context: Context) -> Outcome | None:
    """Tell that this very model is in production on the branch, or that somebody put another in its place; or None."""
    model, known = model_name(context), _known(context)
    found = production(context, context.head, model)
    if known is None or found is None:
        return None
    told = f"{model} version {known} is this model"
    if known != found.version:
        if not _chosen(context, model, found.version):
            return None
        told += f"; version {found.version} was brought into its place"
    return Outcome((_output(context, model),), summary=told)


def _known(context: Context) -> int | None:
    """Return the version of the branch that is this very model: the one in production, else the youngest; or None."""
    found = context.workspace.history.read(context.head, model_path(model_name(context))) or {"versions": {}}
    artifact, graph = context.receipts[training.NAME].output("model").version, graph_of(context)
    same = [
        int(number)
        for number, entry in found["versions"].items()
        if entry["artifact"] == artifact and entry.get("graph", {}) == graph
    ]
    current = found.get("aliases", {}).get(PRODUCTION)
    return current if current in same else max(same, default=None)


def _chosen(context: Context, model: str, version: int) -> bool:
    """Tell whether a person or a rollback made an older version `production`, and not a run that trained it."""
    history, path = context.workspace.history, model_path(model)
    state = context.head
    while changed := history.log(state, limit=1, path=path, first_parent=True):
        before: dict[str, Any] = {}
        if changed[0].parents:
            state = history.commit_by_id(changed[0].parents[0])
            before = history.read(state, path) or {}
        if before.get("aliases", {}).get(PRODUCTION) != version:
            return str(version) in before.get("versions", {}) and "run" not in changed[0].meta
    return False


def _output(context: Context, model: str) -> Output:
    path = model_path(model)
    return Output(name=model, version=context.digest(path) or "", uri=f"bascule:{path}")
