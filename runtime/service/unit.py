"""The files that make a station a service: unit, system user, folders. Pure text; :mod:`install` writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jetspect.errors import InputError

MARK = "# Written by: jetspect device install. Changes belong in a drop-in (systemctl edit), which an update keeps."
_USER_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
# The folder below /var/lib has this name and is deleted with a purge: it must never be that of another program.
_NAME = re.compile(r"jetspect(-[a-z0-9][a-z0-9_-]{0,20})?")
# What systemd would read as something else. Such paths are rare enough to be refused.
_SPECIAL = re.compile(r"[\s\"'\\%$;#:\x00-\x1f\x7f]|[^\x00-\x7f]")


@dataclass(frozen=True)
class Service:
    """One station as a service; paths are those that the device will see.

    Attributes
    ----------
    python
        That has jetspect.
    writable
        Folders outside the service's own that the station writes to.
    stop_s
        How long the station may take to end.
    argus
        Whether a CSI camera is read through nvargus-daemon.
    """

    name: str
    user: str
    python: Path
    station: Path
    writable: tuple[Path, ...] = ()
    stop_s: float = 90.0
    argus: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"the service's name is jetspect or jetspect-NAME, of a-z, 0-9, '_' and '-'; got {self.name!r}"
            )
        if not _USER_NAME.fullmatch(self.user):
            raise InputError(f"the user is 1 to 31 of a-z, 0-9, '_' and '-', a letter first; got {self.user!r}")
        if self.user == "root":
            raise InputError("the user of the service must not be root, whom no hardening holds; take one of its own")
        for path in (self.python, self.station, *self.writable):
            if not PurePosixPath(path).is_absolute() or _SPECIAL.search(str(path)):
                raise InputError(
                    f"{str(path)!r} cannot stand in a unit: take an absolute path of ASCII letters, digits and ./_-+,=@~"
                )

    @property
    def state(self) -> Path:
        return Path("/var/lib", self.name)

    @property
    def cache(self) -> Path:
        """In the user's home, so that the service and a deploy by the same user find the same engines."""
        return self.state / ".cache"

    def files(self) -> dict[Path, str]:
        """Every file by its path on the device."""
        made = {
            unit_path(self.name): _UNIT.format(
                mark=MARK,
                name=self.name,
                user=self.user,
                python=self.python,
                station=self.station,
                state=self.state,
                stop_s=round(self.stop_s),
                tmp=_ARGUS if self.argus else "PrivateTmp=yes\n",
                writable="".join(f"ReadWritePaths={path}\n" for path in self.writable),
            ),
            sysusers_path(self.name): _USER.format(mark=MARK, user=self.user, state=self.state),
        }
        if self.writable:
            lines = "".join(f"d {path} 0750 {self.user} {self.user} -\n" for path in self.writable)
            made[tmpfiles_path(self.name)] = f"{MARK}\n{lines}"
        return made


def unit_path(name: str) -> Path:
    return Path("/etc/systemd/system", f"{name}.service")


def wants_path(name: str) -> Path:
    """The link that has the service started at boot."""
    return Path("/etc/systemd/system/multi-user.target.wants", f"{name}.service")


def sysusers_path(name: str) -> Path:
    return Path("/etc/sysusers.d", f"{name}.conf")


def tmpfiles_path(name: str) -> Path:
    return Path("/etc/tmpfiles.d", f"{name}.conf")


_USER = """{mark}
# A user of its own, not DynamicUser: engines are only run by the user that built them, so deploy has to be this user too.
u {user} - "jetspect station" {state}
# The groups that JetPack's udev rules give GPU and cameras to: /dev/nvhost*, /dev/nvmap, /dev/video*; /dev/dri; USB cameras.
m {user} video
m {user} render
m {user} plugdev
"""

# The socket alone, bound at the start, would be that of a daemon that is gone as soon as nvargus-daemon starts anew.
_ARGUS = """# Loosened: CSI cameras are reached through /tmp/argus_socket, which nvargus-daemon makes anew whenever it starts.
PrivateTmp=no
ReadWritePaths=/tmp
"""

_UNIT = """{mark}
[Unit]
Description=jetspect station {name}
Documentation=https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html
Wants=network-online.target
After=network-online.target time-sync.target nvargus-daemon.service nvpmodel.service
# A station that fails again and again stays down and shows as failed, rather than wearing out the disk.
StartLimitIntervalSec=600
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
User={user}
# -I: nothing is imported from the working folder. faulthandler: a watchdog's SIGABRT leaves the threads' stacks in the journal.
ExecStart={python} -I -X faulthandler -m jetspect run {station}
WorkingDirectory={state}
StateDirectory={name}
StateDirectoryMode=0750
# Passwords (broker.password_env) stand here, mode 0600, and not in the unit.
EnvironmentFile=-/etc/{name}/environment
Restart=on-failure
RestartSec=5
# Loading an engine and compiling kernels on a cold board takes minutes.
TimeoutStartSec=600
TimeoutStopSec={stop_s}
WatchdogSec=30
LimitCORE=0
# Results go over MQTT; the journal gets the log.
StandardOutput=null
StandardError=journal
SyslogIdentifier={name}

# What it may see and write. Files of the system are read-only, homes are not there.
ProtectSystem=strict
ProtectHome=yes
{tmp}{writable}UMask=0027
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RemoveIPC=yes
KeyringMode=private

# What it may do: nothing that takes a privilege.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
# Loosened: @resources stays allowed, because ONNX Runtime and CUDA pin threads and place memory.
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
# Loosened: MemoryDenyWriteExecute is not set, because OpenVINO, CUDA and the bindings of GStreamer write code and run it.
# Loosened: ProcSubset is not set, because memory and load of the machine stand in /proc.
# Loosened: network. MQTT, GigE Vision and RTSP need it; AF_NETLINK lists interfaces and tells of USB cameras.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
# Loosened: devices. PrivateDevices would hide all of them; these are let through, and no other.
DevicePolicy=closed
# NVIDIA GPUs: nvhost, nvgpu, nvidia, nvidia-uvm and nvmap, where they are devices of their own kind
DeviceAllow=char-nv* rw
# Jetson's miscellaneous devices: memory of the GPU, and fences between engines and camera
DeviceAllow=/dev/nvmap rw
DeviceAllow=/dev/nvsciipc rw
DeviceAllow=/dev/host1x-fence rw
DeviceAllow=/dev/sync_file rw
DeviceAllow=char-host1x* rw
DeviceAllow=char-drm rw
# Cameras: /dev/video*, /dev/media*, USB3 Vision through libusb
DeviceAllow=char-video4linux rw
DeviceAllow=char-media rw
DeviceAllow=char-usb_device rw

[Install]
WantedBy=multi-user.target
"""
