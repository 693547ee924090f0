"""Step `materialise`: the features of the branch into the online store, from which answers read them."""

from __future__ import annotations

from bascule.errors import NotFound
from bascule.features import materialise
from bascule.features.online import open_online_store
from bascule.project.definitions import feature_set, tables_read
from bascule.project.receipt import Output, Receipt
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.tables import opened_tables
from bascule.tracking import Run

NAME = "materialise"


def inputs(context: Context) -> Terms:
    """The tables that the views read, the definitions, and the branch whose store it is."""
    project = context.project
    terms = {f"input:tables/{name}": context.digest(f"tables/{name}") or "" for name in tables_read(project)}
    for name in project.training.features if project.training else ():
        terms[f"definition:features/{name}"] = context.digest(f"features/{name}") or ""
    return {**terms, "branch": context.branch}


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Bring the branch's store up to the tables; only what is new is written."""
    head = context.head
    with opened_tables(context.workspace, head, tables_read(context.project)) as connection:
        features = feature_set(context.project, connection)
        with open_online_store(context.workspace.online_folder, context.branch) as store:
            report = materialise(connection, features, store, progress=progress)
    output = Output(name="online", version=head.id, uri=f"bascule:online/{context.branch}", rows=report.rows)
    return Outcome((output,), summary=f"{report.rows:,} rows of {len(features.views)} views")


def settled(context: Context, receipt: Receipt) -> bool:
    """Tell whether the branch has an online store at all."""
    try:
        with open_online_store(context.workspace.online_folder, context.branch, readonly=True):
            return True
    except NotFound:
        return False
