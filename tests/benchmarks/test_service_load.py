import io

from PIL import Image

from benchmarks.service_load import HEIGHT, WIDTH, group_of


def test_group_is_a_photograph_with_questions_the_same_for_its_seed():
    first, again, other = group_of(1, 8), group_of.__wrapped__(1, 8), group_of(2, 8)
    assert first == again
    assert first.image is not None
    assert other.image is not None
    assert first.image.data is not None
    assert first.image.sha256 != other.image.sha256
    assert Image.open(io.BytesIO(first.image.data)).size == (WIDTH, HEIGHT)
    assert 30_000 < len(first.image.data) < 150_000


def test_questions_of_a_group_differ():
    assert len({item.questions for item in group_of(1, 8).items}) == 8
