"""What broke while versions were served, kept in the catalog: by whom it is written, and how it is told.

A server notes what happens in memory (`Case`) and writes it about once a second from a thread of its own, a row for
each version and kind of thing: a loop of crashes makes a number grow and nothing else. What cannot be written now is
written later, and is in the server's own figures meanwhile.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select, update

from bascule.catalog import now, upsert
from bascule.catalog.schema import incidents as table
from bascule.durations import rough_duration
from bascule.history import Commit, Workspace
from bascule.naming import model_path
from bascule.registry.versions import served
from bascule.serving.case import UNLOADABLE, Case, Kind

PAUSE_S = 1.0  # between two writes
AGAIN_S = 5.0  # after one that failed
RECENT_US = 7 * 86_400 * 1_000_000
KEYS = [column.name for column in table.primary_key]
SAID = {
    "crashed": "crashed",
    "hung": "hung",
    "grew": "grew too large",
    "failed": "failed",
    UNLOADABLE: "was not loaded",
}
DONE = {
    "crashed": "restarted",
    "hung": "restarted",
    "grew": "restarted",
    "failed": "answered by an error",
    UNLOADABLE: "out of service, and tried again",
}


class Incident(msgspec.Struct, frozen=True):
    """What happened to a version so many times. Times are microseconds since the epoch.

    Attributes:
        version: its number in the state that was asked.
        kind: `crashed`, `hung`, `grew`, `failed` or `unloadable`.
        text: of the last time: the signal, the seconds, the shape, the error.
        over_at: when what could not be loaded was; None while it is not, and of other kinds.
        done: what is done about it each time.
    """

    model: str
    version: int
    kind: Kind
    times: int
    text: str
    first_at: int
    last_at: int
    over_at: int | None
    done: str

    @property
    def open(self) -> bool:
        """Whether it lasts: the version is out of service, or it happened within a week."""
        return self.over_at is None and (self.kind == UNLOADABLE or self.last_at > now() - RECENT_US)

    def as_dict(self) -> dict[str, Any]:
        """It as one JSON object."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    def told(self) -> str:
        """Return it as a sentence."""
        times = "once" if self.times == 1 else f"{self.times:,} times"
        ago = rough_duration(max(now() - self.last_at, 1_000_000))
        mended = ", and is now" if self.over_at else ""
        said = f"version {self.version} {SAID[self.kind]} {times}{mended}, last {ago} ago"
        return f"{said}: {self.text.rstrip('.')}; {self.done}"


class Incidents:
    """The cases of a serving process, and their way into the catalog. It is used from any thread."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._cases: dict[tuple[str, int, str], Case] = {}
        self._lock = threading.Lock()
        self._woken, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = ""

    def case(self, model: str, version: int, artifact: str) -> Case:
        """Return what happened to a version in this process; begun when it is first asked for."""
        key = (model, version, artifact)
        with self._lock:
            found = self._cases.get(key)
        if found is not None:
            return found
        broken = self._is_broken(*key)
        with self._lock:
            return self._cases.setdefault(key, Case(model, version, artifact, self._wake, broken))

    def cases(self) -> list[Case]:
        """Return all cases of this process."""
        with self._lock:
            return list(self._cases.values())

    def close(self) -> None:
        """Write what is not written yet."""
        self._stopped.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()

    def _is_broken(self, model: str, version: int, artifact: str) -> bool:
        """Return whether the catalog says that a version could not be loaded, which may be mended now."""
        c = table.c
        here = c.model == model, c.version == version, c.artifact == artifact, c.kind == UNLOADABLE
        with self._ws.catalog.read() as conn:
            return conn.execute(select(c.times).where(*here, c.over_at.is_(None))).first() is not None

    def _wake(self) -> None:
        self._woken.set()
        with self._lock:
            if self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._write_forever, name="incidents", daemon=True)
                self._thread.start()

    def _write_forever(self) -> None:
        stopped = False
        while not stopped:
            self._woken.wait()
            stopped = self._stopped.is_set()
            self._woken.clear()
            if self._write():
                self._stopped.wait(PAUSE_S)
            else:
                self._stopped.wait(AGAIN_S)
                self._woken.set()

    def _write(self) -> bool:
        taken = [(case, found) for case in self.cases() if (found := case.take())]
        try:
            if taken:
                with self._ws.catalog.write() as conn:
                    for case, found in taken:
                        for one in found:
                            _add(conn, case, *one)
        except Exception as error:  # a full disk, a catalog that is away: what served goes on
            for case, found in taken:
                case.give_back(found)
            if str(error) != self._failing:
                self._failing = str(error)
                print(f"bascule serve: incidents cannot be written: {error}", file=sys.stderr, flush=True)
            return False
        self._failing = ""
        return True


def _add(conn: Connection, case: Case, kind: Kind, more: int, first: int, last: int, text: str, over: bool) -> None:
    keys: dict[str, Any] = {"model": case.model, "version": case.version, "artifact": case.artifact, "kind": kind}
    if more:
        new = {"times": more, "text": text, "first_at": first, "last_at": last, "over_at": None}
        changed = {**new, "times": table.c.times + more}
        del changed["first_at"]
        insert = upsert(conn, table).values(**keys, **new)
        conn.execute(
            insert.on_conflict_do_update(index_elements=["model", "version", "artifact", "kind"], set_=changed)
        )
    if over:
        here = [table.c[name] == value for name, value in keys.items()]
        conn.execute(update(table).where(*here, table.c.over_at.is_(None)).values(over_at=now()))


def incidents_of(ws: Workspace, state: Commit | str, deployments: Iterable[Mapping[str, Any]]) -> list[list[Incident]]:
    """Return for each deployment of a state what happened to versions of its model, the last first."""
    models = [str(deployment["model"]) for deployment in deployments]
    found: dict[str, list[Incident]] = {}
    known: dict[str, set[tuple[int, str]]] = {}
    query = select(table).where(table.c.model.in_(set(models))).order_by(table.c.last_at.desc())
    with ws.catalog.read() as conn:
        rows = conn.execute(query).all() if models else []
    for row in rows:
        if row.model not in known:
            known[row.model] = _versions(ws, state, row.model)
        if (row.version, row.artifact) in known[row.model]:
            found.setdefault(row.model, []).append(_read(row))
    return [found.get(model, []) for model in models]


def _versions(ws: Workspace, state: Commit | str, model: str) -> set[tuple[int, str]]:
    """Return the versions of a model in a state, each with the digest of its bundle."""
    entries = (ws.history.read(state, model_path(model)) or {"versions": {}})["versions"].values()
    return {(int(one["version"]), str(served(one)["artifact"])) for one in entries}


def _read(row: Row[Any]) -> Incident:
    times = row.first_at, row.last_at, row.over_at
    return Incident(row.model, row.version, row.kind, row.times, row.text, *times, DONE[row.kind])
