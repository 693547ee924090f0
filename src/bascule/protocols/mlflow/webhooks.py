"""Endpoints of webhooks: who is told when registered models of the client's branch change."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.protocols.mlflow.limits import checked_value
from bascule.protocols.mlflow.messages import Answer, Ask, Fields, milliseconds, present
from bascule.registry import webhooks as kept
from bascule.registry.events import ALIAS, MODEL, PROMPTS, TAG, VERSION
from bascule.tracking.search.pages import next_token, offset_of

MOST = 1_000
MOST_SECRET = 1_000
MOST_DESCRIPTION = 5_000
ENTITIES = (
    *("ENTITY_UNSPECIFIED", "REGISTERED_MODEL", "MODEL_VERSION", "MODEL_VERSION_TAG", "MODEL_VERSION_ALIAS"),
    *("PROMPT", "PROMPT_VERSION", "PROMPT_TAG", "PROMPT_VERSION_TAG", "PROMPT_ALIAS"),
)
ACTIONS = ("ACTION_UNSPECIFIED", "CREATED", "UPDATED", "DELETED", "SET")
STATUSES = {1: kept.ACTIVE, 2: kept.DISABLED}
EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    (MODEL, "created"): {"tags": {"example_key": "example_value"}, "description": "An example registered model"},
    (VERSION, "created"): {"version": "1", "source": "models:/123", "run_id": "abcd1234abcd5678", "tags": {}},
    (TAG, "set"): {"version": "1", "key": "example_key", "value": "example_value"},
    (TAG, "deleted"): {"version": "1", "key": "example_key"},
    (ALIAS, "created"): {"alias": "example_alias", "version": "1"},
    (ALIAS, "deleted"): {"alias": "example_alias"},
}


def create(ask: Ask) -> Answer:
    """Make a webhook."""
    told = ask.told
    name = _name(told.text("name", required=True))
    given = kept.Given(
        name=name,
        description=_description(told),
        url=told.text("url", required=True),
        events=_events(told),
        secret=_secret(told),
        status=told.choice("status", tuple(STATUSES.values()), STATUSES, kept.ACTIVE),
    )
    return _one(ask, kept.create(ask.tracker.workspace, ask.branch, given))


def get(ask: Ask) -> Answer:
    """Return a webhook, without its secret."""
    return _one(ask, ask.path["webhook_id"])


def search(ask: Ask) -> Answer:
    """Return a page of webhooks."""
    told = ask.told
    limit, offset = told.integer("max_results", 100, least=1, most=MOST), offset_of(told.text("page_token"))
    found = kept.listed(ask.tracker.workspace, ask.branch, limit + 1, offset)
    token = next_token(offset + limit) if len(found) > limit else None
    return Answer(present({"webhooks": [as_json(one) for one in found[:limit]], "next_page_token": token}))


def update(ask: Ask) -> Answer:
    """Change what is said of a webhook."""
    told, hook = ask.told, ask.path["webhook_id"]
    name = told.text("name")
    given = kept.Given(
        name=_name(name) if name else None,
        description=_description(told),
        url=told.text("url") or None,
        events=_events(told) if told.objects("events") else None,
        secret=_secret(told),
        status=told.choice("status", tuple(STATUSES.values()), STATUSES) or None,
    )
    kept.change(ask.tracker.workspace, ask.branch, hook, given)
    return _one(ask, hook)


def delete(ask: Ask) -> Answer:
    """Delete a webhook."""
    kept.remove(ask.tracker.workspace, ask.branch, ask.path["webhook_id"])
    return Answer()


def example(ask: Ask) -> tuple[Any, str]:
    """Return a webhook's row and an example of what it is sent, for trying it."""
    row = kept.find(ask.tracker.workspace, ask.branch, ask.path["webhook_id"])
    told = ask.told.object("event")
    event = _event(told) if told.get("entity") is not None else tuple(msgspec.json.decode(row.events_json)[0])
    entity = {prompt: model for model, prompt in PROMPTS.items()}.get(event[0], event[0])
    data = {"name": "example_model", **EXAMPLES[entity, event[1]]}
    return row, msgspec.json.encode(kept.payload(event[0], event[1], data)).decode()


def as_json(row: Any) -> dict[str, Any]:
    """Return a webhook as the wire has it."""
    events = [{"entity": e.upper(), "action": a.upper()} for e, a in msgspec.json.decode(row.events_json)]
    return present(
        {
            "webhook_id": row.id,
            "name": row.name,
            "description": row.description,
            "url": row.url,
            "events": events,
            "status": row.status,
            "creation_timestamp": milliseconds(row.created_at),
            "last_updated_timestamp": milliseconds(row.updated_at),
        }
    )


def _one(ask: Ask, hook: str) -> Answer:
    return Answer({"webhook": as_json(kept.find(ask.tracker.workspace, ask.branch, hook))})


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._ \-]{0,61}[A-Za-z0-9])?", name):
        raise InputError(
            f"Webhook name {name[:80]!r} is invalid.",
            hint="It begins and ends with a letter or digit, and has at most 63 of them, spaces, '.', '_' and '-'.",
        )
    return name


def _description(told: Fields) -> str | None:
    found = told.given("description")
    return None if found is None else checked_value(found, MOST_DESCRIPTION, "description")


def _secret(told: Fields) -> str | None:
    secret = told.given("secret")
    if secret is not None and len(secret) > MOST_SECRET:
        raise InputError(f"The secret has more than {MOST_SECRET:,} characters.", hint="Shorten it.")
    return secret


def _events(told: Fields) -> tuple[tuple[str, str], ...]:
    found = tuple(dict.fromkeys(_event(one) for one in told.objects("events")[:100]))
    if not found:
        raise InputError("Webhook events must be a non-empty list.", hint="Name at least one.")
    return found


def _event(told: Fields) -> tuple[str, str]:
    entity = told.choice("entity", ENTITIES, dict(enumerate(ENTITIES))).lower()
    action = told.choice("action", ACTIONS, dict(enumerate(ACTIONS))).lower()
    if (entity, action) not in kept.KNOWN:
        known = ", ".join(sorted(f"{one}.{two}" for one, two in kept.KNOWN))
        raise InputError(f"Nothing tells of {entity}.{action}.", hint=f"Known: {known}.")
    return entity, action
