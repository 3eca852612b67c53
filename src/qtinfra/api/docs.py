"""The OpenAPI description: what the framework's routes do not say by themselves, and the short path.

Schemas of answers come from the structs that are encoded, schemas of messages from `core.validation.schemas`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel

from qtinfra.api.errors import Wrong
from qtinfra.core.special import Link
from qtinfra.core.validation.schemas import OrderCreateRequest, OrderUpdateRequest
from qtinfra.core.validation.wire_list import MAX_ORDERS, MIN_ORDERS
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
#: What an operation without a token may meet.
PUBLIC = (400, 503)


def _header(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": text, "required": True, "schema": schema}


_CORRELATION = {
    "X-Correlation-ID": _header("The client's, or one of ours.", {"type": "string", "maxLength": 64})
}
_TEXT_TAG = {"type": "string", "pattern": '^"[0-9]+"$'}
ETAG = {"ETag": _header("The order's version.", _TEXT_TAG)}
LOCATION = {"Location": _header("The order's path.", {"type": "string", "pattern": "^/orders/"})}
_RETRY = {"Retry-After": _header("Seconds to wait.", {"type": "integer", "minimum": 1})}
_WITH_STATUS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": _header("The scheme.", {"const": "Bearer"})},
    429: _RETRY,
    503: _RETRY,
}


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
    headers: Mapping[str, Any] | None = None,
    public: bool = False,
) -> dict[int | str, dict[str, Any]]:
    """The answers of an operation: its own, and the problems it may meet.

    Args:
        more: statuses of problems besides those that every operation has.
        also: further successful statuses with their text.
        headers: what a successful answer always carries besides the correlation id.
        public: it needs no token.
    """
    content = {"application/json": {"schema": schema}}
    carried = {**_CORRELATION, **(headers or {})}
    found: dict[int | str, dict[str, Any]] = {
        number: {"description": words, "content": content, "headers": carried}
        for number, words in {status: text, **(also or {})}.items()
    }
    problem = {"application/problem+json": {"schema": ref("ProblemView")}}
    for code in sorted({*(PUBLIC if public else ALWAYS), *more}):
        carried = {**_CORRELATION, **_WITH_STATUS.get(code, {})}
        found[code] = {"description": _WHY[code], "content": problem, "headers": carried}
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
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


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
_LINK_TEXT = (
    "OCO: an execution of one reduces the others by as much. BRACKET: the first order is the entry; the "
    "others, on the other side, live for what it has executed and are OCO to each other."
)
_ORDER_ID = _parameter("id", {"type": "string", "pattern": _ID}, "Public order id.", place="path")


def short_path(messages: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The operations of order entry by path and method."""
    return {
        "/orders": {"post": _submit(messages["order"])},
        "/orders/{id}": _one_order(messages["update"]),
        "/orders:batch": {"post": _batch(messages["order"])},
        "/orders:list": {"post": _list(messages["order"])},
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
        headers={**ETAG, **LOCATION},
    )
    return _operation(
        "Orders", "submit_order", "New order", found, description=text, parameters=[_KEY], **body(message)
    )


def _one_order(update: dict[str, Any]) -> dict[str, Any]:
    order = ref("OrderView")
    with_order = {**ETAG, **LOCATION}
    changed = answers(
        order, *_WRONG, 404, 412, 500, text="The new terms count.", also=_SENT, headers=with_order
    )
    ended = answers(order, 404, 409, 412, 422, 500, text="Cancelled.", also=_SENT, headers=with_order)
    change = [_ORDER_ID, _KEY, _MATCH]
    return {
        "get": _operation(
            "Orders",
            "get_order",
            "One order with its children and executions",
            answers(ref("OrderDetailView"), 404, headers=ETAG),
            parameters=[_ORDER_ID],
        ),
        "put": _operation(
            "Orders",
            "replace_order",
            "Change quantity, price or special terms",
            changed,
            parameters=change,
            **body(update),
        ),
        "delete": _operation(
            "Orders", "cancel_order", "Cancel what is open of an order", ended, parameters=change
        ),
    }


