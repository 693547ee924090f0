"""How long one call of a model may take: others wait behind it, and each of them waits at most its own time."""

from __future__ import annotations

import time

LONGEST_S = 60.0  # where nothing is said
CAREFUL_S = 30.0  # after a worker was lost
BRIEF_S = 1.0
# Times the longest call of late: that is longer than such calls take; unusual; and hardly ever right.
LONGER, UNUSUAL, RARE = 4.0, 20.0, 50.0
LEAST = 1.5  # and what a call is always given
FADES = 0.99  # what is left of the longest call with each further one


class Patience:
    """What the calls of one version took of late, and what the next one is given. It is used from any thread.

    A call that several requests share is given little: where it takes longer than such calls do, each is asked for
    alone, and only what hangs is waited for. A call for one request has all of `timeout` while nobody else waits; when
    others do, half of it, and little when a worker was lost of late, but always more than calls took.

    Args:
        timeout: seconds that any call may take; 0 for a minute.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout or LONGEST_S
        self._longest = 0.0
        self._careful_until = 0.0

    @property
    def careful(self) -> bool:
        """Whether a worker was lost of late: each request is asked for alone then, so that none shares a lot."""
        return time.monotonic() < self._careful_until

    def took(self, seconds: float) -> None:
        """Learn what a call took that was answered."""
        self._longest = max(seconds, self._longest * FADES)

    def lost(self) -> None:
        """Learn that a call cost its worker."""
        self._careful_until = time.monotonic() + CAREFUL_S

    def shared(self) -> float:
        """Return the seconds that a call for several requests has."""
        return self._brief(LONGER)

    def urged(self, suspected: bool = False) -> float:
        """Return the seconds that a call for one request has while others wait.

        Args:
            suspected: a call that it shared came to no good.
        """
        if suspected:
            return self._brief(LEAST)
        if not self._longest:
            return self.timeout  # nobody knows yet what is much
        if self.careful:
            return self._brief(UNUSUAL)
        return min(self.timeout, max(RARE * self._longest, self.timeout / 2))

    def _brief(self, times: float) -> float:
        """Return so many times the longest call, within what leaves the others half of their time."""
        half, brief = self.timeout / 2, min(self.timeout / 4, BRIEF_S)
        return min(self.timeout, max(LEAST * self._longest, min(half, max(times * self._longest, brief))))
