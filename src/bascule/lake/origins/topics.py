"""Kafka topics as windows: from the offsets that the table has to those that the topic has now."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from bascule.errors import EnvironmentProblem, InputError, MissingExtra, NotFound
from bascule.lake.origins.origin import Asked, Part, refuse_options
from bascule.lake.origins.segments import Segments
from bascule.lake.origins.spool import whole
from bascule.lake.sources import Rejected
from bascule.lake.sources.quarantine import bounded

SEGMENT = 200_000  # messages
SECONDS = 30
AT_ONCE = 1_000
OWN = ("_partition", "_offset", "_at", "_key")


class Topics:
    """A topic whose messages are JSON objects: `kafka://HOST:PORT[,HOST:PORT]/TOPIC`.

    Each message is a row with the columns of its object, and `_partition`, `_offset`, `_at` and `_key`. What is no
    object is set aside with its offset. Options that begin with `kafka.` go to the client: `kafka.security.protocol`.
    """

    def versions(self, asked: Asked) -> dict[str, str]:
        """See `Origin`: the offset behind the newest message of each partition."""
        if asked.whole:
            raise InputError(
                f"{asked.shown} is read in windows, which cannot be the whole table.", hint='Say mode = "append".'
            )
        with _consumer(asked) as (client, topic):
            return {_name(topic, number): str(high) for number, (_, high) in _marks(client, topic).items()}

    def parts(self, asked: Asked) -> Iterator[Part]:
        """See `Origin`. A window ends at the offsets that the topic has when it begins."""
        with _consumer(asked) as (client, topic):
            marks = _marks(client, topic)
            segments = Segments(asked.spool, asked.shown)
            held = _held(asked.known, topic)
            found = segments.found(_text(held))
            yield from found
            begin = {**held, **(_parsed(found[-1].version["to"]) if found else {})}
            at = {}
            for number, (low, high) in marks.items():
                at[number] = max(begin.get(number, low), low)
                if number in begin and begin[number] < low:
                    asked.tell(
                        f"{low - begin[number]:,} messages of {_name(topic, number)} expired before they were read"
                    )
                if begin.get(number, low) > high:
                    raise InputError(
                        f"{_name(topic, number)} ends at {high}, and the table has it to {begin[number]}.",
                        hint="It is another topic of that name: give the table another name, or replace it.",
                    )
            yield from _windows(asked, client, topic, segments, begin, at, {n: high for n, (_, high) in marks.items()})


def _windows(
    asked: Asked,
    client: Any,
    topic: str,
    segments: Segments,
    begin: Mapping[int, int],
    at: dict[int, int],
    end: Mapping[int, int],
) -> Iterator[Part]:
    """Write the messages between two offsets of each partition as segments."""
    from confluent_kafka import TopicPartition

    left = {number for number in end if at[number] < end[number]}
    if not left:
        return
    client.assign([TopicPartition(topic, number, at[number]) for number in sorted(left)])
    total, read, began = sum(end[number] - at[number] for number in left), 0, time.monotonic()
    before = dict(begin)
    messages = _messages(asked, client, left, end, at)
    while True:
        path, rejected, count = segments.path(".jsonl"), [], 0
        with whole(path) as out:
            for message in messages:
                row = _row(message, topic)
                if isinstance(row, Rejected):
                    rejected.append(row)
                else:
                    out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                count += 1
                if count >= SEGMENT:
                    break
        if not count:
            path.unlink()
            return
        read += count
        rest = (time.monotonic() - began) * (total - read) / read
        asked.tell(f"{read:,} of {total:,} messages, about {max(rest, 0):,.0f} s left")
        version = {_name(topic, number): str(offset) for number, offset in at.items()}
        version |= {"from": _text(before), "to": _text(at)}
        before = dict(at)
        if count > len(rejected):
            yield segments.add(path, f"{topic} {version['to']}", version, rejected)
        else:
            raise InputError(
                f"None of {count:,} messages of {asked.shown} is a JSON object; the first: {rejected[0]}",
                hint="Only topics of JSON objects can be read.",
            )


def _messages(asked: Asked, client: Any, left: set[int], end: Mapping[int, int], at: dict[int, int]) -> Iterator[Any]:
    """Iterate over the messages before `end`, and keep in `at` how far each partition is."""
    waited = time.monotonic()
    while left:
        for message in client.consume(AT_ONCE, timeout=0.5):
            waited = time.monotonic()
            if message.error():
                raise EnvironmentProblem(f"{asked.shown} stopped: {message.error()}.", hint="Repeat: it goes on there.")
            number = message.partition()
            if number in left and message.offset() < end[number]:
                at[number] = message.offset() + 1
                yield message
        for place in client.position(client.assignment()):
            # Marks of transactions and compacted messages have offsets, and never come.
            if place.partition in left and place.offset >= end[place.partition]:
                at[place.partition] = end[place.partition]
                left.discard(place.partition)
        if time.monotonic() - waited > SECONDS:
            raise EnvironmentProblem(
                f"{asked.shown} gave nothing for {SECONDS} seconds.",
                hint="Check the brokers; repeat: it goes on there.",
            )


def _row(message: Any, topic: str) -> dict[str, Any] | Rejected:
    raw = message.value()
    try:
        value = {} if raw is None else json.loads(raw)
        wrong = "" if isinstance(value, dict) else "this is not an object."
    except (ValueError, RecursionError) as error:
        value, wrong = {}, f"this is not JSON: {error}."
    if not wrong and (own := [name for name in OWN if name in value]):
        wrong = f"it has a field {own[0]!r}, which is the name of a column of ours."
    if wrong:
        text = (raw or b"").decode("utf-8", "replace")
        return Rejected(_name(topic, message.partition()), message.offset(), wrong, bounded(text))
    key, (kind, stamp) = message.key(), message.timestamp()
    moment = dt.datetime.fromtimestamp(stamp / 1000, dt.UTC).isoformat() if kind else None
    said = key.decode("utf-8", "replace") if key is not None else None
    return {"_partition": message.partition(), "_offset": message.offset(), "_at": moment, "_key": said, **value}


@contextmanager
def _consumer(asked: Asked) -> Iterator[tuple[Any, str]]:
    try:
        from confluent_kafka import Consumer, KafkaException
    except ImportError:
        raise MissingExtra("Reading Kafka topics", "kafka") from None
    parts = urlsplit(asked.address)
    topic, brokers = parts.path.strip("/"), parts.netloc.rpartition("@")[2]
    more = {name.removeprefix("kafka."): value for name, value in asked.options.more.items() if name[:6] == "kafka."}
    refuse_options(asked, *(f"kafka.{name}" for name in more))
    if not topic or not brokers:
        raise InputError(f"{asked.shown} names no topic.", hint="Write kafka://HOST:PORT/TOPIC.")
    told = {"auto.offset.reset": "error", "isolation.level": "read_committed", "log_level": "0", **more}
    own = {
        "bootstrap.servers": brokers,
        "group.id": "bascule",
        "enable.auto.commit": False,
        "enable.partition.eof": False,
    }
    try:
        client = Consumer({**told, **own})
    except KafkaException as error:
        raise InputError(f"Kafka's client does not take this: {error}.", hint="Check the options kafka.…") from error
    try:
        yield client, topic
    except KafkaException as error:
        raise EnvironmentProblem(
            f"{asked.shown} does not answer as it should: {error.args[0]}.", hint="Check the brokers, and repeat."
        ) from error
    finally:
        client.close()


def _marks(client: Any, topic: str) -> dict[int, tuple[int, int]]:
    """Return the first offset of each partition, and the one behind the last."""
    from confluent_kafka import TopicPartition

    found = client.list_topics(topic, timeout=15).topics.get(topic)
    if found is None or found.error is not None or not found.partitions:
        known = [name for name in client.list_topics(timeout=15).topics if not name.startswith("__")]
        raise NotFound("topic", topic, known)
    return {
        number: client.get_watermark_offsets(TopicPartition(topic, number), timeout=15) for number in found.partitions
    }


def _held(known: Any, topic: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for source in known:
        found |= _parsed(source.version.get("to", ""))
    return found


def _name(topic: str, number: int) -> str:
    return f"{topic}/{number}"


def _text(offsets: Mapping[int, int]) -> str:
    return " ".join(f"{number}:{offset}" for number, offset in sorted(offsets.items()))


def _parsed(text: str) -> dict[int, int]:
    return {int(number): int(offset) for number, _, offset in (one.partition(":") for one in text.split())}
