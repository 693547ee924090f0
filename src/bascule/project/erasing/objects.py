"""Objects of the history that name a subject, or blobs that did: they are written anew under their old digests.

So no tree, commit or tag changes. The note `forgotten` in an object says why its content is not what its digest was of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from bascule.catalog.schema import nodes
from bascule.history.commits import canonical
from bascule.lake.filesets.forgetting import FORGOTTEN


def in_objects(conn: Connection, clean: Callable[[str], str], wanted: Sequence[bytes], *, dry_run: bool = False) -> int:
    """Clean the texts of every object that holds one of some byte strings; return how many changed."""
    count = 0
    hits = [
        (row.hash, bytes(row.body))
        for row in conn.execute(select(nodes.c.hash, nodes.c.body), execution_options={"yield_per": 1000})
        if any(one in bytes(row.body) for one in wanted)
    ]
    for digest, body in hits:
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # a tree: it has paths and digests
        fresh = _cleaned(value, clean)
        if not isinstance(value, dict) or fresh == value or "kind" not in value:
            continue
        count += 1
        if not dry_run:
            body = canonical({**fresh, FORGOTTEN: True})
            conn.execute(update(nodes).where(nodes.c.hash == digest).values(body=body))
    return count


def _cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {clean(name): _cleaned(one, clean) for name, one in value.items()}
    if isinstance(value, list):
        return [_cleaned(one, clean) for one in value]
    return clean(value) if isinstance(value, str) else value
