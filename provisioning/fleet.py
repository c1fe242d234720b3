"""The fleet file: every unit of a plant, and what they have in common, in one TOML file."""

from __future__ import annotations

import re
from collections import Counter
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from jetspect.provisioning.target import Architecture, PythonVersion, Target
from jetspect.runtime.publishing.tls import VariableName
from jetspect.runtime.settings import LocalPath, Settings, load_settings

# What JetPack brings: its Python, and its TensorRT (6.0 brings 8.6, which target.tensorrt says then).
_JETPACK_PYTHON: dict[int, PythonVersion] = {6: "3.10", 7: "3.12"}
_JETPACK_TENSORRT = {6: "10.3", 7: "10.13"}
# RFC 1123; lower case, because Linux keeps the case of a host name and MQTT tells cases apart.
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SERVER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
# Values go into quoted strings of a TOML file and must not end them.
_VALUE = re.compile(r"[^\"'\\\x00-\x1f\x7f$]{0,200}")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,30}")
GIVEN = frozenset(
    ("unit", "address", "broker_host", "broker_port", "ca", "cert", "key", "public_key", "slots", "state")
)
"""Placeholders that every template may use; see :mod:`jetspect.provisioning.stations`."""


def _host_name(value: str) -> str:
    if not _HOST_NAME.fullmatch(value):
        raise ValueError("a name is 1 to 63 of a-z, 0-9 and '-', with '-' only inside: it becomes the host name")
    return value


def _server(value: str) -> str:
    if not _SERVER.fullmatch(value):
        raise ValueError("give a host name or an address alone")
    return value


def _interface(value: str) -> str:
    if not _INTERFACE.fullmatch(value):
        raise ValueError(
            "the name of an interface has 1 to 15 letters, digits, '-', '_' or '.', such as eth0 or enP8p1s0"
        )
    return value


HostName = Annotated[str, AfterValidator(_host_name)]
Server = Annotated[str, AfterValidator(_server)]


class FleetSettings(Settings):
    """``[fleet]``"""

    name: HostName = Field(description="Of the fleet; a-z, 0-9 and '-'")


class TargetSettings(Settings):
    """``[target]``: what the units are."""

    jetpack: Literal[6, 7] | None = Field(None, description="JetPack's major version; or give architecture and python")
    architecture: Architecture | None = None
    python: PythonVersion | None = Field(None, description="Of the system")
    tensorrt: str | None = Field(
        None, pattern=r"^\d+(\.\d+){1,3}$", description="Of the units; JetPack 6: 10.3 (6.0 has 8.6), JetPack 7: 10.13"
    )

    @model_validator(mode="after")
    def _one_way(self) -> TargetSettings:
        board = (self.architecture, self.python)
        if self.jetpack is None and None in board:
            raise ValueError("give jetpack = 6 or 7, or architecture and python for boards without JetPack")
        if self.jetpack is not None and board != (None, None):
            raise ValueError(f"jetpack = {self.jetpack} says architecture and python already: leave them out")
        return self

    @property
    def device(self) -> Target:
        if self.jetpack is not None:
            return Target("aarch64", _JETPACK_PYTHON[self.jetpack])
        if self.architecture is None or self.python is None:
            raise AssertionError("refused when it was read")
        return Target(self.architecture, self.python)

    @property
    def tensorrt_version(self) -> str:
        """Empty where the units have none."""
        return self.tensorrt or _JETPACK_TENSORRT.get(self.jetpack or 0, "")


class NetworkSettings(Settings):
    """``[network]``: static addresses of version 4, by NetworkManager."""

    interface: Annotated[str, AfterValidator(_interface)] = Field(description="Of the units, such as eth0")
    network: IPv4Network = Field(description="With its prefix: 192.168.10.0/24")
    gateway: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    ntp: tuple[Server, ...] = Field((), description="Time servers; None: those of the system")

    @model_validator(mode="after")
    def _inside(self) -> NetworkSettings:
        if self.gateway is not None and self.gateway not in self.network:
            raise ValueError(f"gateway {self.gateway} is not in {self.network}; give one that the units can reach")
        return self


class FleetBrokerSettings(Settings):
    """``[broker]``: filled into the template as ``${broker_host}`` and ``${broker_port}``."""

    host: Server
    port: int = Field(8883, ge=1, le=65535)


