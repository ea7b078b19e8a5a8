import pytest

from align2llava.clients.address import address_of


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host:3001/", "http://host:3001"),
        ("grpc://host:50051/", "grpc://host:50051"),
        ("https://host", "https://host"),
        ("dns:///host:50051", "dns:///host:50051"),
        ("dns://server:53/host:50051", "dns://server:53/host:50051"),
        ("grpcs://[::1]:50051", "grpcs://[::1]:50051"),
    ],
)
def test_url_is_read_without_what_means_nothing(url: str, expected: str):
    assert address_of(url).url == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://host:3001/v1/score", "write http://host:3001 alone"),
        ("grpc://host:50051/align2llava.v1.QuestionReward", "write grpc://host:50051 alone"),
        ("http://host:3001?key=1", "alone"),
        ("http://", "there is no host"),
        ("http://host:99999", "Port out of range"),
        ("http://host:port", "Port could not be cast"),
        ("ftp://host", "the scheme must be"),
        ("dns://server:53", "the scheme must be"),
        ("host:3001", "the scheme must be"),
    ],
)
def test_what_is_no_url_of_a_service_is_refused(url: str, words: str):
    with pytest.raises(ValueError, match="endpoint") as caught:
        address_of(url)
    assert words in str(caught.value)


def test_key_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="A2L__API_KEY") as caught:
        address_of("http://me:secret@host:1")
    assert "secret" not in str(caught.value)
