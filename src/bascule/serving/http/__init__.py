"""A small HTTP/1.1 server for the inference path: asyncio.Protocol on uvloop, parsed by httptools.

It knows connections, limits, codings and order; what is answered comes from a handler. See docs/serving.md for why
Bascule has one of its own.
"""

from bascule.serving.http.limits import Limits
from bascule.serving.http.message import (
    Deferred,
    Handler,
    HttpProblem,
    Request,
    Response,
    error_response,
    json_response,
)
from bascule.serving.http.server import Also, HttpServer

__all__ = [
    "Also",
    "Deferred",
    "Handler",
    "HttpProblem",
    "HttpServer",
    "Limits",
    "Request",
    "Response",
    "error_response",
    "json_response",
]
