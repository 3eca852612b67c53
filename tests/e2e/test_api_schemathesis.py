"""The server against its own description: whatever is sent, the answer is one that `/openapi.json` promises.

Requests are generated from the description by schemathesis: half of them fit it, half break it in one place.
Some are then led to existing orders, symbols and accounts, so that they reach the engine and not only the
parser. Every answer must have a documented status, content type, headers and body; none is a fault of ours.

QTINFRA_SCHEMATHESIS_CASES is the number of requests (default 1,000; 10,000 for the full run).
"""

import math
import os
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.generation.case import Case
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from qtinfra.api.main import create_app
from qtinfra.core.validation.wire_special import SPECIAL
from tests.support.server import Api, new_order, server_process

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("schemathesis")]  # the last test looks at one server

CASES = int(os.environ.get("QTINFRA_SCHEMATHESIS_CASES", "1000"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
#: Who asks; "" is nobody. Those who may trade come more often.
USERS = ("trader", "trader", "pm", "pm", "viewer", "risk", "compliance", "admin", "")
#: A switch, limit or rate that one case sets would refuse the orders of all later cases.
LAST = ("/admin/", "/risk/")
DESCRIPTION = create_app().openapi()
OPERATIONS = sorted(
    (path.startswith(LAST), path, method)
    for path, methods in DESCRIPTION["paths"].items()
    for method in methods
)
#: Operations with something to vary; the others have only a few different requests.
VARIED = [
    (path, method)
    for _, path, method in OPERATIONS
    if DESCRIPTION["paths"][path][method].keys() & {"parameters", "requestBody"}
]
EACH = math.ceil(CASES / len(VARIED) / len(GenerationMode))
FEW = 20


class Server:
    """The running server, its orders, and what has been asked of it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.base = f"http://127.0.0.1:{api.port}"
        description = api.http.get("/openapi.json").json()
        del description["security"]  # tokens are put on by `ask`: no case is one because of its token
        self.schema = schemathesis.openapi.from_dict(description)
        self.session = requests.Session()
        self.asked: Counter[tuple[str, str]] = Counter()
        self.answered: Counter[int] = Counter()
        self.order_ids = [api.order(quantity=str(100 * n)).json()["id"] for n in range(1, 31)]
        cancelled, refused = api.call("DELETE", f"/orders/{self.order_ids[0]}"), api.order(quantity="100001")
        assert (cancelled.status_code, refused.status_code) == (202, 422)
        self.order_ids.append(refused.json()["order_id"])

    def operation(self, path: str, method: str) -> APIOperation[Any, Any, Any, Any]:
        return self.schema[path][method]

    def ask(self, case: Case[Any], user: str, checks: list[Any]) -> None:
        headers = {"authorization": f"Bearer {self.api.token(user)}"} if user else {}
        self.asked[case.operation.path, case.operation.method] += 1
        answer = case.call_and_validate(self.base, self.session, headers=headers, checks=checks)
        self.answered[answer.status_code] += 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server_process(tmp_path_factory.mktemp("schemathesis")) as (process, api):
        found = Server(api)
        yield found
        found.session.close()
        assert process.poll() is None
        assert api.http.get("/healthz").status_code == 200
        assert "5" not in {str(status)[0] for status in found.answered}


@lru_cache(maxsize=1)
def _symbols(api: Api) -> tuple[str, ...]:
    return tuple(item["symbol"] for item in api.call("GET", "/instruments").json()["items"])


def lead_to_the_engine(case: Case[Any], server: Server, draw: st.DataObject) -> None:
    """Put existing things in the place of generated ones that fit the description as well."""
    if case.path_parameters and "id" in case.path_parameters:
        case.path_parameters["id"] = draw.draw(st.sampled_from(server.order_ids), label="id")
    if isinstance(case.body, dict):
        _lead_order(case.body, server, draw)
        orders = case.body.get("orders")
        for order in orders if isinstance(orders, list) else ():
            if isinstance(order, dict):
                _lead_order(order, server, draw)


def _lead_order(order: dict[str, Any], server: Server, draw: st.DataObject) -> None:
    if "side" in order:
        order.update(new_order(order_type=draw.draw(st.sampled_from(["LIMIT", "MARKET"]), label="type")))
        order.update({"capacity": "AGENCY", "time_in_force": "DAY"})
        if order["order_type"] == "MARKET":
            order.pop("price", None)
        if draw.draw(st.integers(0, 3), label="plain"):  # most terms do not go together
            for name in (*(field.name for field in SPECIAL), "algo", "routing"):
                order.pop(name, None)
    real = {
        "symbol": st.sampled_from(_symbols(server.api)),
        "account_id": st.sampled_from(["ACC-1", "ACC-1", "ACC-2", "ACC-9"]),
        "quantity": st.sampled_from(["1", "100", "500", "100001"]),
        "price": st.sampled_from(["200.00", "200.01", "1.005"]),
        "min_quantity": st.sampled_from(["0", "100"]),
        "client_order_id": st.one_of(
            st.builds(lambda: new_order()["client_order_id"]), st.sampled_from(["twice-1", "twice-2"])
        ),
        "trader": st.just("T1"),
        "text": st.just("a note"),
        "user": st.sampled_from(USERS[:-1]),
    }
    for name in sorted(real.keys() & order.keys()):
        if name in ("quantity", "min_quantity") and draw.draw(st.booleans(), label="as is"):
            continue  # as `new_order` has it
        order[name] = draw.draw(real[name], label=name)


def _run(server: Server, path: str, method: str, mode: GenerationMode, count: int) -> None:
    operation = server.operation(path, method)
    fits = mode is GenerationMode.POSITIVE
    checks = CHECKS if fits else [*CHECKS, negative_data_rejection]

    @given(operation.as_strategy(generation_mode=mode), st.sampled_from(USERS), st.booleans(), st.data())
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    def every_answer_is_documented(case: Case[Any], user: str, lead: bool, draw: st.DataObject) -> None:
        if fits and lead:
            lead_to_the_engine(case, server, draw)
        server.ask(case, user, checks)

    every_answer_is_documented()


@pytest.mark.parametrize(("path", "method"), [(path, method) for _, path, method in OPERATIONS])
def test_every_answer_is_one_that_the_description_promises(server: Server, path: str, method: str) -> None:
    varied = (path, method) in VARIED
    _run(server, path, method, GenerationMode.POSITIVE, EACH if varied else FEW)
    if varied:
        _run(server, path, method, GenerationMode.NEGATIVE, EACH)
    least = 2 * EACH if varied else 1
    assert server.asked[path, method] >= least


def test_what_the_description_promises_of_an_order_taken_and_of_one_said_twice(server: Server) -> None:
    operation, body = server.operation("/orders", "post"), new_order()
    taken, twice = server.answered[201], server.answered[409]
    server.ask(operation.Case(body=body, media_type="application/json"), "trader", CHECKS)
    assert server.answered[201] == taken + 1
    other = {**body, "quantity": "7"}
    server.ask(operation.Case(body=other, media_type="application/json"), "trader", CHECKS)
    assert server.answered[409] == twice + 1


def test_the_requests_reached_the_engine_and_not_only_the_parser(server: Server) -> None:
    if not server.asked:
        pytest.skip("runs after the others, on their server")
    assert {200, 201, 401, 403, 404, 409, 422} <= server.answered.keys()
