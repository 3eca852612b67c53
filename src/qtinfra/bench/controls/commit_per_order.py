"""An order service as it is usually written: FastAPI, Pydantic, SQLAlchemy, one commit for every order.

It validates the message, looks the account up, inserts one row and commits; SQLite with WAL and full syncs,
as the journal has it. It has no risk checks, no routing, no events, no tokens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Literal
from uuid import uuid4

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import String, event, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry


class Base(DeclarativeBase):
    """The tables."""


class AccountRow(Base):
    """An account."""

    __tablename__ = "accounts"
    account_id: Mapped[str] = mapped_column(primary_key=True)


class OrderRow(Base):
    """An order; numbers as text, since SQLite has no decimals."""

    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)
    client_order_id: Mapped[str] = mapped_column(String(64), unique=True)
    account_id: Mapped[str]
    symbol: Mapped[str]
    side: Mapped[str]
    quantity: Mapped[str]
    price: Mapped[str | None]
    order_type: Mapped[str]
    status: Mapped[str]


class OrderIn(BaseModel):
    """A new order."""

    symbol: str
    side: Literal["BUY", "SELL"]
    quantity: Decimal
    price: Decimal | None = None
    order_type: Literal["LIMIT", "MARKET"]
    client_order_id: str
    account_id: str


class OrderOut(OrderIn):
    """An order as it was kept."""

    id: str
    status: str


def _full_sync(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    del record
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def create_app(database: Path) -> FastAPI:
    """The service on a new database file."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}", connect_args={"timeout": 30})
    event.listen(engine.sync_engine, "connect", _full_sync)
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with sessions.begin() as session:
            session.add_all([AccountRow(account_id=f"ACC-{n}") for n in (1, 2, 3)])
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/orders", status_code=201)
    async def submit(order: OrderIn) -> OrderOut:
        async with sessions.begin() as session:
            known = await session.scalar(
                select(AccountRow.account_id).where(AccountRow.account_id == order.account_id)
            )
            if known is None:
                raise HTTPException(403)
            price = None if order.price is None else str(order.price)
            values = order.model_dump() | {"quantity": str(order.quantity), "price": price}
            row = OrderRow(id=str(uuid4()), status="NEW", **values)
            session.add(row)
        return OrderOut(id=row.id, status=row.status, **order.model_dump())

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return app
