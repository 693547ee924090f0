"""Commands about features: features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from bascule.cli.options import COMMON, AtLeastOne, Common
from bascule.cli.output import answer, columns, moment

if TYPE_CHECKING:
    from bascule.project.viewing import FeatureInfo

Dialect = Annotated[
    Literal["spark", "databricks", "snowflake", "bigquery", "trino", "duckdb"], Parameter(help="Whose SQL it is.")
]

features = App(name="features", help="Features: what there is, who reads a column, what nobody needs.")


@features.command(name="list")
def list_(
    *,
    tag: Annotated[str | None, Parameter(help="Only those with this tag.")] = None,
    owner: Annotated[str | None, Parameter(help="Only those of this owner.")] = None,
    common: Common = COMMON,
) -> None:
    """List the branch's feature views and services, with owners, tags and how fresh they are served."""
    project = common.open()
    found, services = project.feature_views(tag=tag, owner=owner), project.feature_services()
    heads = ("view", "kind", "entity", "owner", "tags", "newest row", "objective", "fresh")
    rows = [
        (one.name, one.kind, one.entity, one.owner, one.tags, _moment(one.newest), _span(one.freshness), one.fresh)
        for one in found
    ]
    text = columns(rows, heads, none="There are no features on this branch. bascule run defines them.")
    if services:
        lines = [(f"{one.name}@{one.version}", one.owner, one.features) for one in services]
        text += "\n\n" + columns(lines, ("service", "owner", "features"))
    document = {
        "views": [one.as_dict() for one in found],
        "services": [msgspec.to_builtins(one) for one in services],
    }
    answer(common, document, text)


@features.command
def show(view: str, /, *, common: Common = COMMON) -> None:
    """Show one view: its definition, who owns it, and whether it is as fresh as it should be.

    Args:
        view: the feature view.
    """
    found = common.open().read_feature_view(view)
    lines = [
        (name, value)
        for name, value in (
            ("view", found.name),
            ("description", found.description),
            ("owner", found.owner),
            ("tags", found.tags),
            ("entity", found.entity),
            ("features", found.features),
            ("services", found.services),
            ("newest row", _moment(found.newest)),
            ("served since", _moment(found.served)),
            ("freshness", _freshness(found)),
        )
        if value
    ]
    said = "\n".join(f"  {text}" for text in str(found.definition.get("sql", "")).strip().splitlines())
    answer(common, found.as_dict(), columns(lines) + (f"\n{said}" if said else ""))


@features.command
def impact(column: str, /, *, common: Common = COMMON) -> None:
    """What breaks when a column changes: features, training sets, models and deployments that read it.

    Args:
        column: TABLE.COLUMN, or TABLE for any column of it.
    """
    found = common.open().feature_impact(column)
    rows = [(one.kind, one.name, one.why) for one in found]
    answer(common, [msgspec.to_builtins(one) for one in found], columns(rows, none=f"Nothing reads {column}."))


@features.command
def unused(*, common: Common = COMMON) -> None:
    """List the features that no model, no service and no used expression reads."""
    found = common.open().unused_features()
    answer(common, found, "\n".join(found) or "Every feature is used.")


@features.command
def duplicates(*, common: Common = COMMON) -> None:
    """List the features that compute the same thing under several names."""
    found = common.open().duplicate_features()
    text = "\n".join("  =  ".join(one.features) for one in found)
    answer(common, [msgspec.to_builtins(one) for one in found], text or "No two features are the same.")


@features.command
def sql(
    rows: str,
    /,
    *,
    dialect: Dialect,
    feature: Annotated[list[str] | None, Parameter(help="View, view.feature or service; again for more.")] = None,
    prediction_time: Annotated[str | None, Parameter(help="The column that says as of when features are read.")] = None,
    known_at: Annotated[str | None, Parameter(help="Leave out what became known after this moment.")] = None,
    schema: Annotated[str, Parameter(help="Where the warehouse has the tables: put before their names.")] = "",
    common: Common = COMMON,
) -> None:
    """Print the query of a training set for Spark or a warehouse, over its own tables of the same names.

    Args:
        rows: a SELECT or a table's name, with keys and the prediction time.
    """
    found = common.open().features_sql(
        rows,
        feature or (),
        dialect=dialect,
        prediction_time=prediction_time,
        known_at=known_at,
        schema=schema,
    )
    said = "\n".join(f"-- {note}" for note in found.notes)
    answer(common, found.as_dict(), f"{said}\n{found.sql};" if said else f"{found.sql};")


