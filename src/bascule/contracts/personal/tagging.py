"""Writing what a scan found into a contract's text: `classification` and `tags`, at their places; all else stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from bascule.contracts.contract import Contract
from bascule.contracts.vocabulary import PRIVATE
from bascule.contracts.writing import scalar, text

CLASSIFICATION = "pii"


def tagged(written: str, table: str, kinds: Mapping[str, Sequence[str]], file: str = "contract.yaml") -> str:
    """Return a contract's text with columns tagged. Comments, order and style of everything else stay as they are.

    A classification that a person wrote stays; tags are added to those that are there. Tagging again changes nothing.

    Args:
        kinds: column to the kinds of personal data in it.

    Raises:
        ProjectFileError: the text is no contract.
    """
    contract = Contract.parse(written, file=file, table=table)
    root = yaml.compose(written, Loader=yaml.SafeLoader)
    model = _model(root, contract.table, table)
    listed = _value(model, "properties")
    nodes = {_name(one): one for one in listed.value} if listed is not None else {}
    edits: list[tuple[int, str]] = []
    missing = []
    for column, found in kinds.items():
        tags = [CLASSIFICATION, *(f"pii:{kind}" for kind in found)]
        if column in nodes:
            edits += _edits(written, nodes[column], tags)
        else:
            missing.append((column, tags))
    if missing:
        edits.append(_appended(written, model, listed, missing))
    for place, words in sorted(edits, key=lambda one: -one[0]):
        written = written[:place] + words + written[place:]
    Contract.parse(written, file=file, table=table)  # what is written can be read
    return written


def _edits(written: str, node: Any, tags: Sequence[str]) -> list[tuple[int, str]]:
    there, classification = _value(node, "tags"), _value(node, "classification")
    held = [one.value for one in there.value] if there is not None and isinstance(there.value, list) else []
    fresh = [tag for tag in tags if tag not in held]
    edits, pairs = [], []
    if classification is None and not {tag.lower() for tag in held} & PRIVATE:
        pairs.append(f"classification: {CLASSIFICATION}")
    if fresh and held and there is not None:
        edits.append(_longer(written, there, fresh))
    elif fresh and there is None:
        pairs.append(f"tags: [{', '.join(_tag(tag) for tag in fresh)}]")
    if not pairs:
        return edits
    if node.flow_style:
        return [*edits, (node.end_mark.index - 1, "".join(f", {pair}" for pair in pairs))]
    key, value = next((key, value) for key, value in node.value if key.value == "name")
    indent = " " * key.start_mark.column
    end = written.find("\n", value.end_mark.index)
    end = len(written) if end < 0 else end
    return [*edits, (end, "".join(f"\n{indent}{pair}" for pair in pairs))]


def _longer(written: str, tags: Any, fresh: Sequence[str]) -> tuple[int, str]:
    last = tags.value[-1]
    if tags.flow_style:
        return last.end_mark.index, "".join(f", {_tag(tag)}" for tag in fresh)
    lead = written[written.rfind("\n", 0, last.start_mark.index) + 1 : last.start_mark.index]
    end = written.find("\n", last.end_mark.index)
    return (len(written) if end < 0 else end), "".join(f"\n{lead}{_tag(tag)}" for tag in fresh)


def _appended(written: str, model: Any, listed: Any, missing: Sequence[tuple[str, Sequence[str]]]) -> tuple[int, str]:
    """Declare columns that the contract does not name, behind its last one."""
    entries = [
        f"{{name: {scalar(column)}, classification: {CLASSIFICATION}, tags: [{', '.join(map(_tag, tags))}]}}"
        for column, tags in missing
    ]
    if listed is not None and listed.flow_style:
        return listed.end_mark.index - 1, "".join(f", {one}" for one in entries)
    if listed is not None and listed.value:
        last = listed.value[-1]
        indent = " " * listed.start_mark.column
        place = len(written[: last.end_mark.index].rstrip())
        return place, "".join(f"\n{indent}- {one}" for one in entries)
    indent = " " * model.start_mark.column
    place = len(written[: model.end_mark.index].rstrip())
    return place, f"\n{indent}properties:" + "".join(f"\n{indent}  - {one}" for one in entries)


def _tag(tag: str) -> str:
    return scalar(tag) if ":" not in tag else text(tag)


def _model(root: Any, name: str, table: str) -> Any:
    models = _value(root, "schema").value
    if len(models) == 1:
        return models[0]
    return next(one for one in models if _name(one) in (name, table))


def _name(node: Any) -> str:
    found = _value(node, "physicalName") or _value(node, "name")
    return str(found.value)


def _value(node: Any, key: str) -> Any:
    return next((value for name, value in node.value if name.value == key), None)
