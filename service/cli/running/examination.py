"""``doctor``: check everything that the service needs, and say how to fix what fails."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.engine import clock_skew_seconds, connect, driver
from service.adapters.postgres.inspection import expiring_certificates, registered_urls, server_version
from service.adapters.postgres.partitions import days_ahead
from service.adapters.postgres.requests.keys import KeyStore
from service.adapters.postgres.retention import ages_of
from service.adapters.postgres.schema import is_migrated
from service.adapters.rabbitmq.connection import unavailable
from service.adapters.rabbitmq.topology import TopologyError, declare_topology
from service.adapters.system import SystemClock
from service.cli.database import NO_DATABASE_URL, NO_SECRET_KEYS, NOT_MIGRATED, unreachable
from service.cli.hints import suggest
from service.cli.running.check import Check
from service.cli.secrets.sealed import check_secrets
from service.cli.terminal import FAILED, print_json, print_line
from service.core.endpoints.target_policy import TargetRefused
from service.core.timestamp import format_timestamp
from service.core.wording import count_of, signed_seconds
from service.ports.errors import RefusedError, UnavailableError
from service.ports.requests import KEYS_EXPIRING_WITHIN_DAYS
from service.settings import Settings, SettingsError, load_settings
from service.settings.values import masked, written

CLOCK_SKEW_SECONDS_MAX: Final = 5.0
DAYS_AHEAD_MIN: Final = 3
DATABASE_VERSION_MIN: Final = 15
ENDPOINTS_MAX: Final = 10_000
CERTIFICATES_EXPIRING_WITHIN_DAYS: Final = 30
NAMED_MAX: Final = 5


def doctor(*, as_json: bool) -> None:
    """Print every check. Raises ``typer.Exit`` if one fails."""
    checks = asyncio.run(_examine())
    is_well = all(check.ok for check in checks)
    if as_json:
        print_json({"ok": is_well, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            print_line(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<10}  {check.detail}")
            if check.advice:
                print_line("\n".join(f"{'':18}{line}" for line in check.advice.splitlines()))
    if not is_well:
        raise typer.Exit(FAILED)
    if not as_json:
        suggest("serve")


async def _examine() -> list[Check]:
    try:
        settings = load_settings()
    except SettingsError as error:
        detail = f"{count_of(len(error.problems), 'setting')} cannot be used; nothing else was checked"
        return [Check("settings", ok=False, detail=detail, advice=str(error))]
    checks = [_settings(settings)]
    if settings.database_url is not None:
        engine = connect(settings.database_url, pool_size=2)
        try:
            checks += [check async for check in _database(engine, settings)]
        finally:
            await engine.dispose()
    return [*checks, await _broker(settings)]


def _settings(settings: Settings) -> Check:
    missing = []
    if settings.database_url is None:
        missing.append(NO_DATABASE_URL)
    if not settings.secret_keys:
        missing.append(NO_SECRET_KEYS)
    detail = "'posthorn config show' shows them" if not missing else "'posthorn serve' needs settings that are not set"
    return Check("settings", ok=not missing, detail=detail, advice="\n".join(missing))


async def _database(engine: AsyncEngine, settings: Settings) -> AsyncIterator[Check]:
    """Each check depends on those before it."""
    name = "database"
    try:
        yield await _version(engine, settings)
        name = "migrations"
        if not await is_migrated(engine):
            yield Check(name, ok=False, detail="the schema does not match this release", advice=NOT_MIGRATED)
            return
        yield Check(name, ok=True, detail="the schema matches this release")
        name = "clock"
        yield await _clock(engine)
        name = "days"
        yield await _days(engine)
        name = "retention"
        yield await _retention(engine, settings)
        name = "keys"
        yield await _keys(engine)
        name = "certificates"
        yield await _certificates(engine)
        name = "secrets"
        yield await check_secrets(engine, settings)
        name = "egress"
        yield await _egress(engine, settings)
    except UnavailableError as error:
        yield Check(name, ok=False, detail=str(error), advice=f"{unreachable(settings)}.")
    except RefusedError as error:
        yield Check(name, ok=False, detail=str(error), advice="Check the privileges of the user in DATABASE_URL.")


async def _version(engine: AsyncEngine, settings: Settings) -> Check:
    version, number = await server_version(engine)
    detail = f"PostgreSQL {version} at {masked(settings.database_url or '')}"
    is_known = number >= DATABASE_VERSION_MIN
    return Check("database", is_known, detail, "" if is_known else f"Use PostgreSQL {DATABASE_VERSION_MIN} or later.")


async def _clock(engine: AsyncEngine) -> Check:
    skew_seconds = await clock_skew_seconds(engine, SystemClock())
    detail = f"{signed_seconds(skew_seconds)} relative to the database"
    if abs(skew_seconds) <= CLOCK_SKEW_SECONDS_MAX:
        return Check("clock", ok=True, detail=detail)
    advice = "Check NTP here and at the database: receivers refuse timestamps that are some minutes off."
    return Check("clock", ok=False, detail=detail, advice=advice)


async def _days(engine: AsyncEngine) -> Check:
    async with driver(engine) as connection:
        ahead_count = await days_ahead(connection)
    if ahead_count >= DAYS_AHEAD_MIN:
        return Check("days", ok=True, detail=f"{count_of(ahead_count, 'day')} ahead have their partitions")
    detail = (
        "today has no partitions" if ahead_count < 0 else f"only {count_of(ahead_count, 'day')} ahead have partitions"
    )
    advice = "Run 'posthorn migrate', which makes a week of them. A worker does, too: see in its log why it could not."
    return Check("days", ok=False, detail=detail, advice=advice)


async def _retention(engine: AsyncEngine, settings: Settings) -> Check:
    """Check whether deliveries wait for so long that retention will soon end them."""
    async with driver(engine) as connection:
        ages = await ages_of(connection, settings.retention_days)
    kept = f"of {count_of(ages.retention_days, 'day')} that events are kept"
    if not ages.ageing:
        return Check(
            "retention", ok=True, detail=f"the oldest open delivery is {ages.oldest_age_days:.1f} days old, {kept}"
        )
    told = [
        f"{each.endpoint_id} of {each.organization_id} ({', '.join(each.gates) or 'no gate shut'}): "
        f"{count_of(each.delivery_count, 'delivery', 'deliveries')}, up to {each.oldest_age_days:.1f} days old"
        for each in ages.ageing[:NAMED_MAX]
    ]
    more = f"; and {len(ages.ageing) - NAMED_MAX} more" if len(ages.ageing) > NAMED_MAX else ""
    advice = (
        "They end as past_retention unless they go out soon. Resume or remove these endpoints, or raise\n"
        "POSTHORN_RETENTION_DAYS: posthorn endpoints --help"
    )
    return Check("retention", ok=False, detail=f"{'; '.join(told)}{more}; {kept}", advice=advice)


async def _keys(engine: AsyncEngine) -> Check:
    """Check whether API keys are about to expire."""
    days = count_of(KEYS_EXPIRING_WITHIN_DAYS, "day")
    count, soonest = await KeyStore(engine).expiring(timedelta(days=KEYS_EXPIRING_WITHIN_DAYS), NAMED_MAX)
    if not count:
        return Check("keys", ok=True, detail=f"no API key expires within {days}")
    told = [f"{each.key_id} of {each.organization_id}: at {format_timestamp(each.expires_at)}" for each in soonest]
    more = f"; and {count - len(told)} more" if count > len(told) else ""
    advice = "Replace those that are used: posthorn keys rotate KEY_ID --expires-in-days N\nRevoke the others."
    detail = f"{count_of(count, 'API key')} within {days} of expiry; {'; '.join(told)}{more}"
    return Check("keys", ok=False, detail=detail, advice=advice)


async def _certificates(engine: AsyncEngine) -> Check:
    """Check whether client certificates of endpoints are about to expire."""
    days = count_of(CERTIFICATES_EXPIRING_WITHIN_DAYS, "day")
    within = timedelta(days=CERTIFICATES_EXPIRING_WITHIN_DAYS)
    count, soonest = await expiring_certificates(engine, within, NAMED_MAX)
    if not count:
        return Check("certificates", ok=True, detail=f"no client certificate of an endpoint expires within {days}")
    told = [f"{each.endpoint_id} of {each.organization_id}: at {format_timestamp(each.expires_at)}" for each in soonest]
    more = f"; and {count - len(told)} more" if count > len(told) else ""
    detail = f"{count_of(count, 'client certificate')} within {days} of expiry; {'; '.join(told)}{more}"
    advice = "Give these endpoints a new one: PATCH /v1/endpoints/{id} with auth."
    return Check("certificates", ok=False, detail=detail, advice=advice)


async def _egress(engine: AsyncEngine, settings: Settings) -> Check:
    """Check the registered URLs against the current policy; every attempt to a refused URL fails."""
    registered = await registered_urls(engine, ENDPOINTS_MAX)
    policy, refused = settings.egress_policy, []
    for each in registered:
        judged = policy.judge_url(each.url)
        if isinstance(judged, TargetRefused):
            refused.append(f"{each.endpoint_id} ({urlsplit(each.url).hostname}): {judged.sentence}")
    if refused:
        more = f" and {len(refused) - NAMED_MAX} more" if len(refused) > NAMED_MAX else ""
        advice = (
            "Change POSTHORN_EGRESS_ALLOW, POSTHORN_EGRESS_DENY or POSTHORN_ALLOW_HTTP,\n"
            "or remove these endpoints: posthorn endpoints remove ID --organization O"
        )
        return Check("egress", ok=False, detail="; ".join(refused[:NAMED_MAX]) + more, advice=advice)
    allowed = ", ".join(map(written, settings.egress_allow)) or "none"
    schemes = "https and http" if settings.allow_http else "https only"
    return Check(
        "egress",
        ok=True,
        detail=f"{schemes}; allowed beyond public addresses: {allowed}; {count_of(len(registered), 'endpoint')}",
    )


async def _broker(settings: Settings) -> Check:
    """Check without creating anything: what serve would create at its start may be missing."""
    if settings.amqp_url is None:
        return Check("broker", ok=True, detail="AMQP_URL is not set: events arrive over HTTP only")
    place, is_active = masked(settings.amqp_url), settings.amqp_declare == "active"
    try:
        with unavailable():
            try:
                await declare_topology(settings.amqp_url, settings.topology, "passive")
                if is_active:  # all of it exists, so this creates nothing, but compares the arguments
                    await declare_topology(settings.amqp_url, settings.topology, "active")
            except TopologyError as error:
                return _unsuitable(error, place, is_active=is_active)
    except UnavailableError as error:
        advice = f"AMQP_URL: {place} cannot be used."
        return Check("broker", ok=False, detail=str(error), advice=advice)
    return Check("broker", ok=True, detail=f"reachable at {place}; exchanges and queues exist")


def _unsuitable(error: TopologyError, place: str, *, is_active: bool) -> Check:
    if is_active and "does not exist" in str(error):
        return Check(
            "broker", ok=True, detail=f"reachable at {place}; serve creates exchanges and queues when it starts"
        )
    advice = "Create them as in deploy/rabbitmq/definitions.json, or let serve do it: AMQP_DECLARE=active."
    return Check("broker", ok=False, detail=str(error), advice=advice)
