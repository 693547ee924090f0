"""The HTTP server on real sockets: order, limits, codings, hosts, and clients that misbehave."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
import time
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.server.ports import free_port, is_free
from bascule.serving.http import Also, Deferred, HttpServer, Limits, Request, Response, json_response
from tests.serving.servers import Client, Running, client, get, post

LIMITS = Limits(
    header_bytes=4_096, body_bytes=100_000, buffered_bytes=300_000, header_s=0.5, body_s=0.8, idle_s=0.8,
    write_s=0.8, linger_s=0.5, drain_s=5, connections=40, waiting=4,
)  # fmt: skip


def handler(request: Request) -> Response | Deferred:
    """Says what came; some paths do more."""
    if request.path == b"/missing":
        raise NotFound("thing", "missing", ["mission"])
    if request.path == b"/crash":
        raise ZeroDivisionError("secret detail")
    if request.path == b"/big":
        return Response(b"x" * 5_000_000, content_type=b"text/plain")
    said = {
        "path": request.path.decode("latin-1"),
        "method": request.method.decode(),
        "body": request.body.decode("latin-1"),
    }
    if request.path.startswith(b"/slow"):
        return Deferred(lambda: time.sleep(0.05), lambda _: json_response(said))
    if request.path == b"/later-crash":
        return Deferred(lambda: 1 // 0, lambda _: json_response(said))
    response = json_response(said)
    response.packable = request.path != b"/unpackable"
    return response


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with Running(HttpServer(handler, LIMITS)) as found:
        yield found


def body_of(client: Client, head: bool = False) -> dict[str, str]:
    answer = client.answer(head)
    assert answer.status == 200, answer.body
    found: dict[str, str] = json.loads(answer.body)
    return found


def test_keep_alive_answers_many(port: int) -> None:
    with client(port) as c:
        for number in range(5):
            c.send(post("/a", str(number).encode()))
            assert body_of(c)["body"] == str(number)


def test_content_type_is_exactly_json(port: int) -> None:
    with client(port) as c:
        c.send(get("/"))
        answer = c.answer()
    assert answer.headers["content-type"] == "application/json"
    assert "date" in answer.headers


def test_head_has_no_body_but_its_length(port: int) -> None:
    with client(port) as c:
        c.send(get("/x", method="HEAD") + get("/y"))
        answer = c.answer(head=True)
        assert int(answer.headers["content-length"]) > 0
        assert body_of(c)["path"] == "/y"


def test_pipelined_answers_come_in_order_even_when_some_take_long(port: int) -> None:
    paths = ["/a", "/slow1", "/b", "/c", "/slow2", "/d"]
    with client(port) as c:
        c.send(b"".join(post(path, path.encode()) for path in paths))
        assert [body_of(c)["path"] for _ in paths] == paths


def test_a_thousand_pipelined_requests(port: int) -> None:
    with client(port) as c:
        sender = threading.Thread(target=c.send, args=(b"".join(post(f"/{n}") for n in range(1_000)),))
        sender.start()
        assert [body_of(c)["path"] for _ in range(1_000)] == [f"/{n}" for n in range(1_000)]
        sender.join()


STREAM = (
    post("/one", b"alpha")
    + b"POST /two HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"3\r\nbet\r\n1;x=y\r\na\r\n0\r\nT: v\r\n\r\n"
    + get("/three?q=1")
    + post("/four", gzip.compress(b"delta"), "Content-Encoding: gzip")
)


@pytest.mark.slow
@given(cuts=st.lists(st.integers(1, len(STREAM) - 1), max_size=8, unique=True))
@settings(max_examples=60, deadline=None)
def test_a_stream_may_be_cut_anywhere(port: int, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    with client(port) as c:
        for start, end in itertools.pairwise(edges):
            c.send(STREAM[start:end])
            time.sleep(0.001)
        found = [body_of(c) for _ in range(4)]
    assert [one["path"] for one in found] == ["/one", "/two", "/three?q=1", "/four"]
    assert [one["body"] for one in found] == ["alpha", "beta", "", "delta"]


def test_one_byte_at_a_time(port: int) -> None:
    with client(port) as c:
        for place in range(len(STREAM)):
            c.send(STREAM[place : place + 1])
        assert [body_of(c)["body"] for _ in range(4)] == ["alpha", "beta", "", "delta"]


@given(noise=st.binary(min_size=1, max_size=300))
@settings(max_examples=60, deadline=None)
def test_noise_is_answered_with_400_or_waited_for(port: int, noise: bytes) -> None:
    with client(port) as c:
        c.send(noise + b"\r\n\r\n\r\n\r\n")
        try:
            answer = c.answer()
        except (EOFError, ConnectionResetError):
            return
    assert 400 <= answer.status < 500
    assert set(json.loads(answer.body)) == {"error"}


@pytest.mark.parametrize(
    "request_bytes",
    [
        post("/a", b"x", "Content-Length: 2"),
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1e3\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: localhost\n\n\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(port: int, request_bytes: bytes) -> None:
    with client(port) as c:
        c.send(request_bytes)
        answer = c.answer()
        assert answer.status == 400
        assert answer.headers["connection"] == "close"
        assert c.ended()


@pytest.mark.parametrize("pause", [False, True])
def test_an_offer_to_upgrade_is_declined_and_the_request_answered(port: int, pause: bool) -> None:
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAA")
    whole = post("/a", b"body", *offer)
    with client(port) as c:
        for part in (whole[:-2], whole[-2:]) if pause else (whole,):
            c.send(part)
            time.sleep(0.02)
        assert body_of(c)["body"] == "body"
        c.send(get("/b", *offer) + get("/c"))
        assert body_of(c)["path"] == "/b"
        assert body_of(c)["path"] == "/c"


def test_it_is_no_proxy(port: int) -> None:
    with client(port) as c:
        c.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert c.answer().status == 405


def test_expect_100_continue(port: int) -> None:
    with client(port) as c:
        c.send(b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert c.answer().status == 100
        c.send(b"ok")
        assert body_of(c)["body"] == "ok"
    with client(port) as c:
        c.send(b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\nExpect: 100-continue\r\n\r\n")
        assert c.answer().status == 413
    with client(port) as c:
        c.send(b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: a-pony\r\n\r\n")
        assert c.answer().status == 417


def test_a_body_that_says_it_is_too_large_is_not_read(port: int) -> None:
    with client(port) as c:
        c.send(b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100001\r\n\r\n")
        answer = c.answer()
        assert answer.status == 413
        assert "100,000 bytes" in json.loads(answer.body)["error"]
        assert c.ended()


def test_a_chunked_body_that_grows_too_large_is_cut(port: int) -> None:
    with client(port) as c:
        c.send(b"POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            c.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        c.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        assert c.answer().status == 413


@pytest.mark.parametrize(("coding", "status"), [(b"Chunked", 200), (b"gzip, chunked", 501), (b"gzip", 501)])
def test_a_body_that_is_packed_on_its_way_is_not_taken_for_its_bytes(port: int, coding: bytes, status: int) -> None:
    with client(port) as c:
        c.send(b"POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: " + coding + b"\r\n\r\n1\r\nx\r\n0\r\n\r\n")
        assert c.answer().status == status


def test_a_body_of_chunk_sizes_alone_is_cut(port: int) -> None:
    with client(port) as c:
        c.send(b"POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: ")
        try:
            for _ in range(100):
                c.send(b"y" * 4_096)
                time.sleep(0.001)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert c.answer().status == 400


@pytest.mark.parametrize("kind", ["one long", "many", "endless name", "long path"])
def test_headers_that_are_too_large(port: int, kind: str) -> None:
    with client(port) as c:
        if kind == "one long":
            c.send(get("/a", "X: " + "y" * 5_000))
        elif kind == "many":
            c.send(get("/a", *(f"X{n}: y" for n in range(500))))
        elif kind == "long path":
            c.send(get("/" + "a" * 5_000))
        else:
            c.send(b"GET / HTTP/1.1\r\n")
            for _ in range(12):
                c.send(b"x" * 1_000)
                time.sleep(0.002)
        answer = c.answer()
        assert answer.status == 431
        assert c.ended()


def test_all_bodies_together_are_bounded(port: int) -> None:
    clients = [Client(port) for _ in range(4)]
    statuses = []
    try:
        for c in clients:
            c.send(b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
            time.sleep(0.02)
            c.send(b"x" * 49_000)
            time.sleep(0.02)
        statuses.append(clients[3].answer().status)
    finally:
        for c in clients:
            c.close()
    assert statuses == [503]
    time.sleep(0.1)
    with client(port) as c:
        c.send(post("/a", b"x" * 90_000))
        assert len(body_of(c)["body"]) == 90_000


@pytest.mark.slow
def test_slow_headers_and_slow_bodies_get_408(port: int) -> None:
    with client(port) as headers, client(port) as body:
        headers.send(b"GET / HTTP/1.1\r\nHost: lo")
        body.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12")
        for c, what in ((headers, "headers"), (body, "body")):
            answer = c.answer()
            assert answer.status == 408
            assert what in json.loads(answer.body)["error"]
            assert c.ended()


@pytest.mark.slow
def test_an_idle_connection_is_closed_without_a_word(port: int) -> None:
    with client(port) as quiet, client(port) as used:
        used.send(get("/a"))
        assert body_of(used)["path"] == "/a"
        assert quiet.ended()
        assert used.ended()


@pytest.mark.slow
def test_a_client_that_does_not_read_is_dropped(port: int) -> None:
    with client(port) as c:
        for _ in range(20):
            c.send(get("/big"))
        time.sleep(2)
        received = 0
        try:
            while data := c.socket.recv(1 << 20):
                received += len(data)
        except ConnectionResetError:
            pass
        assert received < 20 * 5_000_000


def test_too_many_connections_are_told_so(port: int) -> None:
    clients = [Client(port) for _ in range(LIMITS.connections + 3)]
    try:
        answer = clients[-1].answer()
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
    finally:
        for c in clients:
            c.close()
    time.sleep(0.2)
    with client(port) as c:
        c.send(get("/a"))
        assert body_of(c)["path"] == "/a"


def test_more_slow_work_than_threads_take_is_refused(port: int) -> None:
    clients = [Client(port) for _ in range(12)]
    try:
        for c in clients:
            c.send(post("/slow"))
        statuses = sorted(c.answer().status for c in clients)
    finally:
        for c in clients:
            c.close()
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= LIMITS.waiting


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "raw deflate", "identity"])
def test_compressed_bodies(port: int, coding: str) -> None:
    data = b"some text " * 50
    raw = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(data[:100]) + gzip.compress(data[100:]),
        "x-gzip": gzip.compress(data),
        "deflate": zlib.compress(data),
        "raw deflate": raw.compress(data) + raw.flush(),
        "identity": data,
    }[coding]
    with client(port) as c:
        c.send(post("/a", packed, f"Content-Encoding: {coding.split()[-1]}"))
        assert body_of(c)["body"].encode() == data


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("gzip", gzip.compress(bytes(20_000_000)), 413),
        ("deflate", zlib.compress(bytes(20_000_000)), 413),
        ("gzip", gzip.compress(b"") * 100, 400),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-3], 400),
        ("deflate", b"no", 400),
        ("gzip", b"no", 400),
        ("br", b"x", 415),
        ("gzip, gzip", b"x", 415),
    ],
)
def test_bad_codings(port: int, coding: str, body: bytes, status: int) -> None:
    with client(port) as c:
        c.send(post("/a", body, f"Content-Encoding: {coding}"))
        answer = c.answer()
    assert answer.status == status
    assert set(json.loads(answer.body)) == {"error"}


@pytest.mark.parametrize(
    ("accepts", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("*", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip;q=0", None),
        ("br", None),
        ("gzip;q=nonsense", None),
    ],
)
def test_answers_are_compressed_when_asked(port: int, accepts: str, coding: str | None) -> None:
    text = b"z" * 3_000
    with client(port) as c:
        c.send(post("/a", text, f"Accept-Encoding: {accepts}"))
        answer = c.answer()
    assert answer.headers.get("content-encoding") == coding
    plain = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[coding](answer.body)
    assert json.loads(plain)["body"].encode() == text


def test_answers_that_do_not_allow_it_are_not_compressed(port: int) -> None:
    with client(port) as c:
        c.send(post("/unpackable", b"z" * 3_000, "Accept-Encoding: gzip"))
        assert "content-encoding" not in c.answer().headers


def test_small_answers_are_not_worth_compressing(port: int) -> None:
    with client(port) as c:
        c.send(get("/a", "Accept-Encoding: gzip"))
        assert "content-encoding" not in c.answer().headers


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:7401", "[::1]:1", "127.9.9.9"])
def test_loopback_hosts_are_answered(port: int, host: str) -> None:
    with client(port) as c:
        c.send(get("/a", host=host))
        assert body_of(c)["path"] == "/a"


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "localhost@evil.example", "10.0.0.1", "", "127.0.0.1:x", "a/b"]
)
def test_other_hosts_are_refused(port: int, host: str) -> None:
    with client(port) as c:
        c.send(get("/a", host=host))
        assert c.answer().status == 403


@pytest.mark.parametrize(
    ("origin", "status"), [("http://localhost:7400", 200), ("https://evil.example", 403), ("null", 403)]
)
def test_pages_of_other_sites_are_refused(port: int, origin: str, status: int) -> None:
    with client(port) as c:
        c.send(post("/a", b"", f"Origin: {origin}"))
        assert c.answer().status == status


def test_errors_have_one_shape_and_no_traceback(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    with client(port) as c:
        c.send(get("/missing"))
        answer = c.answer()
        assert answer.status == 404
        assert json.loads(answer.body) == {"error": "There is no thing named 'missing'. Did you mean 'mission'?"}
        for path in ("/crash", "/later-crash"):
            c.send(get(path))
            answer = c.answer()
            assert answer.status == 500
            text = json.loads(answer.body)["error"]
            assert "incident" in text
            assert "secret" not in text
            assert "Zero" not in text
            incident = text.rpartition(" ")[2].rstrip(".")
            assert incident in capfd.readouterr().err
        c.send(get("/a"))
        assert body_of(c)["path"] == "/a"


def test_http_1_0_closes_and_asked_keep_alive_is_confirmed(port: int) -> None:
    with client(port) as c:
        c.send(b"GET /a HTTP/1.0\r\n\r\n")
        answer = c.answer()
        assert answer.headers["connection"] == "close"
        assert c.ended()
    with client(port) as c:
        c.send(b"GET /a HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
        assert c.answer().headers["connection"] == "keep-alive"
        c.send(b"GET /b HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert body_of(c)["path"] == "/b"


def test_connection_close_is_honoured_amid_a_pipeline(port: int) -> None:
    with client(port) as c:
        c.send(get("/a") + get("/b", "Connection: close") + get("/c"))
        assert body_of(c)["path"] == "/a"
        assert body_of(c)["path"] == "/b"
        assert c.ended()


def test_garbage_behind_a_slow_request_is_told_after_its_answer(port: int) -> None:
    with client(port) as c:
        c.send(post("/slow", b"x") + b"\x00garbage\r\n\r\n")
        assert body_of(c)["path"] == "/slow"
        assert c.answer().status == 400
        assert c.ended()


def test_a_client_that_only_asks_and_shuts_its_side_gets_its_answers(port: int) -> None:
    with client(port) as c:
        c.send(get("/a") + post("/slow", b"y"))
        c.socket.shutdown(1)
        assert body_of(c)["path"] == "/a"
        assert body_of(c)["path"] == "/slow"
        assert c.ended()


def test_stopping_answers_what_was_asked_and_closes_the_idle() -> None:
    server = HttpServer(handler, LIMITS)
    running = Running(server)
    port = running.__enter__()
    idle, busy, half = Client(port), Client(port), Client(port)
    idle.send(get("/a"))
    assert body_of(idle)["path"] == "/a"
    busy.send(post("/slow", b"x"))
    half.send(b"POST /half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
    time.sleep(0.02)
    stopping = threading.Thread(target=running.__exit__, args=(None, None, None))
    stopping.start()
    assert idle.ended()
    answer = busy.answer()
    assert answer.status == 200
    half.send(b"cd")
    answer = half.answer()
    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    assert half.ended()
    for c in (idle, busy, half):
        c.close()
    stopping.join()
    with pytest.raises(ConnectionRefusedError):
        Client(port)


def test_a_taken_port_and_a_foreign_address_are_explained(port: int) -> None:
    import asyncio

    async def start(host: str, number: int) -> None:
        await HttpServer(handler).start(host, number)

    with pytest.raises(EnvironmentProblem, match=f"Port {port} on 127.0.0.1 is in use") as taken:
        asyncio.run(start("127.0.0.1", port))
    assert "--port" in taken.value.hint
    with pytest.raises(InputError, match="loopback only"):
        asyncio.run(start("0.0.0.0", 0))


def test_where_the_second_port_is_taken_nobody_is_answered_at_the_first(port: int) -> None:
    import asyncio

    first = free_port("127.0.0.1")

    async def start() -> None:
        also = Also(port, lambda: pytest.fail("a client came"), "--second")
        with pytest.raises(EnvironmentProblem, match=f"Port {port} on 127.0.0.1 is in use") as taken:
            await HttpServer(handler).start("127.0.0.1", first, also)
        assert "--second" in taken.value.hint
        assert is_free("127.0.0.1", first)

    asyncio.run(start())
