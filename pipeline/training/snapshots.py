"""Atomic training snapshots: parameters, optimiser state and step in one folder, no pickle.

FOLDER/step-00000100/ state.safetensors  state.json

A snapshot appears whole, by a rename, or not at all. The data position is the step: batches are
pure functions of seed and step.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn, optim

from align2llava.pipeline.errors import RunError, StoreError

NUM_KEPT = 2
_PARAMETER, _OPTIMISER = "parameter/", "optimiser/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Where a training stood after `step` steps."""

    step: int
    tensors: dict[str, Tensor]
    fingerprint: str  # of config and data: a snapshot of another training is not resumed


def captured(
    module: nn.Module, optimiser: optim.Optimizer, *, step: int, fingerprint: str
) -> Snapshot:
    """Returns the state of a training, by reference."""
    tensors = {_PARAMETER + name: tensor for name, tensor in _own_state(module).items()}
    for index, values in optimiser.state_dict()["state"].items():
        for key, tensor in values.items():
            tensors[f"{_OPTIMISER}{index}/{key}"] = tensor
    return Snapshot(step=step, tensors=tensors, fingerprint=fingerprint)


def restore(snapshot: Snapshot, module: nn.Module, optimiser: optim.Optimizer) -> None:
    """Puts a snapshot's state back into the module and its optimiser."""
    parameters: dict[str, Tensor] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in snapshot.tensors.items():
        if name.startswith(_PARAMETER):
            parameters[name.removeprefix(_PARAMETER)] = tensor
        else:
            index, key = name.removeprefix(_OPTIMISER).split("/")
            moments.setdefault(int(index), {})[key] = tensor
    assert parameters.keys() == _own_state(module).keys()
    module.load_state_dict(parameters, strict=False)
    optimiser.load_state_dict(optimiser.state_dict() | {"state": moments})


def _own_state(module: nn.Module) -> dict[str, Tensor]:
    """Returns the module's tensors, one that has several names (tied embeddings) under the first."""
    own: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        own.setdefault(id(tensor), (name, tensor))
    return dict(own.values())


def write_snapshot(folder: Path, snapshot: Snapshot) -> Path:
    """Writes a snapshot, keeps the newest two, and returns its folder.

    Raises:
        StoreError: the disk refuses; earlier snapshots stay.
    """
    final = folder / f"step-{snapshot.step:08d}"
    unfinished = folder / f"unfinished-{final.name}"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        tensors = {
            name: tensor.detach().cpu().contiguous() for name, tensor in snapshot.tensors.items()
        }
        save_file(tensors, unfinished / "state.safetensors")
        facts = {"step": snapshot.step, "fingerprint": snapshot.fingerprint}
        (unfinished / "state.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
        for path in unfinished.iterdir():
            _sync(path)
        shutil.rmtree(final, ignore_errors=True)
        unfinished.replace(final)
        _sync(folder)
        for old in _finished(folder)[:-NUM_KEPT]:
            shutil.rmtree(old)
    except OSError as error:
        raise StoreError(f"cannot write the snapshot {final}: {error}") from error
    return final


def newest_snapshot(folder: Path) -> Snapshot | None:
    """Returns the newest whole snapshot, or None where there is none.

    Raises:
        RunError: its files are missing or broken, by a copy that was cut short say.
    """
    finished = _finished(folder)
    if not finished:
        return None
    try:
        facts = json.loads((finished[-1] / "state.json").read_text(encoding="utf-8"))
        return Snapshot(
            step=int(facts["step"]),
            fingerprint=str(facts["fingerprint"]),
            tensors=load_file(finished[-1] / "state.safetensors"),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise RunError(
            f"the snapshot {finished[-1]} cannot be read; remove it to go on from the one before: "
            f"{error}"
        ) from error


def _finished(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
