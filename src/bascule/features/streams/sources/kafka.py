"""A Kafka topic of JSON objects. Offsets are ours: the group commits nothing, so the broker cannot disagree with us."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bascule.errors import EnvironmentProblem, InputError, MissingExtra, NotFound
from bascule.features.streams.events import EventType
from bascule.features.streams.sources.source import Polled

TIMEOUT = 5
LOOK_EVERY = 30.0


class Topic:
    """The messages of a topic: `kafka://HOST:PORT[,HOST:PORT]/TOPIC`.

    Args:
        options: what the client is told besides: `security.protocol` and the like.
        begin: where partitions without an offset begin: `earliest` or `latest`.
    """

    def __init__(
        self, events: EventType, address: str, options: Mapping[str, str] | None = None, begin: str = "earliest"
    ) -> None:
        parts = urlsplit(address)
        self.topic, self.brokers = parts.path.strip("/"), parts.netloc.rpartition("@")[2]
        if not self.topic or not self.brokers:
            raise InputError(f"{address} names no topic.", hint="Write kafka://HOST:PORT/TOPIC.")
        self.events, self.begin = events, begin
        self._options = dict(options or {})
        self._client: Any = None
        self._at: dict[str, str] | None = None
        self._down = ""
        self._looked = 0.0
        self._high: dict[str, int] = {}
        self._lost: list[str] = []

    def poll(self, offsets: Mapping[str, str], most: int, seconds: float) -> Polled:
        """See `StreamSource`. A partition that is new is read from its beginning."""
        from confluent_kafka import KafkaError, KafkaException

        try:
            client = self._connected()
            if self._down:
                client.list_topics(self.topic, timeout=TIMEOUT)  # raises while nobody answers
                self._down = ""
            if self._at is None or dict(offsets) != self._at or time.monotonic() - self._looked > LOOK_EVERY:
                self._assign(client, offsets)
            found = client.consume(most, timeout=seconds)
        except KafkaException as error:
            self._at = None
            raise self._problem(error.args[0]) from error
        raws: list[bytes] = []
        stood: list[tuple[str, int]] = []
        at = dict(self._at or {})
        for message in found:
            if (wrong := message.error()) is not None:
                if wrong.code() == KafkaError._PARTITION_EOF:
                    continue
                self._at = None
                if not raws:
                    raise self._problem(wrong)
                break
            number, offset = message.partition(), message.offset()
            at[str(number)] = str(offset + 1)
            raw = message.value()
            if raw is not None:  # a tombstone is no event
                raws.append(raw)
                stood.append((f"{self.topic}/{number}", offset))
        if not found and self._at is not None:
            # Marks of transactions and compacted messages have offsets, and never come.
            for place in client.position(client.assignment()):
                number = str(place.partition)
                if number in at and place.offset > int(at[number]):
                    at[number] = str(place.offset)
        if self._down and not raws:
            raise self._problem(self._down)
        if self._at is not None:
            self._at = at
        notes, self._lost = tuple(self._lost), []
        lag = self._lag(client, at)
        return Polled(self.events.read(raws, stood.__getitem__), at, lag, notes, more=bool(lag))

    def close(self) -> None:
        """Leave the brokers."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connected(self) -> Any:
        if self._client is None:
            try:
                from confluent_kafka import Consumer, KafkaException
            except ImportError:
                raise MissingExtra("Reading Kafka topics", "kafka") from None
            told = {
                "isolation.level": "read_committed",
                "log_level": "0",
                "fetch.wait.max.ms": "50",
                "queued.max.messages.kbytes": "65536",
                **self._options,
                "bootstrap.servers": self.brokers,
                "group.id": "bascule",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
            }
            try:
                self._client = Consumer({**told, "error_cb": self._heard})
            except KafkaException as error:
                hint = "Check the options of the stream."
                raise InputError(f"Kafka's client does not take this: {error}.", hint=hint) from error
        return self._client

    def _heard(self, error: Any) -> None:
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._ALL_BROKERS_DOWN or error.fatal():
            self._down = str(error)

    def _assign(self, client: Any, offsets: Mapping[str, str]) -> None:
        from confluent_kafka import TopicPartition

        found = client.list_topics(self.topic, timeout=TIMEOUT).topics.get(self.topic)
        if found is None or found.error is not None or not found.partitions:
            known = [name for name in client.list_topics(timeout=TIMEOUT).topics if not name.startswith("__")]
            raise NotFound("topic", self.topic, known)
        at: dict[str, str] = {}
        for number in sorted(found.partitions):
            low, high = client.get_watermark_offsets(TopicPartition(self.topic, number), timeout=TIMEOUT)
            held = offsets.get(str(number))
            wanted = int(held) if held is not None else (low if self.begin == "earliest" else high)
            if wanted > high:
                raise InputError(
                    f"{self.topic}/{number} ends at {high}, and was read to {wanted}: it is another topic now.",
                    hint="Give the stream another name, so that its table is another one.",
                )
            if wanted < low:
                self._lost.append(f"{low - wanted:,} messages of {self.topic}/{number} expired before they were read.")
            at[str(number)] = str(max(wanted, low))
            self._high[str(number)] = high
        client.assign([TopicPartition(self.topic, int(number), int(place)) for number, place in at.items()])
        self._at, self._looked = at, time.monotonic()

    def _lag(self, client: Any, at: Mapping[str, str]) -> int | None:
        from confluent_kafka import KafkaException, TopicPartition

        try:
            marks = {n: client.get_watermark_offsets(TopicPartition(self.topic, int(n)), cached=True) for n in at}
        except KafkaException:
            return None
        # What is cached is of the last fetch; before the first, what was asked for when it began.
        high = {number: max(int(mark[1]), self._high.get(number, 0)) for number, mark in marks.items()}
        left = [max(high[number] - int(at[number]), 0) for number in at]
        return sum(left)

    def _problem(self, error: Any) -> EnvironmentProblem:
        where = f"kafka://{self.brokers}/{self.topic}"
        return EnvironmentProblem(
            f"{where} does not answer: {error}.", hint="Check the brokers; it goes on where it was."
        )
