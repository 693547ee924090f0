"""Events that are sent: checked, durable when this returns, and taken over once under one key."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pyarrow as pa

from bascule.errors import Busy, InputError
from bascule.features.streams.consuming import MOST_WAITING
from bascule.features.streams.events import Events, EventType
from bascule.history import Workspace
from bascule.project.file import ProjectFile
from bascule.project.pushing import ARROW, JSON
from bascule.project.streaming.assembling import PUSH, log_of, settings_of


class StreamPush(msgspec.Struct, frozen=True, kw_only=True):
    """What became of events that were sent.

    Attributes:
        taken: how many were taken over; they are durable.
        aside: how many were too late or ahead of the clock; they go to the table `quarantine`.
        again: they had come before under the same key, and nothing was changed.
    """

    stream: str
    taken: int
    aside: int
    again: bool = False


def push_events(
    project: ProjectFile, workspace: Workspace, name: str, data: bytes, kind: str, *, branch: str, once: str = ""
) -> StreamPush:
    """Take over events that somebody sent. They are durable when this returns, and counted a moment later.

    Args:
        data: a list of JSON objects, one JSON object a line, or Arrow IPC.
        kind: its media type.
        once: what names this batch: one that comes again under the same name changes nothing.

    Raises:
        InputError: some row does not fit, or the stream reads from elsewhere. Nothing was changed.
        Busy: too many events wait for the lake. Send them again later.
    """
    settings = settings_of(project, name)
    if settings.path != PUSH:
        hint = f'Say path = "push" in [stream.{name}], or write to where it reads.'
        raise InputError(f"The stream {name!r} reads {settings.path}; nothing can be sent to it.", hint=hint)
    log = log_of(workspace, settings, name, branch)
    events = _read(log.events, data, kind)
    if log.state().waiting_bytes >= MOST_WAITING:
        raise Busy(f"Too many events of {name!r} wait for the lake.", hint="Send them again later.")
    done = log.append(events, before=None, after=None, once=once)
    return StreamPush(stream=name, taken=done.rows, aside=done.aside, again=done.again)


def encoded(rows: Any) -> tuple[bytes, str]:
    """Rows as they are sent: dicts as JSON, Arrow as it is; and their media type."""
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    if isinstance(rows, pa.Table):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        return bytes(sink.getvalue()), ARROW[0]
    try:
        return msgspec.json.encode(list(rows)), "application/json"
    except (TypeError, msgspec.MsgspecError) as error:
        raise InputError(f"These are no rows: {error}", hint="Give a list of dicts, or an Arrow table.") from None


def _read(type_: EventType, data: bytes, kind: str) -> Events:
    if not data.strip():
        raise InputError("No events were sent.", hint="Send a list of JSON objects, or Arrow IPC.")
    if kind in ARROW:
        try:
            opened = pa.ipc.open_stream if kind.endswith("stream") else pa.ipc.open_file
            rows = opened(io.BytesIO(data)).read_all()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"What was sent is no Arrow IPC: {error}", hint="Send what pyarrow.ipc writes.") from None
        return Events(type_.read_arrow(rows), [])
    if kind not in JSON:
        known = ", ".join((*JSON, *ARROW))
        raise InputError(f"The content type is {kind or 'not told'}.", hint=f"Send one of: {known}.")
    if kind == "application/json":
        try:
            raws = [bytes(one) for one in msgspec.json.decode(data, type=list[msgspec.Raw])]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            told = f"What was sent is no list of JSON objects: {error}"
            raise InputError(told, hint='Send [{"name": value}].') from None
    else:
        raws = [line for line in data.split(b"\n") if line.strip()]
    events = type_.read(raws, lambda place: ("sent", place))
    if events.rejected:
        first = events.rejected[0]
        raise InputError(
            f"{len(events.rejected)} of {len(raws)} events cannot be read; row {first.line}: {first.reason}",
            hint=f"Nothing was taken. The columns are in [stream.{type_.name}].",
        )
    return events
