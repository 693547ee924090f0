"""Runs a project's streams in this process, a thread each."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bascule.errors import Busy, InputError
from bascule.features.streams.consuming import Consumer
from bascule.project.place import Place
from bascule.project.streaming.assembling import folder_of, open_stream
from bascule.project.streaming.status import StreamInfo, list_streams
from bascule.store.locking import FileLock, Locked

Say = Callable[[str], None]


def run_streams(
    place: Place,
    names: Sequence[str] = (),
    *,
    once: bool = False,
    stop: threading.Event | None = None,
    say: Say = lambda text: None,
) -> list[StreamInfo]:
    """Consume streams until `stop` is set; with `once`, what is there now.

    Args:
        names: which; all of the project's if empty.
        say: told what somebody should know, a sentence each.

    Returns:
        How each is then.

    Raises:
        InputError: the project has no stream, or a view of one cannot be counted event by event.
        Busy: another process consumes one of them.
        EnvironmentProblem, CheckFailed: with `once`, a source does not answer, or a contract refuses.
    """
    if not place.file.stream:
        raise InputError("The project has no stream.", hint="Write [stream.TABLE] into bascule.toml: docs/streams.md.")
    names, branch = names or tuple(place.file.stream), place.branch
    stop = stop or threading.Event()
    with ExitStack() as held:
        consumers = []
        for name in names:
            told = _prefixed(say, name) if len(names) > 1 else say
            stream = open_stream(place.file, place.workspace, name, branch, told)
            held.enter_context(_alone(folder_of(place.workspace, name, branch) / "consumer", name))
            consumer = Consumer(stream, told)
            held.callback(consumer.close)
            consumers.append(consumer)
        if once:
            for consumer in consumers:
                consumer.drain(stop)
        else:
            _together(consumers, stop)
    return [info for info in list_streams(place) if info.name in names]


def _together(consumers: Sequence[Consumer], stop: threading.Event) -> None:
    failed: list[BaseException] = []

    def run(consumer: Consumer) -> None:
        try:
            consumer.run(stop)
        except BaseException as error:
            failed.append(error)
            stop.set()

    threads = [threading.Thread(target=run, args=(one,), name=f"stream-{one.stream.name}") for one in consumers]
    for thread in threads:
        thread.start()
    try:
        while not stop.wait(0.2):
            pass
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


@contextmanager
def _alone(path: Path, name: str) -> Iterator[None]:
    """Hold a stream for this process."""
    try:
        with FileLock(path, f"process {os.getpid()}"):
            yield
    except Locked as held:
        raise Busy(
            f"The stream {name!r} is consumed already, by {held.note or 'another process'}.",
            hint="Use that one, or end it first.",
        ) from None


def _prefixed(say: Say, name: str) -> Say:
    return lambda text: say(f"{name}: {text}")
