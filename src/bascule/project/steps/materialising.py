"""Step `materialise`: the features of the branch into the online store, from which answers read them."""

from __future__ import annotations

from sqlalchemy import select

from bascule.catalog.schema import runs
from bascule.features import LmdbStore, definition_digest, materialise
from bascule.project.definitions import feature_set, tables_read
from bascule.project.receipt import Output, Receipt
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.tables import opened_tables
from bascule.tracking import Run

NAME = "materialise"


def inputs(context: Context) -> Terms:
    """The tables that the views read, the definitions, and the branch whose store it is."""
    training = context.project.training
    terms = {f"input:tables/{name}": context.digest(f"tables/{name}") or "" for name in tables_read(context.project)}
    for name in training.features if training else ():
        terms[f"definition:features/{name}"] = context.digest(f"features/{name}") or ""
    return {**terms, "branch": context.branch}


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Bring the branch's store up to the tables; only what is new is written."""
    head = context.head
    store = LmdbStore(context.workspace.online_folder, context.branch)
    with opened_tables(context.workspace, head, tables_read(context.project)) as connection:
        features = feature_set(context.project, connection)
        report = materialise(connection, features, store, progress=progress, sequence=head.generation)
    rows = {view.view: view.rows for view in report.views}
    outputs = tuple(
        Output(
            name=view.name,
            version=definition_digest(view, features.entity(view)),
            uri=f"bascule:online/{context.branch}/{view.name}",
            rows=rows.get(view.name),
        )
        for view in features.views
    )
    return Outcome(
        outputs, summary=f"{sum(rows.values()):,} rows of {len(rows)} views, {report.written:,} entries written"
    )


def settled(context: Context, receipt: Receipt) -> bool:
    """Tell whether this was the branch's last materialisation, and the store still has what it wrote."""
    query = select(runs.c.id).where(runs.c.step == NAME, runs.c.branch == context.branch, runs.c.status == "done")
    with context.workspace.catalog.read() as conn:
        last = conn.execute(query.order_by(runs.c.started_at.desc()).limit(1)).scalar()
    if last != receipt.run_id:
        return False
    with LmdbStore(context.workspace.online_folder, context.branch).snapshot() as snapshot:
        return all(snapshot.view(output.version) is not None for output in receipt.outputs)
