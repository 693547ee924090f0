"""Every way in says who may use it; the document says what there is."""

from itertools import pairwise

import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from bascule.history import Workspace
from bascule.server import Call, Route, UndeclaredPermission, create_app
from bascule.server.access import ROLES
from bascule.server.api.table import API
from bascule.server.routes import check_table, shape_of
from bascule.web.app import PAGES


def hello(call: Call[None, None]) -> str:
    """Say hello."""
    return "hello"


def test_a_route_without_a_permission_does_not_start(local_workspace: Workspace) -> None:
    with pytest.raises(UndeclaredPermission, match="GET /hello"):
        create_app(local_workspace, routes=[Route("GET", "/hello", hello)])


def test_a_misspelt_permission_does_not_start() -> None:
    with pytest.raises(UndeclaredPermission, match="'raed'"):
        check_table([Route("GET", "/hello", hello, "raed")])


def test_two_routes_at_one_address_do_not_start() -> None:
    with pytest.raises(ValueError, match="twice"):
        check_table([Route("GET", "/hello", hello, "read"), Route("GET", "/hello", hello, "admin")])


def test_what_writes_asks_for_more_than_reading() -> None:
    # SQL is posted because it is long; it only reads. So does what is asked privately, which is paid for besides.
    read_only = {"/api/bascule/v1/sql", "/api/bascule/v1/tables/{table}/private", "/login", "/logout"}
    for route in [*API, *PAGES]:
        if route.method != "GET" and route.path not in read_only:
            assert route.permission in ("write", "deploy", "admin"), route.path


def test_only_what_tells_nothing_is_public() -> None:
    public = {route.path for route in [*API, *PAGES] if route.permission == "public"}
    assert public == {"/health", "/login", "/logout", "/static/{name:path}"}


def test_every_route_says_what_it_does() -> None:
    assert [route.path for route in [*API, *PAGES] if not route.summary.endswith(".")] == []


def test_roles_grow() -> None:
    held = list(ROLES.values())
    assert all(low < high for low, high in pairwise(held))


@pytest.mark.slow
def test_the_document_is_valid_and_complete(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    validate(document)
    said = {(method.upper(), path) for path, found in document["paths"].items() for method in found}
    expected = {(route.method, route.path.replace(":path", "")) for route in API}
    assert said == expected


def test_the_document_names_parameters_bodies_and_answers(client: TestClient) -> None:
    paths = client.get("/api/openapi.json").json()["paths"]
    log = paths["/api/bascule/v1/log"]["get"]
    assert {parameter["name"] for parameter in log["parameters"]} == {"ref", "path", "limit"}
    assert log["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Log")
    rollback = paths["/api/bascule/v1/deployments/{name}/rollback"]["post"]
    assert rollback["x-permission"] == "deploy"
    assert rollback["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Change")


def test_an_endpoint_declares_its_types() -> None:
    shape = shape_of(next(route for route in API if route.path.endswith("/log")).endpoint)
    assert shape.query is not None
    assert shape.body is None

    def loose(request: object) -> str:
        return ""

    with pytest.raises(TypeError, match="loose"):
        shape_of(loose)  # type: ignore[arg-type]
