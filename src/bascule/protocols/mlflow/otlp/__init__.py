"""OpenTelemetry's protocol: spans as protobuf or JSON become ours, and ours are told as protobuf's JSON.

Bodies may be compressed; what they unpack to is bounded, however small they came. `binary` and `text` read the two
forms, `spans` holds what is asked of both, `telling` writes, `served` reads what MLflow's own servers make of them.
"""

from __future__ import annotations

import zlib

from bascule.errors import InputError
from bascule.protocols.mlflow.otlp import binary, text
from bascule.protocols.mlflow.otlp.served import span_of_server
from bascule.protocols.mlflow.otlp.spans import HINT
from bascule.protocols.mlflow.otlp.telling import span_json
from bascule.tracking.traces import Span

__all__ = ["MOST_UNPACKED", "read_spans", "span_json", "span_of_server", "unpacked"]

MOST_UNPACKED = 64 << 20
PROTOBUF, JSON = "application/x-protobuf", "application/json"


def unpacked(raw: bytes, coding: str) -> bytes:
    """Return a body without its compression.

    Raises:
        InputError: it is damaged, of another kind, or would be larger than 64 MiB.
    """
    if coding in ("", "identity"):
        return raw
    if coding not in ("gzip", "deflate"):
        raise InputError(f"Content-Encoding {coding[:40]!r} is not understood.", hint="Send gzip, deflate or none.")
    for width in (31,) if coding == "gzip" else (15, -15):
        stream = zlib.decompressobj(width)
        try:
            found = stream.decompress(raw, MOST_UNPACKED + 1)
        except zlib.error:
            continue
        if len(found) > MOST_UNPACKED:
            raise InputError(
                f"The body unpacks to more than {MOST_UNPACKED:,} bytes.", hint="Send the spans in several requests."
            )
        if stream.eof:
            return found
    raise InputError(f"The body is no whole {coding} stream.", hint="Send it again.")


def read_spans(raw: bytes, kind: str) -> list[Span]:
    """Return the spans of an export request.

    Args:
        kind: its content type, `PROTOBUF` or `JSON`.

    Raises:
        InputError: it cannot be read, has no spans or too many.
    """
    if kind == PROTOBUF:
        found = list(binary.spans_of(memoryview(raw)))
    elif kind == JSON:
        found = list(text.spans_of(raw))
    else:
        raise InputError(f"Invalid Content-Type: {kind[:60]!r}.", hint=f"Expected: {PROTOBUF} or {JSON}.")
    if not found:
        raise InputError("Invalid OpenTelemetry format - no spans found.", hint=HINT)
    return found
