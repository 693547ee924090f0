"""Bringing over what an MLflow server, its database or an `mlruns` folder holds, with the ids kept.

Sources are read and never written to; no MLflow is needed. What is here already stays as it is, so an import may be
killed and repeated. What cannot be taken is told, with the reason.
"""

from bascule.protocols.mlflow.importing.report import Imported, Left, Progress
from bascule.protocols.mlflow.importing.sources import open_source
from bascule.protocols.mlflow.importing.taking import CONFLICTS, take

__all__ = ["CONFLICTS", "Imported", "Left", "Progress", "open_source", "take"]
