"""Group commit: who comes together shares a transaction, and a refusal takes nothing of the neighbours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, insert, select

from bascule.catalog import schema
from bascule.catalog.grouping import GroupCommit
from bascule.errors import InputError
from bascule.history import Workspace

WRITERS, EACH = 12, 15


def keep(key: str, wrong: bool) -> object:
    def work(conn: Connection) -> str:
        conn.execute(insert(schema.settings).values(key=key, value="v"))
        if wrong:
            raise InputError(f"{key} is refused")
        return key

    return work


@pytest.mark.slow
def test_each_piece_is_kept_or_refused_by_itself(workspace: Workspace) -> None:
    group = GroupCommit(workspace.catalog)
    said: dict[str, str] = {}

    def write(number: int) -> None:
        for count in range(EACH):
            key = f"{number}-{count}"
            try:
                said[key] = group.run(keep(key, (number + count) % 4 == 0))  # type: ignore[arg-type]
            except InputError as error:
                said[key] = error.message

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with workspace.catalog.read() as conn:
        held = set(conn.execute(select(schema.settings.c.key)).scalars())
    wanted = {f"{n}-{c}" for n in range(WRITERS) for c in range(EACH) if (n + c) % 4}
    assert held == wanted == {key for key, value in said.items() if value == key}
    assert len(said) == WRITERS * EACH


@pytest.mark.slow
def test_pieces_share_transactions(local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, counted = local_workspace.catalog, []
    write = catalog.write
    waiting, go = threading.Barrier(2), threading.Event()

    @contextmanager
    def counting() -> Iterator[Connection]:
        counted.append(1)
        with write() as conn:
            yield conn

    monkeypatch.setattr(catalog, "write", counting)
    group = GroupCommit(catalog)

    def slow(conn: Connection) -> None:
        waiting.wait(20)
        go.wait(20)

    first = threading.Thread(target=lambda: group.run(slow))
    first.start()
    waiting.wait(20)
    others = [threading.Thread(target=lambda n=n: group.run(keep(str(n), False))) for n in range(10)]  # type: ignore[misc, arg-type]
    for thread in others:
        thread.start()
    while len(group._waiting) < 10:
        go.wait(0.01)
    go.set()
    for thread in [first, *others]:
        thread.join(20)
    assert len(counted) == 2


def test_what_could_not_be_committed_is_told_to_all(
    local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def full() -> Iterator[Connection]:
        with local_workspace.catalog.read() as conn:
            yield conn
        raise OSError("No space left on device")

    monkeypatch.setattr(local_workspace.catalog, "write", full)
    group = GroupCommit(local_workspace.catalog)
    with pytest.raises(OSError, match="No space"):
        group.run(lambda conn: conn.execute(select(1)).scalar())
    monkeypatch.undo()
    assert group.run(lambda conn: conn.execute(select(1)).scalar()) == 1
