"""Where events come from: each kind reads on from its own offsets, and never keeps them itself."""

from bascule.features.streams.sources.files import GrowingFile
from bascule.features.streams.sources.kafka import Topic
from bascule.features.streams.sources.source import Polled, StreamSource

__all__ = ["GrowingFile", "Polled", "StreamSource", "Topic"]
