"""Settings of the server, read from the environment when it starts and never before."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class AuthMode(StrEnum):
    """Whose tokens are accepted: those of the development login, or those of the keys in a file."""

    DEV = "dev"
    JWKS = "jwks"


class Settings(BaseSettings):
    """Each setting is the environment variable of its name with `QTINFRA_` before it (`QTINFRA_PORT`)."""

    model_config = SettingsConfigDict(env_prefix="QTINFRA_", frozen=True)

    environment: str = Field(
        default="development", description="Name of the environment; the development login runs in few."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(default=Path(".qtinfra"), description="Journal, keys and read tables.")
    market_seed: int = Field(default=1, ge=0, description="Seed of the simulated market.")
    calendar: str = Field(
        default="",
        pattern="^([A-Z0-9]{4})?$",
        description="MIC whose exchange calendar gives the sessions (needs the extra calendars); empty: "
        "every UTC day is one, around the clock.",
    )
    venue_latency_us: int = Field(
        default=250, ge=0, le=10_000_000, description="One-way delay to a simulated venue, microseconds."
    )
    auth: AuthMode = Field(default=AuthMode.DEV, description="Whose tokens are accepted.")
    jwks_file: Path | None = Field(default=None, description="Key set (RFC 7517) for auth=jwks.")
    token_issuer: str = Field(default="", description="Exact `iss` of tokens for auth=jwks.")
    token_audience: str = Field(default="qtinfra", description="What `aud` must contain for auth=jwks.")
    rate_limit: int = Field(
        default=50_000, ge=1, description="Requests and orders per second and identity at the gateway."
    )
    stream_origins: str = Field(
        default="", description="Origins, separated by commas, whose pages may open the stream besides ours."
    )
    stream_clients: int = Field(default=512, ge=1, description="Stream connections at a time.")
    stream_queue: int = Field(
        default=10_000, ge=16, description="Items that may wait for one stream client; then it is closed."
    )
    journal_reserve_bytes: int = Field(
        default=8 << 20,
        ge=0,
        description="Disk space held back beside the journal: on a full disk new orders are refused, while "
        "cancels and controls go on. 0 for none.",
    )
    max_waiting: int = Field(
        default=10_000, ge=1, description="Orders that may wait for the engine; further ones get 503."
    )