class CaSettings(Settings):
    """``[ca]``: issues each unit's certificate."""

    cert: LocalPath
    key: LocalPath
    key_password_env: VariableName | None = Field(None, description="Variable with the password of an encrypted key")
    days: int = Field(365, ge=1, le=3650, description="Units' certificates are good for so long")
    renew_before_days: int = Field(
        60, ge=0, description="A certificate in an earlier overlay stays where it is good for longer than this"
    )

    @model_validator(mode="after")
    def _order(self) -> CaSettings:
        if self.renew_before_days >= self.days:
            raise ValueError(
                f"renew_before_days ({self.renew_before_days}) must be less than days ({self.days}), or no certificate stays"
            )
        return self


class FleetBundleSettings(Settings):
    """``[bundle]``: the model that units begin with."""

    path: LocalPath
    public_key: LocalPath | None = Field(None, description="ed25519 (PEM); with it the bundle must be signed")
    unsigned: bool = Field(False, description="Go without a key")

    @model_validator(mode="after")
    def _checked(self) -> FleetBundleSettings:
        if (self.public_key is None) != self.unsigned:
            raise ValueError("give public_key, with which units check bundles, or unsigned = true")
        return self


class ExtraFile(Settings):
    """``[[files]]``: another file of the units, such as the picture of a region."""

    path: PurePosixPath = Field(description="On the unit, below /etc/jetspect")
    source: LocalPath
    private: bool = Field(False, description="Mode 0600, for the station alone: a password")

    @model_validator(mode="after")
    def _below(self) -> ExtraFile:
        parts = self.path.parts
        if parts[:3] != ("/", "etc", "jetspect") or len(parts) < 4 or ".." in parts or len(str(self.path)) > 200:
            raise ValueError("path is a file below /etc/jetspect/")
        return self


class UnitSettings(Settings):
    """``[[units]]``"""

    name: HostName = Field(description="Host name, and ${unit} of the template")
    address: IPv4Address
    values: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Own placeholders of the template"
    )

    @model_validator(mode="after")
    def _usable(self) -> UnitSettings:
        for key, value in self.values.items():
            if not _KEY.fullmatch(key) or key in GIVEN:
                raise ValueError(
                    f"values.{key}: a placeholder is a-z, 0-9 and '_', and none of {', '.join(sorted(GIVEN))}"
                )
            if isinstance(value, str) and not _VALUE.fullmatch(value):
                raise ValueError(
                    f"values.{key}: 200 characters at most, without quotes, '\\', '$' and control characters"
                )
        return self


class Fleet(Settings):
    """A whole fleet file."""

    fleet: FleetSettings
    target: TargetSettings
    network: NetworkSettings
    broker: FleetBrokerSettings
    ca: CaSettings
    bundle: FleetBundleSettings
    wheelhouse: LocalPath = Field(description="Made by jetspect device wheelhouse")
    station: LocalPath = Field(description="Template of the station file, with placeholders such as ${unit}")
    files: tuple[ExtraFile, ...] = ()
    units: tuple[UnitSettings, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _apart(self) -> Fleet:
        faults = [f"units.name {name} stands there {n} times" for name, n in _repeated(u.name for u in self.units)]
        faults += [
            f"units.address {address} stands there {n} times: {', '.join(u.name for u in self.units if u.address == address)}"
            for address, n in _repeated(u.address for u in self.units)
        ]
        faults += [f"files.path {path} stands there {n} times" for path, n in _repeated(f.path for f in self.files)]
        for unit in self.units:
            if fault := self._misplaced(unit.address):
                faults.append(f"units.address {unit.address} of {unit.name} {fault}")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _misplaced(self, address: IPv4Address) -> str:
        net = self.network.network
        if address not in net:
            return f"is not in {net}"
        if net.prefixlen < 31 and address in (net.network_address, net.broadcast_address):
            return f"is the {'network' if address == net.network_address else 'broadcast'} address of {net}"
        if address == self.network.gateway:
            return "is the gateway's"
        if address in self.network.dns or str(address) in (*self.network.ntp, self.broker.host):
            return "is that of the broker, of DNS or of a time server"
        return ""


def load_fleet(path: Path) -> Fleet:
    """Read a fleet file; see :func:`jetspect.runtime.settings.load_settings` for errors."""
    return load_settings(path, Fleet)


def _repeated(values: object) -> list[tuple[object, int]]:
    return [(value, n) for value, n in Counter(values).items() if n > 1]  # type: ignore[call-overload]
