"""What counts as a breaking change of a message."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from jetspect.runtime.publishing.compatibility import breaking_changes, broken_channels
from jetspect.runtime.publishing.contract import CHANNELS, asyncapi, json_schema

OLD: dict[str, Any] = {
    "type": "object",
    "title": "Thing",
    "required": ["seq", "part"],
    "properties": {
        "seq": {"type": "integer", "minimum": 1},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "verdict": {"enum": ["OK", "NOK"]},
        "part": {"$ref": "#/$defs/Part"},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
        "times": {"type": "object", "additionalProperties": {"type": "number"}},
    },
    "$defs": {
        "Part": {
            "type": "object",
            "required": ["id"],
            "properties": {"id": {"type": "string"}, "inner": {"$ref": "#/$defs/Part"}},
        }
    },
}


def changed(change: Callable[[dict[str, Any]], object]) -> list[str]:
    new = copy.deepcopy(OLD)
    change(new)
    return breaking_changes(OLD, new)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s["properties"].pop("note"), "note: removed or renamed"),
        (lambda s: s["properties"].update(notes=s["properties"].pop("note")), "note: removed or renamed"),
        (lambda s: s["required"].append("note"), "note: was optional, is now required"),
        (lambda s: s["required"].remove("seq"), "seq: was required, is now optional"),
        (
            lambda s: (s["properties"].update(new={"type": "string"}), s["required"].append("new")),
            "new: new and required",
        ),
        (lambda s: s["properties"]["seq"].update(type="string"), 'seq: type was "integer", is now "string"'),
        (lambda s: s["properties"]["seq"].update(minimum=2), "seq: minimum was 1, is now 2"),
        (lambda s: s["properties"]["seq"].update(maximum=9), "seq: maximum was not given, is now 9"),
        (lambda s: s["properties"]["note"]["anyOf"].pop(), "note: anyOf was"),
        (lambda s: s["properties"]["note"]["anyOf"][0].update(maxLength=3), "note: maxLength was not given"),
        (lambda s: s["properties"]["note"].update(default="x"), "note: default was not given"),
        (lambda s: s["properties"]["verdict"]["enum"].append("MAYBE"), "verdict: enum was"),
        (lambda s: s["$defs"]["Part"]["properties"].pop("id"), "part.id: removed or renamed"),
        (lambda s: s["properties"]["times"].update(additionalProperties={"type": "integer"}), "times[]: type was"),
        (lambda s: s.update(additionalProperties=False), "message: additionalProperties was not given, is now false"),
        (lambda s: s["properties"]["parts"].update(items={"type": "string"}), "parts[]"),
    ],
)
def test_what_someone_may_rely_on_is_named(change: Callable[[dict[str, Any]], object], says: str) -> None:
    found = changed(change)
    assert any(line.startswith(says) for line in found), found


@pytest.mark.parametrize(
    "change",
    [
        lambda s: None,
        lambda s: s["properties"].update(new={"type": "string"}),
        lambda s: s["$defs"]["Part"]["properties"].update(new={"type": "string"}),
        lambda s: s["properties"]["seq"].update(description="other words"),
        lambda s: s["properties"]["verdict"]["enum"].reverse(),
        lambda s: s["properties"]["seq"].update({"x-opc-40100-1": "Name"}),
        lambda s: (
            s["$defs"].update(Piece=s["$defs"]["Part"]),
            s["properties"]["part"].update({"$ref": "#/$defs/Piece"}),
        ),
    ],
)
def test_what_nobody_relies_on_passes(change: Callable[[dict[str, Any]], object]) -> None:
    assert changed(change) == []


@pytest.mark.parametrize("leaf", [c.leaf for c in CHANNELS])
def test_losing_any_field_of_any_message_is_noticed(leaf: str) -> None:
    old = json_schema(leaf)
    for place in (old, *old.get("$defs", {}).values()):
        for name in place.get("properties", {}):
            new = copy.deepcopy(old)
            target = new if place is old else new["$defs"][place["title"]]
            del target["properties"][name]
            assert any(line.split(":")[0].split(".")[-1] == name for line in breaking_changes(old, new)), name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda d: d["operations"]["send.result"]["bindings"]["mqtt"].update(qos=0),
            "bindings.mqtt.qos: was 1, is now 0",
        ),
        (
            lambda d: d["operations"]["send.status"]["bindings"]["mqtt"].update(retain=False),
            "retain: was true, is now false",
        ),
        (lambda d: d["channels"]["result"].update(address="elsewhere"), "channels.result.address: was"),
        (lambda d: d["operations"]["receive.cmd.replay"].pop("reply"), "operations.receive.cmd.replay.reply: was"),
        (lambda d: d["operations"]["send.result"].update(reply={}), "operations.send.result.reply: is new"),
        (lambda d: d["operations"]["send.result"].update(action="receive"), 'action: was "send", is now "receive"'),
        (lambda d: d["channels"]["result"]["parameters"].update(shift={}), "parameters.shift: is new"),
        (lambda d: d["channels"].pop("health"), "channels.health: was"),
        (lambda d: d["components"]["messages"]["ResultMessage"].update(contentType="text/plain"), "contentType: was"),
        (lambda d: d.update(defaultContentType="text/plain"), "defaultContentType: was"),
    ],
)
def test_a_change_of_where_and_how_something_is_sent_is_named(change: Callable[[Any], object], says: str) -> None:
    new = copy.deepcopy(asyncapi())
    change(new)
    (found,) = broken_channels(asyncapi(), new)
    assert says in found


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["channels"].update(later={"address": "a"}),
        lambda d: d["operations"].update(later={"action": "send"}),
        lambda d: d["components"]["messages"].update(Later={}),
        lambda d: d["channels"]["result"].update(description="Other words"),
        lambda d: d["info"].update(version="1.1.0"),
    ],
)
def test_a_new_channel_and_other_words_break_nobody(change: Callable[[Any], object]) -> None:
    new = copy.deepcopy(asyncapi())
    change(new)
    assert broken_channels(asyncapi(), new) == []
