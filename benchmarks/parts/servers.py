"""Servers of one process each: Bascule, as little as HTTP or gRPC takes, and the model by hand."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from parts.models import CARRIERS, COLUMNS, KINDS, WIDTH, bundle
from parts.turns import Server, cores


@contextmanager
def running(
    place: Path, kind: str, names: tuple[str, ...], grpc: bool, pinned: bool = False
) -> Iterator[dict[str, Server]]:
    """Run servers of one model by name; each is `pinned` to the same core if that is said."""
    spawn = multiprocessing.get_context("spawn")
    processes, servers = [], {}
    for name in names:
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=serve, args=(name, str(place), kind, theirs, grpc, pinned), daemon=True)
        process.start()
        processes.append(process)
        servers[name] = Server(ours.recv(), process.pid or 0)
    yield servers
    for process in processes:
        process.terminate()
        process.join()


def cpu_seconds(process: int) -> float:
    """What a process has used of the processors, itself and the kernel for it."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve(name: str, place: str, kind: str, pipe: Any, grpc: bool, pinned: bool) -> None:
    if pinned:
        os.sched_setaffinity(0, {cores()[1]})
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
