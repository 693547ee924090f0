"""The inference process: it loads what is deployed, listens, and answers until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from bascule.history import Workspace
from bascule.protocols.openinference.application import Application
from bascule.protocols.openinference.grpc import GrpcService
from bascule.serving.dataplane import DataPlane
from bascule.serving.http import Also, HttpServer, Limits
from bascule.serving.http2 import Http2Connection
from bascule.serving.log import JournalLimits, PredictionLog, TruthLog
from bascule.serving.log.vectors import FeatureLog
from bascule.serving.metrics import exposition

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# The hot path makes few cycles; the youngest generation is looked at rarely, and what was loaded never again.
GC_THRESHOLD = (20_000, 20, 100)


class Ready(msgspec.Struct, frozen=True):
    """What a worker says when it answers.

    Attributes:
        url: where.
        branch: what it serves at `/v2`.
        deployments: their names.
        grpc: the address of gRPC.
    """

    url: str
    branch: str
    deployments: list[str]
    grpc: str = ""
    event: str = "ready"


def run_worker(
    workspace: Path | str,
    host: str = "127.0.0.1",
    port: int = 7401,
    branch: str = "main",
    *,
    limits: Limits | None = None,
    journal: JournalLimits | None = None,
    ready: Callable[[Ready], None] | None = None,
    grpc_port: int | None = None,
) -> None:
    """Serve a workspace's deployments until SIGTERM or SIGINT; then answer what was asked and return.

    Args:
        workspace: its folder, or the project's.
        host: a name or address of this machine's loopback.
        port: 0 takes a free one.
        branch: what is served at `/v2`; others are at `/branch/NAME/v2`.
        limits: of the HTTP server.
        journal: of the prediction log.
        ready: called once when requests are answered; without it one line of JSON is printed.
        grpc_port: where gRPC listens, 0 for a free port; the port after HTTP's when it is not given, any free one when
            HTTP's is.

    Raises:
        NotFound: there is no such workspace or branch.
        InputError: the host is not loopback.
        EnvironmentProblem: the port is taken.
    """
    import uvloop

    with _signals_kept(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(workspace, host, port, grpc_port, branch, limits, journal, ready or _print))


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Give signals back to who had them: a loop of uvloop that has ended would swallow every later Ctrl-C."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


async def _serve(
    workspace: Path | str,
    host: str,
    port: int,
    grpc_port: int | None,
    branch: str,
    limits: Limits | None,
    journal: JournalLimits | None,
    ready: Callable[[Ready], None],
) -> None:
    ws = Workspace.open(workspace)
    plane = DataPlane(ws, branch)
    stop = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    predictions, truths = PredictionLog(ws.log_folder, journal), TruthLog(ws.log_folder, journal)
    vectors = FeatureLog(ws.log_folder, journal)
    journals = (predictions.journal, truths.journal, vectors.journal)
    try:
        server, grpc = build_server(plane, predictions, truths, limits, vectors)
        if grpc_port is None:
            grpc_port = port + 1 if port else 0
        also = Also(grpc_port, lambda: Http2Connection(server, grpc), "--grpc-port")
        bound, grpc_bound = await server.start(host, port, also)
        if not await _started(plane, stop):  # meanwhile it answers that it starts; who asks a model waits for it
            plane.stop()
            await server.stop()
            return
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        state = plane.state(branch)
        shown = f"[{host}]" if ":" in host else host
        names = sorted(state.deployments) if state else []
        ready(Ready(f"http://{shown}:{bound}", branch, names, f"{shown}:{grpc_bound}"))
        await stop.wait()
        await server.stop()
    finally:
        gc.unfreeze()
        plane.stop()
        for one in journals:
            with suppress(Exception):  # nothing that was answered waits here: answers leave after their records
                one.close()
        ws.close()


async def _started(plane: DataPlane, stop: asyncio.Event) -> bool:
    """Start a data plane; return False when it is told to stop first, for a version may hang while it is loaded."""
    loop = asyncio.get_running_loop()
    started: asyncio.Future[BaseException | None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if not started.done():
            started.set_result(error)

    def start() -> None:
        error: BaseException | None = None
        try:
            plane.start()
        except BaseException as failure:
            error = failure
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(tell, error)

    # A thread of the loop's own would be waited for when the process ends.
    threading.Thread(target=start, name="load-all", daemon=True).start()
    told = asyncio.ensure_future(stop.wait())
    either: set[asyncio.Future[Any]] = {started, told}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not started.done():
        started.cancel()
        return False
    if error := started.result():
        raise error
    return True


def build_server(
    plane: DataPlane,
    predictions: PredictionLog,
    truths: TruthLog,
    limits: Limits | None = None,
    vectors: FeatureLog | None = None,
) -> tuple[HttpServer, GrpcService]:
    """Return a server that answers the protocol, and what answers it over gRPC. It listens when it is started."""
    journals = (predictions.journal, truths.journal, *([vectors.journal] if vectors is not None else []))
    application = Application(
        plane,
        predictions,
        truths,
        metrics=lambda: exposition(plane, server, journals),
        draining=lambda: server.draining,
        vectors=vectors,
    )
    server = HttpServer(application.handle, limits, application.quick)
    server.ticks += [journal.tick for journal in journals]
    return server, GrpcService(application)


def _print(ready: Ready) -> None:
    print(msgspec.json.encode(ready).decode(), flush=True)
