import logging

import pytest

from align2llava.pipeline.config.schema import EndpointConfig
from align2llava.pipeline.curation.endpoints.clear_text import warn_of_clear_text


def endpoint(*urls: str) -> EndpointConfig:
    return EndpointConfig(url=list(urls))


def test_a_key_in_clear_text_is_warned_of_once(caplog: pytest.LogCaptureFixture):
    configs = [
        endpoint("http://a.invalid:1", "grpc://b.invalid:2"),
        None,
        endpoint("dns:///c.invalid:3"),
    ]
    for _ in range(2):
        warn_of_clear_text(configs, api_key="secret")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "goes to a.invalid, b.invalid, c.invalid in clear text" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://127.0.0.1:1", "secret"),
        ("grpc://[::1]:1", "secret"),
        ("dns:///localhost:1", "secret"),
        ("https://d.invalid", "secret"),
        ("grpcs://d.invalid:1", "secret"),
        ("http://d.invalid", None),
    ],
)
def test_loopback_tls_and_no_key_are_no_cause(
    caplog: pytest.LogCaptureFixture, url: str, key: str | None
):
    warn_of_clear_text([endpoint(url)], api_key=key)
    assert not caplog.records
