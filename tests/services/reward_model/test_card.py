import json

import pytest

from align2llava.services.reward_model.card import CARD_FILE, read_purpose, write_card
from align2llava.services.reward_model.families import load_model
from align2llava.services.reward_model.folder import CheckpointError
from align2llava.services.reward_model.llava.checkpoint import read_reward


def test_a_written_card_is_read_again(tmp_path):
    write_card(tmp_path, "pictures of shapes only")
    assert read_purpose(tmp_path) == "pictures of shapes only"


def test_a_folder_without_a_card_has_no_purpose(tmp_path):
    write_card(tmp_path, "")
    assert not (tmp_path / CARD_FILE).exists()
    assert read_purpose(tmp_path) == ""


@pytest.mark.parametrize(
    "card",
    [
        pytest.param('{"purpose": "%s"}' % ("x" * 201), id="201 characters"),
        pytest.param(r'{"purpose": "a\nb"}', id="two lines"),
        pytest.param(r'{"purpose": "\u001b[2J"}', id="an escape of a terminal"),
        pytest.param(r'{"purpose": "\ud83d"}', id="half a surrogate pair"),
        pytest.param('{"purpose": 3}', id="a number"),
        pytest.param('{"purpose": "p", "colour": "red"}', id="an unknown key"),
        pytest.param("{}", id="no purpose"),
        pytest.param("[]", id="an array"),
        pytest.param("[" * 100_000, id="deep nesting"),
        pytest.param('{"purpose": %s}' % ("9" * 5000), id="5,000 digits"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_by_name(tmp_path, card):
    (tmp_path / CARD_FILE).write_text(card)
    with pytest.raises(CheckpointError, match=r"card\.json"):
        read_purpose(tmp_path)


def test_a_card_travels_and_leaves_the_identity_as_it_is(tiny_folder):
    before = read_reward(tiny_folder, device="cpu", dtype="float32").identity
    (tiny_folder / CARD_FILE).write_text(json.dumps({"purpose": "shapes"}))
    after = load_model(tiny_folder, device="cpu", dtype="float32")
    assert (after.identity, after.purpose) == (before, "shapes")
