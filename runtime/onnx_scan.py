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
_STANDARD = ("", "ai.onnx")
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
    """What a graph promises.

    Attributes
    ----------
    external
        Tensors whose data lies in another file.
    foreign
        Operators (``domain::name``) outside the standard set, which only some engines know and which may reach for
        files of their own.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    opset: int
    external: tuple[str, ...]
    foreign: tuple[str, ...]


def scan_onnx(data: bytes) -> OnnxInfo:
    """Scan the bytes of an ONNX file.

    Raises
    ------
    BundleError
        The bytes are not a complete ONNX model.
    """
    walk = _Walk()
    try:
        view = memoryview(data)
        graphs = _messages(view, 7)
        if len(graphs) != 1:
            # Protobuf would merge several into one that nobody looked at as a whole.
            raise BundleError(f"is not an ONNX model: it holds {len(graphs)} graphs instead of one")
        if _messages(view, 20):
            raise BundleError("holds training graphs, which have no place in a bundle")
        walk.graph(graphs[0], 0)
        for function in _messages(view, 25):
            for node in _messages(function, 7):
                walk.node(node, 0)
            for attribute in _messages(function, 11):
                walk.attribute(attribute, 0)
        opsets = [_number(entry, 2) for entry in _messages(view, 8) if _text(entry, 1) in _STANDARD]
        inputs = tuple(_value(v) for v in _messages(graphs[0], 11))
        outputs = tuple(_value(v) for v in _messages(graphs[0], 12))
    except (IndexError, ValueError) as error:
        raise BundleError(f"is not a complete ONNX model ({error})") from error
    return OnnxInfo(inputs, outputs, max(opsets, default=0), tuple(walk.external), tuple(sorted(walk.foreign)))


class _Walk:
    """Visits every node and tensor, also those of nested graphs, and notes what a bundle must not have."""

    def __init__(self) -> None:
        self.external: list[str] = []
        self.foreign: set[str] = set()

    def graph(self, graph: memoryview, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError("graphs nested too deep")
        for number, value in _fields(graph):
            if not isinstance(value, memoryview):
                continue
            if number == 1:
                self.node(value, depth)
            elif number == 5:
                self._tensor(value)
            elif number == 15:
                self._sparse(value)

    def node(self, node: memoryview, depth: int) -> None:
        if any(bytes(domain).decode("utf-8", "replace") not in _STANDARD for domain in _messages(node, 7)):
            self.foreign.add(f"{_text(node, 7)}::{_text(node, 4)}")
        for attribute in _messages(node, 5):
            self.attribute(attribute, depth)

    def attribute(self, attribute: memoryview, depth: int) -> None:
        for number, value in _fields(attribute):
            if not isinstance(value, memoryview):
                continue
            if number in (5, 10):
                self._tensor(value)
            elif number in (6, 11):
                self.graph(value, depth + 1)
            elif number in (22, 23):
                self._sparse(value)

    def _sparse(self, tensor: memoryview) -> None:
        for part in (*_messages(tensor, 1), *_messages(tensor, 2)):
            self._tensor(part)

    def _tensor(self, tensor: memoryview) -> None:
        for number, value in _fields(tensor):
            # A parser keeps the low 32 bits of an enum.
            if number == 13 or (number == 14 and isinstance(value, int) and value & 0xFFFFFFFF == _EXTERNAL):
                self.external.append(_text(tensor, 8) or "(unnamed)")
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
        if not 0 < number < 1 << 29:
            raise ValueError(f"field {number} at byte {position}")
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
