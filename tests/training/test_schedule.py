from __future__ import annotations

import pytest
from torch import nn

from jetspect.errors import ConfigError, TrainingError
from jetspect.runtime.settings import parse_settings
from jetspect.training.config import TrainConfig
from jetspect.training.schedule import let_learn, plan_phases


def config(**tables: object) -> TrainConfig:
    return parse_settings({"data": {"dataset": "folder"}, "crops": {"batch": 4}, **tables}, TrainConfig, where="test")


def test_without_phases_there_is_one_of_the_length_of_the_schedule() -> None:
    (only,) = plan_phases(config(schedule={"steps": 30, "learning_rate": 0.1}), images=10)
    assert (only.start, only.end, only.train, only.learning_rate) == (0, 30, (), 0.1)
    (epochs,) = plan_phases(config(schedule={"epochs": 5}), images=10)
    assert epochs.end == 13  # 50 crops in batches of 4


def test_phases_follow_each_other_with_their_own_parts_rate_and_loss() -> None:
    phases = [{"steps": 10, "train": ["a"], "loss": {"mse": 1}}, {"epochs": 2, "learning_rate": 0.5}]
    first, second = plan_phases(config(phases=phases, loss={"dice": 0.9}), images=10)
    assert (first.start, first.end, first.train, first.loss.mse) == (0, 10, ("a",), 1)
    assert (second.start, second.end, second.learning_rate, second.loss.dice) == (10, 15, 0.5, 0.9)


@pytest.mark.parametrize("lengths", [{}, {"steps": 3, "epochs": 3}])
def test_a_phase_has_one_length(lengths: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="either steps or epochs"):
        config(phases=[lengths])


def test_the_rate_warms_up_and_decays_in_every_phase_anew() -> None:
    phases = [{"steps": 100, "learning_rate": 1.0}, {"steps": 100, "learning_rate": 0.1}]
    for phase, top in zip(plan_phases(config(phases=phases), images=1), (1.0, 0.1), strict=True):
        rates = [phase.rate(step, warmup=10, cosine=True) for step in range(phase.start, phase.end)]
        assert rates[0] == pytest.approx(top / 10, rel=0.01) and max(rates) == pytest.approx(top, rel=0.05)
        assert rates[-1] < 0.02 * top
        assert phase.rate(phase.end - 1, warmup=0, cosine=False) == pytest.approx(top)
        # A warm-up longer than the phase would keep it from learning.
        assert phase.rate(phase.start + 10, warmup=500, cosine=False) == pytest.approx(top)


def test_only_the_named_parts_learn_and_frozen_ones_keep_their_statistics() -> None:
    model = nn.Sequential()
    model.add_module("a", nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))
    model.add_module("b", nn.Conv2d(1, 1, 1))
    let_learn(model, ["b"])
    assert not model.a.training and model.b.training
    assert [p.requires_grad for p in model.parameters()] == [False] * 4 + [True] * 2
    let_learn(model, [])
    assert model.a.training and all(p.requires_grad for p in model.parameters())
    with pytest.raises(TrainingError, match="names c, which the model does not have; its parts are a, b"):
        let_learn(model, ["c"])