def _batch(message: dict[str, Any]) -> dict[str, Any]:
    text = "What POST /orders takes. Each is judged alone: one that is not gets its refusal in its place."
    item = {"anyOf": [message, {}], "description": text}
    orders = {"type": "array", "minItems": 1, "maxItems": 1000, "items": item}
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


def _list(message: dict[str, Any]) -> dict[str, Any]:
    orders = {"type": "array", "minItems": MIN_ORDERS, "maxItems": MAX_ORDERS, "items": message}
    listed = {
        "type": "object",
        "additionalProperties": False,
        "required": ["link", "orders"],
        "properties": {
            "link": {"enum": [link.value for link in Link], "description": _LINK_TEXT},
            "orders": orders,
        },
    }
    found = answers(
        ref("ListView"),
        *_WRONG,
        500,
        status=201,
        text="All accepted and durable.",
        also={200: "The first answer again."},
    )
    summary = "Orders that hang together, accepted all or none"
    return _operation("Orders", "submit_list", summary, found, parameters=[_KEY], **body(listed))


def _mass_cancel(message: dict[str, Any]) -> dict[str, Any]:
    found = answers(ref("MassCancelView"), 413, 415, 422, 500, text="Nothing waits for a venue.", also=_SENT)
    summary = "Cancel every open order of an account, or of one symbol in it"
    return _operation("Orders", "cancel_orders", summary, found, **body(message))


def _healthz() -> dict[str, Any]:
    status = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}
    found = answers({**status, "additionalProperties": False}, public=True)
    return _operation("Service", "healthz", "Whether orders are taken", found, security=[])


#: Fields for which the caller stands in: an id by the Idempotency-Key, the account by the token's only one.
_STAND_INS = {
    "client_order_id": " May be left out with an Idempotency-Key.",
    "account_id": " May be left out by a caller of one account.",
}


def _message(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    """A message's schema; what it refers to goes into the components."""
    found = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(found.pop("$defs", {}))
    found["required"] = [name for name in found["required"] if name not in _STAND_INS]
    for name in _STAND_INS.keys() & found["properties"].keys():
        found["properties"][name]["description"] += _STAND_INS[name]
    schemas[model.__name__] = found
    return {"$ref": REF.format(name=model.__name__)}


_MASS_CANCEL = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "account_id": {
            "type": "string",
            "minLength": 1,
            "maxLength": 64,
            "description": _STAND_INS["account_id"].strip(),
        },
        "symbol": {"type": "string", "pattern": r"^[A-Z0-9.\-/]{1,24}$"},
        "request_id": {"type": "string", "minLength": 1, "maxLength": 64},
    },
}


def _summarise(operation: dict[str, Any]) -> None:
    """The first sentence that an endpoint says of itself is its summary; what follows stays below."""
    first, *rest = re.split(r"\.\s+", operation.pop("description"), maxsplit=1)
    operation["summary"] = first.removesuffix(".")
    if rest:
        operation["description"] = rest[0]


def document(app: FastAPI, views: Sequence[type]) -> dict[str, Any]:
    """The whole description of an app: the framework's part, the short path, the schemas.

    Args:
        views: the structs that answers are made of.
    """
    found = FastAPI.openapi(app)
    if "ProblemView" in found.get("components", {}).get("schemas", {}):
        return found
    for operations in found["paths"].values():
        for operation in operations.values():
            _summarise(operation)
    components = found.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    answered = msgspec.json.schema_components([ProblemView, *views], ref_template=REF)[1]
    for schema in answered.values():
        schema["additionalProperties"] = False
    answered["Item"]["properties"]["problem"] = {"anyOf": [ref("ProblemView"), {"type": "null"}]}
    schemas.update(answered)
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
