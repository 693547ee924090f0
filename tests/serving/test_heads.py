"""Heads that came before are not read again; whatever is behind them is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bascule.serving.http import HttpServer, Request, Response, json_response
from bascule.serving.http.heads import LONGEST, MOST, Head, Heads
from bascule.serving.http.message import JSON, Quick, Said
from tests.serving.servers import Running, client, get, post


def handler(request: Request) -> Response:
    return json_response([request.method.decode(), request.path.decode(), request.body.decode("latin-1")])


@pytest.fixture
def server() -> Iterator[HttpServer]:
    server = HttpServer(handler)
    with Running(server):
        yield server


def port_of(server: HttpServer) -> int:
    return int(server._listening[0].sockets[0].getsockname()[1])


def test_the_second_of_two_equal_heads_is_not_parsed(server: HttpServer) -> None:
    with client(port_of(server)) as c:
        for body in (b"alpha", b"gamma"):
            c.send(post("/a", body))
            assert c.answer().body == b'["POST","/a","%b"]' % body
            (connection,) = server.connections
            connection._parser = None  # type: ignore[attr-defined]


def test_what_follows_a_known_head_is_read_as_it_comes(server: HttpServer) -> None:
    """Cut, followed by another request, chunked, or shorter than it says: each as if the head had been new."""
    known = post("/a", b"alpha")
    second = get("/b")
    streams = [[known], [known[:-2], known[-2:]], [known + second], [known + second[:9], second[9:]], [known + known]]
    with client(port_of(server)) as c:
        for parts in streams * 2:
            for part in parts:
                c.send(part)
            whole = b"".join(parts)
            for _ in range(whole.count(b"POST")):
                assert c.answer().body == b'["POST","/a","alpha"]'
            for _ in range(whole.count(b"GET")):
                assert c.answer().body == b'["GET","/b",""]'
        # A body that looks like the empty line and a request is a body.
        inside = b"\r\n\r\n" + second
        for _ in range(2):
            c.send(post("/a", inside))
            assert c.answer().body.count(b"GET") == 1
        # Without its header of the length, a known head's body is the next request.
        c.send(get("/b") + b"GET /c HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert [c.answer().body, c.answer().body] == [b'["GET","/b",""]', b'["GET","/c",""]']


def test_a_client_that_is_to_be_closed_is_closed_each_time(server: HttpServer) -> None:
    for _ in range(3):
        with client(port_of(server)) as c:
            c.send(get("/b", "Connection: close"))
            assert c.answer().headers["connection"] == "close"
            assert c.ended()


def test_another_host_is_refused_each_time(server: HttpServer) -> None:
    for _ in range(2):
        with client(port_of(server)) as c:
            c.send(get("/b", host="elsewhere.example"))
            assert c.answer().status == 403


class Kept:
    """Counts what was kept before an answer left."""

    commits = 0

    def commit(self) -> None:
        self.commits += 1

    @property
    def base(self) -> object:
        return self

    def spares(self) -> bool:
        return False


def test_bodies_behind_a_known_head_are_given_to_what_answers_them_quickest() -> None:
    kept, asked = Kept(), []

    def answer(body: bytes) -> Said | None:
        if body == b"leave":
            return None
        if body == b"fail!":
            raise ZeroDivisionError
        if body == b"other":
            return b"text", b"text/plain", b"x-more: 1\r\n", kept
        return (b"q" * (2_000 if body == b"large" else 1)), JSON, b"", kept

    def quick(request: Request) -> Quick | None:
        asked.append(request.path)
        return answer if request.path == b"/a" else None

    with Running(server := HttpServer(handler, quick=quick)), ExitStack() as stack:
        first, *others = [stack.enter_context(client(port_of(server))) for _ in range(2)]
        for alone in (False, True):
            for head in ((), ("Accept-Encoding: gzip",), ("Connection: keep-alive",)):
                for body in (b"leave", b"alpha", b"other", b"large", b"fail!", b"alpha"):
                    first.send(post("/a", b"leave", *head))
                    assert first.answer().body == b'["POST","/a","leave"]'
                    assert len(server.connections) == 1 or not alone
                    before = server.statuses.copy()
                    first.send(post("/a", body, *head))
                    found = first.answer()
                    assert found.status == (500 if body == b"fail!" else 200)
                    assert server.statuses - before == {found.status: 1}
                    assert found.headers.get("connection") == ("keep-alive" if "keep" in str(head) else None)
                    assert found.headers.get("x-more") == ("1" if body == b"other" else None)
                    packs = body == b"large" and "gzip" in str(head)
                    assert found.headers.get("content-encoding") == ("gzip" if packs else None)
                    if body == b"alpha":
                        assert found.body == b"q"
            for one in others:
                one.close()
            while len(server.connections) > 1:
                time.sleep(0.01)
        assert kept.commits == 2 * 3 * 4
        assert asked == [b"/a"] * 3
        for _ in range(2):
            first.send(get("/b"))
            assert first.answer().body == b'["GET","/b",""]'


def test_little_is_remembered() -> None:
    heads = Heads()
    for number in range(MOST + 1):
        heads.keep(b"GET /%d" % number, Head(b"GET", b"/", {}, 0, b""))
    assert heads.get(b"GET /0") is None
    assert heads.get(b"GET /%d" % MOST) is not None
    heads.keep(b"x" * (LONGEST + 1), Head(b"GET", b"/", {}, 0, b""))
    heads.keep(b"traced", Head(b"GET", b"/", {b"traceparent": b"00-1"}, 0, b""))
    assert heads.get(b"x" * (LONGEST + 1)) is None
    assert heads.get(b"traced") is None
