"""From a file to a contract: which tool wrote it, and what it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from bascule.contracts.contract import Contract
from bascule.contracts.document import Node, parse_document
from bascule.contracts.importing import avro, dbt, great_expectations, json_schema, pandera
from bascule.contracts.importing.draft import Draft, Imported
from bascule.errors import InputError, suggestion

Reader = Callable[[Mapping[str, Any], str], Draft]
_READERS: dict[str, Reader] = {
    "great-expectations": great_expectations.read,
    "dbt": dbt.read,
    "pandera": pandera.read,
    "json-schema": json_schema.read,
    "avro": avro.read,
}
FORMS = tuple(_READERS)


def import_contract(text: str, file: str, *, table: str | None = None, form: str | None = None) -> Imported:
    """Make a contract from another tool's file.

    Args:
        text: a Great Expectations suite, a dbt properties file, a pandera schema as YAML or JSON, a JSON Schema or an
            Avro schema. JSON is YAML.
        file: named in errors; its stem names the table when nothing else does.
        table: the table; of a dbt file also which model is meant.
        form: the tool; found by what is in the file when not given.

    Raises:
        ProjectFileError: it is no YAML or JSON, or an alias bomb; with the line.
        InputError: it is of no known tool, or holds several tables.
    """
    document = plain_document(parse_document(text, file))
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        raise InputError(f"{file} holds no keys and values.", hint=f"Known forms: {', '.join(FORMS)}.")
    chosen = form or _form(document)
    if chosen is None:
        raise InputError(f"{file} is of no tool that is known here.", hint=f"Say it with --format: {', '.join(FORMS)}.")
    if chosen not in _READERS:
        raise InputError(f"{chosen!r} cannot be imported.", hint=suggestion(chosen, list(FORMS), "form"))
    name = table or PurePath(file).name.split(".")[0]
    try:
        draft = _READERS[chosen](document, table or "")
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        said = {ValueError: str(error), KeyError: f"{error} is missing"}
        told = said.get(type(error), f"{type(error).__name__}: {error}")
        raise InputError(f"{file} is not as {chosen} writes it: {told}", hint="Write it anew with the tool.") from error
    draft.table = draft.table or name
    if not draft.columns and not draft.rules:
        draft.refuse(file, "the whole file", "nothing in it can be asked by a contract")
    written = draft.text()
    Contract.parse(written, f"{draft.table}.yaml")
    return Imported(chosen, draft.table, written, tuple(draft.left_out))


def plain_document(node: Node) -> Any:
    """Return a document as plain values."""
    if isinstance(node.value, dict):
        return {key: plain_document(one) for key, one in node.value.items()}
    if isinstance(node.value, list):
        return [plain_document(one) for one in node.value]
    return node.value


def _form(document: Mapping[str, Any]) -> str | None:
    if "expectations" in document:
        return "great-expectations"
    if "schema_type" in document and "columns" in document:
        return "pandera"
    if document.get("type") == "record" and "fields" in document:
        return "avro"
    if "models" in document or "sources" in document or "seeds" in document or "snapshots" in document:
        return "dbt"
    if "$schema" in document or "properties" in document or (document.get("type") == "array" and "items" in document):
        return "json-schema"
    return None
