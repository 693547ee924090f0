"""Step `register`: a version that passed its gates becomes the branch's production version; another is refused."""

from __future__ import annotations

import msgspec

from bascule.evaluation import model_card, read_report
from bascule.project.graphs import graph_of
from bascule.project.receipt import Output
from bascule.project.requests import request_contract
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.steps import evaluating, training, training_set
from bascule.project.steps.evaluating import model_name, production
from bascule.registry import PRODUCTION, register
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
    digest = context.digest(f"models/{model}") or ""
    output = Output(name=model, version=digest, uri=f"bascule:models/{model}")
    forced = "" if report.passed else f", forced: {context.force}"
    return Outcome(
        (output,),
        summary=f"{model} version {number}{forced}",
        metrics={"version": float(number)},
        commit=context.head.id,
    )


def idle(context: Context) -> Outcome | None:
    """Tell that this very model is the branch's production version already, or None."""
    found = production(context, context.head, model_name(context))
    if found is None or found.artifact != context.receipts[training.NAME].output("model").version:
        return None
    if found.graph != graph_of(context):
        return None
    digest = context.digest(f"models/{found.model}") or ""
    output = Output(name=found.model, version=digest, uri=f"bascule:models/{found.model}")
    return Outcome((output,), summary=f"{found.model} version {found.version} is this model")
