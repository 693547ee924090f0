"""One-row inference over HTTP, every answer logged before it is sent, beside what is possible at all.

    python benchmarks/inference.py [SECONDS_PER_ROUND]

Three servers, one process each, on the same model and the same request, in turn, several rounds in one run:

- `bare`: uvloop + httptools that answers a fixed text;
- `by hand`: the same that also reads the request, scores it by the same runtime and answers; no routes, no checks, no
  log, no figures: what a careful person would write for this one model;
- `bascule`: `bascule serve`, with its durable log.

The client is a process of its own that keeps one request under way on each connection. The requests: one tensor of 30
numbers, in JSON and in bytes; 12 columns by name, and the same as `{"instances": [{…}]}`. Then the same over gRPC (the tensor), where the limits are grpcio's own asyncio server with an
empty handler, and with a handler by hand; the client there writes frames itself, since grpcio's costs more than any server.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

COLUMNS = [f"number_{n}" for n in range(10)] + ["carrier", "origin"]
CARRIERS = ("AA", "B6", "DL", "UA", "WN")
WIDTH = 30
ROUNDS = 5
CONNECTIONS = (1, 32)
LIMIT = "by hand"
KINDS = {"tensor": "tensor", "bytes": "tensor", "columns": "columns", "instances": "columns"}  # and which model it asks


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_workspace(place)
        for kind in KINDS:
            found = measure(place, kind, seconds, ("bare", LIMIT, "bascule"))
            report(f"{kind} over HTTP", found, "bare")
        found = measure(place, "tensor", seconds, ("grpc.aio", "aio by hand", "bascule"), grpc=True)
        report("tensor over gRPC", found, "grpc.aio", "aio by hand")


def measure(
    place: Path, kind: str, seconds: float, names: tuple[str, ...], grpc: bool = False
) -> dict[tuple[str, int], list[dict[str, float]]]:
    body, headers = (grpc_body(), "") if grpc else request_body(kind)
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    path = GRPC_PATH if grpc else f"/v2/models/{KINDS[kind]}/{'predict' if kind == 'instances' else 'infer'}"
    with running(place, kind, names, grpc) as servers:
        for connections in CONNECTIONS:
            for round_number in range(ROUNDS + 1):
                for name in names:
                    port, process = servers[name]
                    before = cpu_seconds(process)
                    figures = load(port, path, body, headers, connections, seconds, grpc)
                    figures["cpu"] = (cpu_seconds(process) - before) / figures["count"] * 1e6
                    if round_number:  # the first warms up
                        found.setdefault((name, connections), []).append(figures)
    return found


def report(kind: str, found: dict[tuple[str, int], list[dict[str, float]]], least: str, by_hand: str = LIMIT) -> None:
    print(f"\none row, {kind}; median of {ROUNDS} rounds")
    print(
        f"{'server':<12}{'connections':>12}{'requests/s':>12}{'p50 µs':>9}{'p99 µs':>9}{'CPU µs':>9}{'of by hand':>12}{'of ' + least:>12}"
    )
    middle = {
        key: {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        for key, rounds in found.items()
    }
    for (name, connections), figures in middle.items():
        rate = figures["rate"]
        hand, bare = middle[by_hand, connections]["rate"], middle[least, connections]["rate"]
        print(
            f"{name:<12}{connections:>12}{rate:>12,.0f}{figures['p50']:>9.0f}{figures['p99']:>9.0f}{figures['cpu']:>9.1f}"
            f"{rate / hand:>12.0%}{rate / bare:>12.0%}"
        )


# The workspace and the requests -----------------------------------------------------------------------------------


def make_workspace(place: Path) -> None:
    from bascule.history import Workspace

    ws = Workspace.create(place)
    changes: dict[str, dict[str, Any]] = {}
    for kind in ("columns", "tensor"):
        data, signature = bundle(kind)
        entry = {"version": 1, "artifact": ws.store.put(data), "format": "lightgbm", "signature": signature}
        changes[f"models/{kind}"] = {"kind": "model", "name": kind, "versions": {"1": entry}, "aliases": {}}
        changes[f"deployments/{kind}"] = {
            "kind": "deployment", "name": kind, "model": kind, "traffic": [{"version": 1, "weight": 100}],
            "strategy": "all_at_once", "revision": 1, "rollout": None, "rules": {}, "trail": [],
        }  # fmt: skip
    ws.history.commit("main", changes, message="Two models")
    ws.close()


@cache
def bundle(kind: str) -> tuple[bytes, dict[str, Any]]:
    from bascule.training.threads import calm_threads

    calm_threads()  # as a server has it, before the library is loaded
    import lightgbm

    from bascule.training import Field, Output, Signature, TrainedModel, pack_model

    if kind == "columns":
        fields = [
            Field(name=name, type="varchar", categories=CARRIERS)
            if name in COLUMNS[10:]
            else Field(name=name, type="double")
            for name in COLUMNS
        ]
    else:
        fields = [Field(name=f"x{n}", type="double") for n in range(WIDTH)]
    signature = Signature(inputs=tuple(fields), output=Output(task="binary", classes=("0", "1")))
    random = np.random.default_rng(0)
    matrix = random.normal(size=(5_000, len(fields)))
    for column in signature.categorical():
        matrix[:, column] = random.integers(0, len(CARRIERS), 5_000)
    label = matrix[:, :5].sum(axis=1) + random.normal(size=5_000) > 0
    data = lightgbm.Dataset(matrix, label, categorical_feature=signature.categorical())
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 100)
    model = TrainedModel(format="lightgbm", artifact=booster.model_to_string().encode(), signature=signature)
    return pack_model(model), signature.as_dict()


def request_body(kind: str) -> tuple[bytes, str]:
    """Return a request's body, and the header lines that belong to it."""
    random = np.random.default_rng(1)
    if KINDS[kind] == "tensor":
        row = random.normal(size=WIDTH).astype(np.float32)
        tensor: dict[str, Any] = {"name": "input", "shape": [1, WIDTH], "datatype": "FP32"}
        if kind == "tensor":
            return json.dumps({"inputs": [{**tensor, "data": row.tolist()}]}).encode(), ""
        header = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": row.nbytes}}]}).encode()
        return header + row.tobytes(), f"inference-header-content-length: {len(header)}\r\n"
    values: dict[str, Any] = {name: round(float(random.normal()), 4) for name in COLUMNS[:10]}
    values |= dict.fromkeys(COLUMNS[10:], "DL")
    if kind == "instances":
        return json.dumps({"instances": [values]}).encode(), ""
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES" if name in COLUMNS[10:] else "FP64", "data": [value]}
        for name, value in values.items()
    ]
    return json.dumps({"inputs": inputs}).encode(), ""


GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"


def grpc_body() -> bytes:
    from tritonclient.grpc import service_pb2 as pb

    row = np.random.default_rng(1).normal(size=WIDTH).astype(np.float32)
    asked = pb.ModelInferRequest(model_name="tensor", raw_input_contents=[row.tobytes()])
    asked.inputs.add(name="input", datatype="FP32", shape=[1, WIDTH])
    return bytes(asked.SerializeToString())


# The servers ------------------------------------------------------------------------------------------------------


@contextmanager
def running(place: Path, kind: str, names: tuple[str, ...], grpc: bool) -> Iterator[dict[str, tuple[int, int]]]:
    spawn = multiprocessing.get_context("spawn")
    processes, servers = [], {}
    for name in names:
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=serve, args=(name, str(place), kind, theirs, grpc), daemon=True)
        process.start()
        processes.append(process)
        servers[name] = ours.recv(), process.pid or 0
    yield servers
    for process in processes:
        process.terminate()
        process.join()


def cpu_seconds(process: int) -> float:
    """What a process has used of the processors, itself and the kernel for it."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve(name: str, place: str, kind: str, pipe: Any, grpc: bool) -> None:
    if name == "bascule":
        from bascule.protocols.openinference import run_worker

        run_worker(
            place, port=0, ready=lambda said: pipe.send(int((said.grpc if grpc else said.url).rpartition(":")[2]))
        )
        return
    if grpc:
        asyncio.run(serve_aio(kind, name != "grpc.aio", pipe))
        return
    import uvloop

    answer = (lambda body: b'{"model_name":"bare"}') if name == "bare" else by_hand(kind)
    made = Measured if kind == "bytes" and name != "bare" else Bare

    async def listen() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: made(answer), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(listen())


async def serve_aio(kind: str, scoring: bool, pipe: Any) -> None:
    """Serve gRPC by grpcio's asyncio server: nothing at all, or the model by hand with Triton's messages."""
    import grpc
    from tritonclient.grpc import service_pb2 as pb

    from bascule.serving import load_runtime
    from bascule.training import unpack_model

    runtime = load_runtime(unpack_model(bundle(kind)[0]))
    empty = pb.ModelInferResponse(model_name="bare").SerializeToString()

    async def nothing(request: bytes, context: Any) -> bytes:
        return empty

    async def infer(request: bytes, context: Any) -> bytes:
        asked = pb.ModelInferRequest.FromString(request)
        row = np.frombuffer(asked.raw_input_contents[0], dtype=np.float32).tolist()
        share = runtime.predict_one(row)[0]
        said = pb.ModelInferResponse(model_name=kind, model_version="1")
        said.outputs.add(name="probability", datatype="FP64", shape=[1])
        said.raw_output_contents.append(np.float64(share).tobytes())
        return said.SerializeToString()  # type: ignore[no-any-return]

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(infer if scoring else nothing)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": method})]
    )
    pipe.send(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await server.wait_for_termination()


class Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[float | str]


class Infer(msgspec.Struct):
    inputs: list[Tensor]


class Predict(msgspec.Struct):
    instances: list[dict[str, float | str]]


class Raw(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str


class RawInfer(msgspec.Struct):
    inputs: list[Raw]


class Bare(asyncio.Protocol):
    """As little as HTTP takes."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        import httptools

        self.answer = answer
        self.parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.body = b""

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        said = self.answer(self.body)
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(said), said)
        )


