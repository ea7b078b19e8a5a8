"""Parts of calls, and outcomes put together."""

from align2llava.clients.images.answers import everything, has_no_reward, merged, part_of
from align2llava.clients.wire.codes import Code
from align2llava.clients.wire.schemas import (
    ErrorBody,
    Group,
    GroupRewards,
    Image,
    Item,
    ItemReward,
    Usage,
)


def group(*ids: str) -> Group:
    return Group(
        image=Image(sha256=ids[0] * 64), items=tuple(Item(id=i, questions=("q",)) for i in ids)
    )


def answer(*outcomes: tuple[str, float | None]) -> GroupRewards:
    error = ErrorBody(code=Code.INTERNAL, message="x")
    return GroupRewards(
        items=tuple(
            ItemReward(id=i, reward=reward, error=error if reward is None else None)
            for i, reward in outcomes
        ),
        usage=Usage(suffix_tokens=len(outcomes), device_ms=1.0),
    )


GROUPS = (group("a", "b"), group("c"), group("d", "e", "f"))
ANSWERS = (
    answer(("a", 1), ("b", None)),
    answer(("c", 2)),
    answer(("d", None), ("e", 3), ("f", None)),
)


def test_part_has_only_what_is_wanted_and_keeps_its_images():
    part = part_of(GROUPS, ANSWERS, has_no_reward)
    assert [[item.id for item in g.items] for g in part.groups] == [["b"], ["d", "f"]]
    assert [g.image for g in part.groups] == [GROUPS[0].image, GROUPS[2].image]
    assert part_of(GROUPS, ANSWERS, lambda _, item: item.id == "z").groups == ()


def test_outcomes_of_a_part_come_in_their_places_and_usage_adds_up():
    part = part_of(GROUPS, ANSWERS, has_no_reward)
    whole = merged(ANSWERS, part, [answer(("b", 4)), answer(("d", 5), ("f", None))])
    assert [[item.reward for item in g.items] for g in whole] == [[1, 4], [2], [5, 3, None]]
    assert [g.usage.suffix_tokens for g in whole] == [3, 1, 5]
    assert [g.usage.device_ms for g in whole] == [2.0, 1.0, 2.0]


def test_reward_is_never_replaced_by_an_error():
    others = [answer(("a", None), ("b", 4)), answer(("c", None)), ANSWERS[2]]
    whole = merged(ANSWERS, everything(GROUPS), others)
    assert [[item.reward for item in g.items] for g in whole] == [[1, 4], [2], [None, 3, None]]
