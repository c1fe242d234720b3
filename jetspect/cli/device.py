"""``jetspect device``: the machine that a station runs on."""

from __future__ import annotations

import typer

from jetspect.cli.lazy import Lazy, LazyGroup


class _Device(LazyGroup):
    table = (
        Lazy(
            "info",
            "jetspect.cli.device_info:info",
            "Tell what this machine is: board, JetPack, CUDA and TensorRT, memory, disks, power mode, network and "
            "clock.",
        ),
        Lazy(
            "doctor",
            "jetspect.cli.device_doctor:doctor",
            "Check whether a station would run on this machine: each line has a verdict, the reason, and what to "
            "type to fix it.",
        ),
        Lazy(
            "install",
            "jetspect.cli.device_service:install",
            "Make a station a service that starts at boot: a hardened systemd unit, a user of its own, a folder "
            "for its results.",
        ),
        Lazy(
            "uninstall",
            "jetspect.cli.device_service:uninstall",
            "Stop a station's service and take away everything that install wrote. Results stay, unless --purge "
            "is given.",
        ),
        Lazy(
            "deploy",
            "jetspect.cli.device_slots:deploy",
            "Verify a bundle, build and prove its engine as this station runs it, and make it the live one; a "
            "station that runs takes it between two frames, and goes back by itself where it turns out worse than "
            "the one before.",
        ),
        Lazy(
            "slots",
            "jetspect.cli.device_slots:slots",
            "Show what lies in both slots, which one is live, how it does, and what happened last. Exit code 1 "
            "when the live one is damaged or nothing is deployed.",
        ),
        Lazy(
            "rollback",
            "jetspect.cli.device_slots:rollback",
            "Make the bundle in the other slot the live one; a station that runs takes it between two frames.",
        ),
        Lazy(
            "selftest",
            "jetspect.cli.device_selftest:selftest",
            "Test the GPU of this device: the kernels against the reference, golden tiles of a bundle in every "
            "engine for GPUs that is installed, and the time of each stage around the engine beside the least "
            "that moving its bytes takes.",
        ),
        Lazy(
            "wheelhouse",
            "jetspect.cli.device_wheelhouse:wheelhouse",
            "Collect jetspect and everything it requires as wheels for devices that have no network, with a lock "
            "of hashes.",
        ),
        Lazy(
            "fleet-ca",
            "jetspect.cli.device_provision:fleet_ca",
            "Make a CA for a fleet (EC P-256), and the broker's certificate. Files that are there are never replaced.",
        ),
        Lazy(
            "provision",
            "jetspect.cli.device_provision:provision",
            "Make a root file system overlay for each unit of a fleet: name, address, certificate and key, "
            "station file, bundle, wheels, and a first boot that brings it up without a network.",
        ),
        Lazy(
            "commission",
            "jetspect.cli.device_commission:commission",
            "Run the doctor's checks on a station and keep the outcome; with --publish send it to the station's "
            "broker.",
        ),
        Lazy("power", "jetspect.cli.device_power:app", "Power modes of a Jetson, through nvpmodel and jetson_clocks."),
    )


app = typer.Typer(cls=_Device, help="The device: is it fit to run a station?", no_args_is_help=True)
