"""Files of the system that make a unit what it is: its name, its address, its clock, and the first boot's unit. Pure text."""

from __future__ import annotations

from uuid import NAMESPACE_DNS, uuid5

from jetspect.provisioning import places
from jetspect.provisioning.fleet import NetworkSettings, UnitSettings

MARK = "# Written by: jetspect device provision."
FIRST_BOOT = "jetspect-first-boot.service"
COMMISSIONED = "/var/lib/jetspect-first-boot/commissioned"


def hosts(unit: UnitSettings) -> str:
    """``/etc/hosts``: without the second line sudo asks the network for the unit's own name."""
    return f"127.0.0.1 localhost\n127.0.1.1 {unit.name}\n::1 localhost ip6-localhost ip6-loopback\n"


def keyfile(fleet: str, network: NetworkSettings, unit: UnitSettings) -> str:
    """A connection of NetworkManager (nm-settings-keyfile); it wins over the automatic one of the same interface."""
    gateway = "" if network.gateway is None else f",{network.gateway}"
    dns = "".join(f"{server};" for server in network.dns)
    return "\n".join(
        [
            MARK,
            "[connection]",
            "id=jetspect",
            f"uuid={uuid5(NAMESPACE_DNS, f'{unit.name}.{fleet}.jetspect')}",
            "type=ethernet",
            f"interface-name={network.interface}",
            "autoconnect=true",
            "autoconnect-priority=100",
            "",
            "[ipv4]",
            "method=manual",
            f"address1={unit.address}/{network.network.prefixlen}{gateway}",
            *([f"dns={dns}"] if dns else []),
            "",
            "[ipv6]",
            "method=link-local",
            "",
        ]
    )


def timesyncd(network: NetworkSettings) -> str:
    return f"{MARK}\n[Time]\nNTP={' '.join(network.ntp)}\n"


def first_boot_unit() -> str:
    return _FIRST_BOOT.format(mark=MARK, script=places.SCRIPT)


def station_drop_in() -> str:
    """For the station's unit, which the first boot installs: it waits for the first boot, and for its success."""
    return f"{MARK}\n[Unit]\nAfter={FIRST_BOOT}\nConditionPathExists={COMMISSIONED}\n"


_FIRST_BOOT = """{mark}
[Unit]
Description=jetspect: bring this unit up
Wants=network-online.target
After=network-online.target nvargus-daemon.service nvpmodel.service
Before=jetspect.service

[Service]
Type=oneshot
# The system's Python and its standard library: jetspect is what this installs. It takes its own link away when all is done.
ExecStart=/usr/bin/python3 -I {script}
# Building an engine takes many minutes on a small board.
TimeoutStartSec=7200
Restart=on-failure
RestartSec=60
StandardOutput=journal+console
StandardError=journal+console
SyslogIdentifier=jetspect-first-boot

[Install]
WantedBy=multi-user.target
"""
