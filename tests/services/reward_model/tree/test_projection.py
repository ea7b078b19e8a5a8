import pytest
import torch
from torch.nn.functional import linear, silu

from align2llava.services.reward_model.tree.projection import (
    PackedProjection,
    PlainProjection,
    projection,
)

INPUTS, FACTOR = torch.randn(5, 12), torch.randn(5, 7)
WEIGHT, BIAS = torch.randn(7, 12), torch.randn(7)


@pytest.mark.parametrize("kind", [PackedProjection, PlainProjection])
@pytest.mark.parametrize("bias", [None, BIAS], ids=["no bias", "bias"])
def test_what_follows_the_linear_layer_is_applied_to_its_output(kind, bias):
    layer = kind(WEIGHT, bias)
    expected = linear(INPUTS, WEIGHT, bias)
    with torch.inference_mode():
        torch.testing.assert_close(layer(INPUTS), expected)
        torch.testing.assert_close(layer.silu(INPUTS), silu(expected))
        torch.testing.assert_close(layer.times(INPUTS, FACTOR), expected * FACTOR)
        torch.testing.assert_close(layer.plus(INPUTS, FACTOR), expected + FACTOR)


def test_bfloat16_sums_are_rounded_once_at_their_end():
    weight, inputs, factor = (one.bfloat16() for one in (WEIGHT, INPUTS, FACTOR))
    exact = linear(inputs.float(), weight.float()) + factor.float()
    with torch.inference_mode():
        found = projection(weight, None).plus(inputs, factor)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, atol=0.02, rtol=2**-8)


def test_half_precision_that_onednn_may_lack_is_left_to_torch():
    assert isinstance(projection(WEIGHT, BIAS), PackedProjection)
    assert isinstance(projection(WEIGHT.half(), None), PlainProjection)
