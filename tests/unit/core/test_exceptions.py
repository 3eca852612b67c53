"""The error tree: stable codes, severity, retryable or not, context, correlation id, JSON form."""

import builtins
import json
from decimal import Decimal

import pytest

from qtinfra.core import exceptions as ex

pytestmark = pytest.mark.unit

#: The specification's 14 classes with what must not change: parent, code, severity, retryable.
TREE: list[tuple[type[ex.QtInfraError], type[Exception], str, str, bool]] = [
    (ex.OrderError, ex.QtInfraError, "order_error", "WARNING", False),
    (ex.OrderValidationError, ex.OrderError, "validation_error", "INFO", False),
    (ex.OrderNotFoundError, ex.OrderError, "order_not_found", "INFO", False),
    (ex.OrderStateError, ex.OrderError, "order_state", "INFO", False),
    (ex.RiskLimitExceededError, ex.OrderError, "risk_limit_exceeded", "WARNING", False),
    (ex.PositionLimitExceededError, ex.RiskLimitExceededError, "position_limit", "WARNING", False),
    (ex.DuplicateOrderError, ex.OrderError, "duplicate_client_order_id", "INFO", False),
    (ex.ComplianceError, ex.QtInfraError, "compliance_error", "ERROR", False),
    (ex.RegulatoryViolationError, ex.ComplianceError, "regulatory_violation", "CRITICAL", False),
    (ex.SecurityError, ex.QtInfraError, "security_error", "CRITICAL", False),
    (ex.UnauthorizedAccessError, ex.SecurityError, "unauthorized", "WARNING", False),
    (ex.DatabaseError, ex.QtInfraError, "database_error", "ERROR", True),
    (ex.ExternalServiceError, ex.QtInfraError, "external_service", "ERROR", True),
    (ex.TimeoutError, ex.QtInfraError, "timeout", "ERROR", True),
]


def test_the_specification_s_fourteen_classes_exist_with_codes_of_their_own() -> None:
    assert len(TREE) == 14
    assert len({code for _, _, code, _, _ in TREE}) == 14


@pytest.mark.parametrize(("kind", "parent", "code", "severity", "retryable"), TREE)
def test_each_error_has_a_stable_code_severity_and_json_form(
    kind: type[ex.QtInfraError], parent: type[Exception], code: str, severity: str, retryable: bool
) -> None:
    assert issubclass(kind, parent)
    error = kind("what happened", context={"limit": Decimal("1.50"), "n": 3, "ok": True, "none": None})
    error.correlation_id = "c-1"
    assert str(error) == error.message == "what happened"
    assert json.loads(json.dumps(error.to_json())) == {
        "error": kind.__name__,
        "code": code,
        "message": "what happened",
        "severity": severity,
        "retryable": retryable,
        "context": {"limit": "1.50", "n": 3, "ok": True, "none": None},
        "correlation_id": "c-1",
    }


def test_an_error_may_carry_the_code_of_the_rule_that_it_reports() -> None:
    error = ex.RiskLimitExceededError("too much", code="max_order_qty", correlation_id="c-2")
    assert error.error_code == error.to_json()["code"] == "max_order_qty"
    assert ex.RiskLimitExceededError.code == "risk_limit_exceeded"
    assert error.correlation_id == "c-2"


def test_the_context_is_copied() -> None:
    context: dict[str, object] = {"field": "qty"}
    error = ex.OrderValidationError("wrong", context=context)
    context["field"] = "price"
    assert error.context == {"field": "qty"}


def test_our_timeout_is_also_python_s() -> None:
    with pytest.raises(builtins.TimeoutError):
        raise ex.TimeoutError("late")


def test_a_corrupt_journal_names_the_first_bad_sequence_and_is_not_retryable() -> None:
    error = ex.JournalCorruptError("hash differs", first_bad_seq=42)
    assert error.first_bad_seq == 42
    assert error.to_json()["context"] == {"first_bad_seq": 42}
    assert issubclass(ex.JournalCorruptError, ex.JournalError)
    assert issubclass(ex.FencedError, ex.JournalError)
    assert issubclass(ex.JournalError, ex.DatabaseError)
    assert not ex.JournalError.retryable


def test_no_two_errors_share_a_code() -> None:
    def below(kind: type[ex.QtInfraError]) -> list[type[ex.QtInfraError]]:
        return [kind, *(leaf for child in kind.__subclasses__() for leaf in below(child))]

    ours = [kind for kind in below(ex.QtInfraError) if kind.__module__ == ex.__name__]
    assert len(ours) >= 18
    assert len({kind.code for kind in ours}) == len(ours)
