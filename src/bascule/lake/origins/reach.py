"""What may be reached over the network: anything for a person, only public addresses for a server."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import urllib.request
from urllib.parse import SplitResult

from bascule.errors import EnvironmentProblem, InputError

SECONDS = 30
_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # the last 32 bits are the IPv4 address that is reached


def connection(parts: SplitResult, *, confined: bool) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection for an address, and the target that a request on it names.

    Confined, the host's addresses are looked up once, each must be public, and the connection goes to one of those that
    were looked at: a name cannot point elsewhere a moment later.

    Raises:
        InputError: the host is inside of this machine or its network, and the connection is confined.
        EnvironmentProblem: its name is unknown.
    """
    host, target = parts.hostname or "", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if confined:
        return _pinned(parts.scheme, host, port, public(host, port)), target
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(host):
        where = urllib.parse.urlsplit(proxy)
        if parts.scheme == "https":
            tunnel = http.client.HTTPSConnection(where.hostname or "", where.port, timeout=SECONDS)
            tunnel.set_tunnel(host, port)
            return tunnel, target
        plain = http.client.HTTPConnection(where.hostname or "", where.port, timeout=SECONDS)
        return plain, f"http://{parts.netloc.rpartition('@')[2]}{target}"
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(host, port, timeout=SECONDS), target


def public(host: str, port: int) -> str:
    """Return an address of a host whose every address is public.

    Raises:
        InputError: one is not.
        EnvironmentProblem: its name is unknown.
    """
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise EnvironmentProblem(f"The host {host!r} is not known: {error}.", hint="Check its name.") from error
    for one in sorted(found):
        if not _is_public(ipaddress.ip_address(one.partition("%")[0])):
            raise InputError(
                f"{host!r} is inside of the server's own network, from which it fetches nothing for others.",
                hint="Fetch it yourself and send the rows.",
            )
    return sorted(found)[0]


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Tell whether an address, and the IPv4 address that it may stand for, is one of the public network."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        # Of all else of IPv6 (old mappings, site-local addresses) only unicast is given to the public.
        if not (inner.is_global if inner else address in _UNICAST):
            return False
    return address.is_global and not address.is_multicast


def _pinned(scheme: str, host: str, port: int, address: str) -> http.client.HTTPConnection:
    made = http.client.HTTPConnection(host, port, timeout=SECONDS)

    def connect() -> None:
        sock = socket.create_connection((address, port), SECONDS)
        made.sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host) if scheme == "https" else sock

    made.connect = connect  # type: ignore[method-assign]
    return made
