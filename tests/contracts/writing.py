"""Contracts for tests, written short."""

from __future__ import annotations

import json
from typing import Any

from bascule.contracts import Contract

HEAD = "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: draft\n"


def contract_of(properties: list[dict[str, Any]], *, table: str = "t", **parts: Any) -> Contract:
    """A contract from its parts; JSON is YAML."""
    schema = [{"name": table, "properties": properties, **parts}]
    return Contract.parse(f"{HEAD}schema: {json.dumps(schema)}\n", "contracts/t.yaml")


def ours(check: str, **implementation: Any) -> dict[str, Any]:
    """A quality rule with `engine: bascule`."""
    return {"type": "custom", "engine": "bascule", "implementation": {"check": check, **implementation}}


def column(name: str, *rules: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """A property with quality rules."""
    return {"name": name, **parts, **({"quality": list(rules)} if rules else {})}
