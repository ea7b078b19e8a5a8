"""What is spoken at a port, by the first bytes that come from it: only to word an error."""

import asyncio
from contextlib import suppress
from enum import StrEnum

from align2llava.clients.address import Address
from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import OtherServiceError

TIMEOUT_S = 2.0
_NUM_BYTES = 9  # of the header of an HTTP/2 frame
_SETTINGS = 4  # the type of the frame that an HTTP/2 server begins with. Source: RFC 9113, 3.4
_TLS_ALERT = 0x15


class Spoken(StrEnum):
    """A protocol."""

    HTTP = "http"
    GRPC = "grpc"
    TLS = "tls"


async def spoken_at(address: Address) -> Spoken | None:
    """Returns what is spoken there, None where nobody answers or it cannot be told."""
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address.host, address.port or 80)
            try:
                writer.write(b"GET / HTTP/1.1\r\nhost: " + address.netloc.encode() + b"\r\n\r\n")
                return _protocol(await reader.readexactly(_NUM_BYTES))
            except asyncio.IncompleteReadError as error:
                return _protocol(error.partial)
            finally:
                writer.close()
    return None


async def raise_for_mix_up(endpoint: Endpoint) -> None:
    """Raises where the scheme of the URL meets another protocol; nothing is known behind a proxy.

    Raises:
        OtherServiceError: it says what to write.
    """
    if endpoint.proxy is not None:
        return
    address = endpoint.address()
    words = mix_up(address, await spoken_at(address))
    if words is not None:
        raise OtherServiceError(words)


def _protocol(data: bytes) -> Spoken | None:
    if data.startswith(b"HTTP/1."):
        return Spoken.HTTP
    if len(data) == _NUM_BYTES and data[3] == _SETTINGS:
        return Spoken.GRPC
    return Spoken.TLS if data[:1] == bytes([_TLS_ALERT]) else None


def mix_up(address: Address, spoken: Spoken | None) -> str | None:
    """Returns words for a scheme that meets another protocol, None where they fit or nothing is known."""
    is_tls = address.scheme in ("https", "grpcs")
    speaks = Spoken.TLS if is_tls else Spoken.HTTP if address.is_rest else Spoken.GRPC
    if spoken is None or spoken is speaks:
        return None
    if spoken is Spoken.TLS:
        return f"TLS is spoken there: write {'https' if address.is_rest else 'grpcs'}://"
    where = "an HTTP port" if spoken is Spoken.HTTP else "a gRPC port"
    plain = " without TLS" if is_tls else ""
    return f"that is {where}{plain}: write {spoken}://, or give the other port"
