"""Commits, branches, tags, diff, merge and revert over one map from paths to immutable objects.

The history owns what determines how a system behaves. It knows that an object has a kind and a digest, and nothing of
what tables, models or deployments are: rooms above hand in resolvers and checks. A workspace is where a history, its
catalog and its blobs live together.
"""

from bascule.history.commits import Change, Commit
from bascule.history.merging import REMOVED, Resolver, Staged
from bascule.history.refs import Ref
from bascule.history.repository import History
from bascule.history.workspace import Workspace

__all__ = ["REMOVED", "Change", "Commit", "History", "Ref", "Resolver", "Staged", "Workspace"]
