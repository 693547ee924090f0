"""Feature vectors over HTTP: JSON in the shape of Feast's `/get-online-features`, and Arrow.

    POST /get-online-features                 {"features": ["view:feature"] | "feature_service": "name",
    POST /branch/NAME/get-online-features      "entities": {"key": [value, ...]}, "full_feature_names": false}

`at` (ISO 8601) asks for the values of a past moment. With `Accept: application/vnd.apache.arrow.stream` the answer is
an Arrow stream; entities may come as one, and the rest is then in the query: `?features=a:b,c:d` or
`?feature_service=name`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from math import isfinite
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pyarrow as pa

from bascule.errors import InputError
from bascule.features.online.vectors import PRESENT, VectorReader, Vectors
from bascule.protocols.openinference.arrow import TYPE, read_table
from bascule.protocols.openinference.messages import read_message
from bascule.serving.features import FeatureServer
from bascule.serving.http import Deferred, Request, Response
from bascule.serving.joining import time_of
from bascule.serving.log.vectors import FeatureLog
from bascule.serving.moments import EPOCH

HINT = 'Send {"features": ["VIEW:FEATURE", …], "entities": {"KEY": [VALUE, …]}}, or "feature_service" for "features".'
INLINE = 100  # rows that are read where the request came in
EPOCH_TEXT = "1970-01-01T00:00:00Z"
_ARROW = b"application/vnd.apache.arrow"
_encode = msgspec.json.Encoder(decimal_format="number").encode


class FeatureRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked for."""

    entities: dict[str, list[Any]] = {}
    features: list[str] | None = None
    feature_service: str | None = None
    full_feature_names: bool = False
    include_metadata: bool = False
    at: str | int | None = None


class Features:
    """Answers for feature vectors. It belongs to the event loop.

    Args:
        server: has the readers.
        log: where answers of sampled keys go; None keeps none.
    """

    def __init__(self, server: FeatureServer, log: FeatureLog | None) -> None:
        self._server = server
        self._log = log

    def answer(self, request: Request, branch: str) -> Response | Deferred:
        """Answer a request.

        Raises:
            InputError: it cannot be understood, or brings values of other types than the keys.
            NotFound: there is no such branch, service, view or feature.
        """
        asked = _read(request)
        names = _names(asked)
        at = time.time_ns() // 1000 if asked.at is None else time_of("at", asked.at)
        arrow = _ARROW in request.headers.get(b"accept", b"").lower()
        rows = max(map(len, asked.entities.values()), default=0)
        known = self._server.known(branch, names, asked.full_feature_names)
        if known is not None and rows <= INLINE and not self._server.far:
            return self._finish(branch, names, known, known.read(asked.entities, at), arrow)

        def work() -> tuple[VectorReader, Vectors]:
            reader = self._server.reader(branch, names, asked.full_feature_names)
            return reader, reader.read(asked.entities, at)

        return Deferred(work, lambda read: self._finish(branch, names, read[0], read[1], arrow), request.seconds)

    def _finish(
        self, branch: str, names: Sequence[str], reader: VectorReader, vectors: Vectors, arrow: bool
    ) -> Response:
        response = _arrow(vectors) if arrow else Response(_encode(feast_shape(vectors)), packable=True)
        if self._log is not None and reader.sample > 0:
            features = dict(zip(reader.full, vectors.values, strict=True))
            times, asked = (time.time_ns() // 1000, vectors.at), ",".join(names)
            if self._log.append(branch, asked, reader.sample, vectors.entities, features, times):
                response.kept = self._log.journal
        return response


def feast_shape(vectors: Vectors) -> dict[str, Any]:
    """Return what Feast's server would answer: entities first, then each feature, column by column."""
    count = len(next(iter(vectors.entities.values()), ()))
    present, epoch = [PRESENT] * count, [EPOCH_TEXT] * count
    results = [
        {"values": _plain(values), "statuses": present, "event_timestamps": epoch}
        for values in vectors.entities.values()
    ]
    shown: dict[int, list[str]] = {}
    for values, statuses, times in zip(vectors.values, vectors.statuses, vectors.times, strict=True):
        if id(times) not in shown:  # features of one view share their times
            shown[id(times)] = [EPOCH_TEXT if at is None else _text(at) for at in times]
        plain = _plain(values)
        results.append({"values": plain, "statuses": statuses, "event_timestamps": shown[id(times)]})
    return {"metadata": {"feature_names": [*vectors.entities, *vectors.names]}, "results": results}


def _plain(values: list[Any]) -> list[Any]:
    """JSON has no NaN and no infinite numbers: as texts they arrive as what they are."""
    try:
        plain = all(map(isfinite, [value for value in values if value is not None]))
    except TypeError:
        return values  # no numbers
    if not plain:
        return [_number(value) if type(value) is float else value for value in values]
    return values


def _number(value: float) -> float | str:
    if value - value == 0.0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _text(at: int) -> str:
    try:
        return (EPOCH + timedelta(microseconds=at)).isoformat() + "Z"
    except OverflowError:
        return EPOCH_TEXT  # before the year 1, or beyond 9999


def _arrow(vectors: Vectors) -> Response:
    table = vectors.to_arrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(sink.getvalue().to_pybytes(), content_type=TYPE)


def _read(request: Request) -> FeatureRequest:
    kind = request.headers.get(b"content-type", b"").lower()
    if not kind.startswith(_ARROW):
        try:
            return read_message(request.body, FeatureRequest)
        except InputError as error:
            raise InputError(error.message, hint=HINT) from None
    table, names = read_table(request.body)
    query = parse_qs(request.path.partition(b"?")[2].decode("utf-8", "replace"))
    features = [one for text in query.get("features", ()) for one in text.split(",")]
    return FeatureRequest(
        {name: _values(table.column(place), name) for place, name in enumerate(names)},
        features or None,
        query.get("feature_service", [None])[-1],
        query.get("full_feature_names", ["false"])[-1] == "true",
        at=query.get("at", [None])[-1],
    )


def _values(column: pa.ChunkedArray, name: str) -> list[Any]:
    """Python's values; times in microseconds, as those of nanoseconds are pandas' own."""
    try:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz))
        return list(column.to_pylist())
    except (pa.ArrowException, ValueError, OverflowError) as error:
        problem = f"Column {name!r} has a value of {column.type} that cannot be read: {str(error)[:200]}."
        raise InputError(problem, hint="Send times in whole microseconds, of the years 1 to 9999.") from None


def _names(asked: FeatureRequest) -> list[str]:
    if (asked.features is None) == (asked.feature_service is None):
        found = "neither" if asked.features is None else "both"
        raise InputError(f"The request has {found} of features and feature_service.", hint=HINT)
    return list(asked.features) if asked.features is not None else [f"service:{asked.feature_service}"]
