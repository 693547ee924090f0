"""Pages out of templates: one environment that escapes everything, and what every page has around it."""

from __future__ import annotations

from functools import cache, partial
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from bascule import __version__
from bascule.errors import BasculeError
from bascule.server.access import NOBODY
from bascule.server.answers import json_answer
from bascule.server.dispatch import FORM_FIELD
from bascule.server.reads import monitoring
from bascule.server.routes import Call
from bascule.web.guess import near_pages, unknown_names
from bascule.web.markdown import render_markdown
from bascule.web.sections import ALSO, SECTIONS
from bascule.web.static import static_url
from bascule.web.text import FILTERS, plural

MAIN = "main"
# A table with more rows than this scrolls inside itself; a list of branches longer than that leaves out the stillest.
MOST_ROWS, MOST_BRANCHES = 25, 200


@cache
def environment() -> Environment:
    """The templates, read once."""
    made = Environment(
        loader=PackageLoader("bascule.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= FILTERS | {"markdown": render_markdown, "q": partial(quote, safe="")}
    made.globals |= {
        "static": static_url,
        "sections": SECTIONS,
        "bascule_version": __version__,
        "form_field": FORM_FIELD,
        "plural": plural,
        "most_rows": MOST_ROWS,
    }
    return made


def page(call: Call[Any, Any], template: str, /, *, status: int = 200, **values: Any) -> Response:
    """Answer with a template, in the frame that every page has.

    A page's query has `ref` where it shows one state of the history; links keep it.

    Raises:
        NotFound: there is no such state, with the nearest name.
    """
    ref = getattr(call.query, "ref", MAIN)
    ws = call.workspace
    if not call.principal.may("read"):  # the page that asks for a token tells nothing of what is inside
        bare = environment().get_template(template)
        return HTMLResponse(bare.render(values, form_token=call.form_token), status)
    ws.history.resolve(ref)  # also where a page reads nothing of that state: an unknown one is told, not shown empty
    branches = sorted(ws.history.branches(), key=lambda one: (one.name not in (MAIN, ref), -one.updated_at))
    known = [branch.name for branch in branches[:MOST_BRANCHES]]
    firing = monitoring.count_firing(ws, ref)
    frame = {
        "here": call.request.url.path,
        "section": ALSO.get(call.request.url.path.split("/")[1], ""),
        "ref": ref,
        "is_branch": ref in known,
        "branches": sorted(known, key=lambda name: (name != MAIN, name)),
        "ignored": unknown_names(call.request.query_params, call.query),
        "firing": firing,
        "person": call.principal,
        "form_token": call.form_token,
        "href": lambda path, /, **query: href(path, ref, **query),
        "inference_url": call.settings.inference_url,
        "project": ws.folder.parent.name,
    }
    text = environment().get_template(template).render(frame | values)
    return HTMLResponse(text, status)


def href(path: str, ref: str = MAIN, /, **query: Any) -> str:
    """A link that stays on the state that is being looked at. Values that are None or empty are left out."""
    said = {name: value for name, value in query.items() if value not in (None, "", ())}
    if ref != MAIN:
        said["ref"] = ref
    base, hash_mark, fragment = path.partition("#")
    return f"{quote(base, safe='/@~:')}{'?' if said else ''}{urlencode(said, doseq=True)}{hash_mark}{fragment}"


def local_path(address: str) -> str:
    """Return an address when it is a path of this server, else the overview: nobody is sent elsewhere."""
    inside = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if inside and address.isprintable() else "/"


def error_page(request: Request, status: int, error: BasculeError) -> Response:
    """The page that tells an error: what was asked, what was found, and what to do next.

    Who asks for JSON and not for a page gets the envelope of the API.
    """
    accepted = request.headers.get("accept", "")
    if "application/json" in accepted and "text/html" not in accepted:
        return json_answer(error.as_dict(), status)
    principal = request.scope.get("bascule.principal", NOBODY)
    path = request.url.path
    unmatched = status == 404 and "bascule.route" not in request.scope
    text = (
        environment()
        .get_template("error.html")
        .render(
            status=status,
            error=error,
            details=getattr(error, "details", []),
            here=path,
            query=request.url.query,
            near=near_pages(path) if unmatched else [],
            word=path.strip("/").rpartition("/")[2] if unmatched else "",
            person=principal,
        )
    )
    return HTMLResponse(text, status)
