"""Step `materialise`: the features of the branch into the online store, from which answers read them."""

from __future__ import annotations

import msgspec

from bascule.features import LmdbStore, definition_digest, materialise
from bascule.project.definitions import definition_terms, feature_set, tables_read
from bascule.project.receipt import Output, Receipt
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.tables import opened_tables
from bascule.store import digest_of
from bascule.tracking import Run

NAME = "materialise"


def inputs(context: Context) -> Terms:
    """The tables that the views read, the definitions, and the branch whose store it is."""
    return {**_tables(context), **definition_terms(context), "branch": context.branch}


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Bring the branch's store up to the tables; only what is new is written."""
    version = _version(_tables(context))
    with opened_tables(context.workspace, context.head, tables_read(context.project)) as connection:
        features = feature_set(context.project, connection)
        store = LmdbStore(context.workspace.online_folder, context.branch)
        report = materialise(connection, features, store, version=version, progress=progress)
    rows = {view.view: view.rows for view in report.views}
    outputs = tuple(
        Output(
            name=view.name,
            version=definition_digest(view, features.entity(view)),
            uri=f"bascule:online/{context.branch}/{view.name}",
            rows=rows[view.name],
        )
        for view in features.views
        if view.name in rows
    )
    return Outcome(
        outputs, summary=f"{sum(rows.values()):,} rows of {len(rows)} views, {report.written:,} entries written"
    )


def settled(context: Context, receipt: Receipt) -> bool:
    """Tell whether the branch's store holds the views as they are in the tables now."""
    if not context.workspace.online_folder.exists():
        return False
    version = _version(_tables(context))
    with LmdbStore(context.workspace.online_folder, context.branch).snapshot() as snapshot:
        held = [snapshot.view(output.version) for output in receipt.outputs]
    return all(record is not None and record.version == version for record in held)


def _tables(context: Context) -> Terms:
    return {f"input:tables/{name}": context.content(f"tables/{name}") for name in tables_read(context.project)}


def _version(tables: Terms) -> str:
    return digest_of(msgspec.json.encode(tables, order="deterministic"))
