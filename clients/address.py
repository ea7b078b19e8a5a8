"""The address of a service: what its URL says, and what no URL of a service has. Asks nobody."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

REST_SCHEMES = ("http", "https")
GRPC_SCHEMES = ("grpc", "grpcs", "dns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A scheme, and the host (and port) that is asked; `port` None = the scheme's own.

    `name_server`: who resolves the host of a `dns` address, as gRPC takes it; empty = the system's.
    """

    scheme: str
    host: str
    port: int | None
    name_server: str = ""

    @property
    def is_rest(self) -> bool:
        """Returns whether it is REST's, not gRPC's."""
        return self.scheme in REST_SCHEMES

    @property
    def is_loopback(self) -> bool:
        """Returns whether it is this machine, whatever a proxy would make of the name."""
        return is_loopback(self.host)

    @property
    def netloc(self) -> str:
        """Returns host and port as they stand in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Returns the URL without what means nothing in it."""
        before = f"{self.name_server}/" if self.scheme == "dns" else ""
        return f"{self.scheme}://{before}{self.netloc}"


def address_of(url: str) -> Address:
    """Returns the address that a service's URL names.

    Raises:
        ValueError: another scheme than http, https, grpc, grpcs, dns; no host; a port that is none; a path,
            a query or a key in the URL.
    """
    scheme = url.partition(":")[0]
    name_server = url.removeprefix("dns://").partition("/")[0] if scheme == "dns" else ""
    start = f"dns://{name_server}/" if scheme == "dns" else f"{scheme}://"
    if scheme not in REST_SCHEMES + GRPC_SCHEMES or not url.startswith(start):
        raise ValueError(
            f"endpoint {url!r}: the scheme must be http://, https://, grpc://, grpcs:// or dns:///"
        )
    try:
        parts = urlsplit(f"//{url.removeprefix(start)}")
        port = parts.port
    except ValueError as error:
        raise ValueError(f"endpoint {url!r}: {error}") from error
    if parts.username is not None or parts.password is not None:
        where = parts.netloc.rpartition("@")[2]
        raise ValueError(f"endpoint {start}...@{where}: a URL holds no key; set A2L__API_KEY")
    if not parts.hostname:
        raise ValueError(f"endpoint {url!r}: there is no host")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(
            f"endpoint {url!r}: write {start}{parts.netloc} alone; the routes are added to it"
        )
    return Address(scheme=scheme, host=parts.hostname, port=port, name_server=name_server)


def is_loopback(host: str) -> bool:
    """Returns whether a host is this machine by its name or number."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
