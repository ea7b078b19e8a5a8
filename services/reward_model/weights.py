"""Weights on disk: safetensors only, LLaVA's in legacy llava-hf names. Knows no configuration.

Legacy names are what transformers and vLLM both load. Another family brings its own names. Inside, the module tree is
`llava.{vision_tower,multi_modal_projector,language_model}`, `score` and, for a base model, `lm_head`.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from align2llava.services.reward_model.folder import CheckpointError
from align2llava.services.reward_model.weight_files import refuse_unknown_dtypes, stored_tensors

CHUNK_BYTES = 1 << 20
_LEGACY_PREFIXES = (
    ("llava.vision_tower.", "vision_tower.vision_model."),
    ("llava.multi_modal_projector.", "multi_modal_projector."),
    ("llava.language_model.", "language_model.model."),
    ("score.", "language_model.score."),
    ("lm_head.", "language_model.lm_head."),
)
_NESTED_TOWER = "llava.vision_tower.vision_model."


def sha256_of(files: Iterable[Path]) -> str:
    """Returns the hex sha256 of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def legacy_name(name: str) -> str:
    """Returns the name on disk of a parameter of our module tree."""
    # Some transformers versions keep one more level inside the tower.
    name = name.replace(_NESTED_TOWER, "llava.vision_tower.", 1)
    for inside, legacy in _LEGACY_PREFIXES:
        if name.startswith(inside):
            return legacy + name.removeprefix(inside)
    raise CheckpointError(f"parameter {name} has no place in the checkpoint layout")


def write_weights(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    dtype: torch.dtype,
    stored_name: Callable[[str], str] = legacy_name,
) -> None:
    """Writes the parameters under the names of their layout, cast to `dtype`."""
    tensors = {
        stored_name(name): tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in sorted(state.items())
    }
    save_file(tensors, path, metadata={"format": "pt"})


def read_weights(
    folder: Path,
    wanted: Mapping[str, Tensor],
    *,
    device: str,
    dtype: torch.dtype,
    stored_name: Callable[[str], str] = legacy_name,
) -> dict[str, Tensor]:
    """Returns the parameters called as those `wanted` in our module tree, cast to `dtype`.

    Further tensors of the folder are left alone (a base model's `lm_head`, say).

    Raises:
        CheckpointError: a tensor is missing, of another shape than the one wanted or of a dtype
            that is not read, or a file of weights is broken.
    """
    stored = stored_tensors(folder)
    found = {name: stored.get(stored_name(name)) for name in wanted}
    by_file: dict[Path, dict[str, str]] = {}
    for name, tensor in found.items():
        if tensor is None:
            raise CheckpointError(f"{folder} lacks the tensor {stored_name(name)}")
        if tensor.shape != tuple(wanted[name].shape):
            raise CheckpointError(
                f"{tensor.path}: the tensor {tensor.name} has the shape {list(tensor.shape)}; "
                f"the model of config.json needs {list(wanted[name].shape)}"
            )
        by_file.setdefault(tensor.path, {})[name] = tensor.name
    refuse_unknown_dtypes(tensor for tensor in found.values() if tensor is not None)
    state: dict[str, Tensor] = {}
    for path, names in by_file.items():
        with safe_open(path, "pt", device=device) as file:
            state |= {name: file.get_tensor(tensor).to(dtype) for name, tensor in names.items()}
    return state
