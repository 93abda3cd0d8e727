"""The installation's settings: the only reader of the environment (OPTML_*).

What belongs to an experiment lives in its spec; what belongs to the installation lives here; no key is in both.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from optml_queue.broker import Broker, queue_name
from optml_queue.errors import SettingsError, without_password

PREFIX = "OPTML_"
# What a trial tells the command that it runs, in the same environment.
PARAMETER_PREFIX = "OPTML_PARAM_"
TRIAL_VARIABLE = "OPTML_TRIAL"
STORE_SCHEMES = ("redis", "rediss")
BROKER_SCHEMES = (*STORE_SCHEMES, "sqs")
ARCHIVE_SCHEMES = ("", "file", "s3")


class Settings(BaseModel):
    """Where broker, store and archive are, and how patient workers are.

    All three URLs None is the embedded mode: the command line starts a server of its own. Durations are in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True)

    broker_url: str | None = None
    store_url: str | None = None
    archive_url: str | None = None
    # Who signed the certificates of a rediss:// store and broker; without it, whom the machine trusts.
    tls_ca_file: Path | None = None
    results_dir: Path = Path("optml-results")
    cache_dir: Path = Path("~/.cache/optml-queue")
    resource_class: str = "default"
    # Whoever may write to broker and store may then run code as the workers' user.
    allow_programs: bool = False

    beat_s: float = Field(default=2.0, ge=0.1, le=60, allow_inf_nan=False)
    # A lost worker's trial begins again within ten seconds: the lease, and a second until somebody looks.
    lease_s: float = Field(default=8.0, ge=0.5, le=3600, allow_inf_nan=False)
    # SQS hides a message for 12 hours at most.
    visibility_s: float = Field(default=15.0, ge=1, le=43_200, allow_inf_nan=False)
    grace_s: float = Field(default=10.0, ge=0, le=3600, allow_inf_nan=False)
    # 0: whenever a trial offers its state.
    checkpoint_s: float = Field(default=30.0, ge=0, le=86_400, allow_inf_nan=False)

    # What an hour of a worker costs by resource class, as in cpu-small=0.04,gpu=1.2; for budgets with a cost.
    prices: str = ""

    sqs_region: str | None = None
    # SQS takes 80 characters: this, "optml-", the resource class, "-dead".
    sqs_queue_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,29}$")
    sqs_tls: bool | None = None

    # Whether workers send Celery's events, which Flower shows.
    events: bool = False
    monitor_auth: str | None = Field(default=None, pattern=r"^[^:\s,]+:[^\s,]+$")

    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=0, le=65_535)
    # Where specs that arrive over the network may read data: s3:// prefixes, separated by commas. None: nowhere.
    api_s3_prefixes: str = ""
    api_upload_mb: int = Field(default=100, ge=1, le=100_000)
    # Where people find Flower; the page links to it.
    monitor_url: str | None = None
    api_requests_per_minute: int = Field(default=1_200, ge=1, le=1_000_000)

    @field_validator("broker_url")
    @classmethod
    def _check_broker_url(cls, url: str | None) -> str | None:
        return _checked(url, BROKER_SCHEMES)

    @field_validator("store_url")
    @classmethod
    def _check_store_url(cls, url: str | None) -> str | None:
        return _checked(url, STORE_SCHEMES)

    @field_validator("archive_url")
    @classmethod
    def _check_archive_url(cls, url: str | None) -> str | None:
        return _checked(url, ARCHIVE_SCHEMES)

    @field_validator("monitor_url")
    @classmethod
    def _check_monitor_url(cls, url: str | None) -> str | None:
        return _checked(url, ("http", "https"))

    @field_validator("api_s3_prefixes")
    @classmethod
    def _check_api_s3_prefixes(cls, text: str) -> str:
        for prefix in _listed(text):
            # Without the slash, s3://bucket/data would open s3://bucket/data-of-others too.
            if not re.fullmatch(r"s3://[^/@:?#\s]+/(?:[^?#]*/)?", prefix):
                raise ValueError(f"must be s3:// prefixes that end in a slash, separated by commas; {prefix!r} is none")
        return text

    @field_validator("prices")
    @classmethod
    def _check_prices(cls, text: str) -> str:
        _prices(text)
        return text

    @field_validator("resource_class")
    @classmethod
    def _check_resource_class(cls, name: str) -> str:
        try:
            queue_name(name)
        except SettingsError as error:
            raise ValueError(str(error)) from None
        return name

    @field_validator("tls_ca_file")
    @classmethod
    def _check_tls_ca_file(cls, path: Path | None) -> Path | None:
        if path is None:
            return None
        if not path.expanduser().is_file():
            raise ValueError("must be a file of certificates (PEM) that this machine has")
        return path.expanduser().absolute()

    @field_validator("results_dir", "cache_dir")
    @classmethod
    def _expand(cls, path: Path) -> Path:
        return path.expanduser()

    @model_validator(mode="before")
    @classmethod
    def _store_beside_a_redis_broker(cls, values: dict[str, Any]) -> dict[str, Any]:
        broker = values.get("broker_url")
        if str(broker).startswith(("redis:", "rediss:")) and not values.get("store_url"):
            return {**values, "store_url": broker}
        return values

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.broker_url and not self.store_url:
            raise ValueError(
                "OPTML_STORE_URL must be set: SQS carries messages, but trials and results live in Redis or Valkey; "
                "set it to redis://HOST:6379/0"
            )
        if self.store_url and not self.broker_url:
            raise ValueError(
                "OPTML_BROKER_URL must be set when OPTML_STORE_URL is; one server for both is the same URL twice"
            )
        if self.lease_s < 3 * self.beat_s:
            raise ValueError(
                f"OPTML_LEASE_S must be at least three times OPTML_BEAT_S, so that one late beat loses nothing; "
                f"got {self.lease_s:g} and {self.beat_s:g}"
            )
        if self.visibility_s < self.lease_s:
            raise ValueError(
                f"OPTML_VISIBILITY_S must be at least OPTML_LEASE_S, got {self.visibility_s:g} and {self.lease_s:g}"
            )
        return self

    @property
    def is_embedded(self) -> bool:
        """Whether nothing was said of a broker, so that the command line starts its own."""
        return self.broker_url is None

    @property
    def archive(self) -> str:
        """The archive's URL or folder: `archive_url`, else the results folder."""
        return self.archive_url or str(self.results_dir)

    @property
    def s3_prefixes(self) -> tuple[str, ...]:
        """Where specs that arrive over the network may read data."""
        return _listed(self.api_s3_prefixes)

    @property
    def prices_per_hour(self) -> dict[str, float]:
        """What an hour of a worker costs, by resource class."""
        return _prices(self.prices)

    @property
    def broker(self) -> Broker:
        """The broker. Raises SettingsError when none is set."""
        if self.broker_url is None:
            raise SettingsError(
                "OPTML_BROKER_URL is not set: workers need the broker that trials are published to; "
                "set it to redis://HOST:6379/0 or sqs://, or let `optml-submit` start its own"
            )
        return Broker(
            self._verified(self.broker_url),
            visibility_s=self.visibility_s,
            region=self.sqs_region,
            queue_prefix=self.sqs_queue_prefix,
            tls=self.sqs_tls,
        )

    @property
    def store(self) -> str:
        """The store's URL. Raises SettingsError when none is set."""
        if self.store_url is None:
            raise SettingsError("OPTML_STORE_URL is not set; set it to redis://HOST:6379/0")
        return self._verified(self.store_url)

    def _verified(self, url: str) -> str:
        """The URL with what both of its readers, redis-py and kombu, need to check the server's certificate."""
        parts = urlsplit(url)
        if parts.scheme != "rediss":
            return url
        options = dict(parse_qsl(parts.query))
        # Said aloud: kombu checks no certificate of a rediss:// server unless it is told to.
        options.setdefault("ssl_cert_reqs", "required")
        if self.tls_ca_file is not None:
            options["ssl_ca_certs"] = str(self.tls_ca_file)
        return urlunsplit(parts._replace(query=urlencode(options)))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _prices(text: str) -> dict[str, float]:
    prices = {}
    for item in _listed(text):
        name, _, price = item.partition("=")
        try:
            prices[name.strip()] = float(price)
        except ValueError:
            prices[name.strip()] = math.nan
        if not name.strip() or not 0 < prices[name.strip()] < math.inf:
            raise ValueError(f"must be CLASS=PRICE, more than 0, separated by commas; {item!r} is not")
    return prices