@features.command
def materialise(
    *names: str,
    since: Annotated[str | None, Parameter(help="Only what holds from this time on: 2013-07-01.")] = None,
    until: Annotated[str | None, Parameter(help="Only rows that became known up to then.")] = None,
    full: Annotated[bool, Parameter(help="Write everything anew.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Bring the branch's online store up to its tables: new, late and corrected rows, and nothing else.

    Args:
        names: feature views and services; all views if not given.
    """
    from bascule.cli.progress import moving

    with moving(common.json) as progress:
        found = common.open().materialise(names, since=since, until=until, full=full, progress=progress)
    heads = ("view", "rows", "changed", "written", "removed", "bytes", "known until", "seconds")
    rows = [
        (
            one.view,
            f"{one.rows:,}",
            f"{one.changed_keys:,}",
            f"{one.written:,}",
            f"{one.removed:,}",
            f"{one.bytes:,}",
            _moment(one.through),
            f"{one.seconds:.1f}",
        )
        for one in found.views.views
    ]
    document = {"branch": found.branch, "store": found.store, "views": msgspec.to_builtins(found.views.views)}
    document |= {"streamed": list(found.streamed), "left_out": found.left_out}
    text = f"branch {found.branch} in {found.store}\n{columns(rows, heads)}"
    if found.streamed:
        names_ = ", ".join(found.streamed)
        text += f"\nleft to their streams: {names_} (bascule stream run; anew: bascule stream replay)"
    if found.left_out:
        from bascule.project.tables import told_without

        text += f"\n{told_without(found.left_out)}"
    answer(common, document, text)


@features.command
def get(
    *names: str,
    entity: Annotated[list[str], Parameter(name=["--entity", "-e"], help="A row's keys: user_id=1,shop=a.")],
    at: Annotated[str | None, Parameter(help="As of when; now if not given.")] = None,
    full_feature_names: Annotated[bool, Parameter(help="Call features view__feature.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Read features of entities from the branch's online store, with status and event time.

    Args:
        names: VIEW:FEATURE, views and services.
    """
    found = common.open().get_online_features(names, entity, at=at, full_feature_names=full_feature_names)
    lines = [
        (*(str(given[place]) for given in found.entities.values()), name, values[place], statuses[place], when[place])
        for name, values, statuses, when in zip(
            found.names,
            found.values,
            found.statuses,
            [[_moment(at) for at in times] for times in found.times],
            strict=True,
        )
        for place in range(len(values))
    ]
    document = {
        "entities": found.entities,
        "features": [
            {"name": name, "values": values, "statuses": statuses, "event_timestamps": times}
            for name, values, statuses, times in zip(
                found.names, found.values, found.statuses, found.times, strict=True
            )
        ],
    }
    answer(common, document, columns(lines, (*found.entities, "feature", "value", "status", "event time")))


@features.command
def skew(
    *,
    since: Annotated[str | None, Parameter(help="Answers from this time on; seven days if not given.")] = None,
    limit: Annotated[float | None, Parameter(help="The share that may differ; [monitoring.skew] says it.")] = None,
    drift: Annotated[
        float | None, Parameter(help="How far the distributions may be apart, 0 to 1; [monitoring.skew] says it.")
    ] = None,
    common: Common = COMMON,
) -> int:
    """Compare features that were served with the offline join at the same times; exit code 1 beyond a limit."""
    found = common.open().feature_skew(since=since, limit=limit, drift=drift)
    heads = ("feature", "day", "rows", "mismatch", "missing", "extra", "differ", "smape", "drift", "")
    rows = [
        (
            one.feature,
            moment(one.start)[:10],
            f"{one.rows:,}",
            one.mismatch,
            one.missing,
            one.extra,
            f"{one.share:.2%}",
            "" if one.smape is None else f"{one.smape:.4f}",
            f"{one.drift:.4f}",
            f"exceeds {' and '.join(one.exceeded)}" if one.exceeded else "",
        )
        for one in found.features
    ]
    more = f", {found.left_out:,} more left out" if found.left_out else ""
    allowed = f"{found.limit:.2%} may differ, distributions by {found.drift:g}"
    text = f"{found.rows:,} answers of branch {found.branch} compared{more}; {allowed}"
    answer(common, found.as_dict(), f"{text}\n{columns(rows, heads, none='No feature was served by its keys.')}")
    return 1 if found.exceeded else 0


@features.command
def select(
    model: str | None = None,
    /,
    *,
    least: Annotated[float, Parameter(help="Bits that a feature must tell of the label.")] = 0.001,
    correlated: Annotated[float, Parameter(help="From this rank correlation on, two features say the same.")] = 0.95,
    folds: Annotated[AtLeastOne, Parameter(help="Into how many spans of time the rows are cut.")] = 4,
    html: Annotated[Path | None, Parameter(help="Also write a page to this file: it opens without a network.")] = None,
    common: Common = COMMON,
) -> None:
    """Which features of a model to keep, which to drop and why: what each tells, over time, and beside others.

    Args:
        model: the model; the project's own if not given.
    """
    from bascule.cli.profiling import _write
    from bascule.project import selecting

    found = common.open().select_features(model, least=least, correlated=correlated, folds=folds)
    rows = [
        (
            one.feature,
            "keep" if one.kept else "drop",
            f"{one.information:.4f}",
            f"{one.stable:.0%}",
            "" if one.selected is None else f"{one.selected:.0%}",
            "" if one.permutation is None else f"{one.permutation:+.4f}",
            "" if one.shap is None else f"{one.shap:.4f}",
            found.costs[one.feature]["kind"],
            _age(found.costs[one.feature]["age"]),
            "" if (took := found.costs[one.feature]["latency"]) is None else f"{took:.0f} µs",
            one.reason,
        )
        for one in found.features
    ]
    heads = ("feature", "", "bits", "folds", "taken", "shuffled", "shap", "kind", "age", "read in", "reason")
    text = f"{found.model}, {found.training_set}, {found.rows:,} rows\n{columns(rows, heads)}"
    if html is not None:
        _write(html, selecting.html(found))
        text += f"\n\n{html} is written."
    answer(common, msgspec.to_builtins(found), text)


def _moment(at: int | None) -> str:
    try:
        return "" if at is None else moment(at)
    except (ValueError, OverflowError):  # before the year 1, or beyond 9999
        return f"{at:,} µs"


def _span(length: int | None) -> str:
    from bascule.durations import format_duration

    return "" if length is None else format_duration(length // 1_000_000 * 1_000_000)


def _age(length: int | None) -> str:
    from bascule.durations import rough_duration

    return "" if length is None else rough_duration(length)


def _freshness(view: FeatureInfo) -> str:
    if view.freshness is None:
        return "no objective" if view.newest is not None else ""
    age = "was never served" if view.age is None else f"is {_age(view.age)} old"
    return f"{'met' if view.fresh else 'missed'}: the newest row {age}, at most {_span(view.freshness)} is asked"
