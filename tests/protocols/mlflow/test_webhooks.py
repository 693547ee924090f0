"""Webhooks: told once of each change, signed, repeated while nobody answers, and never sent inside the network."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from sqlalchemy import select, update

from bascule.catalog.schema import webhook_deliveries
from bascule.history import Workspace
from bascule.lake import Session
from bascule.registry import set_alias
from bascule.registry.webhooks import MOST_TRIES
from bascule.server.webhooks import deliver
from tests.protocols.mlflow.conftest import Api

ALL = [
    {"entity": entity, "action": action}
    for entity, action in (
        ("REGISTERED_MODEL", "CREATED"),
        ("MODEL_VERSION", "CREATED"),
        ("MODEL_VERSION_TAG", "SET"),
        ("MODEL_VERSION_TAG", "DELETED"),
        ("MODEL_VERSION_ALIAS", "CREATED"),
        ("MODEL_VERSION_ALIAS", "DELETED"),
    )
]


@dataclass
class Receiver:
    """What was received, and how it is answered: a status for each request, the last one for all that follow."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def told(self) -> list[tuple[str, str]]:
        bodies = [json.loads(body) for _, body in self.seen]
        return [(one["entity"], one["action"]) for one in bodies]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver on loopback, which the server may tell."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.seen.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            status = found.statuses.pop(0) if len(found.statuses) > 1 else found.statuses[0]
            self.send_response(status)
            self.send_header("location", "http://127.0.0.1:1/")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("BASCULE_WEBHOOK_HOSTS", "example.org, 127.0.0.1")
    found.url = f"http://127.0.0.1:{server.server_port}/hook?a=b"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def hook(api: Api, url: str, **changes: Any) -> Any:
    return api("POST", "webhooks", {"name": "ci", "url": url, "events": ALL, "secret": "s", **changes})["webhook"]


def due(workspace: Workspace) -> list[Any]:
    """Make all that waits due, and return the deliveries."""
    with workspace.catalog.write() as conn:
        conn.execute(update(webhook_deliveries).where(webhook_deliveries.c.status == "waiting").values(next_at=0))
        return list(conn.execute(select(webhook_deliveries).order_by(webhook_deliveries.c.id)))


@pytest.mark.slow
def test_changes_of_models_are_told_once(api: Api, local_workspace: Workspace, receiver: Receiver) -> None:
    api("POST", "registered-models/create", {"name": "before"})
    made = hook(api, receiver.url)
    assert "secret" not in made
    local_workspace.history.create_branch("dev")
    Api(api.http, "/branch/dev")("POST", "registered-models/create", {"name": "elsewhere"})
    run = api.run()
    source = {"name": "clf", "source": f"runs:/{run}/m", "run_id": run, "tags": [{"key": "k", "value": "v"}]}
    api("POST", "registered-models/create", {"name": "clf", "description": "says"})
    api("POST", "model-versions/create", source)
    deliver(local_workspace)
    api("POST", "model-versions/set-tag", {"name": "clf", "version": "1", "key": "t", "value": "u"})
    api("DELETE", "model-versions/delete-tag", {"name": "clf", "version": "1", "key": "k"})
    set_alias(local_workspace, "main", "clf", "best", 1)  # whoever does it
    deliver(local_workspace)
    api("DELETE", "registered-models/alias", {"name": "clf", "alias": "best"})
    api(
        "POST",
        "registered-models/create",
        {"name": "ask", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]},
    )
    for _ in range(3):
        deliver(local_workspace)
    assert receiver.told() == [(one["entity"].lower(), one["action"].lower()) for one in ALL]
    headers, body = receiver.seen[1]
    told = json.loads(body)
    assert told["data"] == {
        "name": "clf",
        "version": "1",
        **{k: source[k] for k in ("source", "run_id")},
        "tags": {"k": "v"},
        "description": None,
    }
    signed = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.".encode() + body
    proof = base64.b64encode(hmac.new(b"s", signed, hashlib.sha256).digest()).decode()
    assert headers["X-MLflow-Signature"] == f"v1,{proof}"
    with Session(local_workspace) as session:
        assert session.arrow("select distinct status from webhook_deliveries")["status"].to_pylist() == ["sent"]


@pytest.mark.slow
def test_deliveries_are_repeated_until_answered_or_given_up(
    api: Api, local_workspace: Workspace, receiver: Receiver
) -> None:
    hook(api, receiver.url)
    receiver.statuses = [503, 302, 200]  # where an answer leads is not followed
    api("POST", "registered-models/create", {"name": "a"})
    deliver(local_workspace)
    deliver(local_workspace)  # it is not due yet
    assert len(receiver.seen) == 1
    for _ in range(3):
        due(local_workspace)
        deliver(local_workspace)
    assert len(receiver.seen) == 3
    assert len({headers["X-MLflow-Delivery-Id"] for headers, _ in receiver.seen}) == 1
    receiver.statuses = [500]
    api("POST", "registered-models/create", {"name": "b"})
    for _ in range(MOST_TRIES + 2):
        due(local_workspace)
        deliver(local_workspace)
    assert len(receiver.seen) == 3 + MOST_TRIES
    assert [(one.status, one.tries) for one in due(local_workspace)] == [("sent", 3), ("given up", MOST_TRIES)]