def _checked(url: str | None, schemes: tuple[str, ...]) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL ({error})") from None
    if parts.scheme not in schemes:
        known = ", ".join(f"{scheme}://" if scheme else "a folder" for scheme in schemes)
        raise ValueError(f"must begin with one of: {known}")
    if parts.scheme in STORE_SCHEMES and not parts.hostname:
        raise ValueError(f"names no host; write {parts.scheme}://HOST:6379/0")
    if port == 0:
        raise ValueError("has port 0")
    if parts.scheme in STORE_SCHEMES and not (parts.path.strip("/") or "0").isdecimal():
        raise ValueError(f"must end with the number of a database, as in {parts.scheme}://HOST:6379/0")
    if parts.scheme == "s3" and not parts.hostname:
        raise ValueError("names no bucket; write s3://BUCKET/PREFIX")
    return url


def read_settings(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """The settings that `environment` (default: the process's) holds, `overrides` before it.

    Raises SettingsError naming the variable, the rule it breaks, its value (passwords left out) and what to do.
    """
    variables = os.environ if environment is None else environment
    _refuse_unknown(variables)
    values: dict[str, Any] = {}
    for field in Settings.model_fields:
        text = variables.get(_variable(field), "")
        if text.strip():
            values[field] = text.strip()
    try:
        return Settings(**{**values, **overrides})
    except ValidationError as error:
        raise SettingsError("\n".join(_said(item) for item in error.errors())) from None


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return read_settings()


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that give a child process these settings. Holds passwords: for a child's environment only."""
    values = settings.model_dump(exclude_none=True)
    return {_variable(field): str(value) for field, value in values.items() if value != ""}


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _refuse_unknown(variables: Mapping[str, str]) -> None:
    known = [_variable(field) for field in Settings.model_fields]
    for name in sorted(variables):
        is_ours = name.startswith(PREFIX) and not name.startswith(PARAMETER_PREFIX) and name != TRIAL_VARIABLE
        if is_ours and name not in known:
            fields = list(Settings.model_fields)
            near = difflib.get_close_matches(name.removeprefix(PREFIX).lower(), fields, n=1)
            advice = f"did you mean {_variable(near[0])}?" if near else f"known are {', '.join(known)}"
            raise SettingsError(f"{name}: no such setting; {advice}")


def _said(error: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    field = str(error["loc"][0])
    shown = _without_secrets(error["input"]) if field.endswith("_url") else error["input"]
    if field.endswith("_auth"):
        shown = "(not shown)"
    return f"{_variable(field)}: {message}, got {str(shown)!r}"


def _without_secrets(url: str) -> str:
    try:
        return without_password(url)
    except ValueError:  # not a URL: where a password would stand cannot be told
        return "(not shown)"
