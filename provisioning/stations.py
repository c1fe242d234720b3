"""The station file of a unit: a template, filled, and held against what the unit will have."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template

from jetspect.errors import ConfigError, EngineError, JetspectError, ProvisionError
from jetspect.provisioning import places
from jetspect.provisioning.authority import MAX_CN
from jetspect.provisioning.fleet import Fleet, UnitSettings
from jetspect.provisioning.wheelhouse import Wheelhouse
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import StationConfig
from jetspect.runtime.engines import require_graph
from jetspect.runtime.engines.trt_versions import parse_version, require_precision
from jetspect.runtime.service.folders import named_paths, require_visible, writable_folders
from jetspect.runtime.settings import parse_settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What a station makes itself.
_WRITTEN = frozenset(("outbox.path", "evidence.folder", "bundle.slots", "engine.folder"))
_PACKAGES = {
    "tensorrt": ("pycuda",),
    "onnxruntime-cuda": ("onnxruntime-gpu", "pycuda"),
    "openvino": ("openvino",),
}


@dataclass(frozen=True)
class Station:
    """The file of one unit. ``place`` is its part of the topics, and the name in its certificate."""

    text: str
    config: StationConfig
    place: str


def read_template(path: Path) -> Template:
    try:
        return Template(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ProvisionError(
            f"station {path} cannot be read: {error}; name the template of the station file"
        ) from error


def fill(template: Template, fleet: Fleet, unit: UnitSettings) -> Station:
    """Put a unit's values into the template and read the result as the station will.

    Raises
    ------
    ProvisionError
        A placeholder has no value, or the file does not fit what the unit will have.
    ConfigError
        The filled file has faults.
    """
    where = f"{fleet.station} for {unit.name}"
    try:
        text = template.substitute(_values(fleet, unit))
    except KeyError as error:
        raise ProvisionError(
            f"{where}: ${{{error.args[0]}}} has no value; give it in units.values of {unit.name}, or write $$ for a dollar"
        ) from error
    except ValueError as error:
        raise ProvisionError(f"{where}: {error}; a placeholder is ${{name}}, and a dollar $$") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(where, [f"is not valid TOML: {error}"]) from error
    config = parse_settings(data, StationConfig, where=where, base=places.ETC)
    try:
        _require_fitting(config, fleet)
    except JetspectError as error:
        raise ProvisionError(f"{where}: {error}") from error
    s = config.station
    place = "/".join((s.site, s.area, s.line, s.unit))
    if len(place) > MAX_CN:
        raise ProvisionError(
            f"{where}: SITE/AREA/LINE/UNIT, {place}, has {len(place)} characters, and a certificate's name {MAX_CN}; shorten it"
        )
    return Station(text, config, place)


def require_model(config: StationConfig, bundle: Bundle, fleet: Fleet) -> None:
    """Refuse a bundle that these units cannot run.

    Raises
    ------
    ProvisionError
        It has no such graph, or the graph is for another architecture or another TensorRT.
    """
    precision, kind, device = config.bundle.precision, config.engine.kind, fleet.target.device
    try:
        require_graph(bundle, precision)
        if precision == "int8-cpu" and device.architecture != "x86_64":
            raise EngineError(f"the int8-cpu graph is made for x86 processors, and the units are {device.architecture}")
        if kind == "tensorrt" or (kind == "auto" and fleet.target.jetpack is not None):
            version = fleet.target.tensorrt_version
            if not version:
                raise EngineError(
                    'units without JetPack have no TensorRT; set target.tensorrt, or engine.kind = "onnxruntime"'
                )
            require_precision(parse_version(version), precision)
    except EngineError as error:
        raise ProvisionError(f"bundle {fleet.bundle.path} does not fit the units of [target]: {error}") from error


def require_wheels(config: StationConfig, house: Wheelhouse, fleet: Fleet) -> None:
    """Refuse a wheelhouse without what the station needs beside the lean runtime."""
    there = {name.partition("-")[0].lower().replace("_", "-") for name in house.index.files}
    wanted = ["jetspect", "pip", *_PACKAGES.get(config.engine.kind, ())]
    wanted += ["cryptography"] if fleet.bundle.public_key is not None else []
    wanted += ["prometheus-client"] if config.metrics is not None else []
    if missing := [name for name in wanted if name not in there]:
        raise ProvisionError(
            f"the wheelhouse {house.path} has no {', '.join(missing)}, which the station needs; make it with --extra sign, "
            "metrics or openvino, and --add for a wheel that was built on a unit (docs/flashing.md)"
        )


def _values(fleet: Fleet, unit: UnitSettings) -> dict[str, str]:
    own = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in unit.values.items()}
    return own | {
        "unit": unit.name,
        "address": str(unit.address),
        "broker_host": fleet.broker.host,
        "broker_port": str(fleet.broker.port),
        "ca": str(places.CA),
        "cert": str(places.CERT),
        "key": str(places.KEY),
        "public_key": str(places.PUBLIC_KEY),
        "slots": str(places.SLOTS),
        "state": str(places.STATE),
    }


def _require_fitting(config: StationConfig, fleet: Fleet) -> None:
    """The file must name what the overlay brings, and nothing else."""
    shipped = {places.CA, places.CERT, places.KEY, *(Path(f.path) for f in fleet.files)}
    if fleet.bundle.public_key is not None:
        shipped.add(places.PUBLIC_KEY)
    for key, path in named_paths(config):
        require_visible(key, path)
        if key not in _WRITTEN and path not in shipped:
            raise ProvisionError(
                f"{key} is {path}, which is not in the overlay; add it to [[files]], or use a placeholder"
            )
    writable_folders(config, Path("/"), places.STATE)
    if config.bundle.slots != places.SLOTS:
        raise ProvisionError('bundle.slots must be the folder that the first boot deploys to: slots = "${slots}"')
    if fleet.bundle.public_key is not None and config.bundle.public_key != places.PUBLIC_KEY:
        raise ProvisionError(
            'the fleet has a key for bundles, and the station must check with it: public_key = "${public_key}"'
        )
    broker = config.broker
    if broker is None or broker.tls is None or (broker.tls.cert, broker.tls.key) != (places.CERT, places.KEY):
        raise ProvisionError(
            '[broker.tls] must have the unit\'s own certificate: ca = "${ca}", cert = "${cert}", key = "${key}"'
        )
    if (broker.host, broker.port) != (fleet.broker.host, fleet.broker.port):
        raise ProvisionError(
            f"[broker] is {broker.host}:{broker.port}, and that of the fleet {fleet.broker.host}:{fleet.broker.port}; write "
            'host = "${broker_host}", port = ${broker_port}'
        )
    if broker.password_env is not None or broker.tls.key_password_env is not None:
        raise ProvisionError(
            "a unit has no environment with passwords; the certificate is its login, or take broker.password_file and [[files]]"
        )
