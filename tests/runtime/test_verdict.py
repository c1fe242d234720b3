from __future__ import annotations

import pytest
from pydantic import ValidationError

from jetspect.runtime.manifest import DecisionSpec
from jetspect.runtime.results import Defect, Verdict
from jetspect.runtime.verdict import ClassRule, VerdictRules, decide, judge


def defect(name: str = "pit", area_px: int = 10, area_mm2: float | None = None) -> Defect:
    return Defect(name, area_px, (0, 0, 1, 1), (0.0, 0.0), 1.0, 1.0, ((0, 0),), False, area_mm2)


def test_without_rules_no_defect_is_ok_and_one_is_not() -> None:
    assert judge([], VerdictRules()) == (Verdict.OK, ())
    assert judge([defect()], VerdictRules()) == (Verdict.NOK, ("1 defect, at most 0 allowed",))


@pytest.mark.parametrize(
    ("rule", "defects", "reason"),
    [
        (ClassRule(max_count=2), [defect()] * 3, "3 pit defects, at most 2 allowed"),
        (ClassRule(max_area_px=9), [defect(), defect(area_px=3)], "pit of 10 px, at most 9 px allowed"),
        (ClassRule(max_area_mm2=0.5), [defect(area_mm2=0.75)], "pit of 0.75 mm2, at most 0.50 mm2 allowed"),
        (ClassRule(max_total_area_px=19), [defect(), defect()], "pit covers 20 px, at most 19 px allowed"),
        (ClassRule(max_total_area_mm2=1), [defect(area_mm2=0.6)] * 2, "pit covers 1.20 mm2, at most 1.00 mm2 allowed"),
    ],
)
def test_each_limit_is_broken_just_above_it(rule: ClassRule, defects: list[Defect], reason: str) -> None:
    rules = VerdictRules(classes={"pit": rule})
    assert judge(defects, rules) == (Verdict.NOK, (reason,))
    assert judge(defects[:-1] if len(defects) == 3 else [], rules)[0] is Verdict.OK


def test_a_class_with_its_own_rule_leaves_the_shared_count() -> None:
    rules = VerdictRules(max_defects=1, classes={"stain": ClassRule()})
    assert judge([defect("stain")] * 50 + [defect()], rules)[0] is Verdict.OK
    assert judge([defect("stain")] + [defect()] * 2, rules)[0] is Verdict.NOK


def test_a_limit_of_zero_is_a_limit() -> None:
    rules = VerdictRules(max_defects=9, classes={"crack": ClassRule(max_count=0)})
    assert judge([defect("crack")], rules)[0] is Verdict.NOK


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError):
        VerdictRules.model_validate({"max_defect": 1})


@pytest.mark.parametrize(
    ("level", "threshold", "verdict"),
    [
        (128, 0.5, Verdict.NOK),
        (127, 0.5, Verdict.OK),
        (255, 1.0, Verdict.NOK),
        (254, 1.0, Verdict.OK),
        (0, 0.0, Verdict.OK),
    ],
)
def test_a_decision_is_compared_in_levels_and_nothing_is_never_a_defect(
    level: int, threshold: float, verdict: Verdict
) -> None:
    assert decide(level / 255, DecisionSpec(threshold=threshold), 0)[0] is verdict


def test_the_decision_overrules_what_was_located_both_ways() -> None:
    spec = DecisionSpec(threshold=0.5)
    assert decide(200 / 255, spec, 0) == (
        Verdict.NOK,
        ("decision 0.784, at or above 0.500 is NOK; no single defect was located",),
    )
    assert decide(200 / 255, spec, 3) == (Verdict.NOK, ("decision 0.784, at or above 0.500 is NOK",))
    assert decide(0.0, spec, 3) == (Verdict.OK, ("decision 0.000, below 0.500 is OK: 3 located defects do not count",))
    assert decide(0.0, spec, 0) == (Verdict.OK, ())
