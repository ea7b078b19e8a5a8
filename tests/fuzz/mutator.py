"""Damage with structure: a good input of a grammar becomes one that a reader may not expect. Pure."""

import json
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgpack
import yaml

from tests.fuzz import strange

Grammar = Literal[
    "json",
    "jsonl",
    "yaml",
    "lines",
    "headers",
    "msgpack",
    "proto",
    "png",
    "jpeg",
    "tensors",
    "bytes",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A good input; `prefix` is for the target (which file, which route) and stays as it is."""

    body: bytes
    grammar: Grammar
    prefix: bytes = b""


class _Raw:
    """A text that stands in a JSON document as it is."""

    def __init__(self, text: str) -> None:
        self.text = text


# What libraries raise where an earlier step left nothing that they read.
_NOT_READ = (
    *(ValueError, RecursionError, TypeError, LookupError, OverflowError, AttributeError),
    yaml.YAMLError,
)


def mutated(seed: Seed, rng: random.Random) -> bytes:
    """Returns a damaged input; one of four is damaged in bytes, whatever its grammar."""
    damage = _BY_GRAMMAR[seed.grammar]
    body = seed.body
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        step = _damaged_bytes if rng.random() < 0.25 else damage
        try:
            body = step(body, rng)
        except _NOT_READ:
            body = _damaged_bytes(body, rng)
    return seed.prefix + body


def _damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    at, to = sorted(rng.randint(0, len(data)) for _ in range(2))
    piece = rng.choice(strange.BYTES)
    damages = (
        lambda: data[:at] + data[to:],
        lambda: data[:at],
        lambda: data[:to] + data[at:to] * rng.choice((1, 2, 30)) + data[to:],
        lambda: data[:at] + piece + data[at:],
        lambda: data[:at] + piece + data[at + 1 :],
        lambda: piece + data,
        lambda: _encoded_otherwise(data, rng),
        lambda: data[:at] + rng.randbytes(rng.randint(1, 16)) + data[at:],
        lambda: _flipped(data, rng),
        lambda: _flipped(data, rng),
    )
    return rng.choice(damages)()


def _flipped(data: bytes, rng: random.Random) -> bytes:
    flipped = bytearray(data or b"\x00")
    for _ in range(rng.choice((1, 1, 4, 16))):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _encoded_otherwise(data: bytes, rng: random.Random) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    encoding = rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp1252", "utf-7"))
    return text.encode(encoding, "replace")


def _damaged_json(data: bytes, rng: random.Random) -> bytes:
    tree = _changed(json.loads(data), rng)
    return _json_text(tree, rng).encode("utf-8", "surrogatepass")


def _damaged_lines_of_json(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at] = _damaged_json(lines[at], rng) + rng.choice(
        (b"\n", b"\n", b"\r\n", b"", b"\n\n", b"\r")
    )
    return b"".join(lines)


def _damaged_yaml(data: bytes, rng: random.Random) -> bytes:
    text = data.decode()
    match rng.randint(0, 3):
        case 0 if "*" not in text:  # an alias of an earlier step may stand for a billion places
            tree = _changed(yaml.safe_load(text), rng)
            return _json_text(tree, rng).encode("utf-8", "surrogatepass")
        case 1:
            lines = text.splitlines(keepends=True)
            lines.insert(rng.randint(0, len(lines)), rng.choice(lines))
            return "".join(lines).encode()
        case _:
            at = rng.randint(0, len(text))
            piece = rng.choice(strange.YAML_PIECES)
            to = at + rng.choice((0, 0, 1, 5))
            # Most often in place of a value: behind a colon.
            colon = text.find(": ", at)
            if colon >= 0 and rng.random() < 0.6:
                at = colon + 2
                ends = [end for mark in ",}\n" if (end := text.find(mark, at)) >= 0]
                to = min(ends, default=len(text))
            return (text[:at] + piece + text[to:]).encode("utf-8", "surrogatepass")


def _damaged_entries(data: bytes, rng: random.Random) -> bytes:
    """Lines NAME=VALUE: of an environment, or of options."""
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    name, equals, _ = lines[at].partition(b"=")
    piece = rng.choice(strange.YAML_PIECES).encode("utf-8", "surrogatepass")
    match rng.randint(0, 4):
        case 0:
            lines[at] = name + rng.choice((b".", b"__", b"..", b"_", b"x", b"")) + equals + piece
        case 1:
            lines.insert(at, name.rpartition(b".")[0] + equals + piece)
        case 2:
            lines[at] = rng.choice((b"", name, equals + piece, b"a.b.c.d.e.f=1", b"input=[]"))
        case _:
            lines[at] = name + equals + piece.replace(b"\n", b" ")
    return b"\n".join(lines)


def _damaged_headers(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    name = lines[at].partition(b": ")[0]
    changed = name + b": " + rng.choice(strange.HEADER_VALUES)
    if rng.random() < 0.3:
        lines.append(changed)
    else:
        lines[at] = changed
    return b"\n".join(lines)


def _damaged_msgpack(data: bytes, rng: random.Random) -> bytes:
    tree = _changed(msgpack.unpackb(data), rng)
    return _packed(tree, rng)


def _packed(tree: object, rng: random.Random) -> bytes:
    packer = msgpack.Packer()
    match tree:
        case _Raw():
            return rng.choice(strange.MSGPACK_RAW)
        case dict():
            parts = [_packed(one, rng) for pair in tree.items() for one in pair]
            return packer.pack_map_header(len(tree)) + b"".join(parts)
        case list():
            parts = [_packed(one, rng) for one in tree]
            return packer.pack_array_header(len(tree)) + b"".join(parts)
        case _:
            return packer.pack(tree)


def _changed(tree: object, rng: random.Random) -> object:
    """Returns the tree with one place of it changed."""
    places = list(_places(tree))
    if not places or rng.random() < 0.03:
        return _Raw(strange.any_json(rng))
    holder, key = rng.choice(places)
    match rng.randint(0, 7):
        case 0:
            del holder[key]
        case 1:
            holder[key] = rng.choice(([holder[key]], {"x": holder[key]}, [holder[key]] * 40))
        case 2:
            other, at = rng.choice(places)
            holder[key] = json.loads(json.dumps(other[at], default=repr))
        case 3 if isinstance(holder, dict):
            holder[_Key(key)] = _Raw(strange.any_json(rng))  # the same name twice
        case 4 if isinstance(holder, dict):
            holder[rng.choice(("", "x", "\x00", "type", "id", "__proto__", "x" * 500))] = 1
        case _:
            holder[key] = _Raw(strange.any_json(rng))
    return tree


class _Key(str):
    """A name that equals no other, so that it can stand in a dict twice."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def _places(tree: object, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    pairs = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, value in list(pairs):
        yield tree, key
        if depth < 40:
            yield from _places(value, depth + 1)


def _json_text(tree: object, rng: random.Random) -> str:
    match tree:
        case _Raw():
            return tree.text
        case dict():
            parts = (f"{json.dumps(str(k))}: {_json_text(v, rng)}" for k, v in tree.items())
            return "{" + ", ".join(parts) + "}"
        case list():
            return "[" + ", ".join(_json_text(one, rng) for one in tree) + "]"
        case _:
            return json.dumps(tree, default=str)


def _damaged_proto(data: bytes, rng: random.Random) -> bytes:
    """Fields doubled, dropped, renumbered, of another type, or damaged inside."""
    fields = _fields(data)
    if not fields:
        return _damaged_bytes(data, rng)
    at = rng.randrange(len(fields))
    tag, head, payload = fields[at]
    match rng.randint(0, 6):
        case 0:
            fields[at : at + 1] = [fields[at]] * rng.choice((2, 50))
        case 1:
            del fields[at]
        case 2:
            fields[at] = (bytes([tag[0] ^ rng.choice((1, 2, 3, 8, 16))]), head, payload)
        case 3 if head:
            fields[at] = (
                tag,
                rng.choice((b"\xff\xff\xff\xff\x0f", b"\xff" * 10, b"\x00")),
                payload,
            )
        case 4:
            fields.insert(at, (rng.choice((b"\x0b", b"\x7a\x03abc", b"\xf8\x01\x01")), b"", b""))
        case _:
            inside = _damaged_proto(payload, rng)
            fields[at] = (tag, _varint(len(inside)) if head else b"", inside)
    return b"".join(part for field in fields for part in field)


def _fields(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Tag, length and payload of each field, as far as the bytes are a message."""
    found: list[tuple[bytes, bytes, bytes]] = []
    at = 0
    while at < len(data):
        tag = data[at : at + 1]
        kind = tag[0] & 7
        at += 1
        if kind == 2:
            length, size = _read_varint(data, at)
            found.append((tag, data[at : at + size], data[at + size : at + size + length]))
            at += size + length
        else:
            size = {0: _read_varint(data, at)[1], 1: 8, 5: 4}.get(kind, 1)
            found.append((tag, b"", data[at : at + size]))
            at += size
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for size in range(1, 11):
        byte = data[at + size - 1] if at + size - 1 < len(data) else 0
        value |= (byte & 127) << (7 * (size - 1))
        if byte < 128:
            return value, size
    return value, 10


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _damaged_png(data: bytes, rng: random.Random) -> bytes:
    """A chunk damaged, with its checksum right again; or other sizes in the header."""
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += size + 12
    place = rng.randrange(len(chunks))
    kind, body = chunks[place]
    if kind == b"IHDR" and len(body) == 13:
        sides = [rng.choice((0, 1, 7, 4000, 65_535, 2**31 - 1, 2**32 - 1)) for _ in range(2)]
        kinds = bytes([rng.choice((1, 2, 4, 8, 16, 3)), rng.choice((0, 2, 3, 4, 6, 5)), 0, 0, 0])
        body = struct.pack(">II", *sides) + (kinds if rng.random() < 0.5 else body[8:])
    elif rng.random() < 0.2:
        chunks.insert(
            place,
            (rng.choice((b"tEXt", b"iCCP", b"eXIf", b"acTL", b"PLTE", b"tRNS", b"zTXt")), body),
        )
    else:
        body = _damaged_bytes(body, rng)
    chunks[place] = (kind, body)
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def _damaged_jpeg(data: bytes, rng: random.Random) -> bytes:
    """A segment damaged, with its length right again; or left out, doubled, or renamed."""
    parts = re.split(rb"(?=\xff[^\x00\xd0-\xd7\xff])", data)
    at = rng.randrange(len(parts))
    marker, body = parts[at][:2], parts[at][4:]
    match rng.randint(0, 5):
        case 0:
            del parts[at]
        case 1:
            parts[at] *= rng.choice((2, 30, 120))
        case 2:
            kind = bytes([rng.choice((0xC0, 0xC2, 0xCA, 0xDA, 0xDD, 0xE0, 0xE1, 0xED, 0xEE))])
            parts[at] = b"\xff" + kind + parts[at][2:]
        case _:
            body = _damaged_bytes(body, rng)[:65_533]
            parts[at] = marker + struct.pack(">H", len(body) + 2) + body
    return b"".join(parts)


def _damaged_tensors(data: bytes, rng: random.Random) -> bytes:
    """The header of a safetensors file: its length, its JSON."""
    size = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + size], data[8 + size :]
    if rng.random() < 0.3:
        claimed = rng.choice((0, 1, size - 1, size + 1, len(data), 2**31, 2**63, 2**64 - 1))
        return claimed.to_bytes(8, "little") + header + rest
    header = _damaged_json(header.rstrip(), rng)
    return len(header).to_bytes(8, "little") + header + rest


_BY_GRAMMAR: dict[Grammar, Callable[[bytes, random.Random], bytes]] = {
    "json": _damaged_json,
    "jsonl": _damaged_lines_of_json,
    "yaml": _damaged_yaml,
    "lines": _damaged_entries,
    "headers": _damaged_headers,
    "msgpack": _damaged_msgpack,
    "proto": _damaged_proto,
    "png": _damaged_png,
    "jpeg": _damaged_jpeg,
    "tensors": _damaged_tensors,
    "bytes": _damaged_bytes,
}
