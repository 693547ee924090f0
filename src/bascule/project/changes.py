"""What a change means, by kind of object: rows of tables, versions of models, traffic of deployments, lines of text."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from bascule.counting import counted
from bascule.history import Change
from bascule.registry.runtimes import engines_of

Object = Mapping[str, Any]
TEXT_FIELDS = ("text", "sql")
# Said elsewhere or meaningless to read side by side.
QUIET_FIELDS = frozenset(
    {
        "kind",
        "name",
        "uuid",
        "metadata_location",
        "snapshot_id",
        "schema_id",
        "digest",
        "manifest",
        "offset",
        "length",
        *TEXT_FIELDS,
    }
)
DIFF_LINES = 400


class Fact(msgspec.Struct, frozen=True):
    """One value that differs: null where there is none."""

    name: str
    before: str | None
    after: str | None


class ChangeInfo(msgspec.Struct, frozen=True):
    """One path that differs, told in the words of its kind.

    Attributes:
        summary: one line for a log.
        facts: the values that differ.
        text: a unified diff of the object's text (a contract's YAML, a feature's SQL), without file headers.
    """

    path: str
    change: Literal["added", "removed", "changed"]
    kind: str
    summary: str
    facts: list[Fact]
    text: list[str]


def describe(change: Change) -> ChangeInfo:
    """Tell a change in the words of its kind."""
    kind = str((change.after or change.before or {}).get("kind", "object"))
    before, after = change.before or {}, change.after or {}
    # What is removed is told by what it was.
    sides = ({}, before) if change.kind == "removed" else (before, after)
    summary = _TELLERS.get(kind, _tell_fields)(*sides) or _tell_fields(*sides) or change.kind
    return ChangeInfo(change.path, change.kind, kind, summary, _facts(before, after), _text_diff(before, after))


def table_rows(before: Object, after: Object) -> tuple[int, int]:
    """Return the numbers of rows before and after."""
    return int(before.get("rows") or 0), int(after.get("rows") or 0)


def _tell_table(before: Object, after: Object) -> str:
    old, new = table_rows(before, after)
    parts = [
        f"{new - old:+,} {'row' if abs(new - old) == 1 else 'rows'} ({new:,} in all)"
        if before and new != old
        else f"{counted(new, 'row')}"
    ]
    if before and after and before.get("schema_id") != after.get("schema_id"):
        parts.append("schema changed")
    return ", ".join(parts)


def _tell_files(before: Object, after: Object) -> str:
    new, size = int(after.get("files") or 0), int(after.get("bytes") or 0)
    more = f" ({new - int(before.get('files') or 0):+,})" if before else ""
    return f"{counted(new, 'file')}{more}, {size / 1e6:,.1f} MB"


def _tell_model(before: Object, after: Object) -> str:
    old, new = before.get("versions", {}), after.get("versions", {})
    parts = [_version(number, new[number]) for number in sorted(new.keys() - old.keys(), key=int)]
    parts += [f"version {number} removed" for number in sorted(old.keys() - new.keys(), key=int)]
    was, now = before.get("aliases", {}), after.get("aliases", {})
    for alias in sorted(was.keys() | now.keys()):
        if was.get(alias) != now.get(alias):
            parts.append(f"{alias} {_arrow(was.get(alias), now.get(alias))}")
    before_by, after_by = before.get("runtimes", {}), after.get("runtimes", {})
    for number in sorted(before_by.keys() | after_by.keys(), key=int):
        if before_by.get(number) != after_by.get(number) and number in new:
            parts.append(f"version {number} answered by {engines_of(after_by.get(number))}")
    return ", ".join(parts)


def _version(number: str, version: Object) -> str:
    metrics = {name: value for name, value in (version.get("metrics") or {}).items() if _is_number(value)}
    # The test split says how good it is; what the baseline had says nothing of the version.
    own = {name.removeprefix("test."): value for name, value in metrics.items() if name.startswith("test.")} or metrics
    shown = ", ".join(f"{name} {value:.4g}" for name, value in list(own.items())[:2])
    refused = "" if version.get("passed", True) else ", past its gates"
    return f"version {number}{f' ({shown}{refused})' if shown or refused else ''}"


def _tell_deployment(before: Object, after: Object) -> str:
    parts = []
    old, new = traffic_text(before), traffic_text(after)
    if old != new:
        # One that never served, as a branch's own may be, was not taken away: a merge of it moves no traffic.
        gone = "taken out of service" if after.get("revision") else "not in service there yet"
        parts.append(f"traffic {_arrow(old, new)}" if new else f"{gone} (was {old})")
    elif not before and not new:
        parts.append("not in service yet")
    was, now = before.get("rollout"), after.get("rollout")
    if was and not now:
        parts.append("rollout over")
    elif before and now and (not was or was.get("id") != now.get("id")):
        parts.append(f"rollout of version {', '.join(map(str, (now.get('canary'), *now.get('others', ()))))} begins")
    elif now and was and now.get("step") != was.get("step"):
        parts.append(f"rollout at step {int(now.get('step', 0)) + 1} of {len(now.get('steps', []))}")
    waits = after.get("waits")
    if waits is not None and waits != before.get("waits"):
        parts.append(f"version {waits} waits")
    return ", ".join(parts)


def traffic_text(deployment: Object) -> str | None:
    """Return a deployment's traffic as `v3 90 %, v4 10 %`; None when it has none."""
    traffic = deployment.get("traffic")
    if not traffic:
        return None
    return ", ".join(f"v{share['version']} {share['weight']} %" for share in traffic)


