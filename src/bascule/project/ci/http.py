"""Plain HTTP to a forge: one host, no redirects, patience with limits, and a token that is in no message."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bascule.errors import EnvironmentProblem, InputError

TIMEOUT_S = 30.0
PATIENCE_S = 90.0
TRIES = 5
LARGEST = 32_000_000
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Answer:
    """What came back: a status below 500 that is no limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; EnvironmentProblem when it is none."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError as error:
            raise EnvironmentProblem(
                "The forge answered something that is not JSON.", hint="See that the API's address is the forge's."
            ) from error


class Api:
    """The API of one forge.

    Args:
        url: where it is; https, but for this machine.
        headers: what every request says; here is the token.
        sleep: waits some seconds.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = PATIENCE_S,
    ) -> None:
        parts = urlsplit(url)
        if parts.hostname is None or parts.scheme not in ("https", "http"):
            raise InputError(f"{url[:200]!r} is no address of an API.", hint="For example https://api.github.com")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise InputError(
                f"{url[:200]} is not encrypted, and a token would be sent to it.", hint="Use its https address."
            )
        self.host, self.prefix, self.secure = parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), parts.scheme
        self.headers = {"User-Agent": "bascule", "Accept": "application/json", **headers}
        self.sleep, self.left = sleep, patience

    def ask(self, method: str, path: str, document: Any = None, *, repeat: bool = True) -> Answer:
        """Ask, and again after a limit or a server's failure, for as long as there is patience.

        Args:
            repeat: whether a failure of the server may be answered by asking the same again; what makes something may
                not, since it may have been made.

        Raises:
            EnvironmentProblem: the forge cannot be reached, fails, or has a limit that lasts longer.
        """
        body = None if document is None else msgspec.json.encode(document)
        said = ""
        for turn in range(TRIES):
            try:
                answer = self._once(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                said, wait = f"it cannot be reached ({type(error).__name__})", 2.0**turn
                if not repeat and not isinstance(error, ConnectionRefusedError):
                    break
            else:
                limit = _limited(answer)
                if limit is None and answer.status < 500:
                    return answer
                said = f"it answered {answer.status}"
                wait = limit if limit is not None else 2.0**turn
                if limit is None and not repeat:
                    break
            if wait > self.left:
                said += f" and asks to wait {wait:.0f} s"
                break
            self.left -= wait
            self.sleep(wait)
        raise Unanswered(
            f"The forge at {self.host} does not do what is asked: {said}.",
            hint="The job's summary and its files have the same report.",
        )

    def _once(self, method: str, path: str, body: bytes | None) -> Answer:
        kind = http.client.HTTPSConnection if self.secure == "https" else http.client.HTTPConnection
        connection = kind(self.host, timeout=TIMEOUT_S)
        try:
            more = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, self.prefix + path, body, {**self.headers, **more})
            found = connection.getresponse()
            headers = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, headers, found.read(LARGEST))
        finally:
            connection.close()


class Unanswered(EnvironmentProblem):
    """The forge gave no usable answer; whether what was asked was done is not known."""


def _limited(answer: Answer) -> float | None:
    """Return how long a limit asks to wait; None when the answer is no limit."""
    headers = answer.headers
    if answer.status not in (403, 429):
        return None
    after = headers.get("retry-after", "")
    if after.isdigit():
        return float(after)
    if headers.get("x-ratelimit-remaining") == "0" or headers.get("ratelimit-remaining") == "0":
        reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or ""
        return max(float(reset) - time.time(), 1.0) if reset.isdigit() else 60.0
    return 10.0 if answer.status == 429 else None
