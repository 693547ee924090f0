"""What happened to registered models between two states, in the words that webhooks use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

PROMPT = "mlflow.prompt.is_prompt"
MODEL, VERSION, TAG, ALIAS = "registered_model", "model_version", "model_version_tag", "model_version_alias"
PROMPTS = {MODEL: "prompt", VERSION: "prompt_version", TAG: "prompt_version_tag", ALIAS: "prompt_alias"}
Object = Mapping[str, Any]


class Event(NamedTuple):
    """Something that happened: to what, what, and the facts."""

    entity: str
    action: str
    data: dict[str, Any]


def events(before: Object | None, after: Object | None) -> Iterator[Event]:
    """Yield what happened to one model; a model that went tells of nothing.

    Args:
        before: its object in the earlier state, None when it was not there.
        after: its object in the later one.
    """
    if after is None:
        return
    name, about = after["name"], after.get("about", {})
    is_prompt = about.get("tags", {}).get(PROMPT) == "true"
    for event in _events(before, after, name):
        yield event._replace(entity=PROMPTS[event.entity]) if is_prompt else event


def _events(before: Object | None, after: Object, name: str) -> Iterator[Event]:
    if before is None:
        about = after.get("about", {})
        facts = {"name": name, "tags": dict(about.get("tags", {})), "description": about.get("description") or None}
        yield Event(MODEL, "created", facts)
    old = (before or {}).get("versions", {})
    for number, entry in sorted(after["versions"].items(), key=lambda one: int(one[0])):
        about, told = entry.get("about", {}), {"name": name, "version": number}
        tags, former = about.get("tags", {}), old.get(number, {}).get("about", {}).get("tags", {})
        if number not in old:
            facts = {
                "source": about.get("source") or entry["artifact"],
                "run_id": entry.get("run_id"),
                "tags": dict(tags),
            }
            yield Event(VERSION, "created", {**told, **facts, "description": about.get("description") or None})
            continue
        for key, value in tags.items():
            if former.get(key) != value:
                yield Event(TAG, "set", {**told, "key": key, "value": value})
        for key in former.keys() - tags.keys():
            yield Event(TAG, "deleted", {**told, "key": key})
    aliases, gone = after["aliases"], (before or {}).get("aliases", {})
    for alias, version in sorted(aliases.items()):
        if gone.get(alias) != version:
            yield Event(ALIAS, "created", {"name": name, "alias": alias, "version": str(version)})
    for alias in sorted(gone.keys() - aliases.keys()):
        yield Event(ALIAS, "deleted", {"name": name, "alias": alias})
