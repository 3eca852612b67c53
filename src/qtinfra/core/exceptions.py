"""Every error the system raises, as one tree with stable codes.

    QtInfraError
    ├── OrderError
    │   ├── OrderValidationError      a field is wrong: names field, rule, limit, value
    │   ├── OrderNotFoundError
    │   ├── OrderStateError           the order's state does not allow it
    │   ├── DuplicateOrderError       a client order id came again with other content
    │   └── RiskLimitExceededError    a pre-trade control said no: rule, limit, observed
    │       └── PositionLimitExceededError
    ├── ComplianceError
    │   └── RegulatoryViolationError
    ├── SecurityError
    │   ├── AuthenticationError       who is asking is not proven: token or header
    │   └── UnauthorizedAccessError   who is asking is known and may not
    ├── DatabaseError
    │   └── JournalError
    │       ├── JournalCorruptError   a record does not verify: names the sequence
    │       └── FencedError           another owner has taken the shard
    ├── ExternalServiceError
    │   └── OverloadedError           refused before anything was journaled
    └── TimeoutError
        └── OutcomeUnknownError       the shard stopped before the outcome was durable

`OrderError` is the root of all errors about orders; `QtInfraError` joins it with the rest.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar


class Severity(StrEnum):
    """How loud: INFO the client's mistake, WARNING worth counting, ERROR broken, CRITICAL wakes a person."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class QtInfraError(Exception):
    """Base of all our errors.

    Attributes:
        code: stable, machine-readable; documented and never reused.
        severity: default per class.
        retryable: whether the same request may succeed later unchanged.
        context: facts a person needs; text or numbers only, no personal data.
        correlation_id: joins the error to the request.
    """

    code: ClassVar[str] = "internal_error"
    severity: ClassVar[Severity] = Severity.ERROR
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        context: Mapping[str, object] | None = None,
        correlation_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.context: dict[str, object] = dict(context or {})
        self.correlation_id = correlation_id
        self._code = code

    @property
    def error_code(self) -> str:
        """The code of this error: the given one, or its class's."""
        return self._code if self._code is not None else type(self).code

    def to_json(self) -> dict[str, object]:
        """A JSON-ready form: error, code, message, severity, retryable, context, correlation_id."""
        return {
            "error": type(self).__name__,
            "code": self.error_code,
            "message": self.message,
            "severity": type(self).severity.value,
            "retryable": type(self).retryable,
            "context": {key: _plain(value) for key, value in self.context.items()},
            "correlation_id": self.correlation_id,
        }


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | str) or value is None else str(value)


class OrderError(QtInfraError):
    """Something about an order."""

    code = "order_error"
    severity = Severity.WARNING


class OrderValidationError(OrderError):
    """A field of the request breaks a rule; context has field, rule, limit, value."""

    code = "validation_error"
    severity = Severity.INFO


class OrderNotFoundError(OrderError):
    code = "order_not_found"
    severity = Severity.INFO


class OrderStateError(OrderError):
    """Context has the current state and those that would allow it."""

    code = "order_state"
    severity = Severity.INFO


class RiskLimitExceededError(OrderError):
    """Context has rule, limit and observed."""

    code = "risk_limit_exceeded"


class PositionLimitExceededError(RiskLimitExceededError):
    """Context has position, open quantity and limit as well."""

    code = "position_limit"


class DuplicateOrderError(OrderError):
    """Context has the order that the client id belongs to."""

    code = "duplicate_client_order_id"
    severity = Severity.INFO


class ComplianceError(QtInfraError):
    code = "compliance_error"
    severity = Severity.ERROR


class RegulatoryViolationError(ComplianceError):
    """Context has the regulation and its article."""

    code = "regulatory_violation"
    severity = Severity.CRITICAL


class SecurityError(QtInfraError):
    code = "security_error"
    severity = Severity.CRITICAL


class AuthenticationError(SecurityError):
    """The request does not prove who sends it; the code says what is wrong with token or header."""

    code = "invalid_token"
    severity = Severity.WARNING


class UnauthorizedAccessError(SecurityError):
    code = "unauthorized"
    severity = Severity.WARNING


class DatabaseError(QtInfraError):
    code = "database_error"
    severity = Severity.ERROR
    retryable = True


class JournalError(DatabaseError):
    """An append is not known to be durable: the shard stops and reads the disk again."""

    code = "journal_error"
    severity = Severity.CRITICAL
    retryable = False


class JournalCorruptError(JournalError):
    """A record does not verify. `first_bad_seq` names it; nothing is repaired in silence."""

    code = "journal_corrupt"

    def __init__(
        self, message: str, *, first_bad_seq: int, context: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message, context={**(context or {}), "first_bad_seq": first_bad_seq})
        self.first_bad_seq = first_bad_seq


class FencedError(JournalError):
    """Another owner holds the shard; context has both epochs."""

    code = "fenced"


class ExternalServiceError(QtInfraError):
    code = "external_service"
    severity = Severity.ERROR
    retryable = True


class OverloadedError(ExternalServiceError):
    """A queue is full: new work is refused, accepted work is never dropped."""

    code = "overloaded"
    severity = Severity.WARNING


class TimeoutError(QtInfraError, builtins.TimeoutError):
    """The time allowed ran out; whether it happened is not known unless context says so."""

    code = "timeout"
    severity = Severity.ERROR
    retryable = True


class OutcomeUnknownError(TimeoutError):
    """The shard stopped before it was known whether the command is durable. Ask again after a restart."""

    code = "outcome_unknown"
    severity = Severity.CRITICAL
    retryable = False
