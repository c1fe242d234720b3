"""The payload of Sparkplug B on the wire: a protocol buffer, described here by the field table of the specification.

Sparkplug 3.0.0, section 6.4. Only the fields that a bridge needs are described; a reader skips the others, as protocol
buffers demand.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jetspect.errors import InputError, MissingDependencyError

Kind = Literal["uint64", "double", "bool", "text", "time"]
Value = int | float | bool | str | None

# Kind -> (code of the data type, field of the value): section 6.4.16.
_KINDS: dict[str, tuple[int, str]] = {
    "uint64": (8, "long_value"),
    "double": (10, "double_value"),
    "bool": (11, "boolean_value"),
    "text": (12, "string_value"),
    "time": (13, "long_value"),
}
_PAYLOAD = (("timestamp", 1, "UINT64"), ("metrics", 2, "MESSAGE"), ("seq", 3, "UINT64"))
_METRIC = (
    ("name", 1, "STRING"),
    ("timestamp", 3, "UINT64"),
    ("datatype", 4, "UINT32"),
    ("is_null", 7, "BOOL"),
    ("int_value", 10, "UINT32"),
    ("long_value", 11, "UINT64"),
    ("float_value", 12, "FLOAT"),
    ("double_value", 13, "DOUBLE"),
    ("boolean_value", 14, "BOOL"),
    ("string_value", 15, "STRING"),
)
_FIRST_VALUE = 10
_LARGEST = 2**64 - 1


@dataclass(frozen=True)
class Metric:
    """One named value. ``time`` counts in ms since 1970; None is written as null."""

    name: str
    kind: Kind
    value: Value


def encode(metrics: Sequence[Metric], at_ms: int, seq: int | None) -> bytes:
    """Write a payload. ``seq`` is None in a death certificate of a node."""
    payload = _payload_class()(timestamp=at_ms)
    if seq is not None:
        payload.seq = seq
    for metric in metrics:
        code, field = _KINDS[metric.kind]
        one = payload.metrics.add(name=metric.name, timestamp=at_ms, datatype=code)
        if metric.value is None:
            one.is_null = True
        else:
            setattr(one, field, _fit(metric.kind, metric.value))
    return bytes(payload.SerializeToString())


def asks_for_rebirth(payload: bytes) -> bool:
    """Whether a command to a node sets ``Node Control/Rebirth``.

    Raises
    ------
    InputError
        It is no payload of Sparkplug B.
    """
    from google.protobuf.message import DecodeError

    try:
        read = _payload_class().FromString(payload)
    except DecodeError as error:
        raise InputError(f"no payload of Sparkplug B: {error}") from error
    return any(metric.name == REBIRTH and metric.boolean_value for metric in read.metrics)


REBIRTH = "Node Control/Rebirth"


def require_protobuf() -> None:
    try:
        import google.protobuf  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("protobuf", "Sparkplug B", "pip install 'jetspect[sparkplug]'") from error


def _fit(kind: Kind, value: Value) -> Value:
    """A station may count beyond what the wire takes, or send nonsense; a bridge goes on."""
    if kind in ("uint64", "time") and isinstance(value, int):
        return min(max(value, 0), _LARGEST)
    if kind == "text":
        return str(value).encode("utf-8", "replace").decode("utf-8")
    return value


@functools.cache
def _payload_class() -> Any:
    require_protobuf()
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="jetspect/sparkplug_b", package="jetspect.sparkplug", syntax="proto2"
    )
    metric = file.message_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    payload = file.message_type.add(name="Payload")
    for message, fields in ((metric, _METRIC), (payload, _PAYLOAD)):
        for name, number, kind in fields:
            many = kind == "MESSAGE"
            field = message.field.add(name=name, number=number, type=kinds.Type.Value(f"TYPE_{kind}"))
            field.label = kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL
            if many:
                field.type_name = ".jetspect.sparkplug.Metric"
            elif message is metric and number >= _FIRST_VALUE:
                field.oneof_index = 0
    # A pool of its own: other programs in this process may know Sparkplug B too.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("jetspect.sparkplug.Payload"))
