import pytest

from align2llava.pipeline.extras import extra_of, how_to_install


@pytest.mark.parametrize(
    ("module", "extra"),
    [("torch.nn", "reward"), ("bentoml", "services"), ("json", None)],
)
def test_module_is_brought_by_its_extra(module: str, extra: str | None):
    assert extra_of(module) == extra


def test_python_of_the_extras_needs_one_command():
    assert how_to_install("reward", python=(3, 12)) == "pip install 'align2llava[reward]'"


def test_newer_python_is_told_to_take_another_for_the_extras():
    told = how_to_install("reward", python=(3, 13))
    assert told.startswith("pip install 'align2llava[reward]' in an environment of Python 3.11 or ")
    assert "this is 3.13" in told
    assert "\n" not in told
