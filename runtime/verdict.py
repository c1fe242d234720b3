"""Rules that turn defects into a verdict.

A bundle either locates defects, and the station's rules count them, or it also decides on the image as a whole (Tabernik et
al. 2020). Then the decision alone makes the verdict: NOK at or above its threshold, though no defect was located, and OK
below it, though some were. Located defects only show where. Rules for counting have no say there and are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from jetspect.runtime.manifest import DecisionSpec
from jetspect.runtime.postprocess.reference import level_of
from jetspect.runtime.results import Defect, Verdict
from jetspect.runtime.settings import Settings


class ClassRule(Settings):
    """What a part may have of one class. Areas count in px, or in mm2 where the pixel pitch is known."""

    max_count: int | None = Field(None, ge=0, description="More defects than this are NOK; None for no limit")
    max_area_px: int | None = Field(None, ge=0, description="A single larger defect is NOK")
    max_area_mm2: float | None = Field(None, ge=0, description="A single larger defect is NOK; needs a pixel pitch")
    max_total_area_px: int | None = Field(None, ge=0, description="All defects together may cover this much")
    max_total_area_mm2: float | None = Field(None, ge=0, description="The same in mm2; needs a pixel pitch")


class VerdictRules(Settings):
    """``[verdict]`` of a station file. Without any rule a single defect is NOK. For bundles without a decision only.

    A class with a rule of its own under ``classes`` answers to that rule only; all others share ``max_defects``.
    """

    max_defects: int = Field(0, ge=0, description="More defects than this, of classes without an own rule, are NOK")
    classes: dict[str, ClassRule] = Field(default_factory=dict, description="Rules per class")

    @property
    def needs_pitch(self) -> bool:
        return any(r.max_area_mm2 is not None or r.max_total_area_mm2 is not None for r in self.classes.values())


def judge(defects: Sequence[Defect], rules: VerdictRules) -> tuple[Verdict, tuple[str, ...]]:
    """Return OK or NOK with the broken rules."""
    reasons = []
    shared = [d for d in defects if d.class_name not in rules.classes]
    if len(shared) > rules.max_defects:
        plural = "" if len(shared) == 1 else "s"
        reasons.append(f"{len(shared)} defect{plural}, at most {rules.max_defects} allowed")
    for name, rule in rules.classes.items():
        reasons += _break_rule([d for d in defects if d.class_name == name], name, rule)
    return (Verdict.NOK if reasons else Verdict.OK), tuple(reasons)


def decide(decision: float, spec: DecisionSpec, defects: int) -> tuple[Verdict, tuple[str, ...]]:
    """Return what a decision (0-1, in steps of 1/255) on the whole image means, with the reason.

    Both numbers are compared as levels of 255, as the graph gives them. An OK has a reason only where defects were located.
    """
    if round(decision * 255) >= level_of(spec.threshold):
        located = "" if defects else "; no single defect was located"
        return Verdict.NOK, (f"decision {decision:.3f}, at or above {spec.threshold:.3f} is NOK{located}",)
    if not defects:
        return Verdict.OK, ()
    plural = "" if defects == 1 else "s"
    counted = f"{defects} located defect{plural} {'does' if defects == 1 else 'do'} not count"
    return Verdict.OK, (f"decision {decision:.3f}, below {spec.threshold:.3f} is OK: {counted}",)


def _break_rule(defects: Sequence[Defect], name: str, rule: ClassRule) -> list[str]:
    px = [float(d.area_px) for d in defects]
    mm2 = [d.area_mm2 or 0.0 for d in defects]
    limits = (
        (float(len(defects)), rule.max_count, "{0:.0f} {name} defects, at most {1:.0f} allowed"),
        (max(px, default=0.0), rule.max_area_px, "{name} of {0:.0f} px, at most {1:.0f} px allowed"),
        (max(mm2, default=0.0), rule.max_area_mm2, "{name} of {0:.2f} mm2, at most {1:.2f} mm2 allowed"),
        (sum(px), rule.max_total_area_px, "{name} covers {0:.0f} px, at most {1:.0f} px allowed"),
        (sum(mm2), rule.max_total_area_mm2, "{name} covers {0:.2f} mm2, at most {1:.2f} mm2 allowed"),
    )
    return [
        text.format(value, limit, name=name) for value, limit, text in limits if limit is not None and value > limit
    ]
