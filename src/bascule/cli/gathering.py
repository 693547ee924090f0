"""Commands about training sets that are asked for: training-set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, AtLeastOne, Common, NotNegative
from bascule.cli.output import answer, columns, moment

if TYPE_CHECKING:
    from bascule.project.gathering import GivenSet

training_set = App(name="training-set", help="Features for any rows, as they were known then, kept under a name.")

Names = Annotated[list[str] | None, Parameter(help="View, view.feature or service; again for more.")]
Engine = Annotated[Literal["duckdb", "spark"] | None, Parameter(help="Who joins; by default as [joins] says.")]
Output = Annotated[Path | None, Parameter(help="Write the rows to this Parquet file, too.")]


@training_set.command
def get(
    rows: str,
    /,
    *,
    feature: Names = None,
    known_at: Annotated[str | None, Parameter(help="Leave out what became known after this moment.")] = None,
    at: Annotated[str | None, Parameter(help="The state whose tables are read: a branch, tag or commit.")] = None,
    name: Annotated[str, Parameter(help="What the set is for.")] = "",
    prediction_time: Annotated[str | None, Parameter(help="The column that says as of when features are read.")] = None,
    where: Annotated[str, Parameter(help="An SQL condition on the rows.")] = "",
    label: Annotated[str, Parameter(help="An SQL expression over the rows' columns.")] = "",
    maturity: Annotated[str | None, Parameter(help="How long after the prediction a label is known, as 30d.")] = None,
    split: Annotated[Literal["time", "entity", "folds"] | None, Parameter(help="How rows are divided.")] = None,
    validation: Annotated[str, Parameter(help="What is set aside for choosing: a span of time or a share.")] = "0.15",
    test: Annotated[str, Parameter(help="What is set aside for judging: a span of time or a share.")] = "0.15",
    group: Annotated[list[str] | None, Parameter(help="A column whose values stay together; again for more.")] = None,
    folds: Annotated[AtLeastOne, Parameter(help="How many folds.")] = 5,
    seed: Annotated[NotNegative, Parameter(help="The seed of a split by entity or of folds.")] = 0,
    engine: Engine = None,
    output: Output = None,
    common: Common = COMMON,
) -> None:
    """Join features to rows as they were known then, one row for each in order, and keep the result.

    Args:
        rows: a SELECT, a table's name, or a file (CSV, Parquet, JSON) with keys and the prediction time.
    """
    found = common.open().get_training_set(
        rows,
        feature or (),
        known_at=known_at,
        at=at,
        name=name,
        prediction_time=prediction_time,
        where=where,
        label=label,
        maturity=maturity,
        split=split or "",
        validation=_size(validation),
        test=_size(test),
        group=group or (),
        folds=folds,
        seed=seed,
        engine=engine or "",
    )
    _told(common, found, output)


@training_set.command(name="list")
def list_(*, common: Common = COMMON) -> None:
    """List the training sets that were asked for, the newest first."""
    found = common.open().training_sets()
    rows = [(one.name, len(one), len(one.made.features), moment(one.made.created_at)) for one in found]
    text = columns(rows, ("training set", "rows", "features", "made"), none="No training set was asked for yet.")
    answer(common, [one.as_dict() for one in found], text)


@training_set.command
def show(name: str, /, *, output: Output = None, common: Common = COMMON) -> None:
    """Show how a training set was asked for and what it holds.

    Args:
        name: the set's name, or the beginning of its id.
    """
    _told(common, common.open().read_training_set(name), output)


@training_set.command
def check(
    name: str,
    /,
    *,
    refuse: Annotated[
        list[Literal["outcome", "future", "target", "jump", "entities", "duplicates", "all"]] | None,
        Parameter(help="End with 1 when this is found; again for more."),
    ] = None,
    common: Common = COMMON,
) -> None:
    """Look for leaks in a training set: features that know the label, entities and examples in several splits.

    Args:
        name: the set's name, or the beginning of its id; also of one that a model was trained on.
    """
    from bascule.project.examining import summary

    found = common.open().check_training_set(name, refuse=refuse or ())
    answer(common, found.as_dict(), summary(found))


def _told(common: Common, found: GivenSet, output: Path | None) -> None:
    if output is not None:
        found.write(output)
    made, asked = found.made, found.made.asked
    lines = [
        (name, value)
        for name, value in (
            ("training set", made.name),
            ("digest", made.id),
            ("rows", f"{made.rows:,}"),
            ("of", " ".join(asked.population.split())),
            ("where", asked.where),
            ("as of", asked.prediction_time),
            ("known at", "" if asked.known_at is None else moment(asked.known_at)),
            ("label", asked.label),
            ("splits", made.splits),
            ("left out", made.left_out),
            ("features", made.features),
            ("commit", made.commit_id[:10]),
            ("note", "; ".join(found.notes)),
            ("written to", "" if output is None else str(output)),
        )
        if value
    ]
    answer(common, found.as_dict(), columns(lines))


def _size(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
