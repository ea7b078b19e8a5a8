import shutil
from pathlib import Path
from random import Random

import pytest
import torch

from align2llava.services.reward_model.weight_files import weight_files
from align2llava.services.reward_model.weights import sha256_of
from examples.blocks.generate import generate
from examples.blocks.scene import draw_scenes
from examples.blocks.train_base import (
    ROWS,
    Recipe,
    Trainer,
    TrainingPhase,
    draw_pictures,
    train_base,
    words_of,
)
from examples.blocks.train_truths import Form

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TINY = Recipe(
    num_scenes=64,
    vision_steps=6,
    vision_images=16,
    stages=(
        TrainingPhase(
            shares={Form.SHORT: 1.0},
            rows={Form.SHORT: 8},
            steps=4,
            horizon=4,
            rate=1e-3,
        ),
    ),
)


def test_equal_recipes_give_equal_weights_interrupted_or_not(tmp_path):
    train_base(TINY, work=tmp_path / "work", out=tmp_path / "out", snapshot_every=3)
    train_base(TINY, work=tmp_path / "whole", out=tmp_path / "other", snapshot_every=100)
    shutil.rmtree(tmp_path / "work" / "step-00000010")  # as if it had ended after step 9
    train_base(TINY, work=tmp_path / "work", out=tmp_path / "again", snapshot_every=3)
    hashes = {sha256_of(weight_files(tmp_path / name)) for name in ("out", "other", "again")}
    assert len(hashes) == 1


def test_the_vision_stage_learns_to_name_cells():
    trainer = Trainer(Recipe(num_scenes=400, vision_steps=80))
    rng = Random(0)
    first = trainer.vision_loss(rng).item()
    for _ in range(80):
        trainer.update(trainer.vision_loss(rng), 2e-3)
    last = trainer.vision_loss(rng).item()
    assert last < 0.5 * first


def test_pictures_of_the_training_are_none_of_the_raw_set():
    pictures = draw_pictures(Recipe(num_scenes=600))
    raw = {scene for scene, _ in zip(draw_scenes(0, "pictures"), range(900), strict=False)}
    assert raw.isdisjoint(pictures.scenes)
    assert pictures.pixels_GCHW.shape == (600, 3, 72, 72)
    assert torch.isfinite(pictures.pixels_GCHW).all()


def test_a_cell_is_named_by_its_place_and_what_it_holds():
    scene = next(draw_scenes(0, "names"))
    for place, thing in enumerate(scene.things):
        words = words_of(scene, place)
        assert ("nothing" in words) is (thing is None)
    assert {"top", "left"} <= words_of(scene, 0)


def test_every_form_has_its_rows():
    assert set(ROWS) == set(Form)


def test_no_recipe_reads_the_truth_of_the_raw_set():
    folder = Path(generate.__code__.co_filename).parent
    recipes = sorted(folder.glob("train_*.py")) + sorted(folder.glob("train-*.yaml"))
    assert len(recipes) >= 6
    for path in recipes:
        assert "truth.jsonl" not in path.read_text(), path
    for path in (folder.parents[1] / "pipeline" / "training").glob("*.py"):
        assert "truth" not in path.read_text(), path
