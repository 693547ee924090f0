"""Which columns contracts call personal, and how they are masked.

A property whose classification or tags are one of `PRIVATE` is masked for readers by a keyed hash. Its custom property
`mask` says how else, and `maskFor` for which roles:

    - name: birthday
      classification: pii
      customProperties:
        - {property: mask, value: month}
        - {property: maskFor, value: [reader, writer]}
"""

from __future__ import annotations

from bascule.contracts.contract import Contract
from bascule.errors import ProjectFileError
from bascule.history import Commit, Workspace
from bascule.lake.masking import Mask


def masks_of(contract: Contract) -> dict[str, Mask]:
    """Return the masks of a contract's columns."""
    return {column.name: column.mask for column in contract.columns if column.mask is not None}


def masks_at(workspace: Workspace, commit: Commit) -> dict[str, dict[str, Mask]]:
    """Return the masks of all tables at a state.

    Raises:
        ProjectFileError: a contract cannot be read. Nothing is shown then, rather than too much.
    """
    found = {}
    for path, value in workspace.history.entries(commit, "contracts/"):
        table = path.partition("/")[2]
        try:
            masks = masks_of(Contract.parse(value["text"], file=value.get("file", f"contracts/{table}.yaml")))
        except ProjectFileError as error:
            error.hint = f"{error.hint} Until then no masked role reads tables.".strip()
            raise
        if masks:
            found[table] = masks
    return found
