"""Bodies that were cheap to send and dear to take: a service was away for seconds to hours after each. Pure."""

import hashlib
import io
import json
import random
import struct

from PIL import Image

MIB = 2**20
JSON, MSGPACK = "application/json", "application/x-msgpack"

Bomb = tuple[str, bytes]  # content type, body


def rest_bombs(num_bytes: int = MIB, *, of: str = "groups") -> dict[str, Bomb]:
    """Bodies of about `num_bytes` whose structure has to be refused before it is made; `of` is their list."""
    name = of.encode()

    def array(one: bytes) -> Bomb:
        num = num_bytes // len(one)
        head = bytes([0x81, 0xA0 | len(name)]) + name + b"\xdd" + num.to_bytes(4, "big")
        return MSGPACK, head + one * num

    def listed(one: bytes, *, inside: bytes = b"%s") -> Bomb:
        many = b"[" + (one + b",") * (num_bytes // (len(one) + 1)) + one + b"]"
        return JSON, b'{"' + name + b'":' + inside.replace(b"%s", many) + b"}"

    members = b",".join(b'"%x":1' % number for number in range(num_bytes // 10))
    return {
        "numbers": listed(b"1"),
        "objects": listed(b"{}"),
        "empty groups": listed(b'{"items":[]}'),
        "numbers in items": listed(b"1", inside=b'[{"items":%s}]'),
        "tiny items": listed(b'{"id":"a"}', inside=b'[{"items":%s}]'),
        "members": (JSON, b'{"' + name + b'":[],' + members + b"}"),
        "texts": listed(b'"\\""'),
        "one text": (JSON, b'{"' + name + b'":"' + b"a" * num_bytes + b'"}'),
        "nils": array(b"\xc0"),
        "maps": array(b"\x80"),
        "arrays": array(b"\x90"),
    }


GRPC_BOMBS = {
    "groups": b"\x0a\x00" * 500_000,
    "items": b"\x0a\xc0\x84\x3d" + b"\x12\x00" * 500_000,
    "unknown fields": b"\x98\x06\x01" * 350_000,
}


def picture(number: int) -> bytes:
    """Returns a PNG; every number has another."""
    image = Image.frombytes("RGB", (96, 64), random.Random(number).randbytes(96 * 64 * 3))
    return encoded(image.resize((192, 128)), "PNG")


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def many_scans(side: int = 4_000, scans: int = 8_000) -> bytes:
    """Returns a JPEG that goes over the whole image again for each scan."""
    data = encoded(Image.new("L", (side, side)), "JPEG", progressive=True)
    start = data.rfind(b"\xff\xda")
    return data[:start] + data[start:-2] * scans + b"\xff\xd9"


def broken_exif() -> bytes:
    """Returns a good JPEG whose metadata ends within an entry."""
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x02\x00\x12\x01\x03\x00\x01\x00"
    return _jpeg(exif)


def unwritable_exif() -> bytes:
    """Returns a good JPEG to be turned whose date is a fraction: who turns it by writing its EXIF anew cannot."""
    entries = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x0132, 5, 1, 38)
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x02\x00" + entries + bytes(4)
    exif += struct.pack("<II", 1, 2)
    return _jpeg(exif)


def _jpeg(exif: bytes) -> bytes:
    data = encoded(Image.new("RGB", (32, 32), "red"), "JPEG")
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def endless_metadata(num_entries: int = 65_000) -> bytes:
    """Returns a PNG whose EXIF has as many entries as it can state."""
    entries = struct.pack("<HHII", 0x9000, 7, 4, 1) * num_entries
    exif = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", num_entries) + entries + bytes(4)
    return encoded(Image.new("RGB", (32, 32), "red"), "PNG", exif=exif)


def grammar(num_members: int = 20_000) -> bytes:
    """Returns a chat body that asks for an answer in the form of a large schema."""
    members = {f"p{number}": {"type": "string"} for number in range(num_members)}
    return _chat(structured_outputs={"json": {"type": "object", "properties": members}})


def choices(num_choices: int = 100_000) -> bytes:
    """Returns a chat body that lists the answers it wants."""
    return _chat(structured_outputs={"choice": [f"choice {n}" for n in range(num_choices)]})


def _chat(**more: object) -> bytes:
    messages = [{"role": "user", "content": "What is it?"}]
    return json.dumps({"model": "inner-llm", "messages": messages, "max_tokens": 8} | more).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
