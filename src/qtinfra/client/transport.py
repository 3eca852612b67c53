"""Between our requests and httpx: headers out, answers and failures in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypedDict

import httpx

from qtinfra import __version__
from qtinfra.client.errors import Answer, NotAuthenticatedError
from qtinfra.client.retries import NoAnswer, Request

#: A bearer token, or what gives a fresh one for each request.
Token = str | Callable[[], str]

#: Failures before any part of the request has left.
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.ProxyError,
)
MAX_CONNECTIONS = 64
_TOKEN = re.compile(r"[!-~]+")


class Settings(TypedDict):
    """What both kinds of httpx client are made with."""

    base_url: str
    timeout: httpx.Timeout
    limits: httpx.Limits
    headers: dict[str, str]


def settings(url: str, timeout_s: float) -> Settings:
    """Settings for an address and a time limit in seconds.

    Raises:
        ValueError: the address is not http or https, or the time is not positive.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url must begin with http:// or https://, is {url!r}")
    if timeout_s <= 0:
        raise ValueError(f"timeout_s must be positive, is {timeout_s}")
    return Settings(
        base_url=url.rstrip("/"),
        timeout=httpx.Timeout(timeout_s),
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
        headers={"accept": "application/json", "user-agent": f"qtinfra/{__version__}"},
    )


def headers_for(request: Request, token: Token, correlation_id: str) -> dict[str, str]:
    """The headers of one attempt; the correlation id is that of the call.

    Raises:
        NotAuthenticatedError: the token has characters that no token has.
    """
    headers = dict(request.headers)
    headers["x-correlation-id"] = correlation_id
    if request.body:
        headers["content-type"] = "application/json"
    bearer = token if isinstance(token, str) else token()
    if bearer and _TOKEN.fullmatch(bearer) is None:
        raise NotAuthenticatedError(
            "the token is not one: it has spaces, line ends or characters beyond ASCII",
            code="token_form",
            context={"field": "token", "rule": "token_form", "limit": "visible ASCII"},
        )
    if bearer:
        headers["authorization"] = f"Bearer {bearer}"
    return headers


def answer_of(response: httpx.Response) -> Answer:
    """What came back, read whole."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content)


def no_answer(error: httpx.RequestError) -> NoAnswer:
    """What a failed request says about whether the server can have seen it."""
    reason = str(error) or type(error).__name__
    return NoAnswer(not isinstance(error, _NEVER_SENT), reason)
