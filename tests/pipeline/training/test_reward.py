import json
import logging
import os
import signal

import pytest
import torch

from align2llava.pipeline.errors import ConfigError, InputError, RunError, StoreError
from align2llava.pipeline.training.config import load_training_config
from align2llava.pipeline.training.reward import train_reward
from align2llava.pipeline.training.snapshots import newest_snapshot
from align2llava.pipeline.training.termination import CheckpointedError
from align2llava.services.reward_model.card import read_purpose
from align2llava.services.reward_model.llava.checkpoint import read_reward
from align2llava.services.reward_model.weight_files import weight_files
from align2llava.services.reward_model.weights import sha256_of
from tests.pipeline.training.preference_world import write_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def config_path(tmp_path):
    return write_world(tmp_path)


def run(path, *, resume=False):
    return train_reward("answer-reward", load_training_config(path), resume=resume)


def weights_hash(folder) -> str:
    return sha256_of(weight_files(folder))


def metrics(folder) -> list[dict[str, float]]:
    lines = (folder / "work" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.timeout(300)
def test_a_reduced_training_learns_what_only_the_image_shows(tmp_path):
    path = write_world(tmp_path, steps=150, train_projector=True)
    result = run(path)
    assert result.num_test_pairs == 24
    assert result.test_accuracy >= 0.9
    recorded = read_reward(tmp_path / "out", device="cpu", dtype="float32").file.training
    assert recorded["test_accuracy"] == round(result.test_accuracy, 4)
    assert read_purpose(tmp_path / "out") == "two colours"


def test_equal_seeds_give_equal_weights_and_every_step_is_in_the_metrics(config_path, tmp_path):
    run(config_path)
    other = write_world(tmp_path / "again")
    run(other)
    assert weights_hash(tmp_path / "out") == weights_hash(tmp_path / "again" / "out")
    rows = metrics(tmp_path)
    assert [row["step"] for row in rows] == list(range(6))
    assert {"loss", "accuracy", "learning_rate", "gradient_norm"} <= rows[0].keys()
    assert "test_accuracy" in rows[4]


def test_sigterm_snapshots_and_the_resumed_training_ends_in_the_same_weights(config_path, tmp_path):
    whole = write_world(tmp_path / "whole")
    run(whole)

    def interrupt(_record) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return True

    config = load_training_config(config_path)
    logger = logging.getLogger("align2llava.pipeline.training.reward")
    logger.addFilter(interrupt)
    logger.setLevel("INFO")
    try:
        with pytest.raises(CheckpointedError, match="step 5 of 6") as caught:
            train_reward("answer-reward", config, resume=False)
    finally:
        logger.removeFilter(interrupt)
        logger.setLevel("NOTSET")
    assert caught.value.exit_code == 75
    snapshot = newest_snapshot(tmp_path / "work")
    assert snapshot is not None
    assert snapshot.step == 5

    run(config_path, resume=True)
    assert weights_hash(tmp_path / "out") == weights_hash(tmp_path / "whole" / "out")
    assert [row["step"] for row in metrics(tmp_path)] == list(range(6))


def test_snapshots_without_resume_are_not_trained_over(config_path):
    run(config_path)
    with pytest.raises(RunError, match="--resume auto"):
        run(config_path)


def test_snapshots_of_another_training_are_refused(config_path, tmp_path):
    run(config_path)
    other = config_path.read_text().replace("learning_rate: 0.003", "learning_rate: 0.004")
    config_path.write_text(other)
    with pytest.raises(RunError, match="another config"):
        run(config_path, resume=True)
    assert newest_snapshot(tmp_path / "work") is not None


def test_the_vision_tower_is_never_trained_and_the_projector_when_asked(tmp_path):
    frozen = write_world(tmp_path / "frozen", train_projector=False)
    trained = write_world(tmp_path / "trained")
    run(frozen)
    run(trained)
    first, second = (
        read_reward(tmp_path / name / "out", device="cpu", dtype="float32").model.llava
        for name in ("frozen", "trained")
    )
    for name, tensor in first.vision_tower.state_dict().items():
        assert torch.equal(tensor, second.vision_tower.state_dict()[name])
    assert not torch.equal(
        first.multi_modal_projector.linear_1.weight, second.multi_modal_projector.linear_1.weight
    )
    assert not torch.equal(first.language_model.norm.weight, torch.ones(32))


def test_preferences_without_an_ordered_pair_are_refused(config_path, tmp_path):
    text = (tmp_path / "train.json").read_text().replace("0.9", "0.2")
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(InputError, match="different scores"):
        run(config_path)


def edit(path, change) -> None:
    """Changes the second entry of a file of preferences."""
    entries = json.loads(path.read_text())
    change(entries[1])
    path.write_text(json.dumps(entries))


def answers_of(entry):
    return entry["conversations"][1]["value"]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("change", "found"),
    [
        pytest.param(
            lambda entry: entry.update(image="none.png"), "none.png: no such", id="missing"
        ),
        pytest.param(lambda entry: entry.update(image=""), "is no file", id="no name"),
        pytest.param(lambda entry: entry.update(image="a\0b"), "no such image", id="zero byte"),
        pytest.param(lambda entry: entry.update(image="../train.json"), "no image", id="no image"),
        pytest.param(
            lambda entry: answers_of(entry).__setitem__(0, "half \ud83d"),
            "surrogate",
            id="surrogate",
        ),
        pytest.param(
            lambda entry: answers_of(entry).__setitem__(0, " "), "answer is empty", id="empty text"
        ),
        pytest.param(
            lambda entry: answers_of(entry).__setitem__(0, "x" * 32_769), "32768", id="long text"
        ),
    ],
)
def test_what_either_split_lacks_is_told_before_the_first_step(
    config_path, tmp_path, split, change, found
):
    edit(tmp_path / f"{split}.json", change)
    with pytest.raises(InputError, match=rf"{split}\.json: entry 1: .*{found}") as caught:
        run(config_path)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "work").exists()


def test_a_byte_order_mark_is_read_over(config_path, tmp_path):
    path = tmp_path / "train.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert run(config_path).steps == 6


@pytest.mark.parametrize("device", ["cdua", "cuda"])
def test_a_device_that_cannot_be_used_is_a_config_error(config_path, tmp_path, device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine can use it")
    config = load_training_config(config_path)
    other = config.model_copy(update={"run": config.run.model_copy(update={"device": device})})
    with pytest.raises(ConfigError, match=rf"run\.device: '{device}' cannot be used"):
        train_reward("answer-reward", other, resume=False)
    assert not (tmp_path / "work").exists()


def test_a_place_for_the_checkpoint_that_cannot_be_written_is_told_before_the_first_step(
    config_path, tmp_path
):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError, match=r"out: it is no folder"):
        run(config_path)
    assert not (tmp_path / "work").exists()


def test_a_base_that_does_not_fit_is_a_config_error(config_path, tmp_path):
    (tmp_path / "base" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model\.base"):
        run(config_path)