def _tell_text(before: Object, after: Object) -> str:
    lines = _text_diff(before, after)
    if not before or not after or not lines:
        return ""
    added = sum(line.startswith("+") for line in lines)
    return f"+{added} −{sum(line.startswith('-') for line in lines)} lines"


def _tell_fields(before: Object, after: Object) -> str:
    names = [fact.name for fact in _facts(before, after)]
    if not before or not after or not names:
        return _tell_text(before, after)
    return f"{', '.join(names[:4])}{' and more' if len(names) > 4 else ''} changed"


_TELLERS: dict[str, Callable[[Object, Object], str]] = {
    "table": _tell_table,
    "files": _tell_files,
    "model": _tell_model,
    "deployment": _tell_deployment,
    "contract": _tell_text,
}


def _facts(before: Object, after: Object) -> list[Fact]:
    left, right = _flat(before), _flat(after)
    names = [name for name in {**left, **right} if left.get(name) != right.get(name)]
    return [Fact(name, left.get(name), right.get(name)) for name in names]


def _flat(value: Object, prefix: str = "", depth: int = 0) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, inner in value.items():
        if depth == 0 and key in QUIET_FIELDS:
            continue
        name = f"{prefix}{key}"
        if key == "traffic" and depth == 0:
            flat[name] = traffic_text(value) or "none"
        elif isinstance(inner, Mapping) and inner and depth < 3:
            flat.update(_flat(inner, f"{name}.", depth + 1))
        elif inner not in (None, {}, []):
            flat[name] = _shown(inner)
    return flat


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return msgspec.json.encode(value).decode()
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _text_diff(before: Object, after: Object) -> list[str]:
    lines: list[str] = []
    for name in TEXT_FIELDS:
        old, new = str(before.get(name) or ""), str(after.get(name) or "")
        if old != new:
            found = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=2))[2:]
            lines += found
    if len(lines) > DIFF_LINES:
        lines = [*lines[:DIFF_LINES], f"… {len(lines) - DIFF_LINES} more lines"]
    return lines


def _arrow(before: Any, after: Any) -> str:
    if before is None:
        return str(after)
    return f"{before} → {'none' if after is None else after}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
