"""A key is one word of ASCII, and is not told by what refuses it."""

import pytest

from align2llava.clients.endpoint import Endpoint
from align2llava.clients.key import checked_key

URLS = ["http://127.0.0.1:1", "grpc://127.0.0.1:1"]


@pytest.mark.parametrize("given", ["secret\n", " secret", "secret\r\n", "\tsecret "])
@pytest.mark.parametrize("url", URLS)
def test_blanks_around_a_key_are_no_part_of_it(url: str, given: str):
    assert Endpoint(url=url, api_key=given).bearer() == {"authorization": "Bearer secret"}


@pytest.mark.parametrize(
    "given",
    ["", " \n", "sec ret", "sec\nret", "s\u00e9cret", "secret\x00", "\ufeffsecret", "\ud800"],
)
@pytest.mark.parametrize("url", URLS)
def test_what_cannot_be_sent_is_refused_without_being_shown(url: str, given: str):
    with pytest.raises(ValueError, match="one word of printable ASCII") as caught:
        Endpoint(url=url, api_key=given)
    assert "cret" not in str(caught.value)


def test_no_key_is_none():
    assert checked_key(None) is None
    assert Endpoint(url="http://host").bearer() == {}


def test_an_endpoint_is_shown_without_its_key():
    assert "secret" not in repr(Endpoint(url="http://host", api_key="secret"))
