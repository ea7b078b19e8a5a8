"""Rewards and item-level errors: the same over REST and gRPC."""

import hashlib

import pytest
from PIL import Image as PilImage

from align2llava.clients.api import RewardClient
from align2llava.clients.wire.schemas import Group, Image, Item
from tests.contract.servers import Server
from tests.contract.wire_values import (
    answer_item,
    codes,
    encoded,
    question_group,
    rewards,
    square,
    wire_image,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def test_rewards_come_in_order_with_identity_and_counts(questions: RewardClient):
    response = await questions.score(
        [question_group("a", "b", "a"), question_group("a", image=square("blue"))], timeout_s=10
    )
    first, second = response.groups
    assert [item.id for item in first.items] == ["0", "1", "2"]
    assert first.items[0].reward == first.items[2].reward != first.items[1].reward
    assert second.items[0].reward != first.items[0].reward
    assert all(item.num_tokens > 0 for item in first.items)
    assert first.usage.suffix_tokens > 0
    assert response.model == await questions.model(timeout_s=10)
    assert response.model.kind == "question-reward"
    assert len(response.model.identity) == 32


async def test_both_transports_give_the_same_rewards(question_server: Server):
    answers = []
    for transport in ("rest", "grpc"):
        client = question_server.reward_client(transport)
        response = await client.score([question_group(*"abcdefgh")], timeout_s=10)
        answers.append((response.model, rewards(response)))
        await client.aclose()
    assert answers[0] == answers[1]


async def test_answer_items_are_scored(answers: RewardClient):
    items = (answer_item("x", "q", "a"), answer_item("y", "q", "b"))
    response = await answers.score([Group(image=square(), items=items)], timeout_s=10)
    assert codes(response) == [[None, None]]
    assert response.model.kind == "answer-reward"


async def test_truncation_is_said(questions: RewardClient):
    response = await questions.score([question_group("[[truncated]]", "b")], timeout_s=10)
    assert [item.truncated for item in response.groups[0].items] == [True, False]


async def test_unknown_hash_is_image_needed_and_known_hash_is_enough(questions: RewardClient):
    image = square("purple", size=11)
    by_hash = question_group("a", "b", image=Image(sha256=hashlib.sha256(b"never").hexdigest()))
    assert codes(await questions.score([by_hash], timeout_s=10)) == [["image_needed"] * 2]
    with_data = await questions.score([question_group("a", image=image)], timeout_s=10)
    again = question_group("a", image=Image(sha256=image.sha256))
    assert rewards(await questions.score([again], timeout_s=10)) == rewards(with_data)


@pytest.mark.parametrize(
    "image",
    [
        wire_image(b"no image"),
        wire_image(encoded(PilImage.effect_noise((40, 40), 50))[:-300]),
        wire_image(encoded(PilImage.new("RGB", (4, 4)), image_format="TIFF")),
        Image(sha256="a" * 64, data=encoded(PilImage.new("RGB", (4, 4)))),
    ],
    ids=["garbage", "cut off", "a format we do not read", "another hash"],
)
async def test_unreadable_image_fails_every_item_of_its_group_alone(
    questions: RewardClient, image: Image
):
    groups = [question_group("a", "b", image=image), question_group("c")]
    assert codes(await questions.score(groups, timeout_s=10)) == [["image_invalid"] * 2, [None]]


async def test_data_of_another_hash_is_not_kept(questions: RewardClient):
    lie = Image(sha256="b" * 64, data=encoded(PilImage.new("RGB", (4, 4))))
    await questions.score([question_group("a", image=lie)], timeout_s=10)
    by_hash = question_group("a", image=Image(sha256="b" * 64))
    assert codes(await questions.score([by_hash], timeout_s=10)) == [["image_needed"]]


async def test_image_over_the_pixel_limit_is_too_large(strict: RewardClient):
    large = wire_image(encoded(PilImage.new("RGB", (101, 100))))
    groups = [question_group("a", image=large), question_group("b")]
    assert codes(await strict.score(groups, timeout_s=10)) == [["too_large"], [None]]


async def test_image_over_the_byte_limit_is_too_large(strict: RewardClient):
    groups = [question_group("a", image=wire_image(b"x" * 100_001))]
    assert codes(await strict.score(groups, timeout_s=10)) == [["too_large"]]


async def test_long_text_is_too_large_for_its_item_alone(strict: RewardClient):
    response = await strict.score([question_group("x" * 1001, "b")], timeout_s=10)
    assert codes(response) == [["too_large", None]]


@pytest.mark.parametrize(
    ("text", "code"),
    [("[[too-large]]", "too_large"), ("[[internal]]", "internal"), ("[[nan]]", "internal")],
)
async def test_engine_fault_costs_one_item(questions: RewardClient, text: str, code: str):
    response = await questions.score([question_group("a", text, "b")], timeout_s=10)
    assert codes(response) == [[None, code, None]]


async def test_engine_crash_costs_one_group(questions: RewardClient):
    groups = [question_group("a"), question_group("[[crash]]", "b"), question_group("c")]
    assert codes(await questions.score(groups, timeout_s=10)) == [[None], ["internal"] * 2, [None]]


@pytest.mark.parametrize(
    "item",
    [
        Item(id="x"),
        Item(id="x", question="q", answer="a"),
        Item(id="x", questions=("q",), answer="a"),
        Item(id="x", questions=(" ",)),
    ],
    ids=["no text", "fields of the other kind", "fields of both kinds", "blank question"],
)
async def test_item_of_the_wrong_form_is_invalid_alone(questions: RewardClient, item: Item):
    good = Item(id="y", questions=("q",))
    response = await questions.score([Group(image=square(), items=(item, good))], timeout_s=10)
    assert codes(response) == [["invalid_request", None]]


@pytest.mark.parametrize(
    "item",
    [Item(id="x", questions=("q",)), answer_item("x", "q", ""), Item(id="x", question="q")],
    ids=["fields of the other kind", "empty answer", "no answer"],
)
async def test_answer_item_of_the_wrong_form_is_invalid_alone(answers: RewardClient, item: Item):
    good = answer_item("y", "q", "a")
    response = await answers.score([Group(image=square(), items=(item, good))], timeout_s=10)
    assert codes(response) == [["invalid_request", None]]


async def test_text_only_group_is_refused_item_by_item(questions: RewardClient):
    text_only = Group(items=(Item(id="0", questions=("q",)), Item(id="1", questions=("r",))))
    response = await questions.score([text_only, question_group("a")], timeout_s=10)
    assert codes(response) == [["invalid_request"] * 2, [None]]
