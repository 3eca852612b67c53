"""The read model: tables projected from the journal, and what may be asked of them.

`Projector` writes, `ReadModel` reads. SQL lives here and in `journal`, nowhere else. Nothing that decides
reads these tables.
"""

from qtinfra.repository.base import Page, Repository
from qtinfra.repository.orders import EXECUTION_FIELDS, ORDER_FIELDS, POSITION_FIELDS, OrderRepository
from qtinfra.repository.progress import Progress
from qtinfra.repository.projector import Checkpoint, ProjectionError, Projector
from qtinfra.repository.query import EVERYTHING, Op, Query, QueryError, Scope, parse_query
from qtinfra.repository.readmodel import ReadModel
from qtinfra.repository.reference import ACCOUNT_FIELDS, INSTRUMENT_FIELDS, VENUE_FIELDS
from qtinfra.repository.rows import rfc3339

__all__ = [
    "ACCOUNT_FIELDS",
    "EVERYTHING",
    "EXECUTION_FIELDS",
    "INSTRUMENT_FIELDS",
    "ORDER_FIELDS",
    "POSITION_FIELDS",
    "VENUE_FIELDS",
    "Checkpoint",
    "Op",
    "OrderRepository",
    "Page",
    "Progress",
    "ProjectionError",
    "Projector",
    "Query",
    "QueryError",
    "ReadModel",
    "Repository",
    "Scope",
    "parse_query",
    "rfc3339",
]
