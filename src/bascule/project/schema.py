"""The JSON Schema of the project file, from which editors complete and check it.

`python -m bascule.project.schema` writes it again beside this module; a test holds that it is current.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from bascule.project.file import NAMED, SINGLE

SCHEMA_FILE = Path(__file__).with_name("bascule.schema.json")


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of `bascule.toml`."""
    kinds = [*SINGLE.values(), *(kind for several in NAMED.values() for kind in several)]
    _, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    for definition in definitions.values():
        definition["description"] = definition.get("description", "").split("\n\nAttributes:")[0].replace("\n", " ")
    properties: dict[str, Any] = {name: {"$ref": f"#/$defs/{kind.__name__}"} for name, kind in SINGLE.items()}
    for name, several in NAMED.items():
        choices = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in several]
        one = choices[0] if len(choices) == 1 else {"anyOf": choices}
        properties[name] = {"type": "object", "additionalProperties": one}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Bascule project file",
        "type": "object",
        "properties": properties,
        "required": ["project"],
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """Return the schema as it is published."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), "utf-8")
