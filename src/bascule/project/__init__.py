"""The project: what a team writes down in `bascule.toml`, read, checked and made.

Owns the project file (`file`, its sections, its JSON Schema and every check of it) and how a project begins (`init`).
The command line, the server and the web page may call it; the rooms below know nothing of it.
"""

from bascule.project.file import FILE_NAME, ProjectFile, find_project_file, load_project, parse_project
from bascule.project.sections import (
    ContractRef,
    Deployment,
    Drift,
    Entity,
    FeatureView,
    Gates,
    Model,
    Monitoring,
    Project,
    Quality,
    RequestView,
    Retrain,
    Search,
    SliceFloor,
    Source,
    Split,
    Training,
    Workspace,
)

__all__ = [
    "FILE_NAME",
    "ContractRef",
    "Deployment",
    "Drift",
    "Entity",
    "FeatureView",
    "Gates",
    "Model",
    "Monitoring",
    "Project",
    "ProjectFile",
    "Quality",
    "RequestView",
    "Retrain",
    "Search",
    "SliceFloor",
    "Source",
    "Split",
    "Training",
    "Workspace",
    "find_project_file",
    "load_project",
    "parse_project",
]
