"""Rows that are sent to the server: JSON objects or Arrow, through the same write, audit, publish as files."""

from __future__ import annotations

import io
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.lake.origins import Gathered, Part, told_by_name
from bascule.lake.origins.arrowfiles import write
from bascule.lake.origins.origin import named
from bascule.lake.origins.spool import whole
from bascule.lake.seen import Source
from bascule.project.batches import Batch, bring_parts
from bascule.project.required import required_in

ARROW = ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file")
JSON = ("application/json", "application/x-ndjson", "application/jsonl")


def push_rows(
    workspace: Workspace,
    table: str,
    data: bytes,
    kind: str,
    *,
    into: str = "main",
    key: Sequence[str] = (),
    once: str = "",
    tolerate: float = 0.0,
    author: str | None = None,
) -> Batch:
    """Add rows that somebody sent to a table of a branch, after its contract has seen them.

    Args:
        data: a list of JSON objects, one JSON object a line, or Arrow IPC.
        kind: its media type: one of `ARROW` or `JSON`.
        key: the key of a table that is made now.
        once: what names this batch: rows that come again under the same name change nothing. Their content, if empty.
        author: who sent it.

    Raises:
        InputError: the rows cannot be read, or other rows came under that name before. Nothing was changed.
        CheckFailed: the contract refuses them.
    """
    digest = named("push", table, once) if once else named("push", table, "", _digest(data))
    origin = f"push:{author}" if author else "push"
    version = {"key": once, "body": _digest(data)} if once else {"body": _digest(data)}

    @contextmanager
    def gathered(known: Sequence[Source]) -> Iterator[Gathered]:
        held = next((one for one in known if one.digest == digest), None)
        if held is not None:
            if held.version.get("body") != version["body"]:
                raise InputError(
                    f"Other rows came to {table!r} under the key {once!r} before.", hint="Give each batch its own key."
                )
            yield Gathered((), (held,))
            return
        spool = workspace.temporary_folder / "spool" / f"push-{uuid.uuid4().hex[:12]}"
        spool.mkdir(parents=True)
        try:
            part = Part(_written(data, kind, spool), digest, "sent rows", origin, version)
            with told_by_name([part]):
                yield Gathered((part,))
        finally:
            shutil.rmtree(spool, ignore_errors=True)

    told: dict[str, Any] = {
        "key": key,
        "tolerate": tolerate,
        "author": author,
        "required": required_in(workspace.folder.parent),
    }
    return bring_parts(workspace, table, "The rows", gathered, into, **told)


def _digest(data: bytes) -> str:
    from blake3 import blake3

    return blake3(data).hexdigest()


def _written(data: bytes, kind: str, spool: Path) -> Path:
    if not data.strip():
        raise InputError("No rows were sent.", hint="Send a list of JSON objects, or Arrow IPC.")
    if kind in ARROW:
        target = spool / "rows.parquet"
        write(io.BytesIO(data), "sent rows", target, "What was sent")
        return target
    target = spool / "rows.jsonl"
    if kind != "application/json":
        target.write_bytes(data)
        return target
    try:
        rows = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"What was sent is no list of JSON objects: {error}", hint='Send [{"name": value}].'
        ) from error
    if not rows:
        raise InputError("No rows were sent.", hint="Send at least one.")
    with whole(target) as out:
        for number, row in enumerate(rows):
            text = bytes(row).strip()
            if not text.startswith(b"{"):
                raise InputError(f"Row {number} is no object: {text[:60]!r}.", hint='Send [{"name": value}].')
            # Between the parts of an object a line's end means nothing; within a text JSON has none.
            out.write(text.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")
    return target
