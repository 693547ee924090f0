"""Traces: what a program did for one request, span by span, kept with the experiment and the runs that it belongs to.

Spans and what a client says of the whole trace arrive in any order and more than once; all of it is kept once. What is
said of the whole wins over what its spans imply.
"""

from bascule.tracking.traces.keeping import (
    Told,
    delete_traces,
    drop_tag,
    keep_spans,
    link_runs,
    put_tag,
    put_trace,
)
from bascule.tracking.traces.reading import Trace, read_spans, read_traces
from bascule.tracking.traces.search import search_traces
from bascule.tracking.traces.spans import PREFIX, Span

__all__ = [
    "PREFIX",
    "Span",
    "Told",
    "Trace",
    "delete_traces",
    "drop_tag",
    "keep_spans",
    "link_runs",
    "put_tag",
    "put_trace",
    "read_spans",
    "read_traces",
    "search_traces",
]
