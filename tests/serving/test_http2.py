"""The HTTP/2 server by itself: its headers against another implementation, and clients that mean no good."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import hpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.serving.http import Deferred, HttpServer, Limits, Request, Response
from bascule.serving.http2 import Http2Connection, frames
from bascule.serving.http2.frames import Http2Problem, frame
from bascule.serving.http2.hpack import HeaderReader, literal
from bascule.serving.http2.huffman import unpacked
from tests.serving.servers import Running

grpc = pytest.importorskip("grpc")
GATE = threading.Event()


class Echo:
    """Answers a message with itself; `slow` waits for the gate in a thread."""

    def handle(self, request: Request) -> Response | Deferred:
        if request.path == b"/slow":
            return Deferred(lambda: GATE.wait(10), lambda _: Response(request.body), request.seconds)
        if request.path == b"/broken":
            raise RuntimeError("broken")
        return Response(request.body)

    def streams(self, path: bytes) -> bool:
        return path == b"/stream"

    def told(self, response: Response) -> bytes:
        return response.body


@contextmanager
def echoing(limits: Limits | None = None) -> Iterator[tuple[int, HttpServer]]:
    server = HttpServer(Echo().handle, limits)
    running = Running(server, lambda: Http2Connection(server, Echo()))
    with running:
        yield running.also, server


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with echoing() as (found, _):
        yield found


def call(port: int, path: str = "/echo", message: bytes = b"hello", **options: Any) -> bytes:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        said: bytes = channel.unary_unary(path)(message, timeout=options.pop("timeout", 10), **options)
        return said


def headers_of(path: bytes) -> bytes:
    return b"".join(
        literal(name, value)
        for name, value in (
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"), (b"te", b"trailers"),
        )
    )  # fmt: skip


HEADERS, STREAM = headers_of(b"/echo"), headers_of(b"/stream")


def opening(stream: int, flags: int = frames.END_HEADERS, block: bytes = HEADERS) -> bytes:
    return frame(frames.HEADERS, flags, stream, block)


def message(stream: int, data: bytes = b"hi", flags: int = frames.END_STREAM) -> bytes:
    return frame(frames.DATA, flags, stream, b"\0" + struct.pack(">L", len(data)) + data)


class Raw:
    """A client that says what it is told to."""

    def __init__(self, port: int, *said: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.rest = b""
        self.say(frames.PREFACE, frames.settings({}), *said)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, *said: bytes) -> None:
        with suppress(OSError):  # refused already: what was said back tells
            self.socket.sendall(b"".join(said))

    def frames(self, until: int | None = None) -> list[tuple[int, int, int, bytes]]:
        """Read frames until one of a kind came, or the server ends the connection."""
        found: list[tuple[int, int, int, bytes]] = []
        while not found or found[-1][0] != until:
            while len(self.rest) < 9 or len(self.rest) < 9 + int.from_bytes(self.rest[:3], "big"):
                try:
                    more = self.socket.recv(1 << 16)
                except ConnectionError:
                    more = b""
                if not more:
                    return found
                self.rest += more
            size = int.from_bytes(self.rest[:3], "big")
            found.append((self.rest[3], self.rest[4], int.from_bytes(self.rest[5:9], "big"), self.rest[9 : 9 + size]))
            self.rest = self.rest[9 + size :]
        return found

    def error(self) -> int:
        """Return why the server ended the connection."""
        last = [payload for kind, _, _, payload in self.frames() if kind == frames.GOAWAY][-1]
        return int.from_bytes(last[4:8], "big")


# Headers ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=40)), max_size=8), max_size=6),
       st.booleans())  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_headers_are_read_as_another_implementation_writes_them(blocks: list[Any], packed: bool) -> None:
    writer, reader = hpack.Encoder(), HeaderReader(1 << 16)
    for headers in blocks:
        for _ in range(2):  # the second time most are places in the table
            assert reader.read(writer.encode(headers, huffman=packed)) == headers


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_bytes_harm_the_reader_of_headers(data: bytes) -> None:
    reader, other = HeaderReader(1 << 16), hpack.Decoder()
    try:
        found = reader.read(data)
    except Http2Problem:
        return
    assert found == [tuple(one) for one in other.decode(data, raw=True)]


def test_a_text_may_not_end_in_a_code_or_hold_the_end() -> None:
    assert unpacked(bytes.fromhex("f1e3c2e5f23a6ba0ab90f4ff")) == b"www.example.com"  # RFC 7541, C.4.1
    for data in (b"\xff\xff\xff\xff", b"\x00", b"\xff\xff"):
        with pytest.raises(Http2Problem):
            unpacked(data)


def test_headers_that_unfold_are_refused_before_they_do() -> None:
    reader = HeaderReader(8 << 10)
    big = b"\x40\x01a" + b"\x7f\x81\x1e" + b"v" * 3_968  # kept in the table, then named by one byte each
    assert len(reader.read(big)) == 1
    with pytest.raises(Http2Problem, match="headers have more"):
        reader.read(b"\xbe" * 1_000)


# Calls -----------------------------------------------------------------------------------------------------------


def test_calls_and_their_deadlines(port: int) -> None:
    assert call(port) == b"hello"
    assert call(port, message=b"") == b""
    assert call(port, message=b"x" * 3_000_000) == b"x" * 3_000_000
    with pytest.raises(grpc.RpcError) as broken:
        call(port, "/broken")
    assert broken.value.code() is grpc.StatusCode.INTERNAL
    assert "incident" in broken.value.details()
    GATE.clear()
    with pytest.raises(grpc.RpcError) as late:
        call(port, "/slow", timeout=0.2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    GATE.set()


@pytest.mark.slow
def test_a_message_that_is_too_large_and_more_work_than_there_may_be() -> None:
    with echoing(Limits(body_bytes=1_000, waiting=1, request_s=0.3)) as (port, server):
        with pytest.raises(grpc.RpcError) as large:
            call(port, message=b"x" * 2_000)
        assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.RpcError) as bomb:
            call(port, message=bytes(900_000), compression=grpc.Compression.Gzip)
        assert bomb.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        GATE.clear()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            slow = channel.unary_unary("/slow")
            first = slow.future(b"a", timeout=5)
            while not server.deferred:
                time.sleep(0.005)
            with pytest.raises(grpc.RpcError) as busy:
                slow(b"b", timeout=5)
            assert busy.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert ("grpc-retry-pushback-ms", "1000") in [tuple(one) for one in busy.value.trailing_metadata()]
            assert first.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED  # the server's own, not the client's
            assert "longer than 0.3 s" in first.exception().details()
        GATE.set()
        assert server.late == 1


def test_an_answer_waits_for_the_clients_window(port: int) -> None:
    with Raw(port, frames.settings({frames.INITIAL_WINDOW: 4}), opening(1), message(1, b"0123456789")) as raw:
        first = [one for one in raw.frames(until=frames.DATA) if one[0] == frames.DATA]
        assert first[0][3] == b"\0\0\0\0"
        raw.say(frames.window_update(1, 11))
        found = raw.frames(until=frames.HEADERS)
        assert b"".join(payload for kind, _, _, payload in found if kind == frames.DATA) == b"\x0a0123456789"
        assert found[-1][1] & frames.END_STREAM


def test_a_call_in_pieces_and_padded(port: int) -> None:
    whole = b"\0\0\0\0\x02hi"
    data = [frame(frames.DATA, frames.PADDED, 1, b"\x03" + whole[at : at + 1] + b"\0\0\0") for at in range(len(whole))]
    block = [HEADERS[:10], HEADERS[10:20], HEADERS[20:]]
    said = b"".join(
        [
            frame(frames.HEADERS, 0, 1, block[0]),
            frame(frames.CONTINUATION, 0, 1, block[1]),
            frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[2]),
            *data,
            frame(frames.DATA, frames.END_STREAM, 1),
        ]
    )
    with Raw(port) as raw:
        for at in range(len(said)):
            raw.say(said[at : at + 1])
        found = raw.frames(until=frames.DATA)
        assert found[-1][3] == whole


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([opening(2)], frames.PROTOCOL),
        ([frame(frames.DATA, 0, 7, b"x")], frames.PROTOCOL),
        ([frame(frames.HEADERS, 0, 1, HEADERS), message(1)], frames.PROTOCOL),
        ([frame(frames.CONTINUATION, 4, 1, HEADERS)], frames.PROTOCOL),
        ([frame(frames.PUSH_PROMISE, 4, 1, HEADERS)], frames.PROTOCOL),
        ([frame(frames.DATA, 0, 1, bytes(frames.MOST_FRAME))], frames.FRAME_SIZE),
        ([frame(frames.SETTINGS, 0, 0, b"12345")], frames.FRAME_SIZE),
        ([frame(frames.PING, 0, 0, b"12345")], frames.FRAME_SIZE),
        ([frames.settings({frames.INITIAL_WINDOW: 1 << 31})], frames.FLOW_CONTROL),
        ([frames.settings({frames.MAX_FRAME: 1})], frames.PROTOCOL),
        ([frames.window_update(0, 0)], frames.PROTOCOL),
        ([frames.window_update(0, frames.MOST_WINDOW)], frames.FLOW_CONTROL),
        ([frames.reset(9, 0)], frames.PROTOCOL),
        ([opening(1, block=b"\xff\xff\xff\xff\xff\xff")], frames.COMPRESSION),
        ([opening(1, block=b"\x3f\xff\xff\x03")], frames.COMPRESSION),
        ([opening(1), frame(frames.DATA, frames.PADDED, 1, b"\x09ab")], frames.PROTOCOL),
        ([opening(1), opening(1)], frames.PROTOCOL),
        # What costs the server work and the client nothing, without end.
        ([frame(frames.HEADERS, 0, 1, b"")] + [frame(frames.CONTINUATION, 0, 1, literal(b"a", b"b" * 50))] * 1_000,
         frames.CALM),
        ([frame(frames.HEADERS, 0, 1, b"")] + [frame(frames.CONTINUATION, 0, 1, b"")] * 5_000, frames.CALM),
        ([opening(n) + frames.reset(n, frames.CANCEL) for n in range(1, 8_000, 2)], frames.CALM),
        ([frame(frames.PING, 0, 0, bytes(8))] * 5_000, frames.CALM),
        ([frames.settings({})] * 5_000, frames.CALM),
        ([opening(1)] + [frame(frames.DATA, 0, 1)] * 5_000, frames.CALM),
        ([opening(1, block=literal(b"x", b"y" * 40_000))], frames.CALM),
    ],
)  # fmt: skip
def test_who_breaks_the_protocol_is_told_and_let_go(port: int, said: list[bytes], code: int) -> None:
    with Raw(port, *said) as raw:
        assert raw.error() == code
    assert call(port) == b"hello"


def test_who_takes_calls_back_faster_than_they_are_answered_is_cut_off() -> None:
    """Rapid reset (CVE-2023-44487): 300 calls on one connection, each begun and taken back at once."""
    flood = b"".join(opening(n) + frames.reset(n, frames.CANCEL) for n in range(1, 600, 2))
    with echoing() as (port, server):
        with Raw(port, flood) as raw:
            assert raw.error() == frames.CALM
        assert server.goaways == {"rapid_reset": 1}
        assert call(port) == b"hello"


def test_who_makes_the_server_end_calls_is_cut_off_as_well() -> None:
    """The same by way of the server: 300 streams, each with a message that is taken up and one that is too large."""
    flood = b"".join(
        opening(n, block=STREAM) + message(n, flags=0) + frame(frames.DATA, frames.END_STREAM, n, b"\0\xff\xff\xff\xff")
        for n in range(1, 600, 2)
    )
    with echoing() as (port, server):
        with Raw(port, flood) as raw:
            said = raw.frames()
        ended = [stream for kind, _, stream, _ in said if kind == frames.RST_STREAM]
        assert ended == sorted(set(ended))
        last = {stream: kind for kind, _, stream, _ in said if stream}
        assert all(last[stream] == frames.RST_STREAM for stream in ended)  # nothing follows the end of a stream
        assert server.goaways == {"rapid_reset": 1}
        assert call(port) == b"hello"


def test_who_takes_back_as_many_calls_as_are_answered_is_served() -> None:
    with echoing() as (port, server), Raw(port) as raw:
        for n in range(1, 2_400, 4):
            raw.say(opening(n) + frames.reset(n, frames.CANCEL) + opening(n + 2) + message(n + 2))
            assert raw.frames(until=frames.DATA)[-1][3] == b"\0\0\0\0\2hi"
        assert server.goaways == {}


def test_more_calls_at_once_than_there_may_be_are_refused_alone(port: int) -> None:
    with Raw(port, *(opening(n) for n in range(1, 400, 2))) as raw:
        refused = [one for one in raw.frames(until=frames.RST_STREAM) if one[0] == frames.RST_STREAM]
        assert int.from_bytes(refused[0][3], "big") == frames.REFUSED
        raw.say(message(1))
        assert raw.frames(until=frames.DATA)[-1][2] == 1


@pytest.mark.parametrize(
    "block",
    [
        HEADERS.replace(b"POST", b"PUTS"),
        HEADERS.replace(b"application/grpc", b"application/json"),
        HEADERS.replace(b"localhost", b"evil.test"),
        b"",
    ],
)
def test_what_is_no_call_of_ours_is_refused(port: int, block: bytes) -> None:
    with Raw(port, opening(1, block=block), message(1)) as raw:
        found = raw.frames(until=frames.HEADERS)[-1]
        said = dict(hpack.Decoder().decode(found[3]))
        assert said[":status"] == "404" or said["grpc-status"] == "7"


def test_clients_that_wait_for_ever_are_let_go() -> None:
    limits = Limits(header_s=0.2, body_s=0.2, idle_s=0.2, write_s=0.2)
    with echoing(limits) as (port, server):
        silent = socket.create_connection(("127.0.0.1", port))
        with (
            Raw(port) as idle,
            Raw(port, opening(1)) as half,
            Raw(port, frames.settings({frames.INITIAL_WINDOW: 0}), opening(1), message(1)) as deaf,
        ):
            assert idle.error() == frames.NO_ERROR
            ended = [one for one in half.frames(until=frames.RST_STREAM) if one[0] == frames.HEADERS]
            assert dict(hpack.Decoder().decode(ended[0][3]))["grpc-status"] == "4"
            assert deaf.frames(until=frames.RST_STREAM)[-1][2] == 1
        assert silent.recv(100) == b""
        silent.close()
        deadline = time.monotonic() + 30
        while server.connections and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not server.connections
        assert server.buffered == 0


def test_a_server_that_stops_answers_what_it_took() -> None:
    GATE.clear()
    with echoing() as (port, server):
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        waiting = channel.unary_unary("/slow").future(b"last", timeout=10)
        while not server.deferred:
            time.sleep(0.005)
        threading.Timer(0.2, GATE.set).start()
    assert waiting.result() == b"last"
    with pytest.raises(grpc.RpcError) as gone:
        channel.unary_unary("/echo")(b"x", timeout=1)
    assert gone.value.code() is grpc.StatusCode.UNAVAILABLE
    channel.close()


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_frames_harm_the_server(port: int, data: st.DataObject) -> None:
    """Good frames with bytes changed, dropped, doubled and cut: the server answers or lets go, and never hangs."""
    good = [opening(1), message(1), frames.settings({4: 100}), opening(3), frames.window_update(0, 9),
            message(3, b"x" * 50), frames.reset(3, 8), frame(frames.PING, 0, 0, bytes(8)),
            opening(5, frames.END_HEADERS | frames.END_STREAM)]  # fmt: skip
    order = data.draw(st.lists(st.sampled_from(good), min_size=1, max_size=8))
    bad = bytearray(b"".join(order))
    source = random.Random(data.draw(st.integers(0, 1 << 30)))
    for _ in range(data.draw(st.integers(0, 6))):
        bad[source.randrange(len(bad))] = source.randrange(256)
    with Raw(port, bytes(bad[: data.draw(st.integers(1, len(bad)))])) as raw:
        raw.socket.shutdown(socket.SHUT_WR)
        raw.frames()
    with Raw(port, opening(1), message(1)) as raw:
        assert raw.frames(until=frames.DATA)[-1][3] == b"\0\0\0\0\x02hi"
