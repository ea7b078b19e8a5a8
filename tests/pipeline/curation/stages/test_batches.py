from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from align2llava.clients.wire.schemas import Item
from align2llava.pipeline.curation.input.records import Record, RecordTurn
from align2llava.pipeline.curation.input.rows import ImageRef, LoadedRecord, Row, Span
from align2llava.pipeline.curation.stages.batches import Ask, Slot, Window, batches, groups_of


def ask(number: int, *, image: int = 0, num_items: int = 1, num_bytes: int = 10) -> Ask:
    found = ImageRef(path=Path("a"), sha256=f"{image:064x}", num_bytes=num_bytes)
    row = Row(
        position=number,
        uid=f"{number:032x}",
        id_json=None,
        type="detail",
        image=found,
        fault=None,
        place=Span(file=0, offset=0, num_bytes=10),
    )
    turns = (RecordTurn(question="q", answers=("a",)),)
    loaded = LoadedRecord(
        row=row, uid=f"{number:032x}", record=Record(image="a", turns=turns), raw=b"x" * 10
    )
    return Ask(
        loaded=loaded,
        slots=tuple(Slot(turn=turn, candidate=0) for turn in range(num_items)),
        items=tuple(Item(id=f"{number}/{turn}") for turn in range(num_items)),
        image=found,
    )


def sizes(asks: list[Ask], **limits: int) -> list[int]:
    return [len(batch) for batch in batches(asks, **limits)]


def test_batches_are_filled_in_order_up_to_their_items():
    asks = [ask(number, image=number) for number in range(7)]
    assert sizes(asks, max_items=3) == [3, 3, 1]
    flat = [one for batch in batches(asks, max_items=3) for one in batch]
    assert flat == asks


def test_record_is_never_split():
    asks = [ask(0, num_items=2), ask(1, num_items=9), ask(2), ask(3)]
    assert sizes(asks, max_items=4) == [1, 1, 2]


def test_images_of_a_batch_are_bounded_by_bytes_and_counted_once():
    other = [ask(number, image=number, num_bytes=40) for number in range(4)]
    assert sizes(other, max_items=100, max_bytes=100) == [2, 2]
    same = [ask(number, image=0, num_bytes=40) for number in range(4)]
    assert sizes(same, max_items=100, max_bytes=100) == [4]
    huge = [ask(number, image=number, num_bytes=400) for number in range(2)]
    assert sizes(huge, max_items=100, max_bytes=100) == [1, 1]


def test_neighbours_of_one_image_share_a_group():
    asks = [ask(0, image=1), ask(1, image=1, num_items=2), ask(2, image=2), ask(3, image=1)]
    groups = groups_of(asks)
    assert [[item.id for item in group.items] for group in groups] == [
        ["0/0", "1/0", "1/1"],
        ["2/0"],
        ["3/0"],
    ]


@given(images=st.lists(st.integers(0, 5), max_size=40), room=st.integers(1, 12))
def test_window_loses_nothing_and_leaves_each_image_together(images: list[int], room: int):
    asks = [ask(number, image=image) for number, image in enumerate(images)]
    groups = list(Window(max_records=room).grouped(asks))
    assert sorted(one.items[0].id for group in groups for one in group) == sorted(
        one.items[0].id for one in asks
    )
    for group in groups:
        assert len({one.image.sha256 for one in group}) == 1
        assert len(group) <= room


def test_records_of_one_image_within_the_window_go_out_as_one_group():
    asks = [ask(number, image=number % 3) for number in range(9)]
    window = Window(max_records=9)
    assert [len(group) for group in window.grouped(asks)] == [3, 3, 3]
    assert window.num_groups == 3
    assert [len(group) for group in Window(max_records=1).grouped(asks)] == [1] * 9


def test_window_is_bounded_by_bytes_too():
    asks = [ask(number, image=number % 2) for number in range(6)]
    groups = list(Window(max_records=100, max_bytes=20).grouped(asks))
    assert max(map(len, groups)) <= 2
    huge = list(Window(max_records=100, max_bytes=1).grouped(asks))
    assert [len(group) for group in huge] == [1] * 6
