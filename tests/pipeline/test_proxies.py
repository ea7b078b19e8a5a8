"""Which proxy is used: alike for both transports, and never for loopback."""

import pytest

from align2llava.clients.address import address_of
from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.proxies import proxy_of

PROXY = "http://proxy:3128"


@pytest.mark.parametrize("scheme", ["grpc://", "grpcs://", "http://", "https://", "dns:///"])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "a.localhost", "[::1]"])
def test_loopback_is_asked_directly(scheme: str, host: str):
    environ = {"http_proxy": PROXY, "https_proxy": PROXY, "grpc_proxy": PROXY, "ALL_PROXY": PROXY}
    assert proxy_of(address_of(f"{scheme}{host}:1"), environ) is None


@pytest.mark.parametrize("scheme", ["grpc://", "http://", "dns:///"])
def test_transports_are_alike(scheme: str):
    address = address_of(f"{scheme}gpu-7.cluster:3001")
    assert proxy_of(address, {}) is None
    assert proxy_of(address, {"http_proxy": PROXY}) == PROXY
    assert proxy_of(address, {"HTTP_PROXY": "proxy:3128"}) == PROXY
    assert proxy_of(address, {"HTTP_PROXY": PROXY, "http_proxy": ""}) is None
    assert proxy_of(address, {"https_proxy": PROXY}) is None
    assert proxy_of(address, {"all_proxy": PROXY}) == PROXY


@pytest.mark.parametrize(
    "entry", ["*", "gpu-7.cluster", ".cluster", "cluster", "*.cluster", "a,GPU-7.cluster:3001"]
)
def test_no_proxy_exempts_a_host(entry: str):
    environ = {"http_proxy": PROXY, "NO_PROXY": entry}
    for scheme in ("grpc://", "http://", "dns:///"):
        assert proxy_of(address_of(f"{scheme}gpu-7.cluster:3001"), environ) is None


def test_no_proxy_exempts_a_network():
    environ = {"http_proxy": PROXY, "no_proxy": "10.0.0.0/8"}
    assert proxy_of(address_of("grpc://10.1.2.3:1"), environ) is None
    assert proxy_of(address_of("grpc://11.1.2.3:1"), environ) == PROXY


@pytest.mark.parametrize("entry", ["gpu-7.cluster:9", "7.cluster", "other"])
def test_no_proxy_exempts_no_other(entry: str):
    environ = {"http_proxy": PROXY, "no_proxy": entry}
    assert proxy_of(address_of("http://gpu-7.cluster:3001"), environ) == PROXY


def test_proxy_that_is_none_is_named_without_its_password():
    environ = {"http_proxy": "socks5://me:secret@proxy:1"}
    with pytest.raises(ConfigError, match="http_proxy: proxy:1 is no http:// proxy") as caught:
        proxy_of(address_of("http://host:1"), environ)
    assert "secret" not in str(caught.value)
