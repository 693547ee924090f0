"""The Iceberg REST catalog: Spark, Trino, DuckDB, pyiceberg and others read and write tables at any ref.

The prefix of a request is the ref: a branch, or a tag, a commit or a time, which are read-only. The room reads
requests, calls the lake as a catalog, and answers in the specification's words. It knows neither sockets nor tokens:
the server tells it who asks, and holds every endpoint to its permission.
"""

from bascule.protocols.iceberg.endpoints import ENDPOINTS, Endpoint, Match, match
from bascule.protocols.iceberg.errors import envelope, told
from bascule.protocols.iceberg.messages import Answer, Ask

__all__ = ["ENDPOINTS", "Answer", "Ask", "Endpoint", "Match", "envelope", "match", "told"]
