"""The OpenAPI document of a service, `/docs.json`: its routes, messages, errors and examples.

Made from the wire schemas, the code table and `services.surfaces.rest.examples`; names nobody else's
schema, help or address. Knows no state.
"""

from collections.abc import Mapping
from functools import cache
from typing import cast

from pydantic.json_schema import models_json_schema

from align2llava.clients.wire.codes import DEADLINE_HEADER, MAX_DEADLINE_MS, TABLE, Code
from align2llava.clients.wire.kinds import ServiceKind
from align2llava.services.errors import (
    DeadlineError,
    ImageInvalidError,
    ImageNeededError,
    InternalError,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    error_body,
)
from align2llava.services.surfaces.rest.bodies import JSON, MSGPACK
from align2llava.services.surfaces.rest.examples import EXAMPLES, Example

Document = dict[str, object]

TITLE = "align2llava"
_VERSION = "1"  # of the contract, as in its routes and its gRPC package
_REF = "#/components/{part}/{name}"
_SCHEMA_REF = "#/components/schemas/{model}"

# What an error of each code says, as an example, and when it comes.
_ERRORS: tuple[tuple[ServiceError, str], ...] = (
    (InvalidRequestError("groups: Field required"), "The request does not fit the contract."),
    (
        UnauthenticatedError("a bearer key is needed: authorization: Bearer KEY"),
        "No key, or an unknown one. A service without keys answers on loopback only.",
    ),
    (
        ImageNeededError(f"image {'0' * 64} is not held here; send its data"),
        "An image was named by hash alone and is not held here. Stands at items; send its data.",
    ),
    (
        TooLargeError("the body is 67108865 bytes; the limit is 67108864"),
        "A body, an image or a text is over its limit. Stands at items too.",
    ),
    (
        ImageInvalidError("the data is no PNG, JPEG or WebP we can read"),
        "The bytes are no image, or have another hash than they say. Stands at items.",
    ),
    (
        OverloadedError("4096 items wait; the limit is 4096", retry_after_ms=1000),
        "There is no room now; come again after `Retry-After` seconds.",
    ),
    (InternalError("the service failed: RuntimeError"), "A fault of the service itself."),
    (
        UnavailableError("the service is not ready: loading"),
        "The service loads its model, or shuts down.",
    ),
    (
        DeadlineError("the deadline passed before the request was scored"),
        "The deadline passed before the answer was done.",
    ),
)
_ITEM_LEVEL = (Code.IMAGE_NEEDED, Code.IMAGE_INVALID)  # never the status of a whole answer


@cache
def document(kind: ServiceKind, *, description: str) -> Document:
    """Returns the document of a service, as plain JSON values."""
    examples = EXAMPLES[kind]
    paths: Document = {one.path: {one.method.lower(): _operation(one)} for one in examples}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{TITLE} {kind}",
            "version": _VERSION,
            "description": description,
            "contact": {"name": TITLE},
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "security": [{"key": []}, {}],
        "paths": paths | _PROBES,
        "components": {
            "schemas": _schemas(examples),
            "responses": {error.code.value: _response(error, says) for error, says in _ERRORS},
            "parameters": {"deadline": _DEADLINE},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


_DEADLINE = {
    "name": DEADLINE_HEADER,
    "in": "header",
    "description": "How many ms the caller waits. Without it: `A2L_DEFAULT_DEADLINE_MS`.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_DEADLINE_MS},
}
_READY = {
    "200": {"description": "Yes."},
    "503": {"$ref": _REF.format(part="responses", name=Code.UNAVAILABLE)},
}
_COUNTED = {"200": {"description": "Prometheus' text form."}}


def _probe(summary: str, responses: Mapping[str, object]) -> Document:
    return {"get": {"summary": summary, "security": [{}], "responses": responses}}


_PROBES: Document = {
    "/livez": _probe("Whether the process can become or remain useful.", _READY),
    "/readyz": _probe("Whether requests are welcome now.", _READY),
    "/metrics": _probe("Counts and times, for Prometheus.", _COUNTED),
}


def _operation(example: Example) -> Document:
    codes = [error.code for error, _ in _ERRORS if error.code not in _ITEM_LEVEL]
    responses: Document = {
        "200": {"description": "The answer.", "content": _content(example.gives, example.reply)}
    }
    for code in codes:
        status = str(TABLE[code].http_status)
        responses[status] = {"$ref": _REF.format(part="responses", name=code)}
    operation: Document = {
        "summary": example.summary,
        "operationId": example.path.removeprefix("/v1/").replace("/", "_"),
        "parameters": [{"$ref": _REF.format(part="parameters", name="deadline")}],
        "responses": responses,
    }
    if example.request is not None:
        body = _content(example.takes, example.request)
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _content(message: type | None, example: Mapping[str, object]) -> Document:
    if message is None:
        return {JSON: {"schema": {"type": "object"}, "example": example}}
    schema = {"$ref": _SCHEMA_REF.format(model=message.__name__)}
    return {JSON: {"schema": schema, "example": example}, MSGPACK: {"schema": schema}}


def _response(error: ServiceError, says: str) -> Document:
    body = error_body(error)
    answer: Document = {
        "description": f"{body.code}: {says}",
        "content": {
            JSON: {
                "schema": {"$ref": _SCHEMA_REF.format(model="ErrorAnswer")},
                "example": {"error": {"code": body.code, "message": body.message}},
            }
        },
    }
    if body.retry_after_ms:
        seconds = {"type": "integer", "minimum": 1}
        answer["headers"] = {"Retry-After": {"description": "In seconds.", "schema": seconds}}
    return answer


def _schemas(examples: tuple[Example, ...]) -> Document:
    models = {model for one in examples for model in (one.takes, one.gives) if model is not None}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, made = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=_SCHEMA_REF
    )
    error = {
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": {"type": "string", "enum": [code.value for code in Code]},
            "message": {"type": "string"},
        },
    }
    answer = {"type": "object", "required": ["error"], "properties": {"error": error}}
    return cast("Document", made["$defs"]) | {"ErrorAnswer": answer}
