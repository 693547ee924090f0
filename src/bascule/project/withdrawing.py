"""Bundles of models in which a forgotten subject stands: they go when nobody needs them, as `[forget] policy` says."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import numpy as np
from sqlalchemy import select

from bascule.catalog import actor, audit, now
from bascule.catalog.schema import nodes
from bascule.delivery.traffic import needed
from bascule.errors import BasculeError
from bascule.history import Workspace
from bascule.registry import production
from bascule.registry.withdrawals import JUSTIFY, Withdrawal, blobs_of_version, note, noted
from bascule.training import unpack_model

ACTION = "withdraw"
AT_ONCE = "withdraw"


@dataclass(frozen=True)
class Waiting:
    """A bundle that still stays, and why. `overdue` when its policy says that it should be gone."""

    note: Withdrawal
    why: str
    overdue: bool


@dataclass(frozen=True)
class Settled:
    """What became of bundles: those that went now with their sizes in bytes, and those that wait."""

    gone: tuple[tuple[Withdrawal, int], ...]
    waiting: tuple[Waiting, ...]


def bundles(workspace: Workspace) -> dict[str, list[str]]:
    """Return the blobs that versions of models answer with, in any state, and the versions: digest to `delays@3`."""
    found: dict[str, set[str]] = {}
    with workspace.catalog.read() as conn:
        for body in conn.execute(select(nodes.c.body), execution_options={"yield_per": 1000}).scalars():
            if b'"versions"' not in bytes(body):
                continue
            model = msgspec.json.decode(bytes(body))
            for number, version in model["versions"].items():
                for digest in blobs_of_version(version, (model.get("runtimes") or {}).get(number)):
                    found.setdefault(digest, set()).add(f"{model.get('name')}@{number}")
    return {digest: sorted(names, key=_ordered) for digest, names in sorted(found.items())}


def bundles_with(workspace: Workspace, wanted: Sequence[bytes]) -> dict[str, list[str]]:
    """Return the bundles in which some bytes stand, and their versions.

    Also inside of a compressed model, and as a number among what a bundle keeps of its inputs.
    """
    found, numbers = {}, [float(one) for one in wanted if one.removeprefix(b"-").isdigit()]
    for digest, models in bundles(workspace).items() if wanted else ():
        if ":" in digest or not workspace.store.has(digest):
            continue
        data = workspace.store.get(digest)
        if any(one in part for part in _parts(data) for one in wanted) or _keeps(data, numbers):
            found[digest] = models
    return found


def _parts(data: bytes) -> Iterator[bytes]:
    yield data
    with suppress(BasculeError):
        model = unpack_model(data).model
        if zipfile.is_zipfile(io.BytesIO(model)):  # skops
            with zipfile.ZipFile(io.BytesIO(model)) as archive:
                yield from (archive.read(name) for name in archive.namelist())


def _keeps(data: bytes, numbers: Sequence[float]) -> bool:
    with suppress(BasculeError):
        background = unpack_model(data).background if numbers else None
        return background is not None and bool((background[..., np.newaxis] == np.array(numbers)).any())
    return False


def put_down(
    workspace: Workspace, found: dict[str, list[str]], policy: str, cause: str, reason: str, due: int | None
) -> None:
    """Note bundles that hold a forgotten subject. One that was noted with another policy has the last one."""
    with workspace.catalog.write() as conn:
        known = {one.digest: one for one in noted(conn)}
        for digest, models in found.items():
            before = known.get(digest)
            again = before is not None and before.policy == policy and before.gone_at is None
            if again and before is not None:  # the date that was promised first holds
                due = min((at for at in (due, before.due) if at is not None), default=None)
            fresh = Withdrawal(
                digest=digest, models=models, cause=cause, policy=policy, reason=reason, due=due, noted_at=now()
            )
            note(conn, fresh)


def settle(workspace: Workspace, *, dry_run: bool = False) -> Settled:
    """Delete the bundles that nothing needs any more; say of the others why they wait.

    One whose policy is to retrain goes once no deployment of any branch needs it and a later version is in production;
    one that is due, or is to go at once, as soon as no deployment needs it. One that is justified stays.
    Killed half-way, the next call goes on.
    """
    with workspace.catalog.read() as conn:
        every = noted(conn)
    gone, waiting = [], []
    serving = _serving(workspace) if any(one.gone_at is None for one in every) else {}
    for one in every:
        if one.gone_at is not None:
            if not dry_run and workspace.store.has(one.digest):
                workspace.store.delete(one.digest)  # killed before, or somebody put the same bundle again
            continue
        why = _waits(workspace, one, serving)
        if why:
            waiting.append(Waiting(one, why, one.due is not None and one.due <= now() and one.policy != JUSTIFY))
            continue
        size = workspace.store.size(one.digest) if workspace.store.has(one.digest) else 0
        gone.append((one, size))
        if not dry_run:
            _withdraw(workspace, one)
    return Settled(tuple(gone), tuple(waiting))


def _withdraw(workspace: Workspace, one: Withdrawal) -> None:
    """Note that a bundle goes, with its proof, before it does: a reader that misses it is told why."""
    with workspace.catalog.write() as conn:
        note(conn, msgspec.structs.replace(one, gone_at=now()))
        detail = {"models": one.models, "digest": one.digest, "cause": one.cause, "policy": one.policy}
        for model in dict.fromkeys(name.rpartition("@")[0] for name in one.models):
            audit.append(conn, actor=actor(), action=ACTION, subject=f"models/{model}", detail=detail)
    workspace.store.delete(one.digest)


def _waits(workspace: Workspace, one: Withdrawal, serving: dict[str, list[str]]) -> str:
    """Return why a bundle still stays; nothing when it goes."""
    if one.policy == JUSTIFY:
        return f"it stays: {one.reason}"
    until = f"; it is due on {datetime.fromtimestamp(one.due / 1e6, UTC):%Y-%m-%d}" if one.due else ""
    users = sorted({place for name in one.models for place in serving.get(name, ())})
    if users:
        return f"{', '.join(users[:3])}{' and others' if users[3:] else ''} need it{until}"
    if one.policy == AT_ONCE or (one.due is not None and one.due <= now()):
        return ""
    behind = [name for name in one.models if not _followed(workspace, name)]
    if not behind:
        return ""
    return f"no later version than {', '.join(behind)} is in production{until}"


def _serving(workspace: Workspace) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for ref in workspace.history.branches():
        for path, value in workspace.history.entries(ref.head, "deployments/"):
            for version in needed(value):
                found.setdefault(f"{value['model']}@{version}", []).append(f"{path} on {ref.name}")
    return found


def _followed(workspace: Workspace, name: str) -> bool:
    model, _, number = name.rpartition("@")
    latest = (production(workspace, ref.head, model) for ref in workspace.history.branches())
    return any(one is not None and one > int(number) for one in latest)


def _ordered(name: str) -> tuple[str, int]:
    model, _, number = name.rpartition("@")
    return model, int(number)


def told(bundles: Sequence[Waiting]) -> list[dict[str, object]]:
    """Return bundles that wait, JSON-able."""
    return [{**one.note.as_dict(), "why": one.why, "overdue": one.overdue} for one in bundles]
