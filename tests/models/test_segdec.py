"""The network is the paper's, layer by layer, and its two halves can be trained one after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jetspect.errors import InputError
from jetspect.models.registry import build_model
from jetspect.models.segdec import DecisionNet, SegDecNet


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_at_full_width_the_layers_are_the_papers() -> None:
    model = SegDecNet()
    convolutions = [m for m in model.segmentation.modules() if isinstance(m, nn.Conv2d)]
    table = [(c.out_channels, c.kernel_size[0]) for c in convolutions]
    assert table == [(32, 5)] * 2 + [(64, 5)] * 7 + [(1024, 15), (1, 1)]
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.segmentation.modules()) == 3
    deciding = [m for m in model.decision.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in deciding] == [
        (1025, 8, 5),
        (8, 16, 5),
        (16, 32, 5),
    ]
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.decision.modules()) == 3
    assert (model.decision.head.in_features, model.decision.head.out_features) == (66, 1)


def test_at_full_width_the_parameters_are_those_of_the_table_and_its_normalisation() -> None:
    kernels = 25 * (32 + 32 * 32 + 32 * 64 + 6 * 64 * 64) + 225 * 64 * 1024
    normalised = 2 * (2 * 32 + 7 * 64 + 1024)
    deciding = 25 * (1025 * 8 + 8 * 16 + 16 * 32) + 2 * (8 + 16 + 32) + 67
    model = SegDecNet()
    assert count(model.segmentation) == kernels + normalised + 1025
    assert count(model.decision) == deciding
    assert round(count(model) / 1e6, 1) == 15.7


@pytest.mark.parametrize(("norm", "classes", "hw"), [("batch", 1, (64, 128)), ("instance", 2, (72, 200))])
def test_the_mask_has_an_eighth_of_the_size_and_the_image_one_decision(
    norm: str, classes: int, hw: tuple[int, int]
) -> None:
    model = build_model("segdec", {"in_channels": 3, "classes": classes, "width": 0.0625, "norm": norm})
    mask, decision = model.eval()(torch.randn(2, 3, *hw))
    assert mask.shape == (2, classes, hw[0] // 8, hw[1] // 8)
    assert decision.shape == (2, 1)


def test_a_mask_value_sees_216_px() -> None:
    """Measured: a bright pixel at either end of the field arrives at a mask value in its middle; one further out does not."""
    torch.manual_seed(0)
    model = SegDecNet(width=0.05).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    with torch.no_grad():
        still = torch.zeros(1, 1, 64, 320)
        base = model(still)[0][0, 0, 4, 20]
        seen = []
        first = 20 * 8 + 4 - 216 // 2
        for x in (first - 1, first, first + 215, first + 216):
            moved = still.clone()
            moved[..., x] = 1e6
            seen.append(bool(model(moved)[0][0, 0, 4, 20] != base))
    assert seen == [False, True, True, False]


@pytest.mark.parametrize("detach", [True, False])
def test_the_decision_teaches_the_segmentation_only_where_asked(detach: bool) -> None:
    model = SegDecNet(width=0.0625, detach=detach)
    model(torch.randn(2, 1, 64, 64))[1].sum().backward()
    assert all(p.grad is not None for p in model.decision.parameters())
    grads = [p.grad for p in model.segmentation.parameters()]
    assert all(g is None for g in grads) if detach else all(g is not None for g in grads)


def test_instance_norm_answers_the_same_in_training_and_whatever_the_batch() -> None:
    torch.manual_seed(0)
    model = SegDecNet(width=0.0625, norm="instance")
    pair = torch.randn(2, 1, 64, 128) * torch.tensor([1.0, 9.0]).view(2, 1, 1, 1)
    with torch.no_grad():
        together: tuple[Tensor, Tensor] = model.train()(pair)
        alone: tuple[Tensor, Tensor] = model.eval()(pair[1:])
    assert torch.allclose(together[0][1:], alone[0], atol=1e-5)
    assert torch.allclose(together[1][1:], alone[1], atol=1e-5)


def test_the_decision_does_not_see_how_clean_a_clean_pixel_is() -> None:
    torch.manual_seed(0)
    net = DecisionNet(4, 1, "batch").eval()
    features = torch.rand(1, 4, 8, 8)
    slightly, clearly = (net(features, torch.full((1, 1, 8, 8), -level)) for level in (0.1, 9.0))
    assert torch.equal(slightly, clearly)
    assert not torch.equal(slightly, net(features, torch.full((1, 1, 8, 8), 3.0)))


@pytest.mark.parametrize("kwargs", [{"width": 0}, {"width": 5}, {"classes": 0}, {"norm": "layer"}])
def test_a_network_that_cannot_be_is_refused(kwargs: dict[str, object]) -> None:
    with pytest.raises(InputError, match="a SegDecNet needs"):
        build_model("segdec", kwargs)
