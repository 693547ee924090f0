"""Tokens, roles and cookies: nobody gets in who should not."""

import re
from itertools import product

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from bascule.catalog import schema
from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.history import Workspace
from bascule.server import ROLES, ServerSettings, create_token, list_tokens, revoke_token
from bascule.server.access import Principal
from bascule.server.answers import Refused
from bascule.server.api.table import API
from bascule.server.identity import check_form_token, form_secret, form_token
from bascule.server.settings import is_loopback
from bascule.web import create_app
from bascule.web.app import PAGES
from tests.server.conftest import Serve
from tests.server.filled import Filled

ALL = [route for route in [*API, *PAGES] if route.permission != "public"]


def test_a_token_is_kept_only_as_a_digest(local_workspace: Workspace) -> None:
    token, secret = create_token(local_workspace.catalog, "ci", "writer", by="ann")
    assert len(secret) > 40
    with local_workspace.catalog.read() as conn:
        row = conn.execute(select(schema.tokens)).one()
        entry = conn.execute(select(schema.audit).order_by(schema.audit.c.seq.desc())).first()
    assert secret not in str(row)
    assert secret[4:] not in str(row)
    assert entry is not None
    assert (entry.actor, entry.action, entry.subject) == ("ann", "token.create", token.id)
    assert [found.name for found in list_tokens(local_workspace.catalog)] == ["ci"]


def test_bad_tokens_are_told(local_workspace: Workspace) -> None:
    catalog = local_workspace.catalog
    with pytest.raises(InputError, match="role 'king'"):
        create_token(catalog, "ci", "king")
    with pytest.raises(InputError, match="needs a name"):
        create_token(catalog, "  ", "reader")
    create_token(catalog, "build", "reader")
    with pytest.raises(NotFound) as caught:
        revoke_token(catalog, "biuld")
    assert caught.value.hint == "Did you mean 'build'?"
    create_token(catalog, "build", "writer")
    with pytest.raises(InputError, match="2 active tokens"):
        revoke_token(catalog, "build")


def test_a_revoked_token_ends_at_once(local_workspace: Workspace, serve: Serve) -> None:
    token, secret = create_token(local_workspace.catalog, "ci", "reader")
    served = serve(local_workspace, secret)
    assert served.get("/api/bascule/v1/branches").status_code == 200
    revoke_token(local_workspace.catalog, token.id)
    assert served.get("/api/bascule/v1/branches").status_code == 401


@pytest.mark.parametrize(
    "header", ["Bearer bsc_wrong", "Bearer ", "Bearer", "Basic YTpi", "bsc_x", "Bearer bsc_" + "a" * 10_000]
)
def test_a_wrong_credential_is_refused_even_on_loopback(filled: Filled, serve: Serve, header: str) -> None:
    answer = serve(filled.ws).get("/api/bascule/v1/branches", headers={"authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_what_the_table_says_and_nothing_else(copy: Filled, serve: Serve, role: str) -> None:
    _, secret = create_token(copy.ws.catalog, "someone", role)
    served = serve(copy.ws, secret, require_tokens=True)
    for route in ALL:
        path = re.sub(r"{\w+(:path)?}", "x", route.path)
        # What all may leave out of this body is the branch: protected main, on which who deploys may do it alone.
        body = {"branch": "x"} if route.path.endswith("/restore") else None
        answer = served.request(route.method, path, json=body)
        allowed = route.permission in ROLES[role]
        assert (answer.status_code != 403 or "form" in answer.text) == allowed, (role, route.method, route.path)
        assert answer.status_code != 500, (route.method, route.path, answer.text)


@pytest.mark.slow
def test_nobody_gets_in_without_a_token(filled: Filled, serve: Serve) -> None:
    served = serve_required(filled, serve)
    for route, body in product(ALL, [None]):
        path = re.sub(r"{\w+(:path)?}", "x", route.path)
        answer = served.request(route.method, path, json=body)
        assert answer.status_code == 401, (route.method, route.path)
        assert "delays" not in answer.text


def serve_required(filled: Filled, serve: Serve) -> TestClient:
    if not list_tokens(filled.ws.catalog):
        create_token(filled.ws.catalog, "first", "admin")
    return serve(filled.ws, require_tokens=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "ml.example"])
def test_listening_where_others_can_connect_needs_a_token(local_workspace: Workspace, host: str) -> None:
    with pytest.raises(EnvironmentProblem, match=re.escape(host)) as caught:
        create_app(local_workspace, ServerSettings(host=host))
    assert "bascule token create" in caught.value.hint
    token, _ = create_token(local_workspace.catalog, "ann", "admin")
    create_app(local_workspace, ServerSettings(host=host))
    revoke_token(local_workspace.catalog, token.id)
    with pytest.raises(EnvironmentProblem):
        create_app(local_workspace, ServerSettings(host=host))


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_loopback_is_known(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


def test_the_page_signs_in_with_a_cookie(copy: Filled, serve: Serve) -> None:
    _, secret = create_token(copy.ws.catalog, "ann", "reader")
    served = serve(copy.ws, require_tokens=True)
    assert served.get("/").status_code == 401
    field = re.search(r'name="form_token" value="([^"]+)"', served.get("/login?next=/runs").text)
    assert field is not None
    form = {"form_token": field[1], "token": secret, "next": "/runs"}
    wrong = served.post("/login", data={**form, "token": "bsc_wrong"})
    assert wrong.status_code == 401
    answer = served.post("/login", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    page = served.get("/runs")
    assert page.status_code == 200
    assert "ann" in page.text
    out = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert out is not None
    served.post("/logout", data={"form_token": out[1]})
    assert served.get("/runs").status_code == 401


@pytest.mark.parametrize("next_path", ["https://evil.example", "//evil.example", "/\\evil.example", "/a\nb"])
def test_signing_in_leads_nowhere_else(copy: Filled, serve: Serve, next_path: str) -> None:
    _, secret = create_token(copy.ws.catalog, "ann", "reader")
    served = serve(copy.ws, require_tokens=True)
    field = re.search(r'name="form_token" value="([^"]+)"', served.get("/login").text)
    assert field is not None
    answer = served.post("/login", data={"form_token": field[1], "token": secret, "next": next_path})
    assert answer.headers["location"] == "/"


def test_form_tokens_are_for_one_person(local_workspace: Workspace) -> None:
    secret = form_secret(local_workspace.catalog)
    assert form_secret(local_workspace.catalog) == secret
    ann, bo = Principal("ann", "admin", "cookie"), Principal("bo", "admin", "cookie")
    check_form_token(secret, ann, form_token(secret, ann))
    for person, token in ((bo, form_token(secret, ann)), (ann, ""), (ann, "a.b"), (ann, form_token(b"x" * 32, ann))):
        with pytest.raises(Refused):
            check_form_token(secret, person, token)
