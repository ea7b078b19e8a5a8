"""The two torchvision operators that its Python side needs to import beside a CPU build of torch.

PyPI's torchvision is built for CUDA: without CUDA its library does not load, and `import torchvision`,
which transformers and vLLM's vision models do, fails at the operators that the library would define.
"""

import functools
import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@functools.cache  # holds the library, with which the declarations would go
def declare_operators() -> torch.library.Library | None:
    """Declares, without a body, what torchvision's library would define, where that does not load.

    Has to be called before anything imports torchvision, in each process; reward models never call
    these operators. Returns None, and has done nothing, where there is nothing to declare.
    """
    if _library_loads():
        return None
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    return library


def _library_loads() -> bool:
    """Returns whether torchvision is absent, or its library loads beside this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    try:
        torch.ops.load_library(str(Path(spec.origin).with_name("_C.so")))
    except OSError:
        return False
    return True
