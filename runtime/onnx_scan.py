"""Read what an ONNX file promises (inputs, outputs, external data) without the onnx package.

A device must not load a graph that it does not understand or that reaches for files outside its bundle. This walks the
protobuf wire format (https://protobuf.dev/programming-guides/encoding) down the few fields of onnx.proto that tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jetspect.errors import BundleError

_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
_EXTERNAL = 1
_MAX_DEPTH = 16


@dataclass(frozen=True)
class Value:
    """One input or output; an axis is a size, or a name where it is dynamic."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} {' x '.join(str(axis) for axis in self.shape)}"


@dataclass(frozen=True)
class OnnxInfo:
    """What a graph promises. ``external`` names the tensors whose data lies in another file."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    opset: int
    external: tuple[str, ...]
    ops: frozenset[str]


def scan_onnx(data: bytes) -> OnnxInfo:
    """Scan the bytes of an ONNX file.

    Raises
    ------
    BundleError
        The bytes are not a complete ONNX model.
    """
    view = memoryview(data)
    graph: memoryview | None = None
    opset = 0
    external: list[str] = []
    ops: set[str] = set()
    try:
        for number, value in _fields(view):
            if number == 7 and isinstance(value, memoryview):
                graph = value
            elif number == 8 and isinstance(value, memoryview):
                domain = _text(value, 1)
                opset = _number(value, 2) if domain in ("", "ai.onnx") else opset
            elif number == 25 and isinstance(value, memoryview):
                for node in _messages(value, 7):
                    _walk_node(node, external, ops, 0)
        if graph is None:
            raise BundleError("is not an ONNX model: it holds no graph")
        _walk_graph(graph, external, ops, 0)
        inputs = tuple(_value(v) for v in _messages(graph, 11))
        outputs = tuple(_value(v) for v in _messages(graph, 12))
    except (IndexError, ValueError) as error:
        raise BundleError(f"is not a complete ONNX model ({error})") from error
    return OnnxInfo(inputs, outputs, opset, tuple(external), frozenset(ops))


def _walk_graph(graph: memoryview, external: list[str], ops: set[str], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("graphs nested too deep")
    for number, value in _fields(graph):
        if not isinstance(value, memoryview):
            continue
        if number == 1:
            _walk_node(value, external, ops, depth)
        elif number == 5:
            _check_tensor(value, external)
        elif number == 15:
            for part in (*_messages(value, 1), *_messages(value, 2)):
                _check_tensor(part, external)


def _walk_node(node: memoryview, external: list[str], ops: set[str], depth: int) -> None:
    ops.add(_text(node, 4))
    for attribute in _messages(node, 5):
        for number, value in _fields(attribute):
            if isinstance(value, memoryview) and number in (5, 10):
                _check_tensor(value, external)
            elif isinstance(value, memoryview) and number in (6, 11):
                _walk_graph(value, external, ops, depth + 1)


def _check_tensor(tensor: memoryview, external: list[str]) -> None:
    for number, value in _fields(tensor):
        if number == 13 or (number == 14 and value == _EXTERNAL):
            external.append(_text(tensor, 8) or "(unnamed)")
            return


def _value(info: memoryview) -> Value:
    dtype, shape = "unknown", []
    for kind in _messages(info, 2):
        for tensor in _messages(kind, 1):
            dtype = _DTYPES.get(_number(tensor, 1), f"type {_number(tensor, 1)}")
            for dims in _messages(tensor, 2):
                for dim in _messages(dims, 1):
                    size = _number(dim, 1)
                    shape.append(size if size else _text(dim, 2) or "?")
    return Value(_text(info, 1), dtype, tuple(shape))


def _messages(message: memoryview, wanted: int) -> list[memoryview]:
    return [value for number, value in _fields(message) if number == wanted and isinstance(value, memoryview)]


def _text(message: memoryview, wanted: int) -> str:
    found = _messages(message, wanted)
    return bytes(found[-1]).decode("utf-8", "replace") if found else ""


def _number(message: memoryview, wanted: int) -> int:
    found = [value for number, value in _fields(message) if number == wanted and isinstance(value, int)]
    return found[-1] if found else 0


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of one message: an int for varints and fixed sizes, bytes for the rest."""
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire == 2:
            size, position = _varint(message, position)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {position}")
        if position + size > end:
            raise ValueError(f"field {number} ends {position + size - end} bytes beyond the file")
        chunk = message[position : position + size]
        position += size
        yield number, chunk if wire == 2 else int.from_bytes(chunk, "little")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"number too long at byte {position}")