class Measured(Bare):
    """It also looks how long the JSON before the bytes is."""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"inference-header-content-length":
            self.size = int(value)

    def on_message_complete(self) -> None:
        self.body = self.body[: self.size], self.body[self.size :]  # type: ignore[assignment]
        super().on_message_complete()


def by_hand(kind: str) -> Callable[[Any], bytes]:
    from bascule.serving import load_runtime
    from bascule.training import unpack_model

    runtime = load_runtime(unpack_model(bundle(KINDS[kind])[0]))
    encode = msgspec.json.Encoder().encode
    decode: Any = msgspec.json.Decoder({"instances": Predict, "bytes": RawInfer}.get(kind, Infer)).decode
    unpack = struct.Struct(f"<{WIDTH}f").unpack
    codes = {text: float(code) for code, text in enumerate(CARRIERS)}
    nan = float("nan")

    def answer(body: Any) -> bytes:
        if kind == "bytes":
            decode(body[0])
            row: Any = unpack(body[1])
        elif kind == "tensor":
            row = decode(body).inputs[0].data
        else:
            asked = decode(body)
            sent = asked.instances[0] if kind == "instances" else {one.name: one.data[0] for one in asked.inputs}
            row = [sent[name] for name in COLUMNS[:10]] + [codes.get(sent[name], nan) for name in COLUMNS[10:]]
        share = runtime.predict_one(row)[0]
        label = "1" if share >= 0.5 else "0"
        if kind == "instances":
            said = [{"probability": share, "label": label}]
            return encode({"model_name": kind, "model_version": "1", "predictions": said})
        return encode(
            {
                "model_name": kind,
                "model_version": "1",
                "outputs": [
                    {"name": "probability", "datatype": "FP64", "shape": [1], "data": [share]},
                    {"name": "label", "datatype": "BYTES", "shape": [1], "data": [label]},
                ],
            }
        )

    return answer


