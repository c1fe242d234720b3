"""Where things lie on a unit. The first boot's script, which has no jetspect yet, is told of them in ``unit.json``."""

from __future__ import annotations

from pathlib import Path

USER = "jetspect"
ETC = Path("/etc/jetspect")
STATION = ETC / "station.toml"
CA, CERT, KEY, PUBLIC_KEY = ETC / "ca.crt", ETC / "unit.crt", ETC / "unit.key", ETC / "bundle.pub"
STATE = Path("/var/lib/jetspect")
SLOTS = STATE / "slots"
HOME = Path("/opt/jetspect")
"""The environment that the first boot makes."""
SHIPPED = Path("/opt/jetspect-provision")
"""Everything that the first boot works with; it may be deleted afterwards."""
WHEELS, BUNDLE = SHIPPED / "wheels", SHIPPED / "bundle"
SCRIPT, NOTE = SHIPPED / "first_boot.py", SHIPPED / "unit.json"
