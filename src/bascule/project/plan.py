"""The plan: the steps that a project file asks for, in an order in which they can run."""

from __future__ import annotations

from functools import partial

from bascule.project.definitions import view_tables
from bascule.project.file import ProjectFile
from bascule.project.related import ordered_sources, related_sources
from bascule.project.step import Step
from bascule.project.steps import (
    checking,
    defining,
    evaluating,
    ingesting,
    materialising,
    monitoring,
    optimizing,
    registering,
    training,
    training_set,
)

LAKE = ("bascule.lake", "bascule.contracts", "bascule.project.batches")
LEARNING = ("lightgbm", "scikit-learn", "optuna", "numpy")


def make_plan(project: ProjectFile) -> tuple[Step, ...]:
    """Return the steps of a project. A project without `[training]` ends with checked tables."""
    steps = [_define(), *_tables(project)]
    if project.training is not None and project.model is not None:
        steps += _model(project)
    return tuple(steps)


def _define() -> Step:
    module = "bascule.project.steps.defining"
    return Step(defining.NAME, (), (module,), (), defining.inputs, defining.work, idle=defining.idle)


def _tables(project: ProjectFile) -> list[Step]:
    sources = ordered_sources(project)
    # All tables come first: a check may compare two of them.
    checks = [_check(project, source) for source in sources if source in project.contract]
    views = [_check_view(project, name) for name, view in project.views().items() if view.contract is not None]
    return [*map(_ingest, sources), *checks, *views]


def _ingest(source: str) -> Step:
    return Step(
        ingesting.name_of(source),
        (defining.NAME,),
        ("bascule.project.steps.ingesting", *LAKE),
        ("duckdb", "pyarrow"),
        partial(ingesting.inputs, source),
        partial(ingesting.work, source),
        idle=partial(ingesting.idle, source),
    )


def _check(project: ProjectFile, source: str) -> Step:
    return Step(
        checking.name_of(source),
        tuple(ingesting.name_of(name) for name in (source, *related_sources(project, source))),
        ("bascule.project.steps.checking", "bascule.contracts"),
        ("duckdb",),
        partial(checking.inputs, source),
        partial(checking.work, source),
        only_stops=True,
    )


def _check_view(project: ProjectFile, view: str) -> Step:
    read = [name for name in view_tables(project, view) if name in project.source]
    checked = [checking.name_of(name) for name in read if name in project.contract]
    return Step(
        checking.name_of_view(view),
        (defining.NAME, *map(ingesting.name_of, read), *checked),
        ("bascule.project.steps.checking", "bascule.contracts"),
        ("duckdb",),
        partial(checking.inputs_of_view, view),
        partial(checking.work_of_view, view),
        only_stops=True,
    )


def _model(project: ProjectFile) -> list[Step]:
    tables = tuple(ingesting.name_of(source) for source in project.source)
    checks = tuple(checking.name_of(source) for source in project.source if source in project.contract)
    views = (name for name, view in project.views().items() if view.contract is not None)
    checks += tuple(map(checking.name_of_view, views))
    materialised = Step(
        materialising.NAME,
        (defining.NAME, *tables),
        ("bascule.project.steps.materialising", "bascule.features"),
        ("duckdb", "lmdb"),
        materialising.inputs,
        materialising.work,
        settled=materialising.settled,
    )
    return [*_learning((defining.NAME, *tables, *checks)), *_after_registering(project), materialised]


def _learning(before: tuple[str, ...]) -> list[Step]:
    """Return the steps from a training set to a version, after those that are named."""
    joined = Step(
        training_set.NAME,
        before,
        ("bascule.project.steps.training_set", "bascule.features", "bascule.training.training_set"),
        ("duckdb", "pyarrow", "numpy"),
        training_set.inputs,
        training_set.work,
    )
    learnt = Step(
        training.NAME,
        (training_set.NAME,),
        ("bascule.project.steps.training", "bascule.training"),
        LEARNING,
        training.inputs,
        training.work,
    )
    judged = Step(
        evaluating.NAME,
        (training.NAME,),
        ("bascule.project.steps.evaluating", "bascule.project.rereading", "bascule.evaluation"),
        ("numpy",),
        evaluating.inputs,
        evaluating.work,
    )
    registered = Step(
        registering.NAME,
        (evaluating.NAME,),
        ("bascule.project.steps.registering", "bascule.registry", "bascule.contracts"),
        ("duckdb",),
        registering.inputs,
        registering.work,
        idle=registering.idle,
    )
    return [joined, learnt, judged, registered]


def _after_registering(project: ProjectFile) -> list[Step]:
    steps = []
    if project.model is not None and project.model.optimize:
        steps.append(
            Step(
                optimizing.NAME,
                (registering.NAME,),
                ("bascule.project.steps.optimizing", "bascule.serving.optimizing", "bascule.serving.engines"),
                ("numpy",),
                optimizing.inputs,
                optimizing.work,
                idle=optimizing.idle,
            )
        )
    if project.deployment is not None and project.monitoring is not None:
        steps.append(
            Step(
                monitoring.NAME,
                (registering.NAME,),
                ("bascule.project.steps.monitoring", "bascule.monitoring.reference"),
                (),
                monitoring.inputs,
                monitoring.work,
                settled=monitoring.settled,
            )
        )
    return steps
