"""Masks as contracts write them: `hash`, `partial(4)`, `month`, and for which roles."""

from __future__ import annotations

import re
from typing import get_args

from bascule.contracts.document import Node
from bascule.lake.masking import Kind, Mask

READERS = frozenset({"nobody", "reader"})
ROLES = ("reader", "writer", "deployer")
AMOUNTS = {"partial": 4.0, "bins": 10.0, "prefix": 3.0}
_WRITTEN = re.compile(r"([a-z]+)(?:\s*\(\s*(\d+(?:\.\d+)?)\s*\))?")
HOW = "hash, null, partial(4), bins(10), year, month, day or prefix(3)"


def read_mask(written: Node | None, roles: Node | None) -> Mask:
    """Read a mask from the custom properties of a column; without them, it is a hash for readers.

    Raises:
        ProjectFileError: at the line of what cannot be read.
    """
    kind: Kind = "hash"
    amount = 0.0
    if written is not None:
        match = _WRITTEN.fullmatch(written.text().strip())
        if match is None or match[1] not in get_args(Kind):
            written.fail(f"There is no mask {written.shown()}.", hint=f"Write {HOW}.")
        kind = match[1]  # type: ignore[assignment]
        if match[2] is not None and kind not in AMOUNTS:
            written.fail(f"A mask {kind!r} has no amount.", hint=f"Write {HOW}.")
        amount = float(match[2]) if match[2] else AMOUNTS.get(kind, 0.0)
        if kind in AMOUNTS and amount <= 0:
            written.fail(f"The amount of a mask is more than 0, not {amount:g}.", hint=f"Write {HOW}.")
    return Mask(kind, amount, _roles(roles))


def _roles(written: Node | None) -> frozenset[str]:
    if written is None:
        return READERS
    given = [one.text() for one in written.items()] if isinstance(written.value, list) else [written.text()]
    for role in given:
        if role not in ROLES:
            written.fail(f"There is no role {role!r} to mask for.", hint=f"Write {', '.join(ROLES)}; admin sees all.")
    return frozenset({"nobody", *given})
