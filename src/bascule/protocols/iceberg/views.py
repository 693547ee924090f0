"""Views over HTTP."""

from __future__ import annotations

from bascule.errors import InputError
from bascule.lake.foreign import views
from bascule.lake.foreign.names import Identifier, identifier
from bascule.lake.foreign.refusals import NoSuchView
from bascule.lake.iceberg.updates.viewing import ViewMetadata
from bascule.protocols.iceberg.messages import NOTHING, Answer, Ask, NewView, Rename, TableCommit
from bascule.protocols.iceberg.namespaces import paged
from bascule.protocols.iceberg.tables import named


def list_all(ask: Ask) -> Answer:
    """The views of a namespace."""
    found = views.listed(ask.workspace.history, ask.state().commit, ask.namespace)
    return Answer(paged(ask, "identifiers", [named(one) for one in found]))


def create(ask: Ask) -> Answer:
    """Make a view."""
    new = ask.read(NewView)
    name = identifier(ask.namespace, new.name)
    if new.location is not None:
        raise InputError("A view has no files, and its location cannot be chosen.", hint="Leave it out.")
    document = views.create(
        ask.workspace, ask.state(), name, new.schema, new.view_version, new.properties or {}, ask.author()
    )
    return _loaded(ask, name, document)


def load(ask: Ask) -> Answer:
    """A view's metadata."""
    return _loaded(ask, ask.view, views.loaded(ask.workspace.history, ask.state().commit, ask.view))


def exists(ask: Ask) -> Answer:
    """Whether there is such a view."""
    if not views.exists(ask.workspace.history, ask.state().commit, ask.view):
        raise NoSuchView(ask.view)
    return NOTHING


def replace(ask: Ask) -> Answer:
    """Change a view."""
    told = ask.read(TableCommit)
    document = views.replace(ask.workspace, ask.state(), ask.view, told.requirements, told.updates, ask.author())
    return _loaded(ask, ask.view, document)


def drop(ask: Ask) -> Answer:
    """Take a view off the branch."""
    views.drop(ask.workspace, ask.state(), ask.view, ask.author())
    return NOTHING


def rename(ask: Ask) -> Answer:
    """Give a view another name."""
    told = ask.read(Rename)
    views.rename(ask.workspace, ask.state(), told.source.identifier(), told.destination.identifier(), ask.author())
    return NOTHING


def _loaded(ask: Ask, name: Identifier, document: ViewMetadata) -> Answer:
    # A view has no file of its own: the history holds it whole.
    place = f"bascule://{ask.ref}/{name.view_path}"
    return Answer({"metadata-location": place, "metadata": document, "config": {}})
