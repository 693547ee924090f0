"""Kafka topics, on librdkafka's own mock cluster: windows by offset, each message once."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.history import Workspace
from bascule.lake.origins import topics

Rows = Callable[..., list[tuple[Any, ...]]]
kafka = pytest.importorskip("confluent_kafka")


class Cluster:
    """A cluster with one broker."""

    def __init__(self) -> None:
        self.producer = kafka.Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})
        broker = next(iter(self.producer.list_topics(timeout=10).brokers.values()))
        self.where = f"{broker.host}:{broker.port}"

    def send(self, topic: str, *values: bytes | None, partition: int = 0) -> None:
        for number, value in enumerate(values):
            self.producer.produce(topic, key=f"k{number}", value=value, partition=partition)
        self.producer.flush(10)


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def topic() -> str:
    return f"orders-{uuid.uuid4().hex[:8]}"


@pytest.mark.slow
def test_a_window_is_what_came_since_the_last(
    cluster: Cluster, topic: str, bring: Any, rows: Rows, local_workspace: Workspace
) -> None:
    address = f"kafka://{cluster.where}/{topic}"
    cluster.send(topic, *(f'{{"n": {n}, "word": "a"}}'.encode() for n in range(5)))
    cluster.send(topic, b'{"n": 5, "word": null}', partition=1)
    assert bring(address).report.rows == 6
    assert rows('select _partition, _offset, _key, n, word, typeof("_at") from t where n in (1, 5) order by n') == [
        (0, 1, "k1", 1, "a", "TIMESTAMP WITH TIME ZONE"),
        (1, 0, "k0", 5, None, "TIMESTAMP WITH TIME ZONE"),
    ]
    assert bring(address).commit is None
    cluster.send(topic, b'{"n": 6, "word": "c"}', partition=1)
    assert bring(address).report.rows == 1
    version = local_workspace.history.resolve("main").meta["ingest"][0]["version"]
    assert version[f"{topic}/1"] == "2"
    assert version["to"].startswith("0:5 1:2")
    assert rows("select count(*), count(distinct n) from t") == [(7, 7)]
    with pytest.raises(InputError, match="cannot be the whole table"):
        bring(address, mode="replace")


@pytest.mark.slow
def test_messages_that_are_no_objects_are_set_aside_with_their_offset(
    cluster: Cluster, topic: str, bring: Any, quarantine: Any
) -> None:
    address = f"kafka://{cluster.where}/{topic}"
    cluster.send(topic, *[b'{"n": 1}'] * 20, b"{", b"[1]", b'{"_offset": 1}', None)
    with pytest.raises(InputError, match=r"3 of 24 records cannot be read"):
        bring(address)
    assert bring(address, tolerate=0.2).report.rows == 21
    assert [(one["line"], one["raw"]) for one in quarantine()] == [(20, "{"), (21, "[1]"), (22, '{"_offset": 1}')]
    assert {(one["file"], one["source"]) for one in quarantine()} == {(f"{topic}/0", address)}


@pytest.mark.slow
def test_a_killed_window_goes_on_behind_the_last_whole_segment(
    cluster: Cluster, topic: str, bring: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    address = f"kafka://{cluster.where}/{topic}"
    cluster.send(topic, *(f'{{"n": {n}}}'.encode() for n in range(100)))
    monkeypatch.setattr(topics, "SEGMENT", 30)
    real, seen = topics._row, []

    def dies(message: Any, name: str) -> Any:
        seen.append(message.offset())
        if len(seen) == 75:
            raise Killed
        return real(message, name)

    monkeypatch.setattr(topics, "_row", dies)
    with pytest.raises(Killed):
        bring(address)
    seen.clear()
    monkeypatch.setattr(topics, "_row", lambda message, name: (seen.append(message.offset()), real(message, name))[1])
    bring(address)
    assert seen == list(range(60, 100))
    assert rows("select count(*), count(distinct n), max(n) from t") == [(100, 100, 99)]
    assert bring(address).commit is None


def test_a_topic_that_is_not_there_and_brokers_that_are_not(cluster: Cluster, bring: Any) -> None:
    with pytest.raises((NotFound, InputError)):
        bring(f"kafka://{cluster.where}/")
    with pytest.raises(InputError, match="has no option 'group'"):
        bring(f"kafka://{cluster.where}/x", more={"group": "y"})
    with pytest.raises(InputError, match="does not take this"):
        bring(f"kafka://{cluster.where}/x", more={"kafka.no.such": "y"})


@pytest.mark.slow
def test_brokers_that_do_not_answer(bring: Any) -> None:
    with pytest.raises(EnvironmentProblem, match="does not answer"):
        bring("kafka://127.0.0.1:1/x")
