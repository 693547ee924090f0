"""The answers of one turn of the event loop: first all that must be kept is kept, with one write, then all are sent."""

from __future__ import annotations

import asyncio
from typing import Protocol

from bascule.errors import EnvironmentProblem
from bascule.serving.http.message import Kept, Response, error_response


class Outlet(Protocol):
    """A connection, as a turn sees it."""

    def send(self, data: bytes) -> None:
        """Send bytes to the client."""
        ...

    def encode(self, response: Response, last: bool, instead: bytes) -> bytes:
        """Return an answer as bytes, instead of one that could not be kept.

        Args:
            last: the connection closes after it.
        """
        ...

    def hang_up(self) -> None:
        """Say that nothing more will be sent."""
        ...

    def abort(self) -> None:
        """Close now."""
        ...


class Turn:
    """Collects answers until the event loop comes round.

    Answers of one connection leave in the order in which they were added.

    Attributes:
        held: a connection is reading; it calls `release` when it is done.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.held = False
        self._scheduled = False
        self._loop = loop
        self._answers: list[tuple[Outlet, bytes, Kept | None, bool]] = []
        self._ended: list[Outlet] = []

    def add(self, outlet: Outlet, data: bytes, kept: Kept | None = None, last: bool = False) -> None:
        """Send bytes to a client once `kept` is safe."""
        self._answers.append((outlet, data, kept, last))
        if not self.held and not self._scheduled:
            self._schedule()

    def end(self, outlet: Outlet) -> None:
        """Hang up on a client once its answers were sent."""
        self._ended.append(outlet)
        if not self.held and not self._scheduled:
            self._schedule()

    def release(self, alone: bool) -> None:
        """A connection has read what came: send the answers now when it is alone, else when the loop comes round."""
        self.held = False
        if self._answers or self._ended:
            if alone:
                self.finish()
            elif not self._scheduled:
                self._schedule()

    def say(self, outlet: Outlet, data: bytes, kept: Kept, alone: bool) -> None:
        """Send an answer once it is kept, as `release` does; of a connection that does not hold the turn."""
        if not alone or self._answers:
            self._answers.append((outlet, data, kept, False))
            if alone:
                self.finish()
            elif not self._scheduled:
                self._schedule()
            return
        try:
            kept.commit()
        except EnvironmentProblem as problem:
            if not kept.spares():
                data = outlet.encode(error_response(problem), False, data)
        _send(outlet, data)

    def finish(self) -> None:
        """Keep what must be kept and send the answers."""
        self._scheduled = False
        answers, self._answers = self._answers, []
        failed = self._keep(answers)
        for outlet, data, kept, last in answers:
            if failed and kept is not None and kept.base in failed and not kept.spares():
                data = outlet.encode(error_response(failed[kept.base]), last, data)
            _send(outlet, data)
        if self._ended:
            ended, self._ended = self._ended, []
            for outlet in ended:
                outlet.hang_up()

    def _keep(self, answers: list[tuple[Outlet, bytes, Kept | None, bool]]) -> dict[object, EnvironmentProblem]:
        failed: dict[object, EnvironmentProblem] = {}
        before = None
        for _, _, kept, _ in answers:
            if kept is None or kept is before:
                continue
            before = kept
            if failed and kept.base in failed:
                continue
            try:
                kept.commit()  # of a journal that has nothing new this is a look
            except EnvironmentProblem as problem:
                failed[kept.base] = problem
        return failed

    def _schedule(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self.finish)


def _send(outlet: Outlet, data: bytes) -> None:
    try:
        outlet.send(data)
    except Exception:  # one client's broken transport must not cost the others their answers
        outlet.abort()
