"""What a new version of a JSON Schema, or of the AsyncAPI document, breaks for those who rely on the old one.

Within one version of the contract a message may only gain fields that may be left out. Everything else breaks someone: a
consumer that reads a field that is gone, or a recording of old messages that no longer validates. Words may change.
"""

from __future__ import annotations

import json
from typing import Any

Schema = dict[str, Any]
_GROWING = ("channels", "operations", "components", "components.messages")
_WORDS = ("title", "description", "examples", "$comment", "$schema", "$id")


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Return one line for each change between two schemas of a message that someone may rely on; none: compatible."""
    return _Comparer(old, new).compare(old, new, "")


def broken_channels(old: Schema, new: Schema) -> list[str]:
    """Return one line for each change between two AsyncAPI documents of where, how and as what something is sent.

    Channels and operations may be added. What the messages hold, their schemas say.
    """
    return [
        line
        for part in ("asyncapi", "defaultContentType", "channels", "operations", "components")
        for line in _lost(old.get(part), new.get(part), part)
    ]


def _lost(old: Any, new: Any, where: str) -> list[str]:
    """Compare what was promised; what is added to the named things of a document breaks nobody."""
    if where == "components.schemas":
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        found = [line for key in old if key not in _WORDS for line in _lost(old[key], new.get(key), f"{where}.{key}")]
        if where not in _GROWING:
            found += [f"{where}.{key}: is new" for key in sorted(new.keys() - old.keys()) if key not in _WORDS]
        return found
    return [] if old == new else [f"{where}: was {_shown(old)}, is now {_shown(new)}"]


class _Comparer:
    def __init__(self, old: Schema, new: Schema) -> None:
        self._old, self._new = old, new
        self._open: set[tuple[str, str]] = set()

    def compare(self, old: Schema, new: Schema, where: str) -> list[str]:
        pair = (str(old.get("$ref", "")), str(new.get("$ref", "")))
        if all(pair):
            if pair in self._open:  # a definition that refers to itself
                return []
            self._open.add(pair)
        found = self._fields(_resolved(old, self._old), _resolved(new, self._new), where)
        self._open.discard(pair)
        return found

    def _fields(self, old: Schema, new: Schema, where: str) -> list[str]:
        found: list[str] = []
        for key in sorted((old.keys() | new.keys()) - {"properties", "required", "$defs", "definitions"}):
            if key in _WORDS or key.startswith("x-"):
                continue
            found += self._keyword(key, old.get(key), new.get(key), where)
        before, after = old.get("properties", {}), new.get("properties", {})
        must, must_now = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(before.keys() | after.keys()):
            path = f"{where}.{name}" if where else name
            if name not in after:
                found.append(f"{path}: removed or renamed")
            elif name not in before:
                if name in must_now:
                    found.append(f"{path}: new and required; old messages do not have it")
            else:
                if (name in must) != (name in must_now):
                    change = "optional, is now required" if name in must_now else "required, is now optional"
                    found.append(f"{path}: was {change}")
                found += self.compare(before[name], after[name], path)
        return found

    def _keyword(self, key: str, old: Any, new: Any, where: str) -> list[str]:
        if key in ("items", "additionalProperties") and isinstance(old, dict) and isinstance(new, dict):
            return self.compare(old, new, f"{where}[]")
        if key in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(old, list) and isinstance(new, list):
            if len(old) == len(new):
                return [line for a, b in zip(old, new, strict=True) for line in self.compare(a, b, where)]
        elif _same(key, old, new):
            return []
        return [f"{where or 'message'}: {key} was {_shown(old)}, is now {_shown(new)}"]


def _resolved(schema: Schema, root: Schema) -> Schema:
    """Follow ``$ref``s inside the document; words beside one stay."""
    while "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def _same(key: str, old: Any, new: Any) -> bool:
    if key == "enum" and isinstance(old, list) and isinstance(new, list):
        return sorted(map(str, old)) == sorted(map(str, new))
    return bool(json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True))


def _shown(value: Any) -> str:
    return "not given" if value is None else json.dumps(value, sort_keys=True)[:120]
