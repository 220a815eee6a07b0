"""One frozen ``Settings``, read from the environment: units in names, all problems reported at once.

Each setting is read from ``NAME`` or, for mounted secrets, from the file that ``NAME_FILE`` names.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from service.adapters.exit.certificates import read_certificate
from service.core.audit.entry import KEPT_DAYS
from service.core.endpoints.caps import Caps
from service.core.endpoints.retry_schedule import STANDARD, RetrySchedule
from service.core.endpoints.rules import EndpointRules
from service.core.endpoints.target_policy import CidrRule, EgressPolicy
from service.core.events.own_types.own_type import OWN_TYPES_MAX
from service.core.events.registry import BINDINGS
from service.ports.source import Topology
from service.settings.environment import PREFIX, Source, read_environment
from service.settings.values import (
    DAY_SECONDS,
    AmqpName,
    AmqpPatterns,
    AmqpUrl,
    Batch,
    Cap,
    CidrRules,
    Count,
    DatabaseUrl,
    ExistingFile,
    Host,
    Lowered,
    NamedOrigins,
    Origins,
    OwnAddresses,
    Port,
    ProxyUrl,
    PublicUrl,
    Seconds,
    SecretKeys,
    masked,
    written,
)

LEASE_MARGIN_MAX_SECONDS: Final = 5.0

_WITHOUT_PREFIX: Final = {"database_url", "amqp_url", "amqp_declare", "secret_keys", "public_url"}
# Messages must not quote their values.
_SECRET: Final = {"DATABASE_URL", "AMQP_URL", "SECRET_KEYS", "PUBLIC_URL", "POSTHORN_EGRESS_PROXY"}


class SettingsError(Exception):
    """The settings are not valid. The text has one line for each problem, and no secrets."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseModel):
    """All settings. ``sources`` has the source of each value that is not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    database_url: DatabaseUrl | None = Field(None, repr=False)
    database_connections_max: Annotated[int, Field(ge=4, le=1_000)] = 12
    database_timeout_seconds: Annotated[Seconds, Field(le=600)] = 30.0
    amqp_url: AmqpUrl | None = Field(None, repr=False)
    amqp_declare: Annotated[Literal["active", "passive"], Lowered] = "active"
    amqp_prefix: AmqpName = "posthorn"
    amqp_bindings: AmqpPatterns = BINDINGS
    secret_keys: SecretKeys = Field((), repr=False, exclude=True)
    public_url: PublicUrl | None = None
    cors_origins: Origins = ()
    portal_embed_origins: NamedOrigins = ()

    http_host: Host = "127.0.0.1"
    http_port: Port = 8080
    ops_host: Host = "127.0.0.1"
    ops_port: Port = 9090

    egress_allow: CidrRules = ()
    egress_deny: CidrRules = ()
    allow_http: bool = False
    extra_ca_file: ExistingFile | None = None
    source_addresses: OwnAddresses = ()
    egress_proxy: ProxyUrl | None = Field(None, repr=False)

    attempt_timeout_seconds: Annotated[Seconds, Field(le=600)] = 15.0
    endpoint_stall_seconds: Annotated[Seconds, Field(le=600)] = 1.0
    lease_seconds: Annotated[Seconds, Field(le=3_600)] = 60.0

    retry_base_seconds: Seconds = STANDARD.base_seconds
    retry_factor: Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)] = STANDARD.factor
    retry_cap_seconds: Seconds = STANDARD.cap_seconds
    retry_attempts_max: Annotated[int, Field(ge=1, le=1_000)] = STANDARD.attempts_max
    retry_age_max_seconds: Seconds = STANDARD.age_max_seconds
    retry_jitter: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = STANDARD.jitter

    prefetch: Annotated[int, Field(gt=0, le=2_048)] = 256  # each holds at most 384 KiB: see ADR 20
    intake_batch_max: Batch = 500
    settle_batch_max: Batch = 1_000
    claim_batch_max: Batch = 500
    endpoint_claim_max: Batch = 100
    claim_poll_seconds: Annotated[Seconds, Field(le=60)] = 0.25
    in_flight_max: Annotated[int, Field(gt=0, le=100_000)] = 512
    endpoint_in_flight_max: Annotated[int, Field(gt=0, le=10_000)] = 64
    breaker_failures: Annotated[int, Field(ge=0, le=1_000)] = 10
    breaker_open_seconds: Annotated[Seconds, Field(le=3_600)] = 60.0

    disable_after_days: Annotated[float, Field(ge=0, le=365, allow_inf_nan=False)] = 5  # 0: never
    retention_days: Annotated[int, Field(gt=0, le=3_650)] = 30
    audit_retention_days: Annotated[int, Field(ge=KEPT_DAYS, le=3_650)] = 365
    drain_seconds: Annotated[Seconds, Field(le=3_600)] = 25.0
    rate_limit_per_hour: Count = 2_500
    publish_limit_per_minute: Count = 6_000
    max_endpoints: Cap = 20_000
    max_subscriptions: Cap = 100_000
    max_event_types: Cap = OWN_TYPES_MAX
    max_secrets: Cap = 60_000

    log_format: Annotated[Literal["auto", "json", "console"], Lowered] = "auto"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Lowered] = "info"
    log_attempts: Annotated[Literal["failures", "all", "sampled"], Lowered] = "failures"

    sources: Mapping[str, Source] = Field(default_factory=dict, repr=False)

    # Rules between two settings are on the later one, so that they are reported along with all other problems.

    @field_validator("endpoint_stall_seconds")
    @classmethod
    def _can_come_before_the_timeout(cls, stall_seconds: float, info: ValidationInfo) -> float:
        timeout_seconds = info.data.get("attempt_timeout_seconds", stall_seconds)
        if stall_seconds > timeout_seconds:  # no request is ever in flight that long
            rule = f"must be at most {environment_name('attempt_timeout_seconds')}, which is {timeout_seconds:g}"
            raise ValueError(rule)
        return stall_seconds

    @field_validator("endpoint_claim_max")
    @classmethod
    def _is_no_more_than_the_whole_claim(cls, claim_max: int, info: ValidationInfo) -> int:
        batch_max = info.data.get("claim_batch_max", claim_max)
        if claim_max > batch_max:
            raise ValueError(f"must be at most {environment_name('claim_batch_max')}, which is {batch_max}")
        return claim_max

    @field_validator("lease_seconds")
    @classmethod
    def _outlasts_an_attempt(cls, lease_seconds: float, info: ValidationInfo) -> float:
        timeout_seconds = info.data.get("attempt_timeout_seconds", 0.0)
        # A margin for the attempt itself, and as much for the way there: a commit, and waiting in memory for a slot.
        # With nothing for the way, no attempt could ever begin; with little, most leases would go back unused.
        if lease_seconds < timeout_seconds + 2 * _margin_seconds(lease_seconds):
            needed = timeout_seconds + min(2 * LEASE_MARGIN_MAX_SECONDS, timeout_seconds)
            rule = f"must be at least {needed:g} with an attempt timeout of {timeout_seconds:g} s"
            raise ValueError(f"{rule} ({environment_name('attempt_timeout_seconds')})")
        return lease_seconds

    @field_validator("retry_cap_seconds")
    @classmethod
    def _is_no_less_than_the_base(cls, cap_seconds: float, info: ValidationInfo) -> float:
        base_seconds = info.data.get("retry_base_seconds", 0.0)
        if cap_seconds < base_seconds:
            raise ValueError(f"must be at least {environment_name('retry_base_seconds')}, which is {base_seconds:g}")
        return cap_seconds

    @field_validator("retention_days")
    @classmethod
    def _outlasts_the_retries(cls, retention_days: int, info: ValidationInfo) -> int:
        age_max_seconds = info.data.get("retry_age_max_seconds", 0.0)
        if (retention_days - 1) * DAY_SECONDS < age_max_seconds:
            rule = (
                f"must be a day longer than {environment_name('retry_age_max_seconds')}, which is {age_max_seconds:g} s"
            )
            raise ValueError(rule)
        return retention_days

    @field_validator("ops_port")
    @classmethod
    def _is_a_port_of_its_own(cls, port: int, info: ValidationInfo) -> int:
        if port == info.data.get("http_port"):
            raise ValueError(f"must differ from {environment_name('http_port')}")
        return port

    @field_validator("egress_allow")
    @classmethod
    def _is_no_off_switch(cls, rules: tuple[CidrRule, ...]) -> tuple[CidrRule, ...]:
        EgressPolicy(allow=rules)  # raises ValueError for a permission that is too wide
        return rules

    @property
    def lease_margin_seconds(self) -> float:
        """The lease time that must remain, beyond the attempt's timeout, for an attempt to begin."""
        return _margin_seconds(self.lease_seconds)

    @property
    def topology(self) -> Topology:
        """The broker's exchanges and queues."""
        return Topology(self.amqp_prefix, self.amqp_bindings)

    @property
    def egress_policy(self) -> EgressPolicy:
        """The addresses that webhooks may be sent to."""
        return EgressPolicy(deny=self.egress_deny, allow=self.egress_allow, allow_http=self.allow_http)

    @property
    def retry_schedule(self) -> RetrySchedule:
        """The default schedule of retries."""
        return RetrySchedule(
            base_seconds=self.retry_base_seconds,
            factor=self.retry_factor,
            cap_seconds=self.retry_cap_seconds,
            attempts_max=self.retry_attempts_max,
            age_max_seconds=self.retry_age_max_seconds,
            jitter=self.retry_jitter,
        )

    @property
    def endpoint_rules(self) -> EndpointRules:
        """The rules that every endpoint's settings must meet."""
        timeout_seconds_max = self.lease_seconds - self.lease_margin_seconds
        return EndpointRules(self.egress_policy, self.retry_schedule, timeout_seconds_max, read_certificate, self.caps)

    @property
    def caps(self) -> Caps:
        """The most that an organization may have."""
        return Caps(self.max_endpoints, self.max_subscriptions, self.max_event_types, self.max_secrets)

    def redacted(self) -> dict[str, dict[str, Any]]:
        """Every setting by its variable's name, with its value and source; passwords masked, keys by id only."""
        return {
            environment_name(name): {"value": self._shown(name), "source": self.sources.get(name, "default")}
            for name in type(self).model_fields
            if name != "sources"
        }

    def _shown(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        if name == "secret_keys":
            return [key.id for key in self.secret_keys]
        value = getattr(self, name)
        if name in {"database_url", "amqp_url", "egress_proxy"} and value is not None:
            return masked(value)
        if isinstance(value, tuple):
            return [written(each) if isinstance(each, CidrRule) else each for each in value]
        return value


def environment_name(field_name: str) -> str:
    """Return the name of the variable that sets a field."""
    return field_name.upper() if field_name in _WITHOUT_PREFIX else PREFIX + field_name.upper()


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Raises ``SettingsError``, which lists every problem by its variable."""
    fields = {environment_name(name): name for name in Settings.model_fields if name != "sources"}
    found = read_environment(os.environ if environ is None else environ, fields)
    problems = list(found.problems)
    values: dict[str, Any] = {fields[name]: value for name, value in found.values.items()}
    sources = {fields[name]: source for name, source in found.sources.items()}
    try:
        settings = Settings.model_validate({**values, "sources": sources})
    except ValidationError as error:
        problems += [_problem(str(each["loc"][0]), each["msg"], each["input"]) for each in error.errors()]
    else:
        if not problems:
            return settings
    raise SettingsError(tuple(problems))


def _problem(field_name: str, message: str, value: object) -> str:
    name = environment_name(field_name)
    text = message.removeprefix("Value error, ").replace("Input should be", "must be").partition(", unable to")[0]
    quoted = "" if name in _SECRET or not isinstance(value, str) else f" (got {value[:64]!r})"
    return f"{name}: {text}{quoted}"


def _margin_seconds(lease_seconds: float) -> float:
    return min(LEASE_MARGIN_MAX_SECONDS, lease_seconds / 4)
