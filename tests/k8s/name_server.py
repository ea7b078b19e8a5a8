"""A name server for one name, as a cluster has for a headless Service: one address for each pod."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_HEADER_BYTES = 12
_A = b"\x00\x01"


class Names:
    """The addresses of the one name; changed by tests."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses

    def answer(self, query: bytes) -> bytes:
        """The answer to a query of one question: our addresses for type A, none for any other."""
        end = query.index(b"\x00", _HEADER_BYTES) + 5
        question = query[_HEADER_BYTES:end]
        found = self.addresses if question[-4:-2] == _A else []
        counts = b"\x00\x01" + len(found).to_bytes(2, "big") + b"\x00\x00\x00\x00"
        records = b"".join(
            b"\xc0\x0c" + _A + b"\x00\x01" + b"\x00\x00\x00\x00" + b"\x00\x04" + socket.inet_aton(a)
            for a in found
        )
        return query[:2] + b"\x85\x80" + counts + question + records


@contextmanager
def name_server(names: Names) -> Iterator[int]:
    """Answers on a UDP port of loopback, which is yielded."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                query, sender = listener.recvfrom(4096)
                if query:
                    listener.sendto(names.answer(query), sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            ended.set()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", port))
            thread.join()
