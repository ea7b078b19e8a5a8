import importlib.util

import pytest

from align2llava.services.engines.vllm_engine.torchvision_operators import declare_operators
from tests.services.engines.vision_venv import in_vision_venv, output_of

DECLARED = """
from align2llava.services.engines.vllm_engine.torchvision_operators import declare_operators
print(declare_operators() is not None, declare_operators() is declare_operators())
import torch, torchvision
print(torchvision.__version__, torch.ops.torchvision.nms.default.name())
"""


@pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed here"
)
def test_nothing_is_declared_where_there_is_no_torchvision():
    assert declare_operators() is None


@in_vision_venv
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_torchvision_imports_beside_cpu_torch_once_its_operators_are_declared():
    declared, imported = output_of("-c", DECLARED, timeout_s=100).splitlines()
    assert declared == "True True"
    assert imported.endswith("torchvision::nms")
