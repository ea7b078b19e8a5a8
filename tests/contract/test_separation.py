"""What the models are judged on is not what they learnt from; the truth is read by evaluation only."""

import ast
import json
from itertools import islice
from pathlib import Path

from examples.blocks.generate import draw_pictures
from examples.blocks.scene import draw_scenes
from examples.blocks.train_base import Recipe
from tests.contract.servers import ROOT

BLOCKS = ROOT / "examples" / "blocks"
# The generator writes the truth; these measure, or show, what was decided without it.
READERS_OF_TRUTH = {"demo.py", "evaluate_reward.py", "generate.py", "text_baseline.py"}


def texts(path: Path) -> list[str]:
    """All strings of a module but its docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
    ]


def names_truth(path: Path) -> bool:
    return any(text.endswith(("truth.jsonl", ".truth")) for text in texts(path))


def test_no_recipe_names_the_truth():
    modules = [*BLOCKS.glob("*.py"), *(ROOT / "pipeline" / "training").glob("*.py")]
    modules += (ROOT / "pipeline" / "preferences").glob("*.py")
    readers = {path.name for path in modules if names_truth(path)}
    assert {"demo.py", "generate.py"} <= readers <= READERS_OF_TRUTH


def test_training_configs_read_preferences_only():
    for kind in ("question", "answer"):
        config = (BLOCKS / f"train-{kind}.yaml").read_text()
        assert "truth" not in config
        assert "raw.json" not in config
        assert f"{kind}_train.json" in config


def test_pictures_of_each_purpose_are_its_own():
    contents = {
        purpose: {picture.scene.things for picture in pictures}
        for purpose, pictures in draw_pictures(0).items()
    }
    assert len(set().union(*contents.values())) == sum(map(len, contents.values()))


def test_pictures_of_the_raw_set_are_in_no_preference_file():
    raw = {record["image"] for record in json.loads((BLOCKS / "raw.json").read_text())}
    drawn = draw_pictures(0)
    assert raw <= {picture.file_name for picture in drawn["raw"]}
    others = {
        picture.file_name for name, group in drawn.items() if name != "raw" for picture in group
    }
    assert raw.isdisjoint(others)
    for kind in ("question", "answer"):
        entries = json.loads((BLOCKS / "preferences" / f"{kind}_test.json").read_text())
        assert {entry["image"] for entry in entries} <= others


def test_scenes_of_the_middle_model_are_none_of_the_raw_set():
    recipe = Recipe()
    learnt = {s.things for s in islice(draw_scenes(recipe.seed, "middle model"), recipe.num_scenes)}
    assert len(learnt) == recipe.num_scenes
    assert learnt.isdisjoint(picture.scene.things for picture in draw_pictures(0)["raw"])
