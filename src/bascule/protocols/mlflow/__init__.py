"""MLflow's REST protocol: unmodified clients track runs, keep artifacts and register models here.

The room reads requests as protobuf's JSON, calls tracking and the registry, and answers in MLflow's words. It knows
neither sockets nor tokens: the server tells it who asks and on which branch, and holds every endpoint to its
permission.
"""

from bascule.protocols.mlflow.endpoints import ENDPOINTS, VERSION, Endpoint, match
from bascule.protocols.mlflow.errors import envelope, refused, told
from bascule.protocols.mlflow.exporting import file_of, is_exported, list_exported
from bascule.protocols.mlflow.files import list_proxied, place_of_run
from bascule.protocols.mlflow.messages import Answer, Ask, Fields, Repeated, demand_no_nul, read_body
from bascule.protocols.mlflow.otlp import read_spans, unpacked
from bascule.protocols.mlflow.versions import place_of_version

__all__ = [
    "ENDPOINTS",
    "VERSION",
    "Answer",
    "Ask",
    "Endpoint",
    "Fields",
    "Repeated",
    "demand_no_nul",
    "envelope",
    "file_of",
    "is_exported",
    "list_exported",
    "list_proxied",
    "match",
    "place_of_run",
    "place_of_version",
    "read_body",
    "read_spans",
    "refused",
    "told",
    "unpacked",
]
