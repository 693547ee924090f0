"""What a model was asked lately, from the prediction log: rows to hold a row against where its file keeps none."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.serving.encoding import Encoder
from bascule.serving.log.frames import read_segment
from bascule.serving.log.predictions import PREDICTIONS, SCHEMA, latest
from bascule.serving.log.redaction import HASH_DIGITS
from bascule.serving.log.segment import segment_paths
from bascule.serving.shapley.part import Background
from bascule.training import Signature
from bascule.training.background import FEWEST, background_of, pack_background

LATEST = 512  # answered rows of which a background is made
FILES = 8  # of the table that are looked into, newest first
KEPT_S = 3_600.0  # that a background serves; less long while it is made of fewer rows
YOUNG_S = 60.0
PAUSE = 10.0  # times what it took to find too little, until it is looked for again
_HASH = re.compile(rf"[0-9a-f]{{{HASH_DIGITS}}}")


class Asked:
    """The backgrounds of one model, by what it was asked. It may be used from several threads.

    A background serves for an hour, a minute while it is made of fewer rows than 512: so long equal rows are explained
    by equal numbers. Then it is made anew, of what the log has by then.

    Args:
        name: of the model; what its other versions were asked counts too, where it fits.
    """

    def __init__(self, ws: Workspace, name: str, signature: Signature) -> None:
        self._ws, self._name = ws, name
        self._encoder = Encoder(signature)
        self._texts = {field.name for field in signature.inputs if field.type == "varchar"}
        self._kept: dict[frozenset[str], tuple[float, Background | int]] = {}
        self._lock = threading.Lock()

    def background(self, unkept: frozenset[str]) -> Background:
        """Return what the model's inputs are like by its last 512 answered rows.

        Args:
            unkept: inputs that the log drops or hashes; rows are not known by them.

        Raises:
            InputError: fewer than 8 answers are known, or the log keeps none of the inputs.
        """
        names = self._encoder.names
        if unkept.issuperset(names):
            raise InputError("log.fields keeps none of its inputs, so requests do not say what they are like")
        with self._lock:
            until, found = self._kept.get(unkept, (0.0, 0))
            if time.monotonic() >= until:
                began = time.monotonic()
                found = self._made(unkept)
                lasts = PAUSE * (time.monotonic() - began)
                if isinstance(found, Background):
                    lasts = KEPT_S if found.of >= LATEST else YOUNG_S
                self._kept[unkept] = time.monotonic() + lasts, found
        if not isinstance(found, Background):
            raise InputError(f"the log has {found} rows that it answered, and {FEWEST} are needed")
        return found

    def _made(self, unkept: frozenset[str]) -> Background | int:
        """Return a background, or how few rows there are."""
        rows = list(islice(self._encoded(unkept), LATEST))
        if len(rows) < FEWEST:
            return len(rows)
        made = background_of(np.concatenate(rows))
        held = tuple(place for place, name in enumerate(self._encoder.names) if name in unkept)
        version = blake2b(pack_background(made) + repr(held).encode(), digest_size=6).hexdigest()
        return Background(made, held, len(rows), version)

    def _encoded(self, unkept: frozenset[str]) -> Iterator[np.ndarray]:
        """Yield rows [1, inputs] as the model reads them, the last first; what the log keeps not of them is missing."""
        names = self._encoder.names
        for text in self._logged():
            with suppress(InputError, msgspec.DecodeError):  # another version had other inputs
                said = {**msgspec.json.decode(text, type=dict[str, Any]), **dict.fromkeys(unkept)}
                held = {name: [said[name]] for name in names if name in said}
                if not any(self._is_hashed(name, value) for name, (value,) in held.items()):
                    yield self._encoder.encode(held, 1)

    def _is_hashed(self, name: str, value: Any) -> bool:
        """Return whether a text is what earlier rules of the log, or another deployment's, made of it."""
        return name in self._texts and isinstance(value, str) and _HASH.fullmatch(value) is not None

    def _logged(self) -> Iterator[str]:
        """Yield the features of answered rows as JSON, the last first: of segments, then of the table."""
        seen = set()
        for path in reversed(segment_paths(self._ws.log_folder / PREDICTIONS)):
            with suppress(FileNotFoundError):  # moved meanwhile
                for row in latest(read_segment(path).payloads, self._name):
                    seen.add(row["prediction_id"])
                    yield row["features"]
        yield from (row["features"] for row in self._moved() if row["prediction_id"] not in seen)

    def _moved(self) -> Iterator[Mapping[str, Any]]:
        from bascule.lake import engine  # who serves needs it for nothing else
        from bascule.lake.records import RecordTable

        table = RecordTable(self._ws, PREDICTIONS, SCHEMA)
        with engine.opened() as connection:
            for source in table.newest(FILES):
                query = (
                    f"select prediction_id, features from {source} where model = $1 and isfinite(score) "
                    f'order by "at" desc limit {LATEST}'
                )
                yield from connection.sql(query, params=[self._name]).to_arrow_table().to_pylist()
