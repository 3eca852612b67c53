"""The OpenAPI description: what the framework's routes do not say by themselves, and the short path.

Schemas of answers come from the structs that are encoded, schemas of messages from `core.validation.schemas`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel

from qtinfra.api.errors import Wrong
from qtinfra.core.validation.schemas import OrderCreateRequest, OrderUpdateRequest
from qtinfra.repository.query import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET, Field, FieldSet, Kind

REF = "#/components/schemas/{name}"
_ID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"

_WHY = {
    400: "The message has the wrong form.",
    401: "The bearer token is missing or not good.",
    403: "The caller may not do this, or not with this account.",
    404: "There is nothing of this name within the caller's reach.",
    409: "It contradicts what stands: `code` says how.",
    412: "The order has another version than If-Match names.",
    413: "The body is too long.",
    415: "The body is not plain application/json.",
    422: "A field, a rule or a control refuses it: `code` is the rule's id, `errors` name limit and value.",
    429: "Too many requests, or the control max_messages; Retry-After says when to come again.",
    431: "The token is too long.",
    500: "A fault of ours; a person looks at it.",
    503: "Overloaded or not serving; nothing was journaled unless `code` is outcome_unknown.",
}
ALWAYS = (400, 401, 403, 429, 431, 503)


class ProblemView(msgspec.Struct, rename={"kind": "type"}):
    """RFC 9457 problem details. `code` is stable; `order_id` names an order that exists as REJECTED."""

    kind: str
    title: str
    status: int
    code: str
    detail: str
    severity: str
    retryable: bool
    correlation_id: str
    errors: list[Wrong]
    order_id: str | None = None


def ref(name: str) -> dict[str, str]:
    """A reference to a schema of the description."""
    return {"$ref": REF.format(name=name)}


def answers(
    schema: dict[str, Any],
    *more: int,
    status: int = 200,
    text: str = "Done.",
    also: Mapping[int, str] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """The answers of an operation: its own, and the problems it may meet.

    Args:
        more: statuses of problems besides those that every operation has.
        also: further successful statuses with their text.
    """
    content = {"application/json": {"schema": schema}}
    found: dict[int | str, dict[str, Any]] = {status: {"description": text, "content": content}}
    for number, words in (also or {}).items():
        found[number] = {"description": words, "content": content}
    problem = {"application/problem+json": {"schema": ref("ProblemView")}}
    for code in sorted({*ALWAYS, *more}):
        found[code] = {"description": _WHY[code], "content": problem}
    return found


def body(schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """A JSON request body."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def page_of(name: str) -> dict[str, Any]:
    """The schema of one page of rows."""
    properties = {
        "items": {"type": "array", "items": ref(name)},
        "next_cursor": {"type": ["string", "null"]},
        "limit": {"type": "integer"},
        "offset": {"type": "integer"},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _filter(field: Field) -> dict[str, Any]:
    operators = ", ".join(item.value for item in field.operators)
    schema: dict[str, Any] = {"type": "string"}
    if field.kind is Kind.CHOICE:
        schema["enum"] = list(field.choices)
    text = f"Equal to this. Other comparisons: `{field.name}[op]` with op {operators}."
    return {"name": field.name, "in": "query", "required": False, "schema": schema, "description": text}


def _parameter(name: str, schema: dict[str, Any], text: str, place: str = "query") -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": schema,
        "description": text,
    }


