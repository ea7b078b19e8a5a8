"""One connection that is kept and takes the bytes of a request as they are. Puts nothing right that is wrong."""

import asyncio
from contextlib import suppress

import httpx


class KeepAlive:
    """Requests one after the other; where the service has ended the connection, over a new one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> httpx.Response:
        """Returns the answer to a request whose framing is right.

        Raises:
            OSError, EOFError: the connection ended before a whole answer.
        """
        was_used = self._streams is not None
        try:
            return await self._asked(request)
        except (OSError, EOFError):
            if not was_used:
                raise
        return await self._asked(request)

    async def ask_and_end(self, request: bytes) -> httpx.Response | None:
        """Returns the answer where the service gave one to bytes after which nothing comes."""
        self.close()
        try:
            return await self._asked(request, is_end=True)
        except (ConnectionResetError, BrokenPipeError, EOFError):
            return None
        finally:
            self.close()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _asked(self, request: bytes, *, is_end: bool = False) -> httpx.Response:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        stays = False
        try:
            writer.write(request)
            if is_end:
                with suppress(OSError):  # refused already: its answer is here, or the end
                    writer.write_eof()
            response = await _read_response(reader)
            stays = response.headers.get("connection", "").lower() != "close"
            return response
        finally:
            if not stays:
                self.close()


async def _read_response(reader: asyncio.StreamReader) -> httpx.Response:
    status, headers = 100, httpx.Headers()
    while status < 200:  # `continue` comes before the answer
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        status = int(lines[0].split()[1])
        pairs = (line.partition(b":") for line in lines[1:] if line)
        headers = httpx.Headers([(name, value.strip()) for name, _, value in pairs])
    if headers.get("transfer-encoding") == "chunked":
        body = await _read_chunks(reader)
        del headers["transfer-encoding"]
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return httpx.Response(status, headers=headers, content=body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body
