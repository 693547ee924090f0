"""The online store: every key's timeline, read as of any moment.

A store holds what the point-in-time join would find, keyed so that one seek answers for one key at one time; the reader
puts features together from it. It owns the files of a store and their format. Only `features` and the rooms above call
it.
"""

from bascule.features.online.lmdb import LmdbStore
from bascule.features.online.opening import is_server, open_online
from bascule.features.online.reading import OnlineReader
from bascule.features.online.store import OnlineStore, Snapshot, Transaction, ViewRecord, current

__all__ = [
    "LmdbStore",
    "OnlineReader",
    "OnlineStore",
    "Snapshot",
    "Transaction",
    "ViewRecord",
    "current",
    "is_server",
    "open_online",
]
