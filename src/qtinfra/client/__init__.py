"""The Python client of the API: `Client` for threads, `AsyncClient` for asyncio, one behaviour.

Both are thin: what a call sends and how its answer is read is `calls`, when it is repeated is `retries`.
"""

from qtinfra.client.aio import AsyncClient
from qtinfra.client.errors import (
    ApiError,
    BadAnswerError,
    ConflictError,
    ForbiddenError,
    NotAuthenticatedError,
    NotFoundError,
    PreconditionError,
    RateLimitedError,
    RefusedError,
    ServerFailedError,
    SubmissionUnknownError,
    TransportError,
    UnavailableError,
)
from qtinfra.client.models import (
    Execution,
    Health,
    KillOutcome,
    KillSwitch,
    Limit,
    Locate,
    Order,
    OrderDetail,
    OrderList,
    PegTerms,
    Position,
    Revocation,
    RouteLeg,
    RoutePreview,
    RoutingTerms,
    Venue,
)
from qtinfra.client.retries import RetryPolicy
from qtinfra.client.streaming import AlertNote, AlgoStep, Book, NewOrder, Outcome, Update, new_order
from qtinfra.client.streams import AsyncStream, Stream
from qtinfra.client.sync import Client

__all__ = [
    "AlertNote",
    "AlgoStep",
    "ApiError",
    "AsyncClient",
    "AsyncStream",
    "BadAnswerError",
    "Book",
    "Client",
    "ConflictError",
    "Execution",
    "ForbiddenError",
    "Health",
    "KillOutcome",
    "KillSwitch",
    "Limit",
    "Locate",
    "NewOrder",
    "NotAuthenticatedError",
    "NotFoundError",
    "Order",
    "OrderDetail",
    "OrderList",
    "Outcome",
    "PegTerms",
    "Position",
    "PreconditionError",
    "RateLimitedError",
    "RefusedError",
    "RetryPolicy",
    "Revocation",
    "RouteLeg",
    "RoutePreview",
    "RoutingTerms",
    "ServerFailedError",
    "Stream",
    "SubmissionUnknownError",
    "TransportError",
    "UnavailableError",
    "Update",
    "Venue",
    "new_order",
]
