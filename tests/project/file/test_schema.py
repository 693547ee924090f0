"""The published JSON Schema."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.project.file.conftest import PROJECT

from bascule.project.schema import SCHEMA_FILE, json_schema, schema_text

FLIGHTS = Path(__file__).parents[3] / "examples" / "flights" / "bascule.toml"


def test_the_published_schema_is_current() -> None:
    assert SCHEMA_FILE.read_text("utf-8") == schema_text(), "run: python -m bascule.project.schema"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("text", [PROJECT, FLIGHTS.read_text("utf-8")], ids=["small", "flights"])
def test_projects_fit_it(text: str) -> None:
    jsonschema.validate(tomllib.loads(text), json_schema())


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"project": {"name": "a"}, "sources": {}},
        {"project": {"name": "a", "kind": "tabluar"}},
        {"project": {"name": "a"}, "source": {"t": {"path": "x", "mode": "add"}}},
        {"project": {"name": "a"}, "features": {"f": {"sql": "x.sql", "entity": "e", "ttl": "6 hours"}}},
    ],
)
def test_wrong_ones_do_not(values: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, json_schema())


def test_every_key_is_described() -> None:
    schema = json_schema()
    for name, definition in schema["$defs"].items():
        assert definition["description"], name
        for key, value in definition["properties"].items():
            assert (
                value.get("description") or "$ref" in value or "anyOf" in value or key in ("metric", "persistence")
            ), f"{name}.{key}"
