from pathlib import Path

import pytest

from examples.blocks import text_baseline
from examples.blocks.defects import Defect
from examples.blocks.text_baseline import LabelledText, measure, read_texts

BLOCKS = Path(text_baseline.__file__).parent


@pytest.mark.timeout(120)
def test_the_text_alone_shows_only_the_defects_that_lie_in_it():
    texts = read_texts(BLOCKS)
    measured = measure(texts)
    assert measured.image_dependent <= 0.60
    assert measured.text_visible >= 0.80


@pytest.mark.timeout(60)
def test_the_baseline_would_find_a_leak():
    """The same measure is near 1 where bad texts carry a word that good ones lack."""
    texts = [
        LabelledText(
            image=str(number),
            text=f"what color is thing {number % 7}" + (" really" if number % 2 else ""),
            defects=frozenset(
                {(Defect.WRONG_ANSWER, Defect.RAMBLING)[number % 4 // 2]} if number % 2 else ()
            ),
        )
        for number in range(200)
    ]
    measured = measure(texts)
    assert measured.image_dependent > 0.95
    assert measured.text_visible > 0.95
