"""Webhooks: who is told when models of a branch change, and what of it was delivered.

A look compares the branch's models with those of the last look, and notes a delivery for each change and each webhook
that asked for it, in one transaction. So whatever made the change, a client, a merge or a command, it is told; what
changed twice between two looks is told once, as it is then. Deliveries are repeated until answered or given up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from bascule.catalog import new_id, now, upsert
from bascule.catalog.schema import settings, webhook_deliveries, webhooks
from bascule.errors import BasculeError, EnvironmentProblem, InputError, NotFound
from bascule.history import Workspace
from bascule.registry.events import ALIAS, MODEL, PROMPTS, TAG, VERSION, events
from bascule.registry.versions import PREFIX

ACTIVE, DISABLED = "ACTIVE", "DISABLED"
WAITING, SENT, GIVEN_UP = "waiting", "sent", "given up"
KNOWN = {
    (MODEL, "created"),
    (VERSION, "created"),
    (TAG, "set"),
    (TAG, "deleted"),
    (ALIAS, "created"),
    (ALIAS, "deleted"),
}
KNOWN |= {(PROMPTS[entity], action) for entity, action in KNOWN}
SEEN = "webhooks.seen."
MOST, MOST_URL, MOST_TRIES = 1_000, 2_000, 10
FIRST_PAUSE_S, CLAIM_S, KEPT_S = 5, 120, 30 * 86_400
# Hosts inside of the server's own network that may be told, separated by commas.
ALLOWED = "BASCULE_WEBHOOK_HOSTS"
w, d = webhooks.c, webhook_deliveries.c


@dataclass(frozen=True)
class Given:
    """What is said of a webhook; None leaves it as it is."""

    name: str | None = None
    description: str | None = None
    url: str | None = None
    events: tuple[tuple[str, str], ...] | None = None
    secret: str | None = None
    status: str | None = None


def address(url: str) -> tuple[SplitResult, bool]:
    """Return the parts of a URL that may be told, and whether it must be a public address.

    Raises:
        InputError: it is none, is not encrypted, or is inside of the server's own network and not allowed.
        EnvironmentProblem: its host is not known.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        parts, port, host = SplitResult("", "", "", "", ""), None, None
    if len(url) > MOST_URL or not url.isprintable() or " " in url or not host or parts.username is not None:
        raise InputError(f"Invalid webhook URL: {url[:100]!r}.", hint="Write it like: https://host/path")
    allowed = {one.strip().lower() for one in os.environ.get(ALLOWED, "").split(",") if one.strip()}
    inside = host.lower() in allowed
    if parts.scheme != "https" and not (inside and parts.scheme == "http"):
        raise InputError(f"Invalid webhook URL scheme: {parts.scheme[:20]!r}.", hint="Webhooks are sent over https.")
    if not inside:
        from bascule.lake.origins import reach  # what is below needs engines that no server without webhooks loads

        try:
            reach.public(host, port or 443)
        except InputError:
            raise InputError(
                f"Webhooks are not sent to {host[:100]!r}: it is inside of the server's own network.",
                hint=f"Name it in the server's variable {ALLOWED} if it may be.",
            ) from None
    return parts, not inside


def _checked(url: str) -> None:
    """`address`, for who just names it: a host that is not known is their mistake."""
    try:
        address(url)
    except EnvironmentProblem as error:
        raise InputError(error.message, hint=error.hint) from None


def create(ws: Workspace, branch: str, given: Given) -> str:
    """Make a webhook of a branch's models, and return its id.

    Raises:
        NotFound: there is no such branch. InputError: the URL may not be told, or there are too many webhooks.
    """
    head, hook, at = ws.history.resolve(branch), new_id("wh"), now()
    _checked(given.url or "")
    with ws.catalog.write() as conn:
        if len(conn.execute(select(w.id).where(w.deleted.is_(False)).limit(MOST)).all()) >= MOST:
            raise InputError(f"There are {MOST:,} webhooks already.", hint="Delete those that nobody needs.")
        row = {"id": hook, "branch": branch, "created_at": at, "updated_at": at, "deleted": False, **_values(given)}
        conn.execute(insert(webhooks).values(**{"status": ACTIVE, **row}))
        seen = upsert(conn, settings).values(key=f"{SEEN}{branch}", value=head.id)
        conn.execute(seen.on_conflict_do_nothing())
    return hook


def change(ws: Workspace, branch: str, hook: str, given: Given) -> None:
    """Change a webhook.

    Raises:
        NotFound: the branch has none of that id. InputError: as `create`.
    """
    find(ws, branch, hook)
    if given.url is not None:
        _checked(given.url)
    with ws.catalog.write() as conn:
        conn.execute(update(webhooks).where(w.id == hook).values(updated_at=now(), **_values(given)))


def remove(ws: Workspace, branch: str, hook: str) -> None:
    """Delete a webhook; what it was not told yet it is not told any more.

    Raises:
        NotFound: the branch has none of that id.
    """
    find(ws, branch, hook)
    with ws.catalog.write() as conn:
        conn.execute(update(webhooks).where(w.id == hook).values(deleted=True, secret=None, updated_at=now()))
        conn.execute(delete(webhook_deliveries).where(d.webhook_id == hook, d.status == WAITING))


