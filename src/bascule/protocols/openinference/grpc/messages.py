"""The messages of the service but those of inference, by their public field numbers."""

from __future__ import annotations

from bascule.protocols.openinference.grpc.protobuf import Field, Message

NOTHING: Message = {}
NAMED: Message = {"name": Field(1, "string"), "version": Field(2, "string")}
LIVE: Message = {"live": Field(1, "bool")}
READY: Message = {"ready": Field(1, "bool")}
HEALTH_REQUEST: Message = {"service": Field(1, "string")}
HEALTH: Message = {"status": Field(1, "int")}

SERVER_METADATA: Message = {
    "name": Field(1, "string"),
    "version": Field(2, "string"),
    "extensions": Field(3, "string", many=True),
}

_TENSOR: Message = {"name": Field(1, "string"), "datatype": Field(2, "string"), "shape": Field(3, "int", many=True)}
MODEL_METADATA: Message = {
    "name": Field(1, "string"),
    "versions": Field(2, "string", many=True),
    "platform": Field(3, "string"),
    "inputs": Field(4, _TENSOR, many=True),
    "outputs": Field(5, _TENSOR, many=True),
}

_CONFIG_INPUT: Message = {"name": Field(1, "string"), "data_type": Field(2, "int"), "dims": Field(4, "int", many=True)}
_CONFIG_OUTPUT: Message = {"name": Field(1, "string"), "data_type": Field(2, "int"), "dims": Field(3, "int", many=True)}
_SPECIFIC: Message = {"versions": Field(1, "int", many=True)}
_POLICY: Message = {"specific": Field(3, _SPECIFIC)}
_CONFIG_PARAMETER: Message = {"string_value": Field(1, "string")}
_CACHE: Message = {"enable": Field(1, "bool")}
_CONFIG: Message = {
    "name": Field(1, "string"),
    "platform": Field(2, "string"),
    "version_policy": Field(3, _POLICY),
    "max_batch_size": Field(4, "int"),
    "input": Field(5, _CONFIG_INPUT, many=True),
    "output": Field(6, _CONFIG_OUTPUT, many=True),
    "parameters": Field(14, _CONFIG_PARAMETER, keyed=True),
    "backend": Field(17, "string"),
    "response_cache": Field(24, _CACHE),
}
MODEL_CONFIG: Message = {"config": Field(1, _CONFIG)}
CONFIG_TYPES = (
    "TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8", "TYPE_INT16",
    "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16",
)  # fmt: skip

_DURATION: Message = {"count": Field(1, "int"), "ns": Field(2, "int")}
_PHASES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
_INFER_STATISTICS: Message = {name: Field(number, _DURATION) for number, name in enumerate(_PHASES, 1)}
_BATCH: Message = {
    "batch_size": Field(1, "int"),
    "compute_input": Field(2, _DURATION),
    "compute_infer": Field(3, _DURATION),
    "compute_output": Field(4, _DURATION),
}
_STATISTICS: Message = {
    "name": Field(1, "string"),
    "version": Field(2, "string"),
    "last_inference": Field(3, "int"),
    "inference_count": Field(4, "int"),
    "execution_count": Field(5, "int"),
    "inference_stats": Field(6, _INFER_STATISTICS),
    "batch_stats": Field(7, _BATCH, many=True),
}
STATISTICS: Message = {"model_stats": Field(1, _STATISTICS, many=True)}

INDEX_REQUEST: Message = {"repository_name": Field(1, "string"), "ready": Field(2, "bool")}
_INDEXED: Message = {
    "name": Field(1, "string"),
    "version": Field(2, "string"),
    "state": Field(3, "string"),
    "reason": Field(4, "string"),
}
INDEX: Message = {"models": Field(1, _INDEXED, many=True)}
LOAD_REQUEST: Message = {
    "repository_name": Field(1, "string"),
    "model_name": Field(2, "string"),
    "parameters": Field(3, "parameter", keyed=True),
}
