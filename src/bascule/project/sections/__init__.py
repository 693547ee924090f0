"""The sections of a project file, as types.

Every section of `bascule.toml` is one frozen class of this package with the same field names, so that a project can be
written in Python as well. The descriptions go into the published JSON Schema, where editors show them.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from bascule.project.section import Metric, Section
from bascule.project.sections.data import (
    Checks,
    ContractRef,
    Forget,
    ForgetLink,
    Pii,
    Project,
    Source,
    Stream,
    Workspace,
)
from bascule.project.sections.features import Entity, FeatureView, Joins, RequestView, Service, Spark
from bascule.project.sections.learning import Gates, Model, Search, SliceFloor, Split, Steps, Training
from bascule.project.sections.shipping import Deployment, Environment, Merge, PredictionLogging, Serving
from bascule.project.sections.watching import Drift, Monitoring, Quality, Retrain, Skew

__all__ = [
    "Checks",
    "ContractRef",
    "Deployment",
    "Drift",
    "Entity",
    "Environment",
    "FeatureView",
    "Forget",
    "ForgetLink",
    "Gates",
    "Joins",
    "Merge",
    "Metric",
    "Model",
    "Monitoring",
    "Pii",
    "PredictionLogging",
    "Project",
    "ProjectSections",
    "Quality",
    "RequestView",
    "Retrain",
    "Search",
    "Service",
    "Serving",
    "Skew",
    "SliceFloor",
    "Source",
    "Spark",
    "Split",
    "Steps",
    "Stream",
    "Training",
    "Workspace",
]


class ProjectSections(Section, frozen=True, kw_only=True):
    """A project file (bascule.toml). Each table is one section."""

    project: Project
    source: Annotated[dict[str, Source], Meta(description="Where each table comes from.")] = {}
    contract: Annotated[dict[str, ContractRef], Meta(description="The data contract of each table.")] = {}
    entity: Annotated[dict[str, Entity], Meta(description="What features are about.")] = {}
    features: Annotated[dict[str, FeatureView | RequestView], Meta(description="The features, view by view.")] = {}
    service: Annotated[dict[str, Service], Meta(description="Features that are asked for together.")] = {}
    stream: Annotated[dict[str, Stream], Meta(description="Events that keep coming, by the table they land in.")] = {}
    joins: Joins = Joins()
    training: Training | None = None
    model: Model | None = None
    gates: Gates = Gates()
    deployment: Deployment | None = None
    monitoring: Monitoring | None = None
    retrain: Retrain | None = None
    checks: Checks = Checks()
    merge: Merge = Merge()
    forget: Forget = Forget()
    pii: Pii = Pii()
    workspace: Workspace = Workspace()
