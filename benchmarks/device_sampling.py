"""What watching the device's sensors costs: the processor's time of the sampling thread, as a share of one core.

Run: python -m jetspect.benchmarks.device_sampling --seconds 60 --out benchmarks/results/device-sampling.json

``--root`` takes the files of another board (tests/device/trees, unpacked), which has more sensors than a virtual machine.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from jetspect.device.files import ROOT
from jetspect.device.monitor import INTERVAL_S, DeviceMonitor
from jetspect.device.probe import probe
from jetspect.device.sensors import Sensors


def measure(root: Path, seconds: float) -> dict[str, float | int]:
    """Let the monitor run; the main thread sleeps, so that all of the process's time is the monitor's."""
    with DeviceMonitor(Sensors(root)).start() as monitor:
        time.sleep(INTERVAL_S)
        began, cpu = time.monotonic(), time.process_time()
        time.sleep(seconds)
        wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
        state = monitor.state()
    values = 0 if state is None else sum(len(v) for v in asdict(state.sample).values() if isinstance(v, dict))
    return {
        "values": values,
        "seconds": round(wall_s, 1),
        "cpu_ms_per_sample": round(1e3 * cpu_s / wall_s * INTERVAL_S, 3),
        "percent_of_a_core": round(100 * cpu_s / wall_s, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--root", type=Path, action="append", default=[], help="files of another board; may be repeated"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    measured = {"this machine": measure(ROOT, options.seconds)}
    for root in options.root:
        measured[root.name] = measure(root, options.seconds)
    told = {"machine": probe().as_dict(), "interval_s": INTERVAL_S, "sampling": measured}
    text = json.dumps(told, indent=2) + "\n"
    if options.out is not None:
        options.out.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
