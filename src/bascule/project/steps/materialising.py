"""Step `materialise`: the features of the branch into the online store, from which answers read them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bascule.features import OnlineStore, definition_digest, materialise, open_online
from bascule.features.online import current
from bascule.features.online.vectors import keep_set
from bascule.project.computing import computed_set, computed_tables, computed_view
from bascule.project.definitions import definition_terms, feature_set, tables_read
from bascule.project.receipt import Output, Receipt
from bascule.project.served import service_views, views_set, views_tables
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.tables import opened_for, told_without, views_without
from bascule.store import digest_of
from bascule.tracking import Run

NAME = "materialise"


def inputs(context: Context) -> Terms:
    """The tables that the views read, the definitions, and the branch whose store it is."""
    computed = computed_view(context.project)
    served = tuple(f"features/{name}" for name in [*_beside(context), *([computed.name] if computed else [])])
    return {**_tables(context), **definition_terms(context, served), "branch": context.branch}


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Bring the branch's store up to the tables; only what is new is written.

    A service's view over a table that is not there stops no other: it is left out, and told.
    """
    version, services = _version(_tables(context)), _beside(context)
    left_out = views_without(context.project, context.workspace, context.head, services)
    beside = [name for name in services if name not in left_out]
    with opened_for(context.project, context.workspace, context.head, _read(context, beside)) as connection:
        features = feature_set(context.project, connection)
        sets = [features]
        if beside:
            sets.append(views_set(context.project, connection, beside))
        store = _store(context)
        reports = [materialise(connection, one, store, version=version, progress=progress) for one in sets]
        if (computed := computed_set(context.project, connection)) is not None:
            keep_set(store, computed)
    rows = {view.view: view.rows for report in reports for view in report.views}
    outputs = tuple(
        Output(
            name=view.name,
            version=definition_digest(view, one.entity(view)),
            uri=f"bascule:online/{context.branch}/{view.name}",
            rows=rows[view.name],
        )
        for one in sets
        for view in one.views
        if view.name in rows
    )
    written = sum(report.written for report in reports)
    done = f"{sum(rows.values()):,} rows of {len(rows)} views, {written:,} entries written"
    return Outcome(outputs, summary="; ".join(filter(None, (done, told_without(left_out)))))


def settled(context: Context, receipt: Receipt) -> bool:
    """Tell whether the branch's store holds the views as they are in the tables now."""
    if not context.workspace.has_online:  # without features there is nothing to write, and no store
        return not receipt.outputs and computed_view(context.project) is None
    version = _version(_tables(context))
    with _store(context).snapshot() as snapshot:
        held = current(snapshot)
    found = [(held.get(output.name), output.version) for output in receipt.outputs]
    return all(one is not None and (one.digest, one.version) == (digest, version) for one, digest in found)


def _store(context: Context) -> OnlineStore:
    return open_online(context.workspace.online, context.workspace.namespace(context.branch))


def _beside(context: Context) -> list[str]:
    """The views of feature services that the model does not read."""
    return service_views(context.project)


def _read(context: Context, beside: Sequence[str]) -> list[str]:
    read = views_tables(context.project, beside)
    return sorted({*tables_read(context.project), *read, *computed_tables(context.project)})


def _tables(context: Context) -> Terms:
    names = _read(context, _beside(context))
    return {f"input:tables/{name}": context.content(f"tables/{name}") for name in names}


def _version(tables: Terms) -> str:
    return digest_of(msgspec.json.encode(tables, order="deterministic"))
