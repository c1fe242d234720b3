"""MQTT topics of a station: ``{namespace}/v1/{site}/{area}/{line}/{unit}/{leaf}``."""

from __future__ import annotations

from dataclasses import dataclass

from jetspect.errors import InputError

VERSION = "v1"
MAX_LEVEL = 64


def check_level(value: str) -> str:
    """Return a topic level, or raise InputError where MQTT or a subscriber's filter could not carry it."""
    if not 1 <= len(value) <= MAX_LEVEL:
        raise InputError(f"a topic level has 1 to {MAX_LEVEL} characters, got {len(value)}")
    for character in value:
        if character in "+#/" or character.isspace() or not character.isprintable():
            raise InputError(f"a topic level must not hold {character!r}; use letters, digits, '-', '_' and '.'")
    if value.startswith("$"):
        raise InputError(f"a topic level must not begin with '$', which brokers keep for themselves: {value!r}")
    return value


@dataclass(frozen=True)
class Topics:
    """All topics of one station."""

    namespace: str
    site: str
    area: str
    line: str
    unit: str

    def __post_init__(self) -> None:
        for level in (self.namespace, self.site, self.area, self.line, self.unit):
            check_level(level)

    def leaf(self, name: str) -> str:
        return "/".join((self.namespace, VERSION, self.site, self.area, self.line, self.unit, name))

    @property
    def status(self) -> str:
        return self.leaf("status")

    @property
    def meta(self) -> str:
        return self.leaf("meta")

    @property
    def result(self) -> str:
        return self.leaf("result")

    @property
    def health(self) -> str:
        return self.leaf("health")

    @property
    def shadow(self) -> str:
        return self.leaf("shadow")

    @property
    def commissioning(self) -> str:
        return self.leaf("commissioning")

    @property
    def receipt(self) -> str:
        return self.leaf("receipt")

    @property
    def replay(self) -> str:
        return self.leaf("cmd/replay")

    @property
    def replay_reply(self) -> str:
        return self.leaf("cmd/replay/reply")

    @property
    def trigger(self) -> str:
        return self.leaf("cmd/trigger")

    @property
    def trigger_reply(self) -> str:
        return self.leaf("cmd/trigger/reply")
