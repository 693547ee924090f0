"""Features over HTTP: views, services, one view with its lineage and use, and what breaks when a column changes."""

from __future__ import annotations

import msgspec

from bascule.project.impact import Impact, impact_at
from bascule.project.viewing import FeatureInfo, ServiceInfo
from bascule.server.api.history import BASE
from bascule.server.reads import features
from bascule.server.reads.features import ViewPage
from bascule.server.routes import Call, Route


class RefQuery(msgspec.Struct, frozen=True):
    """Which state: a branch, a tag or a commit."""

    ref: str = "main"


class ImpactQuery(msgspec.Struct, frozen=True):
    """A column as TABLE.COLUMN, or a table, of a state."""

    column: str
    ref: str = "main"


class ListedView(msgspec.Struct, frozen=True):
    """A view, how old its newest row is (microseconds), and whether that is fresh enough."""

    view: FeatureInfo
    age: int | None
    fresh: bool | None


def list_views(call: Call[RefQuery, None]) -> list[ListedView]:
    """The feature views of a state: owner, freshness against the objective, until when they are materialised."""
    return [ListedView(one, one.age, one.fresh) for one in features.list_views(call.workspace, call.query.ref)]


def list_services(call: Call[RefQuery, None]) -> list[ServiceInfo]:
    """The feature services of a state."""
    return features.list_services(call.workspace, call.query.ref)


def get_view(call: Call[RefQuery, None]) -> ViewPage:
    """One view: what each feature is made from and who reads it, statistics, skew."""
    return features.get_view(call.workspace, call.query.ref, call.path["view"])


def impact(call: Call[ImpactQuery, None]) -> list[Impact]:
    """What breaks when a column changes: features, services, training sets, models, deployments, contracts."""
    return impact_at(call.workspace, call.query.ref, call.query.column)


ROUTES = [
    Route("GET", f"{BASE}/features", list_views, "read"),
    Route("GET", f"{BASE}/feature-services", list_services, "read"),
    Route("GET", f"{BASE}/feature-impact", impact, "read"),
    Route("GET", f"{BASE}/features/{{view}}", get_view, "read"),
]
