"""Conversion between the protobuf messages and the schemas, field by field of the same name.

Absent in protobuf (an unset oneof or optional, empty `data`) is None in the schema. Knows no
transport; a message that does not fit its schema raises pydantic's `ValidationError`.
"""

import types
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message as ProtoMessage

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire import schemas

_VERDICT_PREFIX = "VERDICT_"

P = TypeVar("P", bound=ProtoMessage)
S = TypeVar("S", bound=schemas.Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """One field of a schema: what nests in it, and whether it repeats."""

    name: str
    nested: type[schemas.Message] | None
    is_verdict: bool
    is_repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """The fields of a schema by their protobuf numbers, and the values that absent fields stand for."""

    fields: dict[int, _Field]
    defaults: dict[str, object]
    has_verdicts: bool


def _inner_types(annotation: object) -> list[object]:
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union, tuple):
        return [t for a in typing.get_args(annotation) for t in _inner_types(a)]
    return [annotation]


@cache
def _layout(schema: type[schemas.Message], descriptor: Descriptor) -> _Layout:
    fields: dict[int, _Field] = {}
    defaults: dict[str, object] = {}
    has_verdicts = False
    for name, info in schema.model_fields.items():
        classes = [t for t in _inner_types(info.annotation) if isinstance(t, type)]
        nested = next((t for t in classes if issubclass(t, schemas.Message)), None)
        is_repeated = typing.get_origin(info.annotation) is tuple
        is_verdict = schemas.Verdict in classes
        wire = descriptor.fields_by_name[name]
        fields[wire.number] = _Field(
            name=name, nested=nested, is_verdict=is_verdict, is_repeated=is_repeated
        )
        has_verdicts |= is_verdict
        if nested is not None:
            has_verdicts |= _layout(nested, wire.message_type).has_verdicts
        if info.is_required() and (is_repeated or not wire.has_presence):
            defaults[name] = () if is_repeated else wire.default_value
    return _Layout(fields=fields, defaults=defaults, has_verdicts=has_verdicts)


def to_proto(message: schemas.Message, proto: type[P]) -> P:
    """Returns the message as a `proto`.

    Raises:
        ValueError: a text is not valid Unicode (a lone surrogate), or a number is out of range.
    """
    values = proto_values(message)
    if _layout(type(message), proto.DESCRIPTOR).has_verdicts:
        values = cast("dict[str, object]", _named(values))
    return proto(**values)


def proto_values(message: schemas.Message) -> dict[str, object]:
    """Returns what a protobuf message without verdicts is made from, here or as a field of another."""
    return message.model_dump(exclude_none=True)


def _named(value: object) -> object:
    """Returns values with each verdict by its protobuf name."""
    if isinstance(value, schemas.Verdict):
        return f"{_VERDICT_PREFIX}{value.upper()}"
    if isinstance(value, dict):
        named = cast("dict[str, object]", value)
        return {name: _named(one) for name, one in named.items()}
    if isinstance(value, tuple):
        return tuple(_named(one) for one in cast("tuple[object, ...]", value))
    return value


def from_proto(message: ProtoMessage, schema: type[S], *, max_entries: int | None = None) -> S:
    """Returns the message as a validated `schema`; no list of it may have more than `max_entries`.

    Raises:
        pydantic.ValidationError: a value is outside the schema, or a required message is absent.
        ValueError: a list is longer.
    """
    return schema.model_validate(_values(message, schema, max_entries))


def _values(
    message: ProtoMessage, schema: type[schemas.Message], max_entries: int | None
) -> dict[str, object]:
    """Returns the present fields; nested messages too as plain values, validated once at the top."""
    layout = _layout(schema, message.DESCRIPTOR)
    values = layout.defaults.copy()
    # Only what is set comes, unlike with getattr: half the time for messages of many small fields.
    for wire, value in message.ListFields():
        field = layout.fields[wire.number]
        values[field.name] = _value(value, field, max_entries)
    return values


# Any: protobuf's stubs say no more of a field's value.
def _value(value: Any, field: _Field, max_entries: int | None) -> object:
    nested = field.nested
    if field.is_repeated and max_entries is not None and len(value) > max_entries:
        raise ValueError(
            f"{field.name}: {len(value)} entries; {max_entries} at most were asked for"
        )
    if nested is not None:
        if field.is_repeated:
            return [_values(one, nested, max_entries) for one in value]
        return _values(value, nested, max_entries)
    if field.is_repeated:
        return tuple(value)
    if field.is_verdict:
        return pb.Verdict.Name(value).removeprefix(_VERDICT_PREFIX).lower()
    return value
