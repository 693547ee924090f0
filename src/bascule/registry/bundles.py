"""Reading what versions answer with, and telling why it is gone: withdrawn since somebody was forgotten, or deleted."""

from __future__ import annotations

from bascule.errors import Expired, NotFound
from bascule.history import Workspace
from bascule.registry import deletions, withdrawals


def lost(workspace: Workspace) -> dict[str, Expired]:
    """Return the digests of blobs that went on purpose, each with what whoever asks for it is told.

    What a purged version had may be there still, when something else needs it: ask the store first.
    """
    found = {digest: deletions.gone(one) for one in deletions.gone_for_good(workspace) for digest in one.held["blobs"]}
    return found | {digest: withdrawals.gone(one) for digest, one in withdrawals.withdrawn(workspace).items()}


def packed(workspace: Workspace, digest: str) -> bytes:
    """Return a bundle's bytes.

    Raises:
        Expired: it was withdrawn, or its version was deleted; says when and why.
        NotFound: the store does not have it.
    """
    try:
        return workspace.store.get(digest)
    except NotFound:
        if (why := lost(workspace).get(digest)) is not None:
            raise why from None
        raise
