"""One Redis or Valkey server as the store talks to it: its connections, its keys, and its errors in plain words."""

from __future__ import annotations

import os
import re
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from bascule.errors import Busy, EnvironmentProblem, InputError, MissingExtra

HOLD_MS = 15_000
TIMEOUT_S = 5.0  # as long as a server lets one script run before it tells others that it is busy
SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys")
HINT = "Write redis://[:PASSWORD@]HOST[:PORT][/DB], with ?prefix=NAME where several workspaces share it."
_servers: dict[tuple[str, float], RedisServer] = {}
_opening = threading.Lock()
_writing: set[bytes] = set()


class RedisServer:
    """The server of one URL, with one pool of connections for all of this process.

    Args:
        seconds: how long one answer is waited for.
    """

    def __init__(self, url: str, seconds: float) -> None:
        try:
            import redis
            from redis.backoff import ExponentialBackoff
            from redis.retry import Retry
        except ModuleNotFoundError:
            raise MissingExtra("An online store in Redis", "redis") from None
        parts = _parts(url)
        query = dict(parse_qsl(parts.query))
        self.url = url
        self._prefix = query.pop("prefix", "bascule").encode() + b":"
        self._error, self._late, self._seconds = redis.RedisError, redis.TimeoutError, seconds
        scheme = parts.scheme.replace("valkey", "redis")
        plain = urlunsplit((scheme, parts.netloc, parts.path, urlencode(query), ""))
        host = parts.netloc.rpartition("@")[2]
        self.name = urlunsplit((parts.scheme, host, parts.path, "", ""))
        try:
            self._client: Any = redis.Redis.from_url(
                plain,
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                health_check_interval=30,
                # A closed connection is made anew; a server that hangs would only be waited for again.
                retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 2, supported_errors=(redis.ConnectionError,)),
            )
        except ValueError as error:
            raise InputError(f"{self.name!r} names no Redis server: {error}", hint=HINT) from None
        self._scripts: dict[str, Any] = {}

    @classmethod
    def at(cls, url: str, seconds: float | None = None) -> RedisServer:
        """Return the server of a URL: the same object for everyone in this process who waits as long."""
        key = url, TIMEOUT_S if seconds is None else seconds
        with _opening:
            if key not in _servers:
                _servers[key] = cls(*key)
            return _servers[key]

    def key(self, *parts: bytes) -> bytes:
        """A name in the server that is this workspace's."""
        return self._prefix + b":".join(parts)

    def call(self, *command: Any) -> Any:
        """Run one command. Raises `EnvironmentProblem`."""
        with self._told():
            return self._client.execute_command(*command)

    def run(self, script: str, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:
        """Run a script. Raises `EnvironmentProblem`, or `Busy` when another writer has taken over."""
        with self._told():
            known = self._scripts.get(script)
            if known is None:
                known = self._scripts[script] = self._client.register_script(script)
            return known(keys=keys, args=arguments)

    def matching(self, beginning: bytes) -> Iterator[bytes]:
        """Give all names that begin so, without the prefix, in no order."""
        pattern = re.sub(rb"([*?\[\]\\^-])", rb"\\\1", beginning) + b"*"
        with self._told():
            for name in self._client.scan_iter(match=pattern, count=10_000):
                yield name[len(self._prefix) :]

    def rewrite(self) -> None:
        """Ask the server to write its own files anew, where it keeps some."""
        for command in ("BGREWRITEAOF", "BGSAVE"):
            with suppress(EnvironmentProblem):
                self.call(command)

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()
        self._client.connection_pool.disconnect()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            said = " ".join(str(error).split())
            if "LOST" in said:
                raise Busy(
                    f"Another writer has taken over {self.name} meanwhile; nothing of this one is seen.",
                    hint="Run it again.",
                ) from error
            if "OOM" in said or "'maxmemory'" in said:
                raise EnvironmentProblem(
                    f"The online store {self.name} is full; nothing of this write is seen.",
                    hint="Give it more memory (maxmemory), then repeat.",
                ) from error
            if isinstance(error, self._late):
                said = f"{self._seconds:g} s were waited for it."
            raise EnvironmentProblem(
                f"The online store {self.name} does not answer: {said[:200]}",
                hint="Check that the server runs and that the address and password are right; then repeat. "
                "What was written before is kept, and of an unfinished write nothing is seen.",
            ) from error


def _parts(url: str) -> SplitResult:
    """Return the parts of an address; where its password ends it too early, no text may tell what was taken for what.

    Raises:
        InputError: it is no address.
    """
    scheme, _, rest = url.partition("://")
    with suppress(ValueError):
        parts = urlsplit(url)
        if scheme == "unix" or "@" in parts.netloc or "@" not in rest.partition("prefix=")[0]:
            return parts
    raise InputError(
        f"The address of the online store, {scheme}://…, cannot be read.",
        hint=f"{HINT} In a password, write %23 for #, %2F for /, %3F for ?, %5B and %5D for brackets.",
    )


def token() -> bytes:
    """What a writer is known by: its machine, its process and when that began. It lives until `retire`."""
    pid = os.getpid()
    name = f"{socket.gethostname()}:{pid}:{_began(pid)}:{uuid.uuid4().hex}".encode()
    _writing.add(name)
    return name


def retire(name: bytes) -> None:
    """Note that a writer of this process is done, also where the server could not be told."""
    _writing.discard(name)


def is_dead(name: bytes) -> bool:
    """Tell whether a writer was one of this machine that is no more."""
    host, pid, began, _ = name.decode().rsplit(":", 3)
    if host != socket.gethostname() or not began:
        return False
    return name not in _writing if int(pid) == os.getpid() else _began(int(pid)) != began


def _began(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            text = stat.read().rpartition(")")[2].split()
    except OSError:
        return "" if os.path.isdir("/proc/self") is False else "gone"
    return "gone" if text[0] == "Z" else text[19]
