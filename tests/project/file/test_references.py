"""What the sections of a project say about one another."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from tests.project.file.conftest import WriteProject

from bascule.errors import ProjectFileError
from bascule.evaluation import METRICS
from bascule.features.aggregates import FUNCTIONS
from bascule.project import load_project
from bascule.project.references import AGGREGATES, ALSO_CALLED, HIGHER_IS_BETTER, TRAINERS
from bascule.project.sections import Metric
from bascule.training.trainer import TRAINERS as KNOWN_TRAINERS


@pytest.mark.parametrize(
    ("old", "new", "key", "said", "hint"),
    [
        ("[contract.orders]", "[contract.order]", "contract.order", "there is no [source.order]", "'orders'"),
        ("contracts/orders.yaml", "contracts/order.yaml", "contract.orders.file", "there is no file", ""),
        ('key = ["order_id"]', 'key = ["a", "a"]', "source.orders.key", "'a' twice", ""),
        ('entity = "customer"', 'entity = "custmer"', "features.customer.entity", "[entity.custmer]", "'customer'"),
        ("features/customer.sql", "features/custmer.sql", "features.customer.sql", "no file", "'customer.sql'"),
        ("features/customer.sql", "select a from b", "features.customer.sql", "a query stands", "into a file"),
        ("features/customer.sql", "sql/customer.sql", "features.customer.sql", "no file", "no folder sql"),
        ('entity = "customer"', 'entity = "customer"\nttl = "6h"', "features.customer.ttl", "without event_time", ""),
        ('event_time = "ordered_at"', 'event_time = "ordered_at"\nttl = "6h"', "features.spending.ttl", "beside", ""),
        ('windows = ["6h", "7d"]', "", "features.spending.aggregates", "no windows", ""),
        ("mean(amount)", "maen(amount)", "features.spending.aggregates.spent", "no aggregate 'maen'", "'mean'"),
        ("mean(amount)", "amount + 1", "features.spending.aggregates.spent", "not an aggregate", "mean(late)"),
        ("customer.born", "custmer.born", "features.request.expressions.age", "'custmer'", "'customer'"),
        ('"spending", "request"]', '"spendin"]', "training.features[1]", "[features.spendin]", "'spending'"),
        ('label = "returned"', 'label = "x"\ntrusted = ["custmer.born"]', "training.trusted[0]", "", "'customer'"),
        ("features/population.sql", "features/pop.sql", "training.population", "there is no file", ""),
        ('prediction_time = "asked_at"', "", "training.label_time", "without prediction_time", ""),
        (
            'prediction_time = "asked_at"\nlabel_time = "returned_at"',
            "",
            "training.split.validation",
            "a span of time, but",
            "a share",
        ),
        ('test = "30d"', "test = 0.2", "training.split.validation", "the other part is a share", ""),
        ('"30d", test = "30d"', "0.5, test = 0.5", "training.split.test", "nothing to train on", ""),
        ('"30d", test = "30d"', '"0d", test = "30d"', "training.split.validation", "empty", ""),
        ('label = "returned"', 'label = "x"\ncut_off = "soon"', "training.cut_off", "'soon' is not a time", ""),
        ('[model]\nname = "returns"\nsearch = { trials = 4 }', "", "training", "needs the section [model]", ""),
        (
            'name = "returns"\nsearch',
            'name = "returns"\ntrainer = "lightgmb"\nsearch',
            "model.trainer",
            "",
            "'lightgbm'",
        ),
        ("[10, 50, 100]", "[10, 50]", "deployment.steps", "must grow and end at 100", ""),
        ("[10, 50, 100]", "[50, 10, 100]", "deployment.steps", "must grow", ""),
        *(
            ("[10, 50, 100]", f"[10, 50, 100]\n{text}", f"deployment.service.{key}", "to workers only", "workers = 1")
            for key, text in (
                ("timeout", '[deployment.service]\ntimeout = "500ms"\ncache = 10'),
                ("queue", "service = { queue = 8, workers = 0 }"),
                ("memory", 'service.memory = "2GB"'),
            )
        ),
        ("[3, 5]", "[5, 3]", "monitoring.drift.persistence", "5 of 3", ""),
        ("quality.auc", "qualty.auc", "retrain.when", "", "quality"),
        ("0 3 * * 1", "0 3 * *", "retrain.schedule", "not a cron expression", "five fields"),
    ],
)
def test_what_does_not_fit_is_told(
    write_project: WriteProject, old: str, new: str, key: str, said: str, hint: str
) -> None:
    file = write_project(old, new)
    with pytest.raises(ProjectFileError) as told:
        load_project(file)
    assert told.value.key == key
    assert told.value.line is not None
    assert said in told.value.message
    assert hint in told.value.message + told.value.hint


def test_what_workers_may_take_is_said_where_there_are_some(write_project: WriteProject) -> None:
    limits = 'timeout = "500ms", queue = 8, memory = "2GB", batch = 4, cache = 10'
    assert load_project(write_project("[10, 50, 100]", f"[10, 50, 100]\nservice = {{ workers = 1, {limits} }}"))
    assert load_project(write_project("[10, 50, 100]", "[10, 50, 100]\nservice = { batch = 4, cache = 10 }"))


def test_an_empty_query_is_told(write_project: WriteProject) -> None:
    file = write_project()
    Path(file.parent / "features/customer.sql").write_text(" \n")
    with pytest.raises(ProjectFileError, match=r"features/customer\.sql is empty"):
        load_project(file)


def test_texts_in_expressions_are_no_names(write_project: WriteProject) -> None:
    load_project(write_project('hour = "hour(asked_at)"', "hour = \"amount || 'no.view'\""))


def test_the_file_knows_what_the_rooms_know() -> None:
    assert set(AGGREGATES) == set(FUNCTIONS.values())
    assert {*AGGREGATES, *ALSO_CALLED} == set(FUNCTIONS)
    assert set(TRAINERS) == set(KNOWN_TRAINERS)
    assert set(HIGHER_IS_BETTER) == {name for name, metric in METRICS.items() if metric.higher_is_better}
    assert set(get_args(Metric)) == set(METRICS)
