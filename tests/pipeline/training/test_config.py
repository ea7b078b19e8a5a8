import pytest

from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.training.config import fingerprint, load_training_config

TEXT = """
train: {path: train.json, images_root: images}
test: {path: test.json, images_root: images}
model: {base: base, name: tiny}
optimiser: {steps: 3}
run: {work: work, out: ../out, seed: 1}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    return path


def test_relative_paths_are_relative_to_the_file(path, tmp_path):
    config = load_training_config(path)
    assert config.train.path == tmp_path / "train.json"
    assert config.test.images_root == tmp_path / "images"
    assert config.model.base == tmp_path / "base"
    assert config.run.out == tmp_path.parent / "out"


def test_an_unset_loss_is_the_papers(path):
    assert load_training_config(path).optimiser.cross_image == 0


def test_a_set_stands_over_the_file(path):
    config = load_training_config(path, sets=["optimiser.steps=7", "optimiser.learning_rate=2e-3"])
    assert (config.optimiser.steps, config.optimiser.learning_rate) == (7, 0.002)
    with pytest.raises(ConfigError, match=r"--set optimiser\.stepps=7: .*unknown key"):
        load_training_config(path, sets=["optimiser.stepps=7"])


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        pytest.param("steps: 3", "steps: 0", r"optimiser\.steps", id="no steps"),
        pytest.param("steps: 3", "stepps: 3", r"optimiser\.step", id="unknown key"),
        pytest.param("seed: 1", "seed: -1", r"run\.seed", id="negative seed"),
        pytest.param("name: tiny", 'name: tiny, purpose: "a\\nb"', r"model\.purpose", id="lines"),
        pytest.param(TEXT, "[]", "top level", id="no mapping"),
        pytest.param(TEXT, "{", "no YAML", id="no YAML"),
        pytest.param(TEXT, TEXT + TEXT, "'train' stands in line", id="a section twice"),
        pytest.param("seed: 1", f"seed: {'9' * 5000}", "no YAML", id="5,000 digits"),
        pytest.param("seed: 1", "seed: 2026-13-01", "no YAML", id="month 13"),
        pytest.param("seed: 1", "seed: !!bool maybe", "no YAML", id="no truth"),
        pytest.param("seed: 1", "seed: !!timestamp x", "no YAML", id="no date"),
        pytest.param(TEXT, "[" * 800, "nested too deeply", id="800 levels"),
        pytest.param("name: tiny", r'name: "\ud83d"', "lone surrogate", id="half a character"),
    ],
)
def test_a_wrong_config_is_refused_by_key(path, old, new, found):
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(ConfigError, match=found) as caught:
        load_training_config(path)
    assert caught.value.exit_code == 2


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_training_config(tmp_path / "none.yaml")


def test_the_fingerprint_follows_what_decides_the_weights_and_nothing_else(path, tmp_path):
    data = tmp_path / "data"
    data.write_text("a")

    def now(**changes: tuple[str, str]) -> str:
        text = TEXT
        for old, new in changes.values():
            text = text.replace(old, new)
        path.write_text(text)
        return fingerprint(load_training_config(path), "answer-reward", [data])

    before = now()
    assert now(place=("work: work", "work: elsewhere, snapshot_every: 7")) == before
    assert now(card=("name: tiny", "name: tiny, purpose: colours")) == before
    assert now(seed=("seed: 1", "seed: 2")) != before
    assert now(steps=("steps: 3", "steps: 4")) != before
    assert fingerprint(load_training_config(path), "question-reward", [data]) != before
    data.write_text("b")
    assert now() != before
