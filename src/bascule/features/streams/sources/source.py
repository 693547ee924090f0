"""The protocol of a source of events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from bascule.features.streams.events import Events


class Polled(NamedTuple):
    """What came, how far the source is read with it, and how much is left.

    Attributes:
        offsets: in the source's own words; given back at the next poll.
        lag: what is there and not read yet: messages of a topic, bytes of a file; None when nobody knows.
        notes: what happened on the way that somebody should know, a sentence each.
        more: whether whole events are there that were not read.
    """

    events: Events
    offsets: dict[str, str]
    lag: int | None
    notes: tuple[str, ...] = ()
    more: bool = False


class StreamSource(Protocol):
    """Gives events, in batches, from given offsets on."""

    def poll(self, offsets: Mapping[str, str], most: int, seconds: float) -> Polled:
        """Return at most so many events beyond the offsets; wait at most so long for the first.

        Raises:
            EnvironmentProblem: it does not answer. Polling again goes on there.
            InputError: it is not what the settings say.
        """
        ...

    def close(self) -> None:
        """Release what is open."""
        ...
