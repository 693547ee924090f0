"""The online store: what features were at any moment, read in microseconds.

A store holds, for each view definition and entity, a timeline: rows by event time, or running sums of window
aggregates. Reading seeks in it, so an answer about any moment is exactly what a training set says of that moment.
"""

from bascule.features.online.lmdb import LmdbStore, open_online_store
from bascule.features.online.reader import OnlineReader
from bascule.features.online.store import OnlineStore, entity_key

__all__ = ["LmdbStore", "OnlineReader", "OnlineStore", "entity_key", "open_online_store"]
