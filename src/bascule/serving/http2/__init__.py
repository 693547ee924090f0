"""A small HTTP/2 server for gRPC: frames, HPACK and calls on the loop, limits, threads and log of the HTTP server.

It knows connections, streams and the framing of messages; what a message means comes from a handler. Why Bascule has
one of its own is in docs/decisions/0021-grpc.md.
"""

from bascule.serving.http2.call import GrpcHandler
from bascule.serving.http2.connection import Http2Connection

__all__ = ["GrpcHandler", "Http2Connection"]