def page_parameters(fields: FieldSet) -> list[dict[str, Any]]:
    """The query parameters of a list."""
    sortable = ", ".join(field.name for field in fields.fields.values() if field.sortable)
    whole = {"type": "integer"}
    return [
        _parameter("limit", {**whole, "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}, "Rows."),
        _parameter("offset", {**whole, "minimum": 0, "maximum": MAX_OFFSET}, "Rows to pass over."),
        _parameter("cursor", {"type": "string"}, "`next_cursor` of the page before, with the same query."),
        _parameter(
            "sort", {"type": "string"}, f"Fields in order, `-` before one for descending: {sortable}."
        ),
        *(_filter(field) for field in fields.fields.values()),
    ]


def listing(tag: str, view: type, fields: FieldSet) -> dict[str, Any]:
    """Keyword arguments of a list's route."""
    return {
        "tags": [tag],
        "responses": answers(page_of(view.__name__), 422, text="One page."),
        "openapi_extra": {"parameters": page_parameters(fields)},
    }


# --- the short path ----------------------------------------------------------------------------------------

_KEY_TEXT = "The same key and request again gets the first answer; another request under it is refused."
_KEY = _parameter(
    "Idempotency-Key", {"type": "string", "pattern": "^[!-~]{1,64}$"}, _KEY_TEXT, place="header"
)
_MATCH = _parameter("If-Match", {"type": "string"}, "The ETag that the change was made for.", place="header")
_WRONG = (409, 413, 415, 422)
_SENT = {202: "Sent to the venues; their answer follows."}
_ORDER_ID = _parameter("id", {"type": "string", "pattern": _ID}, "Public order id.", place="path")


def short_path(messages: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The operations of order entry by path and method."""
    return {
        "/orders": {"post": _submit(messages["order"])},
        "/orders/{id}": _one_order(messages["update"]),
        "/orders:batch": {"post": _batch(messages["order"])},
        "/orders:cancel": {"post": _mass_cancel(messages["cancel"])},
        "/healthz": {"get": _healthz()},
    }


def _operation(
    tag: str, name: str, summary: str, responses: dict[int | str, Any], **more: Any
) -> dict[str, Any]:
    said = {str(status): answer for status, answer in responses.items()}
    return {"tags": [tag], "summary": summary, "operationId": name, "responses": said, **more}


def _submit(message: dict[str, Any]) -> dict[str, Any]:
    text = "Answered when it is durable. `client_order_id` makes it safe to send again."
    found = answers(
        ref("OrderView"),
        *_WRONG,
        500,
        status=201,
        text="Accepted and durable.",
        also={200: "The first answer again."},
    )
    return _operation(
        "Orders", "submit_order", "New order", found, description=text, parameters=[_KEY], **body(message)
    )


def _one_order(update: dict[str, Any]) -> dict[str, Any]:
    order = ref("OrderView")
    changed = answers(order, *_WRONG, 404, 412, 500, text="The new terms count.", also=_SENT)
    ended = answers(order, 404, 409, 412, 422, 500, text="Cancelled.", also=_SENT)
    change = [_ORDER_ID, _KEY, _MATCH]
    return {
        "get": _operation(
            "Orders",
            "get_order",
            "One order with its children and executions",
            answers(ref("OrderDetailView"), 404),
            parameters=[_ORDER_ID],
        ),
        "put": _operation(
            "Orders", "replace_order", "Change quantity or price", changed, parameters=change, **body(update)
        ),
        "delete": _operation("Orders", "cancel_order", "Cancel", ended, parameters=change),
    }


def _batch(message: dict[str, Any]) -> dict[str, Any]:
    orders = {"type": "array", "minItems": 1, "maxItems": 1000, "items": message}
    batch = {
        "type": "object",
        "additionalProperties": False,
        "required": ["orders"],
        "properties": {"orders": orders},
    }
    results = {
        "type": "object",
        "required": ["results"],
        "properties": {"results": {"type": "array", "items": ref("Item")}},
    }
    found = answers(results, 413, 415, 422, text="One outcome per order, in order.")
    summary = "Up to 1,000 new orders, each with its own outcome"
    return _operation("Orders", "submit_batch", summary, found, **body(batch))


def _mass_cancel(message: dict[str, Any]) -> dict[str, Any]:
    found = answers(ref("MassCancelView"), 413, 415, 422, 500, text="Nothing waits for a venue.", also=_SENT)
    summary = "Cancel every open order of an account, or of one symbol in it"
    return _operation("Orders", "cancel_orders", summary, found, **body(message))


def _healthz() -> dict[str, Any]:
    found = answers({"type": "object"})
    return _operation("Service", "healthz", "Whether orders are taken", found, security=[])


def _message(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    """A message's schema; what it refers to goes into the components."""
    found = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(found.pop("$defs", {}))
    schemas[model.__name__] = found
    return {"$ref": REF.format(name=model.__name__)}


_MASS_CANCEL = {
    "type": "object",
    "additionalProperties": False,
    "required": ["account_id"],
    "properties": {
        "account_id": {"type": "string", "minLength": 1, "maxLength": 64},
        "symbol": {"type": "string", "pattern": r"^[A-Z0-9.\-/]{1,24}$"},
        "request_id": {"type": "string", "minLength": 1, "maxLength": 64},
    },
}


def document(app: FastAPI, views: Sequence[type]) -> dict[str, Any]:
    """The whole description of an app: the framework's part, the short path, the schemas.

    Args:
        views: the structs that answers are made of.
    """
    found = FastAPI.openapi(app)
    if "ProblemView" in found.get("components", {}).get("schemas", {}):
        return found
    components = found.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    schemas.update(msgspec.json.schema_components([ProblemView, *views], ref_template=REF)[1])
    messages = {
        "order": _message(OrderCreateRequest, schemas),
        "update": _message(OrderUpdateRequest, schemas),
        "cancel": _MASS_CANCEL,
    }
    for path, operations in short_path(messages).items():
        found["paths"].setdefault(path, {}).update(operations)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    }
    found["security"] = [{"bearer": []}]
    return found
