from pathlib import Path

import pytest

from align2llava.clients.errors import UnavailableError
from align2llava.pipeline.config.schema import load_config
from align2llava.pipeline.curation.deciding.validate import Validation, validate, validation_text
from align2llava.pipeline.process.progress import LineProgress
from tests.dirty import write_dirty
from tests.pipeline.curation.fake_clients import Calls, FakeConnector, FakeReward
from tests.pipeline.curation.small_world import record, records, write_world


def validated(config: Path, *sets: str, connector: FakeConnector | None = None) -> Validation:
    return validate(
        load_config(config, sets=sets),
        connector=connector or FakeConnector(),
        api_key=None,
        progress=LineProgress(),
    )


def test_clean_input_is_counted_and_endpoints_say_who_they_are(tmp_path: Path):
    data = [*records(6), record(0), {"conversations": record(1)["conversations"]}]
    connector = FakeConnector()
    found = validated(write_world(tmp_path, data), connector=connector)
    assert found.lint.num_records == 8
    assert (found.lint.num_usable, found.lint.num_text_only, found.lint.num_repeated) == (7, 1, 1)
    assert found.lint.num_images == 3
    assert found.lint.by_type == {"complex_reasoning": 4, "conversation": 4}
    assert set(found.models) == {"question_reward", "answer_reward", "inner_llm"}
    assert not found.endpoint_errors
    assert not connector.calls.asked
    assert "identity question-reward-a" in validation_text(found)


class CardedConnector(FakeConnector):
    def reward(self, endpoint, *, kind):
        fake = super().reward(endpoint, kind=kind)
        assert isinstance(fake, FakeReward)
        return FakeReward(fake._model.model_copy(update={"purpose": f"shapes, {kind}"}), Calls())


def test_what_a_models_card_says_is_told_beside_its_identity(tmp_path: Path):
    lines = validation_text(
        validated(write_world(tmp_path, records(3)), connector=CardedConnector())
    ).split("\n")
    said = [line for line in lines if "card says" in line]
    assert said == [f"  its card says: shapes, {kind}-reward" for kind in ("question", "answer")]


def test_dirt_is_counted_by_code_with_its_places(tmp_path: Path):
    dirty = write_dirty(tmp_path / "dirty")
    config = write_world(tmp_path, [])
    found = validated(config, f"input.path={dirty.path}", f"input.images_root={dirty.images_root}")
    assert found.lint.num_dirty == len(dirty.codes)
    for code, dirt in found.lint.dirt.items():
        places = [position for position, one in dirty.codes.items() if one == code]
        assert dirt.num_records == len(places)
        assert list(dirt.positions) == places[:5]
        assert f"{code}: {len(places)} (at {places[0]}" in validation_text(found)


def test_types_are_told_by_the_rule_that_guessed_them(tmp_path: Path):
    own = {**record(9), "type": "mine"}
    detail = {**record(8), "conversations": record(8)["conversations"]}
    detail["conversations"] = [
        {"from": "human", "value": "<image>\nDescribe the image in detail."},
        {"from": "gpt", "value": "A thing."},
    ]
    found = validated(write_world(tmp_path, [*records(6), own, detail, {"id": 7}]))
    assert found.lint.type_rules == {"own": 1, "turns": 4, "template": 1, "other": 2}
    assert (
        "types: 1 by the records' own type, 4 guessed conversation (several questions), 1 guessed "
        "detail (a request for a description), 2 guessed complex_reasoning (any other question)"
    ) in validation_text(found)


def test_image_tokens_that_match_no_image_are_named(tmp_path: Path):
    def asked(question: str, **fields: object) -> dict[str, object]:
        turn = [{"from": "human", "value": question}, {"from": "gpt", "value": "A thing."}]
        return {"id": 1, **fields, "conversations": turn}

    data = [
        *(record(number) for number in range(8)),
        asked("What?", image="0.png"),
        asked("<image><image> What?", image="0.png"),
        asked("<image> What?"),
        asked("What?"),
        *(asked(f"What {number}?", image="1.png") for number in range(6)),
    ]
    found = validated(write_world(tmp_path, data))
    assert [one for one in found.lint.warnings if one.startswith("records")] == [
        "records with <image> and no image: 1 (at 10); many trainers stop there",
        (
            "records with an image and no <image>: 7 (at 8, 12, 13, 14, 15 and 2 more); "
            "many trainers stop there"
        ),
        "records with one image and several <image>: 1 (at 9); many trainers stop there",
    ]
    assert f"warning: {found.lint.warnings[0]}" in validation_text(found)


class DeafConnector(FakeConnector):
    def reward(self, endpoint, *, kind):
        class Deaf(FakeReward):
            async def model(self, *, timeout_s: float):
                raise UnavailableError("gone")

        fake = super().reward(endpoint, kind=kind)
        assert isinstance(fake, FakeReward)
        return Deaf(fake._model, Calls())


@pytest.mark.slow  # retries are waited for
@pytest.mark.timeout(40)
def test_each_unreachable_endpoint_is_told_beside_the_lint(tmp_path: Path):
    found = validated(write_world(tmp_path, records(3)), connector=DeafConnector())
    assert found.lint.num_records == 3
    assert found.endpoint_errors == {
        "question_reward": "question-reward at grpc://nowhere:1: unavailable: gone",
        "answer_reward": "answer-reward at grpc://nowhere:2: unavailable: gone",
    }
    assert set(found.models) == {"inner_llm"}
