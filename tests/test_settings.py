"""The settings: every problem told at once, by name, and never with a secret in it."""

import base64
import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from service.settings import Settings, SettingsError, environment_name, load_settings

ROOT = Path(__file__).resolve().parents[1]
KEY = base64.b64encode(b"k" * 32).decode()


def problem_of(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return str(caught.value)


def test_nothing_set_means_the_documented_defaults() -> None:
    settings = load_settings({})
    assert settings.database_url is None
    assert settings.amqp_url is None
    assert settings.secret_keys == ()
    assert (settings.http_host, settings.http_port, settings.ops_port) == ("127.0.0.1", 8080, 9090)
    assert (settings.attempt_timeout_seconds, settings.lease_seconds, settings.lease_margin_seconds) == (15, 60, 5)
    assert (settings.retention_days, settings.drain_seconds, settings.rate_limit_per_hour) == (30, 25, 2500)
    assert settings.retry_schedule.attempts_max == 12


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_the_database_url_is_normalised(scheme: str) -> None:
    assert load_settings({"DATABASE_URL": f"{scheme}://u:p@h:5432/d"}).database_url == "postgresql://u:p@h:5432/d"


def test_a_value_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"k1:{KEY}\n")
    settings = load_settings({"SECRET_KEYS_FILE": str(file), "POSTHORN_HTTP_PORT_FILE": ""})
    assert [key.id for key in settings.secret_keys] == ["k1"]
    assert settings.redacted()["SECRET_KEYS"] == {"value": ["k1"], "source": "file"}


def test_a_file_that_is_missing_empty_or_besides_a_value_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert problem_of(DATABASE_URL_FILE="/nowhere/at/all").startswith("DATABASE_URL_FILE: '/nowhere/at/all' cannot")
    assert problem_of(AMQP_URL_FILE=str(empty)) == f"AMQP_URL_FILE: '{empty}' is empty"
    assert "not both" in problem_of(AMQP_URL="amqp://h", AMQP_URL_FILE=str(empty))


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("POSTHORN_HTTP_PRT", "POSTHORN_HTTP_PORT"),
        ("POSTHORN_DATABASE_URL", "DATABASE_URL"),
        ("posthorn_log_level", "POSTHORN_LOG_LEVEL"),
        ("POSTHORN_LEASE", "POSTHORN_LEASE_SECONDS"),
    ],
)
def test_an_unknown_name_is_an_error_with_a_suggestion(typo: str, meant: str) -> None:
    assert problem_of(**{typo: "1"}) == f"{typo}: no such setting; did you mean {meant!r}?"


def test_what_kubernetes_puts_beside_a_service_named_posthorn_is_no_error() -> None:
    load_settings(
        {
            "POSTHORN_SERVICE_HOST": "10.0.0.1",
            "POSTHORN_SERVICE_PORT_HTTP": "8080",
            "POSTHORN_PORT": "tcp://10.0.0.1:8080",
            "POSTHORN_PORT_8080_TCP_ADDR": "10.0.0.1",
        }
    )


NUMBERS = [
    name
    for name, field in Settings.model_fields.items()
    if isinstance(field.default, int | float) and not isinstance(field.default, bool)
]


CAPS = {"max_endpoints", "max_subscriptions", "max_event_types", "max_secrets"}
OFF_AT_ZERO = {"retry_jitter", "breaker_failures", "disable_after_days", *CAPS}


@pytest.mark.parametrize("value", ["0", "-1", "inf", "-inf", "nan", "many", "1e400"])
@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_bounds(name: str, value: str) -> None:
    if value == "0" and name in OFF_AT_ZERO:
        assert getattr(load_settings({environment_name(name): value}), name) == 0
        return
    assert problem_of(**{environment_name(name): value}).startswith(f"{environment_name(name)}: ")


UNITS = ("_seconds", "_days", "_max", "_per_hour", "_per_minute", "_port")
WITHOUT_UNIT = {"retry_factor", "retry_jitter", "prefetch", "breaker_failures", *CAPS}


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_names_its_unit(name: str) -> None:
    assert name.endswith(UNITS) or name in WITHOUT_UNIT


def test_every_setting_is_used() -> None:
    used = set()
    for path in sorted((ROOT / "service").rglob("*.py")):
        owner = "self" if path.name == "settings.py" and path.parent.name == "settings" else "settings"
        used |= set(re.findall(rf"\b{owner}\.(\w+)", path.read_text(encoding="utf-8")))
    assert Settings.model_fields.keys() - used == set()


def test_a_lease_must_outlast_an_attempt_and_the_way_to_it() -> None:
    assert "at least 25 " in problem_of(POSTHORN_LEASE_SECONDS="24.9")
    assert "POSTHORN_LEASE_SECONDS" in problem_of(POSTHORN_ATTEMPT_TIMEOUT_SECONDS="51")
    assert "at least 3 " in problem_of(POSTHORN_LEASE_SECONDS="2.9", POSTHORN_ATTEMPT_TIMEOUT_SECONDS="1.5")


