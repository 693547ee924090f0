"""Content codings: gzip and deflate, in and out, with a bound on what comes out."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

from bascule.serving.http.message import Deferred, Handler, HttpProblem, Request, Response

SMALL = 1_024
INLINE = 4_096  # bytes of a body that is unpacked where it came in
MOST_MEMBERS = 16  # of a gzip body; each costs a copy of what follows it
LEVEL = 1
MOST_RATIO, ANYWAY = 100, 4 << 20  # a body that unfolds to more than 100 times its size, beyond 4 MiB, is a bomb
GZIP_WINDOW = 31
_PACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": lambda body: gzip.compress(body, LEVEL, mtime=0),
    b"deflate": lambda body: zlib.compress(body, LEVEL),
}


def unpacked(body: bytes, coding: bytes, most: int) -> bytes:
    """Return a body without its coding.

    Args:
        coding: the value of `content-encoding`.
        most: the largest size that is accepted; a small body that unfolds to more is refused before it does.

    Raises:
        HttpProblem: 415 for another coding, 413 for too much, 400 for bytes that are not of the coding.
    """
    coding = coding.strip().lower()
    if coding in (b"", b"identity"):
        return body
    if coding not in (b"gzip", b"x-gzip", b"deflate"):
        shown = coding[:40].decode("latin-1")
        raise HttpProblem(415, f"The content encoding {shown!r} is not known.", hint="Use gzip, deflate or none.")
    most = min(most, max(ANYWAY, MOST_RATIO * len(body)))
    try:
        if coding == b"deflate":
            return _deflated(body, most)
        return _gunzipped(body, most)
    except zlib.error as error:
        raise HttpProblem(400, f"The body is not {coding.decode('latin-1')}: {error}.") from None


def unpacked_small(request: Request, most: int) -> bytes:
    """Take the coding from a request's body when it is small, else note that it has one; return the body.

    Raises:
        HttpProblem: as `unpacked`.
    """
    if len(request.body) <= INLINE:
        request.body = unpacked(request.body, request.headers[b"content-encoding"], most)
    else:
        request.packed = True
    return request.body


def unpacked_first(request: Request, most: int, handler: Handler) -> Deferred:
    """Unfold a large body in a thread, then handle the request: few bytes can be much work, which nobody waits for."""

    def handle(body: bytes) -> Response | Deferred:
        request.body, request.packed = body, False
        return handler(request)

    return Deferred(lambda: unpacked(request.body, request.headers[b"content-encoding"], most), handle, single=True)


def packed(response: Response, accepted: bytes) -> None:
    """Compress an answer in place, when it is worth it and the client takes it."""
    if len(response.body) < SMALL:
        return
    coding = _chosen(accepted)
    if coding is None:
        return
    response.body = _PACK[coding](response.body)
    response.extra += b"content-encoding: %b\r\nvary: accept-encoding\r\n" % coding


def _gunzipped(body: bytes, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while body:
        if len(parts) == MOST_MEMBERS:
            raise HttpProblem(400, f"The gzip body has more than {MOST_MEMBERS} members.")
        unpacker = zlib.decompressobj(GZIP_WINDOW)
        part = unpacker.decompress(body, most - size + 1)
        size += len(part)
        if size > most:
            raise _too_large(most)
        if not unpacker.eof:
            raise HttpProblem(400, "The gzip body ends before its end.")
        parts.append(part)
        body = unpacker.unused_data
    return b"".join(parts)


def _deflated(body: bytes, most: int) -> bytes:
    """HTTP's deflate is zlib's format; some clients send the bare stream."""
    try:
        return _inflated(body, zlib.MAX_WBITS, most)
    except zlib.error:
        return _inflated(body, -zlib.MAX_WBITS, most)


def _inflated(body: bytes, window: int, most: int) -> bytes:
    unpacker = zlib.decompressobj(window)
    found = unpacker.decompress(body, most + 1)
    if len(found) > most:
        raise _too_large(most)
    if not unpacker.eof:
        raise zlib.error("it ends before its end")
    return found


def _too_large(most: int) -> HttpProblem:
    return HttpProblem(413, f"The body unfolds to more than {most:,} bytes.", hint="Send fewer rows at once.")


def _chosen(accepted: bytes) -> bytes | None:
    """Return the coding that a client likes best of ours; gzip when it does not care."""
    weights: dict[bytes, float] = {}
    for part in accepted.lower().split(b","):
        name, _, parameters = part.partition(b";")
        key, _, value = parameters.partition(b"=")
        try:
            weights[name.strip()] = float(value) if key.strip() == b"q" else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    other = weights.get(b"*", 0.0)
    best = max(_PACK, key=lambda coding: weights.get(coding, other))
    return best if weights.get(best, other) > 0 else None
