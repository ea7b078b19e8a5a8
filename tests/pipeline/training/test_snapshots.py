import pytest
import torch
from torch import nn, optim

from align2llava.pipeline.errors import RunError, StoreError
from align2llava.pipeline.training.snapshots import (
    Snapshot,
    captured,
    newest_snapshot,
    restore,
    write_snapshot,
)


def trained(steps: int, module: nn.Module, optimiser: optim.Optimizer) -> None:
    for step in range(steps):
        optimiser.zero_grad()
        module(torch.full((1, 3), step + 1.0)).sum().backward()
        optimiser.step()


def fresh():
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    return module, optim.AdamW(module.parameters(), lr=0.1)


def test_a_restored_training_goes_on_bit_for_bit(tmp_path):
    module, optimiser = fresh()
    trained(3, module, optimiser)
    write_snapshot(tmp_path, captured(module, optimiser, step=3, fingerprint="f"))
    trained(2, module, optimiser)

    other, its_optimiser = fresh()
    snapshot = newest_snapshot(tmp_path)
    assert snapshot is not None
    assert (snapshot.step, snapshot.fingerprint) == (3, "f")
    restore(snapshot, other, its_optimiser)
    trained(2, other, its_optimiser)
    assert torch.equal(other.weight, module.weight)
    assert torch.equal(other.bias, module.bias)


def test_the_two_newest_are_kept_and_the_newest_is_read(tmp_path):
    for step in (1, 2, 10):
        write_snapshot(tmp_path, Snapshot(step=step, tensors={}, fingerprint=""))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000002", "step-00000010"]
    snapshot = newest_snapshot(tmp_path)
    assert snapshot is not None
    assert snapshot.step == 10


def test_an_unfinished_snapshot_is_never_read(tmp_path):
    (tmp_path / "unfinished-step-00000009").mkdir()
    assert newest_snapshot(tmp_path) is None


@pytest.mark.parametrize("file", ["state.json", "state.safetensors"])
def test_a_snapshot_cut_short_is_named(tmp_path, file):
    module, optimiser = fresh()
    path = write_snapshot(tmp_path, captured(module, optimiser, step=3, fingerprint="f")) / file
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RunError, match="step-00000003 cannot be read; remove it"):
        newest_snapshot(tmp_path)


def test_a_folder_without_snapshots_has_none(tmp_path):
    assert newest_snapshot(tmp_path / "none") is None


def test_a_disk_that_refuses_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="snapshot"):
        write_snapshot(tmp_path / "file", Snapshot(step=1, tensors={}, fingerprint=""))