@pytest.mark.parametrize("timeout_seconds", [0.5, 1.5, 10, 15, 600])
def test_the_least_lease_that_is_named_is_permitted_and_leaves_time_to_wait_in_memory(timeout_seconds: float) -> None:
    timeout = {"POSTHORN_ATTEMPT_TIMEOUT_SECONDS": f"{timeout_seconds:g}", "POSTHORN_ENDPOINT_STALL_SECONDS": "0.5"}
    named = re.search(r"at least (\S+) with", problem_of(POSTHORN_LEASE_SECONDS="0.6", **timeout))
    assert named
    least = load_settings({"POSTHORN_LEASE_SECONDS": named[1], **timeout})
    waiting_seconds = least.lease_seconds - least.lease_margin_seconds - timeout_seconds
    assert waiting_seconds == least.lease_margin_seconds == min(5, timeout_seconds / 2)


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("endpoint_stall_seconds", "15.1", "attempt_timeout_seconds"),
        ("attempt_timeout_seconds", "0.9", "endpoint_stall_seconds"),
        ("endpoint_claim_max", "501", "claim_batch_max"),
        ("claim_batch_max", "99", "endpoint_claim_max"),
        ("retry_base_seconds", "86401", "retry_cap_seconds"),
        ("retry_age_max_seconds", "2592000", "retention_days"),
        ("http_port", "9090", "ops_port"),
    ],
)
def test_two_settings_that_contradict_each_other_are_told(name: str, value: str, bound: str) -> None:
    text = problem_of(**{environment_name(name): value})
    assert "\n" not in text
    assert environment_name(name) in text
    assert environment_name(bound) in text


def test_egress_rules_are_read_and_all_bad_ones_named() -> None:
    policy = load_settings({"POSTHORN_EGRESS_ALLOW": "127.0.0.0/8, [fd00::/8]:443,"}).egress_policy
    assert policy.judge_address("127.0.0.1", 8080).is_allowed
    complaint = problem_of(POSTHORN_EGRESS_DENY="10.0.0.0/8,here,there")
    assert "'here'" in complaint
    assert "'there'" in complaint
    assert "too wide" in problem_of(POSTHORN_EGRESS_ALLOW="0.0.0.0/0")


@pytest.mark.parametrize(
    "environ",
    [
        {"DATABASE_URL": "mysql://u:hunter2@h/d"},
        {"DATABASE_URL": "postgresql://u:hunter2@h:port/d"},
        {"DATABASE_URL": "hunter2"},
        {"AMQP_URL": "redis://:hunter2@h"},
        {"SECRET_KEYS": "k1:hunter2"},
        {"SECRET_KEYS": "hunter2"},
        {"PUBLIC_URL": "https://u:hunter2@h"},
        {"POSTHORN_EGRESS_PROXY": "http://u:hunter2@h"},
        {"POSTHORN_EGRESS_PROXY": "http://u:hunter2@h:port"},
    ],
)
def test_no_message_quotes_a_secret(environ: dict[str, str]) -> None:
    text = problem_of(**environ)
    assert text.startswith(f"{next(iter(environ))}: ")
    assert "hunter2" not in text


def test_not_even_pydantics_own_error_quotes_a_key() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"secret_keys": f"k1:{KEY},k1:{KEY}"})
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value)


def test_source_addresses_are_read_and_bad_ones_named() -> None:
    settings = load_settings({"POSTHORN_SOURCE_ADDRESSES": "127.0.0.2, 2001:DB8::1"})
    assert settings.source_addresses == ("127.0.0.2", "2001:db8::1")
    for wrong in (
        "0.0.0.0/0",
        "::",
        "224.0.0.1",
        "fe80::1%eth0",
        "::ffff:127.0.0.1",
        "host",
        "10.0.0.0/8",
        "127.0.0.2:80",
    ):
        assert wrong in problem_of(POSTHORN_SOURCE_ADDRESSES=f"127.0.0.2,{wrong}")
    assert "twice" in problem_of(POSTHORN_SOURCE_ADDRESSES="127.0.0.2,127.0.0.2")


def test_origins_are_read_and_bad_ones_named() -> None:
    settings = load_settings(
        {"POSTHORN_CORS_ORIGINS": "https://App.example.com:443, http://localhost:3000,http://[::1]"}
    )
    assert settings.cors_origins == ("https://app.example.com", "http://localhost:3000", "http://[::1]")
    assert load_settings({}).cors_origins == ()
    for wrong in ("example.com", "https://", "https://a.example/", "ftp://a.example", "null", "https://*.example"):
        assert wrong in problem_of(POSTHORN_CORS_ORIGINS=f"https://b.example,{wrong}")
    assert "alone" in problem_of(POSTHORN_CORS_ORIGINS="*,https://a.example")


