"""A linear layer with what follows it in a decoder: computed in one pass by oneDNN on a CPU.

oneDNN keeps the weights in its own order, repacked once when they are loaded, and applies SiLU, a
product or a sum while it writes the result. Inference only. Shapes: T places, I inputs, O outputs.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

_PACKED_DTYPES = frozenset({torch.float32, torch.bfloat16})  # float16 needs AVX512-FP16


class Projection(Protocol):
    """A linear layer."""

    def __call__(self, inputs_TI: Tensor) -> Tensor:
        """Returns its output, [T, O]."""
        ...

    def silu(self, inputs_TI: Tensor) -> Tensor:
        """Returns SiLU of its output."""
        ...

    def times(self, inputs_TI: Tensor, factor_TO: Tensor) -> Tensor:
        """Returns its output times `factor_TO`."""
        ...

    def plus(self, inputs_TI: Tensor, summand_TO: Tensor) -> Tensor:
        """Returns its output plus `summand_TO`."""
        ...


def projection(weight_OI: Tensor, bias_O: Tensor | None) -> Projection:
    """Returns the layer of a weight and a bias, as it is fastest where they lie."""
    if _is_packable(weight_OI):
        return PackedProjection(weight_OI, bias_O)
    return PlainProjection(weight_OI, bias_O)


def _is_packable(weight_OI: Tensor) -> bool:
    return (
        weight_OI.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and weight_OI.dtype in _PACKED_DTYPES
        and (
            weight_OI.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001
        )
    )


class PlainProjection:
    """A linear layer as torch computes it."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        self._weight_OI = weight_OI
        self._bias_O = bias_O

    def __call__(self, inputs_TI: Tensor) -> Tensor:
        """See `Projection`."""
        return functional.linear(inputs_TI, self._weight_OI, self._bias_O)

    def silu(self, inputs_TI: Tensor) -> Tensor:
        """See `Projection`."""
        return functional.silu(self(inputs_TI), inplace=True)

    def times(self, inputs_TI: Tensor, factor_TO: Tensor) -> Tensor:
        """See `Projection`."""
        return self(inputs_TI).mul_(factor_TO)

    def plus(self, inputs_TI: Tensor, summand_TO: Tensor) -> Tensor:
        """See `Projection`."""
        return self(inputs_TI).add_(summand_TO)


class PackedProjection:
    """A linear layer on oneDNN's packed weights; holds a copy of them.

    Its operators are those that TorchInductor compiles linear layers to; torch has no other name
    for them.
    """

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        ops = torch.ops.mkldnn
        self._weight = ops._reorder_linear_weight(weight_OI.contiguous(), None)  # noqa: SLF001
        self._bias_O = None if bias_O is None else bias_O.clone()
        self._alone = ops._linear_pointwise.default  # noqa: SLF001
        self._with_other = ops._linear_pointwise.binary  # noqa: SLF001

    def __call__(self, inputs_TI: Tensor) -> Tensor:
        """See `Projection`."""
        return self._alone(inputs_TI, self._weight, self._bias_O, "none", [], "")

    def silu(self, inputs_TI: Tensor) -> Tensor:
        """See `Projection`."""
        return self._alone(inputs_TI, self._weight, self._bias_O, "swish", [], "")

    def times(self, inputs_TI: Tensor, factor_TO: Tensor) -> Tensor:
        """See `Projection`."""
        return self._with_other(inputs_TI, factor_TO, self._weight, self._bias_O, "mul")

    def plus(self, inputs_TI: Tensor, summand_TO: Tensor) -> Tensor:
        """See `Projection`."""
        return self._with_other(inputs_TI, summand_TO, self._weight, self._bias_O, "add")
