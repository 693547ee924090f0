"""Pipeline files: what the servers demand of them, and that nothing is overwritten."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bascule.project.ci.pipelines import FORGES, pipeline
from tests.cli.conftest import Said, bascule, folder
from tests.project.conftest import parcels

__all__ = ["bascule", "folder", "parcels"]

Bascule = Callable[..., Said]
GOLDEN = Path(__file__).parent / "golden"

# What the published schemas demand of the parts that are used here.
STEP = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "uses": {"type": "string", "pattern": r"^[\w.-]+/[\w./-]+@v[0-9]+$"},
        "run": {"type": "string"},
        "with": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        "env": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        "if": {"type": ["string", "boolean"]},
        "continue-on-error": {"type": ["boolean", "string"]},
    },
    "additionalProperties": False,
    "oneOf": [{"required": ["uses"]}, {"required": ["run"]}],
}
GITHUB: dict[str, Any] = {
    "type": "object",
    "required": ["on", "jobs"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "on": {
            "type": "object",
            "properties": {
                "pull_request": {"type": ["object", "null"]},
                "push": {"type": "object", "properties": {"branches": {"type": "array", "minItems": 1}}},
            },
            "additionalProperties": False,
        },
        "permissions": {"type": "object", "additionalProperties": {"enum": ["read", "write", "none"]}},
        "concurrency": {
            "type": "object",
            "required": ["group"],
            "properties": {"group": {"type": "string"}, "cancel-in-progress": {"type": "boolean"}},
        },
        "jobs": {
            "type": "object",
            "patternProperties": {
                "^[_a-zA-Z][a-zA-Z0-9_-]*$": {
                    "type": "object",
                    "required": ["runs-on", "steps"],
                    "additionalProperties": False,
                    "properties": {
                        "runs-on": {"type": "string"},
                        "timeout-minutes": {"type": "number"},
                        "defaults": {
                            "type": "object",
                            "properties": {
                                "run": {"type": "object", "properties": {"working-directory": {"type": "string"}}}
                            },
                        },
                        "steps": {"type": "array", "minItems": 1, "items": STEP},
                    },
                }
            },
            "additionalProperties": False,
        },
    },
}
TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
GITLAB: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["script"],
        "additionalProperties": False,
        "properties": {
            "image": {"type": "string"},
            "rules": {
                "type": "array",
                "items": {"type": "object", "properties": {"if": {"type": "string"}}, "additionalProperties": False},
            },
            "variables": {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
            "resource_group": {"type": "string"},
            "timeout": {"type": "string"},
            "cache": {
                "type": "array",
                "maxItems": 4,
                "items": {
                    "type": "object",
                    "required": ["paths"],
                    "properties": {"key": {"type": "string"}, "paths": TEXTS, "fallback_keys": TEXTS},
                    "additionalProperties": False,
                },
            },
            "script": TEXTS,
            "artifacts": {
                "type": "object",
                "properties": {
                    "when": {"enum": ["on_success", "on_failure", "always"]},
                    "paths": TEXTS,
                    "reports": {
                        "type": "object",
                        "properties": {"junit": {"type": "string"}, "codequality": {"type": "string"}},
                        "additionalProperties": False,
                    },
                },
                "additionalProperties": False,
            },
        },
    },
}
FOLDERS = {"top": ".", "nested": "ml/my parcels"}


@pytest.mark.parametrize("where", FOLDERS)
@pytest.mark.parametrize("forge", FORGES)
def test_a_pipeline_is_the_one_that_was_read_over(forge: str, where: str) -> None:
    """`test_executed` runs them, and holds them to the schemas that the forges publish."""
    golden = GOLDEN / f"{forge}-{where}.txt"
    assert pipeline(forge, FOLDERS[where]) == golden.read_text("utf-8")


@pytest.mark.parametrize("below", FOLDERS.values())
@pytest.mark.parametrize(("forge", "schema"), [("github", GITHUB), ("gitlab", GITLAB)])
def test_a_pipeline_is_what_the_server_demands(forge: str, schema: dict[str, Any], below: str) -> None:
    document = yaml.load(pipeline(forge, below, "trunk/v2"), Loader=yaml.SafeLoader)
    if True in document:  # YAML 1.1 reads `on` as a truth; the servers read a word
        document["on"] = document.pop(True)
    jsonschema.validate(document, schema)
    text = str(document)
    assert "bascule ci run --output bascule-report" in text
    assert "trunk/v2" in text
    assert ("ml/my parcels" in text) == (below != ".")


def test_the_token_is_only_where_it_is_needed() -> None:
    document = yaml.load(pipeline("github"), Loader=yaml.BaseLoader)
    assert document["permissions"] == {
        "contents": "read",
        "pull-requests": "write",
        "security-events": "write",
    }
    assert "pull_request_target" not in pipeline("github")  # it would give secrets to the code of forks
    (holds,) = [step for step in document["jobs"]["data"]["steps"] if "GITHUB_TOKEN" in str(step)]
    assert holds["run"].startswith("bascule ci run")


def test_a_jenkinsfile_is_balanced() -> None:
    for below in FOLDERS.values():
        text = re.sub(r"(?m)^\s*//.*$|\s//.*$", "", pipeline("jenkins", below))
        assert text.count("'''") % 2 == 0
        text = re.sub(r"'''.*?'''|'(?:\\.|[^'\\])*'", "", text, flags=re.S)
        assert text.count("{") == text.count("}") > 5
        assert text.count("(") == text.count(")")
        assert "'" not in text


def test_nothing_is_overwritten(parcels: Path, bascule: Bascule) -> None:
    for forge, name in FORGES.items():
        assert bascule("ci", "init", forge).code == 0
        file = parcels / name
        assert file.read_text("utf-8") == pipeline(forge)
        file.write_text("mine\n")
        said = bascule("ci", "init", forge)
        assert said.code == 2
        assert "--force" in said.err
        assert file.read_text() == "mine\n"
        assert bascule("ci", "init", forge, "--force", "--main", "trunk").code == 0
        assert file.read_text("utf-8") == pipeline(forge, main="trunk")
    said = bascule("ci", "init", "travis")
    assert said.code == 2
    assert "travis" in said.err
