"""Which images go by their hash alone, and when a client guesses that one may."""

import itertools

from align2llava.clients.images.known import MAX_SKIPPED, Guessing, KnownImages
from align2llava.clients.wire.schemas import ErrorBody, Group, GroupRewards, Image, Item, ItemReward

NEEDED = GroupRewards(
    items=(ItemReward(id="0", error=ErrorBody(code="image_needed", message="x")),)
)
SCORED = GroupRewards(items=(ItemReward(id="0", reward=1.0),))


def group(name: str) -> Group:
    return Group(image=Image(sha256=name * 64), items=(Item(id="0", questions=("q",)),))


def test_known_images_are_bounded():
    known = KnownImages(capacity=2)
    for name in "abc":
        known.learn(group(name), SCORED)
    assert [known.holds(name * 64) for name in "abc"] == [False, True, True]


def test_image_the_service_asks_for_goes_with_its_data_again():
    known = KnownImages()
    known.learn(group("a"), SCORED)
    known.learn(group("a"), NEEDED)
    assert not known.holds("a" * 64)
    known.learn(group("a"), SCORED)
    assert known.holds("a" * 64)


def test_image_lost_again_and_again_goes_with_its_data_to_more_and_more_calls():
    known = KnownImages()
    known.learn(group("a"), SCORED)
    needed: list[int] = []
    for _ in range(8):
        known.learn(group("a"), NEEDED)
        needed.append(0)
        while not known.holds("a" * 64):
            known.learn(group("a"), SCORED)
            needed[-1] += 1
    assert needed == [1, 2, 3, 5, 9, 17, 17, 17]


def test_service_that_holds_what_is_guessed_is_guessed_at_always():
    guessing = Guessing()
    assert guessing.guess()
    guessing.judge(is_right=True)
    assert all(guessing.guess() for _ in range(10))


def test_one_guess_at_a_time_until_one_was_right():
    guessing = Guessing()
    assert [guessing.guess() for _ in range(3)] == [True, False, False]
    guessing.withdraw()
    assert guessing.guess()


def test_wrong_guesses_grow_rare():
    guessing = Guessing()
    guesses: list[int] = []
    for number in range(1000):
        if guessing.guess():
            guesses.append(number)
            guessing.judge(is_right=False)
    gaps = [after - before for before, after in itertools.pairwise(guesses)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == MAX_SKIPPED + 1
