"""Commands about features: features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, columns, moment

if TYPE_CHECKING:
    from bascule.project.viewing import FeatureInfo

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


def _moment(at: int | None) -> str:
    return "" if at is None else moment(at)


def _span(length: int | None) -> str:
    from bascule.durations import format_duration

    return "" if length is None else format_duration(length // 1_000_000 * 1_000_000)


def _freshness(view: FeatureInfo) -> str:
    if view.freshness is None:
        return "no objective" if view.newest is not None else ""
    age = "was never served" if view.age is None else f"is {_span(view.age)} old"
    return f"{'met' if view.fresh else 'missed'}: the newest row {age}, at most {_span(view.freshness)} is asked"
