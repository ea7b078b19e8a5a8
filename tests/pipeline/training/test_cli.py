import pytest
from typer.testing import CliRunner

from align2llava.pipeline.cli.app import app
from tests.pipeline.training.preference_world import write_world


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["train", "answer", "none.yaml"], id="missing config"),
        pytest.param(["train", "judge", "none.yaml"], id="unknown kind"),
        pytest.param(["train", "answer", "none.yaml", "--resume", "maybe"], id="unknown resume"),
    ],
)
def test_wrong_usage_exits_2(arguments):
    assert CliRunner().invoke(app, arguments).exit_code == 2


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_train_writes_a_checkpoint_and_says_what_it_measured(tmp_path):
    path = write_world(tmp_path, steps=2)
    result = CliRunner().invoke(app, ["train", "answer", str(path), "--resume", "auto"])
    assert result.exit_code == 0, result.output
    assert "2 steps, pairwise accuracy" in result.output
    assert (tmp_path / "out" / "reward.json").is_file()
    again = CliRunner().invoke(app, ["train", "answer", str(path)])
    assert again.exit_code == 2
