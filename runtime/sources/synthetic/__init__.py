"""A camera that looks at metal parts that do not exist: for the demo, tests, benchmarks and training without images.

Everything is drawn with NumPy and OpenCV, deterministic by seed, with the exact mask of every defect.
"""

from __future__ import annotations

from jetspect.runtime.sources.synthetic.defects import CLASSES
from jetspect.runtime.sources.synthetic.part import SyntheticPart, render_part
from jetspect.runtime.sources.synthetic.source import SyntheticSettings, SyntheticSource
from jetspect.runtime.sources.synthetic.textures import TEXTURES

__all__ = ["CLASSES", "TEXTURES", "SyntheticPart", "SyntheticSettings", "SyntheticSource", "render_part"]
