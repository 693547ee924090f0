"""Commands about streams: stream."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, columns, moment, say

if TYPE_CHECKING:
    from bascule.project.streaming import StreamInfo

stream = App(name="stream", help="Streams: events that are counted as they come, and land in the lake.")


@stream.command
def run(
    *names: str,
    once: Annotated[bool, Parameter(help="Take over what is there now, and end.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Consume streams until Ctrl-C or SIGTERM: count their events in features, and land them in their tables.

    Args:
        names: which streams; all of the project's if none is named.
    """
    project = common.open()
    with _stopping() as stop:
        found = project.run_streams(*names, once=once, stop=stop, say=lambda text: say(text))
    _answer(common, found)


@stream.command
def status(*, common: Common = COMMON) -> None:
    """How each stream is: how far behind, how fresh, what was set aside, what is waited for."""
    _answer(common, common.open().streams())


@stream.command
def replay(
    name: str,
    /,
    *,
    view: Annotated[str | None, Parameter(help="Only this feature view.")] = None,
    common: Common = COMMON,
) -> None:
    """Count a stream's features anew from its table: readers see the old values, then the new ones.

    Args:
        name: the stream.
    """
    found = common.open().replay_stream(name, view=view)
    rows = [(one.view, f"{one.rows:,}") for one in found]
    none = f"No feature view counts {name}: give one a hop."
    answer(common, [msgspec.to_builtins(one) for one in found], columns(rows, ("view", "events"), none=none))


def _answer(common: Common, found: list[StreamInfo]) -> None:
    heads = ("stream", "", "events", "a second", "set aside", "behind", "newest event", "waiting")
    rows = [
        (
            one.name,
            "running" if one.running else "not running",
            f"{one.events:,}",
            f"{one.rate:,.0f}",
            ", ".join(f"{count:,} {why}" for why, count in one.aside.items()),
            "" if one.lag is None else f"{one.lag:,}",
            "" if one.newest is None else moment(one.newest),
            f"{one.waiting:,}",
        )
        for one in found
    ]
    text = columns(rows, heads, none="The project has no stream. Write [stream.TABLE] into bascule.toml.")
    lines = [(view.view, f"{view.rows:,}", _behind(view.behind)) for one in found for view in one.views]
    if lines:
        text += "\n\n" + columns(lines, ("features", "events", "behind"))
    for one in found:
        for part, problem in one.problems.items():
            text += f"\n{one.name}: {part}: {problem}"
    answer(common, [one.as_dict() for one in found], text)


def _behind(entries: int | None) -> str:
    return "nothing yet" if entries is None else f"{entries:,} batches" if entries else ""


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Let Ctrl-C and SIGTERM set an event: what was taken over is landed before the end."""
    stop = threading.Event()

    def ask(number: int, frame: Any) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
