"""``[metrics]`` and ``[log]`` of a station file."""

from __future__ import annotations

import ipaddress
from enum import Enum
from typing import Literal

from pydantic import Field, field_validator

from jetspect.runtime.settings import Settings

LogLevel = Literal["debug", "info", "warning", "error"]


class LogFormat(str, Enum):
    """Lines for people, or one JSON object per line."""

    TEXT = "text"
    JSON = "json"


class MetricsSettings(Settings):
    """``[metrics]``: numbers for Prometheus and a health check, over HTTP. Without this section nothing listens."""

    address: str = Field(
        "127.0.0.1", description="IP address to listen on; 0.0.0.0 or :: is every network of this machine"
    )
    port: int = Field(9464, ge=0, le=65535, description="TCP port; 0: any free one, the log says which")
    stuck_s: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="How long the source may be away, or a frame take, before /healthz answers 503, seconds",
    )
    idle_s: float | None = Field(
        None,
        ge=1,
        description="How long no frame may come before /healthz answers 503, seconds; None: a line may stand still",
    )

    @field_validator("address")
    @classmethod
    def _an_address(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError("give an IP address: 127.0.0.1 is this machine alone, 0.0.0.0 every network") from None


class LogSettings(Settings):
    """``[log]``: what goes to stderr, and how."""

    format: LogFormat = Field(LogFormat.TEXT, description="text for people, json for collectors: one object per line")
    level: LogLevel = Field("warning", description="The least level that is logged; -v makes it at least info")
