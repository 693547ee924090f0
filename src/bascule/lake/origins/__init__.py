"""Where rows come from: files, web addresses, object storage, databases, topics, functions, folders, requests.

Each kind of origin fulfils one protocol, `Origin`: it looks for what the table has not taken in yet and brings it as
parts, local files that `bascule.lake.sources` reads. So whatever rows come from, they are read with the same care, a
part is taken in once, and memory is bounded. Kinds of others come in by the entry points of the group
`bascule.sources`. The project room calls `gather`.
"""

from bascule.lake.origins.gathering import Gathered, gather, is_address, is_held, peek
from bascule.lake.origins.local import told_by_name
from bascule.lake.origins.origin import Asked, Options, Origin, Part, plain

__all__ = [
    "Asked",
    "Gathered",
    "Options",
    "Origin",
    "Part",
    "gather",
    "is_address",
    "is_held",
    "peek",
    "plain",
    "told_by_name",
]
