"""A stream of a Kafka topic, on librdkafka's own mock cluster: partitions, poison, restarts, brokers that are gone."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.project.streaming.conftest import BEGIN, counted, event

import bascule as api
from bascule.errors import InputError, NotFound

kafka = pytest.importorskip("confluent_kafka")
pytestmark = pytest.mark.slow
Shop = Callable[..., Path]


class Cluster:
    """A cluster with one broker, which ends with it."""

    def __init__(self) -> None:
        self.producer = kafka.Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})
        broker = next(iter(self.producer.list_topics(timeout=10).brokers.values()))
        self.where = f"{broker.host}:{broker.port}"

    def send(self, topic: str, *values: bytes | None, partition: int = 0) -> None:
        for value in values:
            self.producer.produce(topic, value=value, partition=partition)
        self.producer.flush(10)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def raw(*numbers: int) -> list[bytes]:
    return [json.dumps(event(n)).encode() for n in numbers]


def numbers(project: api.OpenProject) -> list[int]:
    return [row["n"] for row in project.sql("select n from clicks order by n")]


def test_each_message_once_over_partitions_and_restarts(shop: Shop, cluster: Cluster) -> None:
    topic = f"clicks-{uuid.uuid4().hex[:8]}"
    folder = shop(f"kafka://{cluster.where}/{topic}")
    cluster.send(topic, *raw(*range(0, 60, 2)), b"poison", None, b'{"user": 3}')
    cluster.send(topic, *raw(*range(1, 60, 2)), partition=1)
    project = api.open(folder)
    [info] = project.run_streams(once=True)
    assert (info.events, info.aside, info.lag) == (60, {"unreadable": 2}, 0)
    cluster.send(topic, *raw(60, 61), partition=1)
    cluster.send(topic, *raw(62), partition=3)
    [info] = project.run_streams(once=True)
    assert numbers(project) == list(range(63))
    aside = project.sql("select file, line, raw from quarantine order by line")
    assert [(one["file"], one["line"], one["raw"]) for one in aside] == [
        (f"{topic}/0", 30, "poison"),
        (f"{topic}/0", 32, '{"user": 3}'),
    ]
    counted(project, BEGIN + timedelta(seconds=100))
    [landed] = project.workspace.history.resolve("main").meta["ingest"]
    assert json.loads(landed["version"]["offsets"]) == {"0": "33", "1": "32", "2": "0", "3": "1"}
    project.close()


def test_what_is_no_topic_is_told(shop: Shop, cluster: Cluster) -> None:
    cluster.send("clicks", *raw(1))
    project = api.open(shop(f"kafka://{cluster.where}/"))
    with pytest.raises(InputError, match="names no topic"):
        project.run_streams(once=True)
    project.close()
    with pytest.raises(NotFound, match="'click'") as error:
        api.open(shop(f"kafka://{cluster.where}/click")).run_streams(once=True)
    assert "'clicks'" in error.value.hint


def test_a_broker_that_is_gone_is_waited_for(shop: Shop, cluster: Cluster) -> None:
    topic = f"clicks-{uuid.uuid4().hex[:8]}"
    folder = shop(f"kafka://{cluster.where}/{topic}", land="0s")
    cluster.send(topic, *raw(*range(5)))
    project, stop, said = api.open(folder), threading.Event(), list[str]()
    failed: list[Any] = []

    def consume() -> None:
        try:
            api.open(folder).run_streams(stop=stop, say=said.append)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=consume)
    thread.start()
    try:
        _until(lambda: project.streams()[0].events == 5)
        del cluster.producer  # the brokers end with their only client
        _until(lambda: any("does not answer" in one for one in said))
        _until(lambda: "source" in project.streams()[0].problems)
        info = project.streams()[0]
        assert (info.running, info.events) == (True, 5)
    finally:
        stop.set()
        thread.join()
    assert not failed
    assert numbers(project) == list(range(5))
    project.close()


def _until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
