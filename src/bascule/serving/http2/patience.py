"""How many frames that ask for nothing a client may send."""

from __future__ import annotations

from bascule.serving.http2 import frames
from bascule.serving.http2.frames import Http2Problem

# Resets, pings, settings and empty data cost us work and the client nothing: so many at once, so many a second after
# that, and some more for each call that was answered.
MOST, PER_S, PER_CALL = 1_000.0, 100.0, 4.0
# Calls that are begun and taken back before they are answered cost us their work ("rapid reset", CVE-2023-44487). Who
# lets calls time out takes some back; who takes back more than are answered asks for nothing else.
RESETS, RESETS_PER_S, RESETS_PER_CALL = 200.0, 10.0, 1.0


class Patience:
    """What is left of it, for one connection.

    Args:
        now: seconds, on any clock that goes on.
    """

    def __init__(self, now: float) -> None:
        self._left, self._at = MOST, now
        self._resets, self._reset_at = RESETS, now

    def spend(self, now: float) -> None:
        """Count a frame that asks for nothing.

        Raises:
            Http2Problem: there were too many.
        """
        self._left = min(MOST, self._left + (now - self._at) * PER_S) - 1
        self._at = now
        if self._left < 0:
            raise Http2Problem(frames.CALM, "too many frames that ask for nothing")

    def take_back(self, now: float) -> None:
        """Count a call that the client took back before it was answered.

        Raises:
            Http2Problem: there were too many, measured by those that were answered.
        """
        self._resets = min(RESETS, self._resets + (now - self._reset_at) * RESETS_PER_S) - 1
        self._reset_at = now
        if self._resets < 0:
            raise Http2Problem(frames.CALM, "too many calls are taken back before they are answered", "rapid_reset")

    def earn(self) -> None:
        """A call was answered."""
        self._left = min(MOST, self._left + PER_CALL)
        self._resets = min(RESETS, self._resets + RESETS_PER_CALL)
