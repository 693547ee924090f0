"""Step `materialise`: the features of the branch into the online store, from which answers read them."""

from __future__ import annotations

import msgspec

from bascule.errors import NotFound
from bascule.features import materialise
from bascule.features.definitions import definition_digest
from bascule.features.online import open_online_store
from bascule.project.definitions import feature_set, tables_read
from bascule.project.receipt import Output, Receipt
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.tables import opened_tables
from bascule.store import digest_of
from bascule.tracking import Run

NAME = "materialise"


def inputs(context: Context) -> Terms:
    """The tables that the views read, the definitions, and the branch whose store it is."""
    training = context.project.training
    terms = _tables(context)
    for name in training.features if training else ():
        terms[f"definition:features/{name}"] = context.digest(f"features/{name}") or ""
    return {**terms, "branch": context.branch}


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Bring the branch's store up to the tables; only what is new is written."""
    version = _version(_tables(context))
    with opened_tables(context.workspace, context.head, tables_read(context.project)) as connection:
        features = feature_set(context.project, connection)
        with open_online_store(context.workspace.online_folder, context.branch) as store:
            report = materialise(connection, features, store, version=version, progress=progress)
    outputs = tuple(
        Output(
            name=view.name,
            version=definition_digest(view, features.entity(view)),
            uri=f"bascule:online/{context.branch}/{view.name}",
            rows=report.views.get(view.name),
        )
        for view in features.views
    )
    return Outcome(outputs, summary=f"{report.rows:,} rows of {len(report.views)} views")


def settled(context: Context, receipt: Receipt) -> bool:
    """Tell whether the branch's store holds the views as they are in the tables now."""
    version = _version(_tables(context))
    try:
        with open_online_store(context.workspace.online_folder, context.branch, readonly=True) as store:
            return all(store.version(output.version) == version for output in receipt.outputs)
    except NotFound:
        return False


def _tables(context: Context) -> Terms:
    return {f"input:tables/{name}": context.digest(f"tables/{name}") or "" for name in tables_read(context.project)}


def _version(tables: Terms) -> str:
    return digest_of(msgspec.json.encode(tables, order="deterministic"))
