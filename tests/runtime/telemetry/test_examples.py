"""What examples/prometheus asks for is what a station serves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from jetspect.runtime.telemetry.catalogue import METRICS
from jetspect.runtime.telemetry.settings import MetricsSettings

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "prometheus"
LABELS = {metric.name: {"unit", *metric.labels} for metric in METRICS}
TARGET = {"job", "instance"}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def known(name: str) -> str:
    """The metric of a name in an expression; a histogram has three names."""
    base = re.sub(r"_(bucket|count|sum)$", "", name)
    return base if base in LABELS and name not in LABELS else name


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_metrics_and_labels_that_exist_and_says_what_to_do(rule: dict[str, Any]) -> None:
    names = set(re.findall(r"\bjetspect_\w+", rule["expr"]))
    metrics = {known(name) for name in names}
    assert metrics <= LABELS.keys()
    assert metrics or "up{" in rule["expr"]
    labels = set.union(TARGET, *(LABELS[name] for name in metrics))
    used = set(re.findall(r"(\w+)=\"", rule["expr"]))
    grouped = ", ".join(re.findall(r"(?:by|on) \(([^)]*)\)", rule["expr"]))
    used |= set(re.findall(r"\w+", grouped)) - {"le"}
    text = rule["annotations"]["summary"] + rule["annotations"]["description"]
    used |= set(re.findall(r"\$labels\.(\w+)", text))
    assert used <= labels
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert {known(name) for name in re.findall(r"\bjetspect_\w+", text)} <= LABELS.keys()


def test_prometheus_scrapes_the_default_port_and_finds_the_rules() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert all((FOLDER / name).is_file() for name in config["rule_files"])
    (job,) = config["scrape_configs"]
    targets = [target for group in job["static_configs"] for target in group["targets"]]
    assert {target.rpartition(":")[2] for target in targets} == {str(MetricsSettings().port)}
    assert f'job="{job["job_name"]}"' in rules()[0]["expr"]