# The client -------------------------------------------------------------------------------------------------------


class Client(asyncio.Protocol):
    """Keeps one request under way."""

    def __init__(self, request: bytes, taken: list[int]) -> None:
        self.request = request
        self.taken = taken

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.begun = time.perf_counter_ns()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 200") and data.endswith(b"}"), data
        now = time.perf_counter_ns()
        self.taken.append(now - self.begun)
        self.begun = now
        self.transport.write(self.request)


class GrpcClient(asyncio.Protocol):
    """Keeps one call under way: frames written by hand, answers known by their last frame."""

    def __init__(self, headers: bytes, body: bytes, taken: list[int]) -> None:
        self.headers, self.body = headers, b"\0" + len(body).to_bytes(4, "big") + body
        self.taken = taken
        self.stream, self.rest, self.received = 1, b"", 0

    def connection_made(self, transport: Any) -> None:
        from bascule.serving.http2 import frames

        self.transport = transport
        transport.write(frames.PREFACE + frames.settings({}) + frames.window_update(0, 1 << 30))
        self.ask()

    def ask(self) -> None:
        from bascule.serving.http2 import frames

        self.begun = time.perf_counter_ns()
        self.transport.write(
            frames.frame(frames.HEADERS, frames.END_HEADERS, self.stream, self.headers)
            + frames.frame(frames.DATA, frames.END_STREAM, self.stream, self.body)
        )

    def data_received(self, data: bytes) -> None:
        from bascule.serving.http2 import frames

        data = self.rest + data
        at = 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == frames.SETTINGS and not flags & frames.ACK:
                self.transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
            elif kind == frames.PING and not flags & frames.ACK:
                self.transport.write(frames.frame(frames.PING, frames.ACK, 0, data[at + 9 : end]))
            elif kind == frames.DATA:
                self.received = end - at - 9
            elif kind == frames.HEADERS and flags & frames.END_STREAM:
                assert self.received > 5, data
                self.taken.append(time.perf_counter_ns() - self.begun)
                self.stream, self.received = self.stream + 2, 0
                self.ask()
            at = end
        self.rest = data[at:]


def load(
    port: int, path: str, body: bytes, headers: str, connections: int, seconds: float, grpc: bool
) -> dict[str, float]:
    """Ask for some seconds, in a process of its own, and return requests/s and latencies in µs."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        taken, lasted = pool.apply(ask, (port, path, body, headers, connections, seconds, grpc))
    times = np.array(taken) / 1e3
    return {
        "count": len(times),
        "rate": len(times) / lasted,
        "p50": float(np.median(times)),
        "p99": float(np.quantile(times, 0.99)),
    }


def ask(
    port: int,
    path: str,
    body: bytes,
    more: str,
    connections: int,
    seconds: float,
    grpc: bool,
    http: Callable[[bytes, list[int]], asyncio.Protocol] = Client,
) -> tuple[list[int], float]:
    import uvloop

    from bascule.serving.http2.hpack import literal

    request = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: load\r\naccept: */*\r\n"
        f"content-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
    ).encode() + body
    headers = b"".join(
        literal(name, value)
        for name, value in (
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"127.0.0.1"),
            (b"content-type", b"application/grpc"), (b"te", b"trailers"), (b"user-agent", b"load"),
        )
    )  # fmt: skip
    taken: list[int] = []

    def client() -> asyncio.Protocol:
        return GrpcClient(headers, body, taken) if grpc else http(request, taken)

    async def work() -> float:
        loop = asyncio.get_running_loop()
        begun = time.perf_counter()
        made = [await loop.create_connection(client, "127.0.0.1", port) for _ in range(connections)]
        await asyncio.sleep(seconds)
        lasted = time.perf_counter() - begun
        for transport, _ in made:
            transport.abort()
        return lasted

    return taken, uvloop.run(work())


if __name__ == "__main__":
    main()
