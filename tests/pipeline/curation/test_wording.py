import pytest

from align2llava.pipeline.curation.wording import (
    NONE,
    count,
    decimal,
    percent,
    reward,
    seconds,
    signed,
    small,
)


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