def find(ws: Workspace, branch: str, hook: str) -> Row[Any]:
    """Return a webhook's row.

    Raises:
        NotFound: the branch has none of that id.
    """
    with ws.catalog.read() as conn:
        found = conn.execute(select(webhooks).where(w.id == hook, w.branch == branch, w.deleted.is_(False))).first()
    if found is None:
        raise NotFound("webhook", hook[:60], hint="List the webhooks.")
    return found


def listed(ws: Workspace, branch: str, limit: int, offset: int) -> list[Row[Any]]:
    """Return webhooks of a branch, the oldest first."""
    query = select(webhooks).where(w.branch == branch, w.deleted.is_(False)).order_by(w.created_at, w.id)
    with ws.catalog.read() as conn:
        return list(conn.execute(query.limit(limit).offset(offset)))


def look(ws: Workspace) -> int:
    """Note the deliveries of what happened to models since the last look, and return how many."""
    with ws.catalog.read() as conn:
        active = conn.execute(select(webhooks).where(w.deleted.is_(False), w.status == ACTIVE)).all()
    by_branch: dict[str, list[Row[Any]]] = {}
    for hook in active:
        by_branch.setdefault(hook.branch, []).append(hook)
    return sum(_look(ws, branch, hooks) for branch, hooks in by_branch.items())


def _look(ws: Workspace, branch: str, hooks: Sequence[Row[Any]]) -> int:
    key = f"{SEEN}{branch}"
    with ws.catalog.read() as conn:
        seen = conn.execute(select(settings.c.value).where(settings.c.key == key)).scalar()
    try:
        head = ws.history.resolve(branch)
    except NotFound:  # the branch is gone; another one of its name goes on from there
        return 0
    if seen is None or seen == head.id:
        return 0
    try:
        before = ws.history.digests(seen, PREFIX)
    except BasculeError:  # what was seen last was let go
        before = ws.history.digests(head, PREFIX)
    after = ws.history.digests(head, PREFIX)
    rows: list[dict[str, Any]] = []
    for path in sorted(after):
        if before.get(path) != after[path]:
            old = ws.history.object(before[path]) if path in before else None
            for event in events(old, ws.history.object(after[path])):
                rows += _rows(hooks, event.entity, event.action, event.data)
    with ws.catalog.write() as conn:
        moved = update(settings).where(settings.c.key == key, settings.c.value == seen).values(value=head.id)
        if not conn.execute(moved).rowcount:  # another server looked at the same moment
            return 0
        if rows:
            conn.execute(insert(webhook_deliveries), rows)
        old_ones = (d.status != WAITING, d.finished_at < now() - KEPT_S * 1_000_000)
        conn.execute(delete(webhook_deliveries).where(*old_ones))
    return len(rows)


def _rows(hooks: Iterable[Row[Any]], entity: str, action: str, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    at = now()
    body = msgspec.json.encode(payload(entity, action, data)).decode()
    return [
        {
            "id": new_id("dlv"),
            "webhook_id": hook.id,
            "entity": entity,
            "action": action,
            "body_json": body,
            "status": WAITING,
            "tries": 0,
            "next_at": at,
            "created_at": at,
        }
        for hook in hooks
        if [entity, action] in msgspec.json.decode(hook.events_json)
    ]


def payload(entity: str, action: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a webhook is sent."""
    return {"entity": entity, "action": action, "timestamp": datetime.now(UTC).isoformat(), "data": dict(data)}


def claimed(ws: Workspace, limit: int) -> list[tuple[Row[Any], Row[Any]]]:
    """Return deliveries that are due with their webhooks; no other server takes them for two minutes."""
    found = []
    with ws.catalog.write() as conn:
        at = now()
        due = select(webhook_deliveries).where(d.status == WAITING, d.next_at <= at).order_by(d.next_at, d.id)
        for row in conn.execute(due.limit(limit)).all():
            hook = conn.execute(select(webhooks).where(w.id == row.webhook_id)).first()
            if hook is None or hook.deleted or hook.status != ACTIVE:
                _finish(conn, row.id, GIVEN_UP, "The webhook is deleted or disabled.", row.tries)
                continue
            later = at + CLAIM_S * 1_000_000
            conn.execute(update(webhook_deliveries).where(d.id == row.id).values(next_at=later))
            found.append((row, hook))
    return found


def note(ws: Workspace, row: Row[Any], answer: str, *, delivered: bool, hopeless: bool = False) -> None:
    """Note how a delivery went: it is over, or is repeated later, each time after twice as long."""
    tries = row.tries + 1
    with ws.catalog.write() as conn:
        if delivered or hopeless or tries >= MOST_TRIES:
            _finish(conn, row.id, SENT if delivered else GIVEN_UP, answer, tries)
            return
        later = now() + FIRST_PAUSE_S * 2 ** (tries - 1) * 1_000_000
        values = {"tries": tries, "next_at": later, "answer": answer[:1000]}
        conn.execute(update(webhook_deliveries).where(d.id == row.id).values(**values))


def _finish(conn: Connection, delivery: str, status: str, answer: str, tries: int) -> None:
    values = {"status": status, "answer": answer[:1000], "tries": tries, "finished_at": now()}
    conn.execute(update(webhook_deliveries).where(d.id == delivery).values(**values))


def _values(given: Given) -> dict[str, Any]:
    values = {
        "name": given.name,
        "description": given.description,
        "url": given.url,
        "events_json": None if given.events is None else msgspec.json.encode(given.events).decode(),
        "secret": given.secret,
        "status": given.status,
    }
    return {key: value for key, value in values.items() if value is not None}