def test_every_problem_is_told_at_once() -> None:
    text = problem_of(
        POSTHORN_HTTP_PORT="http",
        POSTHORN_LOG_LEVEL="loud",
        POSTHORN_RETRY_CAP_SECONDS="1",
        POSTHORN_OPS_PORT="8080",
        POSTHORN_ALLOW_HTTP="perhaps",
        POSTHORN_EXTRA_CA_FILE="/nowhere",
        POSTHORN_LEASE_SECONDS="3",
        POSTHORN_SPEED="9",
    )
    names = [line.partition(":")[0] for line in text.splitlines()]
    assert sorted(names) == [
        "POSTHORN_ALLOW_HTTP",
        "POSTHORN_EXTRA_CA_FILE",
        "POSTHORN_HTTP_PORT",
        "POSTHORN_LEASE_SECONDS",
        "POSTHORN_LOG_LEVEL",
        "POSTHORN_RETRY_CAP_SECONDS",
        "POSTHORN_SPEED",
    ]
    assert "POSTHORN_OPS_PORT: must differ" in problem_of(POSTHORN_OPS_PORT="8080")


def test_what_is_shown_holds_no_password_and_is_json() -> None:
    settings = load_settings(
        {
            "DATABASE_URL": "postgresql://u:hunter2@h/d?password=hunter2",
            "AMQP_URL": "amqps://u:hunter2@h/v",
            "SECRET_KEYS": f"k2:{KEY}",
            "POSTHORN_EGRESS_PROXY": "http://u:hunter2@proxy:4750",
            "POSTHORN_EGRESS_ALLOW": "127.0.0.0/8:80,[fd00::/8]:443",
        }
    )
    shown = settings.redacted()
    for text in (json.dumps(shown), repr(settings), str(settings)):
        assert "hunter2" not in text
        assert KEY not in text
    key = settings.secret_keys[0].key
    for text in (str(settings.model_dump()), settings.model_dump_json(), repr(settings)):
        assert KEY not in text
        assert repr(key) not in text
    assert shown["DATABASE_URL"] == {"value": "postgresql://u:***@h/d?***", "source": "environment"}
    assert shown["POSTHORN_EGRESS_PROXY"]["value"] == "http://u:***@proxy:4750"
    assert shown["POSTHORN_EGRESS_ALLOW"]["value"] == ["127.0.0.0/8:80", "[fd00::/8]:443"]
    assert shown["POSTHORN_PREFETCH"] == {"value": 256, "source": "default"}


def test_settings_are_frozen_and_public_urls_lose_their_last_slash() -> None:
    settings = load_settings({"PUBLIC_URL": "https://example.org/hooks/"})
    assert settings.public_url == "https://example.org/hooks"
    with pytest.raises(ValidationError):
        settings.http_port = 1


UNENCODED = [
    "hunter#two",
    "hunter@two",
    "hunter/two",
    "hunter?two",
    "hunter%two",
    "123/two",
    "two@123/x",
    "a?b@c",
    "[two",
]


@pytest.mark.parametrize("password", UNENCODED)
@pytest.mark.parametrize(
    ("name", "url"), [("DATABASE_URL", "postgresql://u:{}@h:5432/d"), ("AMQP_URL", "amqp://u:{}@h:5672/v")]
)
def test_a_password_that_is_not_percent_encoded_is_told_without_any_part_of_it(
    name: str, url: str, password: str
) -> None:
    problem = problem_of(**{name: url.format(password)})
    assert problem.startswith(f"{name}: ")
    assert "percent-encode" in problem
    assert not any(part in problem for part in ("hunter", "two", "123"))


@pytest.mark.parametrize("password", UNENCODED)
def test_the_same_password_percent_encoded_is_taken(password: str) -> None:
    encoded = quote(password, safe="")
    settings = load_settings(
        {"DATABASE_URL": f"postgresql://u:{encoded}@h:5432/d", "AMQP_URL": f"amqp://u:{encoded}@h/%2Fv"}
    )
    assert make_url(settings.database_url or "").password == password
    assert str(settings.redacted()["AMQP_URL"]["value"]) == "amqp://u:***@h/%2Fv"


def test_parameters_of_the_database_url_are_known_ones() -> None:
    url = "postgresql://u:p@h/d?sslmode=require"
    assert load_settings({"DATABASE_URL": url}).database_url == "postgresql://u:p@h/d?ssl=require"
    problem = problem_of(DATABASE_URL="postgresql://u:p@h/d?hunter=2")
    assert "sslmode" in problem
    assert "hunter" not in problem


def test_a_cap_of_0_is_none() -> None:
    caps = load_settings({"POSTHORN_MAX_ENDPOINTS": "0", "POSTHORN_MAX_SECRETS": "7"}).caps
    assert (caps.endpoints_max, caps.subscriptions_max, caps.event_types_max, caps.secrets_max) == (0, 100_000, 200, 7)
    assert load_settings({}).endpoint_rules.caps.endpoints_max == 20_000
    assert problem_of(POSTHORN_MAX_ENDPOINTS="-1").startswith("POSTHORN_MAX_ENDPOINTS: must be greater than or equal")
