"""A project's streams: put together from the project file, landed in the lake, run, told of and replayed."""

from bascule.project.streaming.pushing import StreamPush, push_events
from bascule.project.streaming.running import run_streams
from bascule.project.streaming.status import StreamInfo, ViewLag, list_streams, replay_stream

__all__ = ["StreamInfo", "StreamPush", "ViewLag", "list_streams", "push_events", "replay_stream", "run_streams"]
