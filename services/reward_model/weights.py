"""Weights on disk: safetensors only, LLaVA's in legacy llava-hf names. Knows no configuration.

Legacy names are what transformers and vLLM both load. Another family brings its own names. Inside, the module tree is
`llava.{vision_tower,multi_modal_projector,language_model}`, `score` and, for a base model, `lm_head`.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from services.reward_model.folder import CheckpointError

CHUNK_BYTES = 1 << 20
_LEGACY_PREFIXES = (
    ("llava.vision_tower.", "vision_tower.vision_model."),
    ("llava.multi_modal_projector.", "multi_modal_projector."),
    ("llava.language_model.", "language_model.model."),
    ("score.", "language_model.score."),
    ("lm_head.", "language_model.lm_head."),
)
_NESTED_TOWER = "llava.vision_tower.vision_model."


def weight_files(folder: Path) -> list[Path]:
    """Returns the safetensors files of a model folder, by name.

    Raises:
        CheckpointError: there is none. Pickled weights are never read.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} holds no *.safetensors; other formats are not read")
    return files


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
    names: Iterable[str],
    *,
    device: str,
    dtype: torch.dtype,
    stored_name: Callable[[str], str] = legacy_name,
) -> dict[str, Tensor]:
    """Returns the parameters called `names` in our module tree, cast to `dtype`.

    Further tensors of the folder are left alone (a base model's `lm_head`, say).

    Raises:
        CheckpointError: a name is missing.
    """
    stored: dict[str, Tensor] = {}
    for path in weight_files(folder):
        stored.update(load_file(path, device=device))
    state: dict[str, Tensor] = {}
    for name in names:
        tensor = stored.get(stored_name(name))
        if tensor is None:
            raise CheckpointError(f"{folder} lacks the tensor {stored_name(name)}")
        state[name] = tensor.to(dtype)
    return state
