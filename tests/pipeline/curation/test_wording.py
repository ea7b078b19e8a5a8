import pytest

from align2llava.pipeline.curation.figures.decisions import LengthDecile, counts_by_type
from align2llava.pipeline.curation.wording import (
    NONE,
    OUTCOMES,
    count,
    decimal,
    fixed,
    outcome,
    percent,
    reward,
    seconds,
    share_list,
    signed,
    small,
    tallest_share,
)
from tests.pipeline.curation.tables import decisions_table


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (count(1234567), "1,234,567"),
        (percent(0.0912), "9.1 %"),
        (percent(1 / 3, 0), "33 %"),
        (decimal(1234.56), "1,234.6"),
        (reward(-0.12345), "-0.123"),
        (reward(-0.0001), "0.000"),
        (small(0.000012345), "1.23e-05"),
        (signed(0.5), "+0.50"),
        (fixed(12.500), "12.5"),
        (fixed(3.0), "3"),
        (seconds(0.0428), "42.8 ms"),
        (seconds(59.96), "60.0 s"),
        (seconds(600), "10.0 min"),
        (seconds(9000), "2.5 h"),
    ],
)
def test_numbers_read_well(written: str, expected: str):
    assert written == expected


@pytest.mark.parametrize("write", [count, percent, decimal, reward, small, signed, seconds])
def test_what_is_unknown_is_said_to_be(write):
    assert write(None) == NONE


def test_outcomes_of_a_type_add_up_to_its_input():
    reasons = ["kept", "below_question_cut", "below_answer_cut", "text_only", "internal"]
    (counts,) = counts_by_type(decisions_table([{"reason": reason} for reason in reasons]))
    assert sum(outcome(counts, kind) for kind, _ in OUTCOMES) == counts.input


def test_shares_of_deciles_are_listed_and_the_tallest_found():
    deciles = [
        LengthDecile(lowest_words=1, highest_words=2, num_records=10, num_kept=kept)
        for kept in (1, 4)
    ]
    assert share_list(deciles) == "10.0 %, 40.0 %"
    assert tallest_share(deciles) == 0.4
    assert tallest_share([]) is None
