"""Which proxy of the environment an address is asked through, alike for every transport and client. Pure.

`http_proxy`, `https_proxy` (for TLS), `grpc_proxy` (for gRPC, before those), `all_proxy` and `no_proxy` mean what
they mean to curl; loopback is never asked through a proxy.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from align2llava.clients.address import Address
from align2llava.pipeline.errors import ConfigError

_SUFFIX = "_proxy"


def proxy_of(address: Address, environ: Mapping[str, str]) -> str | None:
    """Returns the URL of the proxy, None = the address is asked directly.

    Raises:
        ConfigError: the proxy that is named is no `http://` proxy.
    """
    named = _named(environ)
    if address.is_loopback or _is_exempt(address, named):
        return None
    is_tls = address.scheme in ("https", "grpcs")
    wanted = ("https" if is_tls else "http", "all")
    for kind in wanted if address.is_rest else ("grpc", *wanted):
        if kind in named:
            return _checked(named[kind], name=f"{kind}{_SUFFIX}", url=address.url)
    return None


def _named(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the proxies by kind; the name in lower case wins, and an empty one is none."""
    found: dict[str, str] = {}
    for name, value in sorted(environ.items()):  # capitals come first
        if name.lower().endswith(_SUFFIX):
            found[name.lower().removesuffix(_SUFFIX)] = value.strip()
    return {kind: value for kind, value in found.items() if value}


def _is_exempt(address: Address, named: Mapping[str, str]) -> bool:
    entries = (entry.strip().lower() for entry in named.get("no", "").split(","))
    return any(entry == "*" or _covers(entry, address) for entry in entries if entry)


def _covers(entry: str, address: Address) -> bool:
    """Returns whether an entry names the host, a domain of it, its port, or a network it lies in."""
    host = address.host.lower()
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    name, colon, port = entry.rpartition(":")
    if colon and port.isdecimal():
        if port != str(address.port):
            return False
        entry = name
    domain = entry.removeprefix("*").removeprefix(".")
    return host == domain.strip("[]") or host.endswith(f".{domain}")


def _checked(proxy: str, *, name: str, url: str) -> str:
    full = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(full)
        is_usable = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        shown = full.rpartition("@")[2]
        raise ConfigError(
            f"{name}: {shown} is no http:// proxy; {url} needs one, or its host in no_proxy"
        )
    return full.rstrip("/")
