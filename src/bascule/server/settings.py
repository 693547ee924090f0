"""What a server may be told: where it listens, whom it trusts and how much it takes."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import msgspec

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[int, msgspec.Meta(gt=0)]


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of `bascule up`.

    Attributes:
        host: address to listen on. Anything but loopback needs at least one token.
        port: the page and the API; inference listens on `port + 1`, its gRPC on `port + 2`. 0 takes any free port.
        allowed_hosts: further names under which a browser or a proxy may address this server (the `Host` header).
        require_tokens: ask for a token on loopback too.
        max_body: largest request body in bytes, for routes that don't set their own limit.
        sql_rows: most rows that one SQL request returns.
        sql_seconds: longest time that one SQL request may take.
        inference: start the inference worker.
        scheduler: run the scheduler's ticks.
    """

    host: str = "127.0.0.1"
    port: Port = 7400
    allowed_hosts: tuple[str, ...] = ()
    require_tokens: bool = False
    max_body: Positive = 1 << 20
    sql_rows: Positive = 10_000
    sql_seconds: Positive = 30
    inference: bool = True
    scheduler: bool = True

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    @property
    def tokens_required(self) -> bool:
        """Whether a request without a token is refused."""
        return self.require_tokens or not self.loopback

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{_bracketed(self.host)}:{self.port}"

    @property
    def inference_host(self) -> str:
        """Where the inference worker listens: it knows no tokens, so never where others can connect."""
        return self.host if self.loopback else "127.0.0.1"

    @property
    def inference_url(self) -> str:
        """The address of the inference worker."""
        return f"http://{_bracketed(self.inference_host)}:{self.port + 1}"

    @property
    def grpc_address(self) -> str:
        """The address of the inference worker's gRPC, as clients of gRPC write it."""
        return f"{_bracketed(self.inference_host)}:{self.port + 2}"


def is_loopback(host: str) -> bool:
    """Return whether an address or name can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
