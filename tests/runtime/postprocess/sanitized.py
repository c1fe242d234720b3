"""Run the kernels over frames that touch every edge of every buffer; run by test_cuda_sanitized.py under a sanitizer."""

from __future__ import annotations

import sys

import numpy as np
from host_cuda import HostCuda

from jetspect.runtime.manifest import ClassSpec, OutputContract
from jetspect.runtime.postprocess.cuda import ComponentFinder, pitch_of


def main(flag: str) -> None:
    rng = np.random.default_rng(0)
    workers = 4 if flag == "-fsanitize=thread" else 1
    for hw in ((1, 1), (1, 300), (300, 1), (97, 31), (33, 257), (128, 512)):
        for share in (0.02, 0.55, 1.0):
            scores = np.zeros((hw[0], pitch_of(hw[1])), np.uint8)
            scores[:, : hw[1]] = np.where(rng.random(hw) < share, rng.integers(100, 256, hw), 0)
            with HostCuda(workers=workers, flags=(flag,)) as cuda:
                spec = ClassSpec(name="pit", threshold=0.8, threshold_low=0.4)
                output = OutputContract(classes=(spec,), open_px=int(share < 0.5), close_px=15)
                finder = ComponentFinder(cuda, hw, places=16)
                buffer = cuda.alloc(scores.nbytes)
                cuda.upload(buffer, scores)
                finder.find(buffer, 0, output)
                finder.close()
    print(f"{flag} done")


if __name__ == "__main__":
    main(sys.argv[1])
