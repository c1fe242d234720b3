"""A station as a device of Sparkplug: named values, and which of them a message changed."""

from __future__ import annotations

from datetime import datetime

from jetspect.runtime.consuming.sparkplug_payload import Kind, Metric, Value
from jetspect.runtime.publishing.health_message import HealthMessage
from jetspect.runtime.publishing.result_message import ResultMessage
from jetspect.runtime.results import Verdict

_KINDS: dict[str, Kind] = {
    **{f"Results/{verdict.value}": "uint64" for verdict in Verdict},
    "Last/Verdict": "text",
    "Last/Part": "text",
    "Last/Defects": "uint64",
    "Last/Seq": "uint64",
    "Last/Inspected": "time",
    "Last/Duration ms": "double",
    "Health/Uptime s": "double",
    "Health/Frames": "uint64",
    "Health/Outbox pending": "uint64",
    "Health/Outbox oldest s": "double",
    "Health/Temperature C": "double",
    "Health/Source connected": "bool",
    "Health/Alarms": "text",
}


class Device:
    """Every value is there from birth on, as null until a message brings it. ``Results/...`` count from the bridge's start."""

    def __init__(self) -> None:
        self.born = False
        self._values: dict[str, Value] = dict.fromkeys(_KINDS)
        self._values.update({f"Results/{verdict.value}": 0 for verdict in Verdict})

    def metrics(self) -> list[Metric]:
        """Return all values, for a birth certificate."""
        return [Metric(name, kind, self._values[name]) for name, kind in _KINDS.items()]

    def take_result(self, message: ResultMessage) -> list[Metric]:
        counter = f"Results/{message.verdict.value}"
        counted = self._values[counter]
        return self._change(
            {
                counter: int(counted or 0) + 1,
                "Last/Verdict": message.verdict.value,
                "Last/Part": message.frame.part_id,
                "Last/Defects": len(message.defects) + message.defects_truncated,
                "Last/Seq": message.seq,
                "Last/Inspected": _ms(message.frame.inspected_at),
                "Last/Duration ms": message.timings_ms.get("total"),
            }
        )

    def take_health(self, message: HealthMessage) -> list[Metric]:
        return self._change(
            {
                "Health/Uptime s": message.uptime_s,
                "Health/Frames": message.frames,
                "Health/Outbox pending": message.outbox_pending,
                "Health/Outbox oldest s": message.outbox_oldest_s,
                "Health/Temperature C": message.temperature_c,
                "Health/Source connected": message.source.connected,
                "Health/Alarms": "; ".join(message.alarms),
            }
        )

    def _change(self, values: dict[str, Value]) -> list[Metric]:
        """Return what is new: Sparkplug reports by exception."""
        changed = [name for name, value in values.items() if self._values[name] != value]
        self._values.update(values)
        return [Metric(name, _KINDS[name], values[name]) for name in changed]


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