@pytest.mark.slow
def test_a_webhooks_life(api: Api, local_workspace: Workspace, receiver: Receiver) -> None:
    made = hook(api, receiver.url, description="d")
    place = f"webhooks/{made['webhook_id']}"
    assert api("GET", place)["webhook"] == made
    assert api("GET", "webhooks")["webhooks"] == [made]
    changed = api("PATCH", place, {"name": "other", "status": "DISABLED", "events": ALL[:1]})["webhook"]
    assert (changed["name"], changed["status"], changed["events"]) == ("other", "DISABLED", ALL[:1])
    api("POST", "registered-models/create", {"name": "a"})
    deliver(local_workspace)
    assert receiver.seen == []
    result = api("POST", f"{place}/test", {"event": {"entity": 4, "action": "CREATED"}})["result"]
    assert (result["success"], result["response_status"]) == (True, 200)
    assert json.loads(receiver.seen[0][1])["data"]["alias"] == "example_alias"
    receiver.statuses = [404]
    assert api("POST", f"{place}/test", {})["result"]["success"] is False
    assert api.refusal("GET", place.replace("wh_", "wh_x"))[0] == 404
    local_workspace.history.create_branch("dev")
    assert Api(api.http, "/branch/dev").refusal("GET", place)[0] == 404
    assert api.http.delete(f"/api/2.0/mlflow/{place}").status_code == 200  # with no body, as clients do it
    assert api("GET", "webhooks") == {}
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", {})):
        assert api.refusal(method, place, body)[0] == 404
    hook(api, receiver.url)
    hook(api, receiver.url)
    page = api("GET", "webhooks", max_results=1)
    assert len(api("GET", "webhooks", max_results=1, page_token=page["next_page_token"])["webhooks"]) == 1


@pytest.mark.slow
def test_webhooks_reach_nothing_inside(
    api: Api, local_workspace: Workspace, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = hook(api, receiver.url)
    monkeypatch.delenv("BASCULE_WEBHOOK_HOSTS")
    names = {"inside.example": "10.0.0.5", "mapped.example": "::ffff:127.0.0.1", "public.example": "93.184.216.34"}

    def looked_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host not in names and not host[0].isdigit() and ":" not in host:
            raise socket.gaierror("unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (names.get(host, host), port))]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    for url in (
        receiver.url,
        "http://public.example/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://inside.example/",
        "https://mapped.example/",
        "https://unknown.example/",
        "https://user:pw@public.example/",
        "file:///etc/passwd",
        "gopher://public.example/",
        "https://",
        "https://public.example:port/",
        "https://public.example/\r\nX: y",
        "https://public.example/" + "a" * 3000,
    ):
        body = {"name": "x", "url": url, "events": ALL}
        assert api.refusal("POST", "webhooks", body)[:2] == (400, "INVALID_PARAMETER_VALUE"), url
        assert api.refusal("PATCH", f"webhooks/{good['webhook_id']}", {"url": url})[0] == 400
    hook(api, "https://public.example/")
    # What was allowed once, or leads elsewhere now, is looked at again before it is sent.
    names["public.example"] = "192.168.0.1"
    api("POST", "registered-models/create", {"name": "a"})
    deliver(local_workspace)
    assert receiver.seen == []
    assert {one.status for one in due(local_workspace)} == {"given up"}
    assert api("POST", f"webhooks/{good['webhook_id']}/test", {})["result"]["success"] is False
    for changes in (
        {"name": "-x"},
        {"name": "x" * 80},
        {"events": []},
        {"events": [{"entity": "BUDGET_POLICY", "action": "EXCEEDED"}]},
        {"events": [{"entity": "MODEL_VERSION", "action": "SET"}]},
        {"events": "x"},
        {"secret": "x" * 2000},
        {"status": "MAYBE"},
    ):
        body = {"name": "x", "url": "https://public.example/", "events": ALL, **changes}
        assert api.refusal("POST", "webhooks", body)[0] == 400, changes


@pytest.mark.parametrize("at", [2, 3])
@pytest.mark.parametrize("inside", ["127.0.0.1", "169.254.169.254", "::1"])
def test_a_name_that_points_inside_once_it_was_looked_at_reaches_nothing(
    api: Api, local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, inside: str, at: int
) -> None:
    """DNS rebinding: the name is public when it is judged, and inside of the network when it is asked for once more."""
    public, reached, looked = "93.184.216.34", [], [-9]
    real, connect = socket.getaddrinfo, socket.socket.connect
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        listener.settimeout(0.2)

        def looked_up(host: Any, *asked: Any, **more: Any) -> Any:
            if host != "rebind.example":
                return real(host, *asked, **more)
            looked[0] += 1
            return real(inside if looked[0] >= at else public, *asked, **more)

        def reach(sock: socket.socket, where: Any) -> None:
            reached.append(where[0])
            if where[0] == public:  # nothing leaves this machine
                raise ConnectionRefusedError(111, "Connection refused")
            connect(sock, where)

        monkeypatch.setattr(socket, "getaddrinfo", looked_up)
        monkeypatch.setattr(socket.socket, "connect", reach)
        hook(api, f"https://rebind.example:{port}/hook")
        api("POST", "registered-models/create", {"name": "m"})
        looked[0] = 0
        deliver(local_workspace)
        # It is judged, judged once more as the connection is made, and reached where that judgement looked.
        assert (looked[0], reached) == (2, [public] if at == 3 else [])
        assert [one.status for one in due(local_workspace)] == ["waiting" if at == 3 else "given up"]
        deliver(local_workspace)
        assert reached == ([public] if at == 3 else [])
        assert [one.status for one in due(local_workspace)] == ["given up"]
        with pytest.raises(TimeoutError):
            listener.accept()
