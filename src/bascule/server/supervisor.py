"""`bascule up`: one process in the foreground that serves the page and the API, keeps the inference worker alive, and
runs the scheduler; and that ends all of it cleanly.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import msgspec
import uvicorn
from starlette.types import ASGIApp

from bascule.errors import Busy, EnvironmentProblem
from bascule.history import Workspace
from bascule.history.workspace import SERVED
from bascule.server.child import Child, tethered
from bascule.server.ports import listen
from bascule.server.scheduler import Scheduler, Tick
from bascule.server.settings import ServerSettings
from bascule.store.locking import FileLock, Locked

log = logging.getLogger("bascule.server")

CRASHED = (
    "Models run in it where [deployment.service] workers is 0, and one that crashes takes all others along; with "
    "workers = 1 it has a process of its own."
)
CHECK_EVERY = 0.2
SOON_SECONDS, START_SECONDS = 2, 30
DRAIN_SECONDS = 5

MakeApp = Callable[[Workspace, ServerSettings], ASGIApp]


def up(
    workspace: Workspace,
    settings: ServerSettings,
    make_app: MakeApp,
    *,
    ticks: Sequence[Tick] = (),
    announce: Callable[[str], None] = print,
    stopping: threading.Event | None = None,
) -> None:
    """Serve a workspace until Ctrl-C or SIGTERM, then end everything that was started.

    Args:
        make_app: makes the application to serve, such as `bascule.web.create_app`.
        ticks: what the scheduler does.
        announce: called once, with the page's URL, when everything answers.
        stopping: ends the server when it is set, as a signal does.

    Raises:
        Busy: another `bascule up` serves this workspace.
        EnvironmentProblem: a port is taken, or others could connect while there is no token.
    """
    app = make_app(workspace, settings)
    with (
        _alone(workspace, settings),
        _stop_signals(stopping or threading.Event()) as stopped,
        listen(settings.host, settings.port, with_next=settings.inference) as sock,
    ):
        settings = msgspec.structs.replace(settings, port=sock.getsockname()[1])
        worker = (
            Child("The inference worker", worker_command(workspace, settings), CRASHED) if settings.inference else None
        )
        scheduler = Scheduler(workspace, ticks if settings.scheduler else ())
        web = _Web(app, sock)
        try:
            _start(web, worker, scheduler)
            announce(settings.url)
            while not stopped.wait(CHECK_EVERY):
                if worker:
                    worker.check()
                web.demand_alive()
        finally:
            scheduler.stop()
            if worker:
                worker.stop()
            web.stop()


def _start(web: _Web, worker: Child | None, scheduler: Scheduler) -> None:
    web.start()  # first, by itself: a machine of two cores would halve the speed of both
    web.wait_until_started()
    if worker:
        worker.start()
    if worker and not worker.wait_until_ready(SOON_SECONDS) and worker.alive:
        log.warning("The page answers; inference loads its models, and says until then that it is not ready.")
    if worker and not worker.wait_until_ready(START_SECONDS):
        log.warning("The inference worker does not answer yet; the page does.")
    scheduler.start()


def worker_command(workspace: Workspace, settings: ServerSettings) -> list[str]:
    """Return the command of the inference worker, which listens on the two ports after the page's."""
    where = (str(workspace.folder), settings.inference_host, str(settings.port + 1))
    return tethered("bascule.protocols.openinference", *where)


@contextmanager
def _alone(workspace: Workspace, settings: ServerSettings) -> Iterator[None]:
    """Hold the workspace's lock: two schedulers would do everything twice."""
    pid = os.getpid()
    where = f" at {settings.url}" if settings.port else ""
    try:
        with FileLock(workspace.folder / SERVED, f"process {pid}{where}"):
            yield
    except Locked as held:
        raise Busy(
            f"This workspace is served already, by {held.note or 'another process'}.",
            hint="Use that one, or stop it first: Ctrl-C in its terminal, or kill with its process number.",
        ) from None


class _Web(threading.Thread):
    """Uvicorn in a thread, so that the main thread can look after the rest and get the signals."""

    def __init__(self, app: ASGIApp, sock: socket.socket) -> None:
        super().__init__(name="bascule-web", daemon=True)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        self.server = uvicorn.Server(config)
        self.sock = sock

    def run(self) -> None:
        self.server.run(sockets=[self.sock])

    def wait_until_started(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.server.started:
            self.demand_alive()
            if time.monotonic() > deadline:
                raise EnvironmentProblem(
                    f"The server did not start within {START_SECONDS} s.",
                    hint="The machine may be busy: repeat. What it logged says more.",
                )
            time.sleep(0.01)

    def demand_alive(self) -> None:
        if not self.is_alive():
            raise EnvironmentProblem("The server ended unexpectedly.", hint="Its log has the reason.")

    def stop(self) -> None:
        self.server.should_exit = True
        if self.is_alive():
            self.join(DRAIN_SECONDS * 2)


@contextmanager
def _stop_signals(stopping: threading.Event) -> Iterator[threading.Event]:
    """Let Ctrl-C and SIGTERM set an event, in place of what they do otherwise."""

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
