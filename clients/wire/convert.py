"""Conversion between the protobuf messages and the schemas, field by field of the same name.

Absent in protobuf (an unset oneof or optional, empty `data`) is None in the schema. Knows no
transport; a message that does not fit its schema raises pydantic's `ValidationError`.
"""

import types
import typing
from collections.abc import Iterable, MutableSequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

from google.protobuf.message import Message as ProtoMessage

from clients.wire import align2llava_pb2 as pb
from clients.wire import schemas

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
    is_optional: bool


def _inner_types(annotation: object) -> list[object]:
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union, tuple):
        return [t for a in typing.get_args(annotation) for t in _inner_types(a)]
    return [annotation]


@cache
def _fields(schema: type[schemas.Message]) -> tuple[_Field, ...]:
    fields: list[_Field] = []
    for name, info in schema.model_fields.items():
        classes = [t for t in _inner_types(info.annotation) if isinstance(t, type)]
        fields.append(
            _Field(
                name=name,
                nested=next((t for t in classes if issubclass(t, schemas.Message)), None),
                is_verdict=schemas.Verdict in classes,
                is_repeated=typing.get_origin(info.annotation) is tuple,
                is_optional=type(None) in classes,
            )
        )
    return tuple(fields)


def to_proto(message: schemas.Message, proto: type[P]) -> P:
    """Returns the message as a `proto`.

    Raises:
        ValueError: a text is not valid Unicode (a lone surrogate), or a number is out of range.
    """
    target = proto()
    fill_proto(target, message)
    return target


def fill_proto(target: ProtoMessage, message: schemas.Message) -> None:
    """Sets the fields of an empty protobuf message; errors as in `to_proto`."""
    for field in _fields(type(message)):
        value: object = getattr(message, field.name)
        if value is None:
            continue
        if field.is_repeated:
            _fill_repeated(getattr(target, field.name), cast("Iterable[object]", value))
        elif isinstance(value, schemas.Message):
            nested = getattr(target, field.name)
            nested.SetInParent()
            fill_proto(nested, value)
        elif isinstance(value, schemas.Verdict):
            setattr(target, field.name, pb.Verdict.Value(f"{_VERDICT_PREFIX}{value.upper()}"))
        else:
            setattr(target, field.name, value)


# protobuf's stubs leave repeated composite containers untyped.
def _fill_repeated(container: Any, values: Iterable[object]) -> None:
    for value in values:
        if isinstance(value, schemas.Message):
            fill_proto(container.add(), value)
        else:
            cast("MutableSequence[object]", container).append(value)


def from_proto(message: ProtoMessage, schema: type[S]) -> S:
    """Returns the message as a validated `schema`.

    Raises:
        pydantic.ValidationError: a value is outside the schema, or a required message is absent.
    """
    return schema.model_validate(_values(message, schema))


def _values(message: ProtoMessage, schema: type[schemas.Message]) -> dict[str, object]:
    """Returns the present fields; nested messages too as plain values, validated once at the top."""
    values: dict[str, object] = {}
    for field in _fields(schema):
        if field.is_repeated:
            items: Iterable[object] = getattr(message, field.name)
            values[field.name] = tuple(_value(item, field) for item in items)
        elif message.DESCRIPTOR.fields_by_name[field.name].has_presence:
            if message.HasField(field.name):
                values[field.name] = _value(getattr(message, field.name), field)
        else:
            value = _value(getattr(message, field.name), field)
            if value or not field.is_optional:
                values[field.name] = value
    return values


def _value(value: object, field: _Field) -> object:
    if field.nested is not None:
        return _values(cast("ProtoMessage", value), field.nested)
    if field.is_verdict:
        name = pb.Verdict.Name(cast("pb.Verdict", value))
        return name.removeprefix(_VERDICT_PREFIX).lower()
    return value
