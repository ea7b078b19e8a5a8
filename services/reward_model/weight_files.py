"""Which files hold a model's weights, and which tensors they say they hold. Reads headers only, needs no torch.

The files are those that `model.safetensors.index.json` names, or else `model.safetensors`. Whatever
lies beside them is no weight of the model: an adapter, a state of training, an older model.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pydantic import JsonValue
from safetensors import SafetensorError, safe_open

from align2llava.services.reward_model.folder import CheckpointError, read_json

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
# What a header calls float32, float16 and bfloat16. Float8 and integers need scales to be numbers.
PLAIN_DTYPES = frozenset({"F32", "F16", "BF16"})
_LFS_POINTER = b"version https://git-lfs"
_MAX_NAME_BYTES = 255  # of the file systems in use
_QUANTISED = ("quantization_config", "compression_config")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """What a header says of a tensor."""

    name: str
    path: Path
    dtype: str  # as safetensors spells it: F32, BF16, F8_E4M3, ...
    shape: tuple[int, ...]


def weight_files(folder: Path) -> list[Path]:
    """Returns the files of a model folder's weights, by name.

    Raises:
        CheckpointError: there is none, one is missing, or two claims contradict each other. Pickled
            weights are never read.
    """
    if not (folder / INDEX_FILE).exists():
        if not (folder / WEIGHTS_FILE).is_file():
            raise CheckpointError(
                f"{folder} holds neither {WEIGHTS_FILE} nor {INDEX_FILE}; found {_others(folder)}"
            )
        return [folder / WEIGHTS_FILE]
    files = sorted({folder / name for name in _weight_map(folder).values()})
    for path in files:
        if not path.is_file():
            raise CheckpointError(f"{path} is missing; {INDEX_FILE} names it")
    # Some tools take the one, some the other: neither is the model for certain.
    if (folder / WEIGHTS_FILE).exists() and folder / WEIGHTS_FILE not in files:
        raise CheckpointError(
            f"{folder} holds {WEIGHTS_FILE} and {INDEX_FILE}, which does not name it; remove one"
        )
    return files


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Returns the tensors of a model folder by name, from the headers of its files.

    Raises:
        CheckpointError: a file is no safetensors or cut short, a tensor stands in two files, or the
            index names one that its file does not hold.
    """
    found: dict[str, StoredTensor] = {}
    for tensor in chain.from_iterable(map(_tensors_in, weight_files(folder))):
        other = found.setdefault(tensor.name, tensor)
        if other is not tensor:
            raise CheckpointError(
                f"{tensor.path}: the tensor {tensor.name} stands in {other.path.name} too"
            )
    if (folder / INDEX_FILE).exists():
        for name, file in _weight_map(folder).items():
            if name not in found or found[name].path.name != file:
                raise CheckpointError(f"{folder / file} lacks the tensor {name} of {INDEX_FILE}")
    return found


def refuse_unknown_dtypes(tensors: Iterable[StoredTensor]) -> None:
    """Refuses tensors that are no plain floats.

    Raises:
        CheckpointError: one is stored as something else; the message names the first.
    """
    for tensor in tensors:
        if tensor.dtype not in PLAIN_DTYPES:
            raise CheckpointError(
                f"{tensor.path}: the tensor {tensor.name} is stored as {tensor.dtype}; "
                "float32, float16 and bfloat16 are read"
            )


def refuse_other_weights(folder: Path) -> None:
    """Refuses a folder of which vLLM, which reads `*.safetensors`, would make another model.

    Raises:
        CheckpointError: there is no index, and another file lies beside `model.safetensors`; or
            weights that need scales are in it, and `config.json` does not tell of them.
    """
    strays = {path.name for path in folder.glob("*.safetensors")} - {WEIGHTS_FILE}
    tensors = stored_tensors(folder).values()
    if strays and not (folder / INDEX_FILE).exists():
        raise CheckpointError(
            f"{folder / min(strays)} is no weight of the model, and vLLM would read it as one; move it"
        )
    # What is no `weight`, a mask of integers say, is read by name or not at all.
    if not is_quantised(read_json(folder / "config.json")):
        refuse_unknown_dtypes(tensor for tensor in tensors if tensor.name.endswith("weight"))


def is_quantised(config: Mapping[str, JsonValue]) -> bool:
    """Returns whether a `config.json` says that the weights need scales or tables to be numbers."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    return any(part.get(key) is not None for part in parts for key in _QUANTISED)


def _weight_map(folder: Path) -> dict[str, str]:
    """Returns the file name of each tensor of the index."""
    path = folder / INDEX_FILE
    entries = read_json(path).get("weight_map")
    if not isinstance(entries, dict) or not entries:
        raise CheckpointError(f"{path}: weight_map must name a file for each tensor")
    names: dict[str, str] = {}
    for tensor, file in entries.items():
        # A plain name: an index must not reach out of its folder.
        if not isinstance(file, str) or Path(file).name != file or not _is_short(file):
            raise CheckpointError(f"{path}: {json.dumps(file):.80} is no name of a file beside it")
        names[tensor] = file
    return names


def _is_short(name: str) -> bool:
    return "\0" not in name and len(name.encode("utf-8", "surrogatepass")) <= _MAX_NAME_BYTES


def _tensors_in(path: Path) -> Iterator[StoredTensor]:
    try:
        with safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118  (safetensors' file is no mapping)
                part = file.get_slice(name)
                yield StoredTensor(
                    name=name, path=path, dtype=part.get_dtype(), shape=tuple(part.get_shape())
                )
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} {_fault(path, error)}") from error


def _fault(path: Path, error: Exception) -> str:
    try:
        with path.open("rb") as stream:
            if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
                return "is a git-lfs pointer, not the file; `git lfs pull` fetches it"
    except OSError:
        return f"cannot be read: {error}"
    return f"is no whole safetensors file: {error}"


def _others(folder: Path) -> str:
    """Returns the files that look like weights and are not read, or what there is instead."""
    found = sorted(
        path.name
        for pattern in ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
        for path in folder.glob(pattern)
    )
    return f"{', '.join(found[:5])}, which are not read" if found else "no weights"
