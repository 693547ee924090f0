"""The protocol over gRPC: the same models, log and errors as over HTTP, in protobuf's bytes.

The messages are written here from the protocol's public field numbers, and no library of protobuf is used: two files
that define the same names in one process would end it, and Triton's and KServe's clients bring one each.
"""

from bascule.protocols.openinference.grpc.service import GrpcService

__all__ = ["GrpcService"]
