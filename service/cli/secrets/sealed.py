"""Whether SECRET_KEYS opens what is stored, and which of its keys are still needed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from service.adapters.postgres.endpoints.clear_urls import ClearUrls, count_clear_urls
from service.adapters.postgres.sealed import (
    SealedColumn,
    SealedGroup,
    SealedValue,
    sealed_groups,
    sealed_sample,
)
from service.adapters.secret_box import AesSecretBox, SecretKey
from service.cli.database import NO_SECRET_KEYS
from service.cli.running.check import Check
from service.cli.terminal import BAD_USAGE, CommandError
from service.core.wording import count_of
from service.ports.errors import SecretUnopenableError
from service.settings import Settings

PUT_BACK: Final = "Put the key that sealed them back into SECRET_KEYS; until then, nothing is sent to their endpoints."


async def check_secrets(engine: AsyncEngine, settings: Settings) -> Check:
    """Count what each key sealed, and open one of each, which finds missing keys as well as wrong ones."""
    keys = settings.secret_keys
    if not keys:
        return Check("secrets", ok=False, detail="SECRET_KEYS is not set", advice=NO_SECRET_KEYS)
    groups, box = await sealed_groups(engine), AesSecretBox(keys)
    closed = [
        f"{_counted(group)} sealed with key {group.key_id!r}: {why}"
        for group in groups
        if group.column.is_lasting and (why := _why_closed(box, group.example))
    ]
    if closed:
        return Check("secrets", ok=False, detail="; ".join(closed), advice=PUT_BACK)
    sealed_by = {key_id: _of_key(groups, key_id) for key_id in sorted({group.key_id for group in groups})}
    told = [f"key {key_id!r} sealed {counts}" for key_id, counts in sealed_by.items()]
    advice = [_advice(settings, sealed_by), _clear_advice(await count_clear_urls(engine))]
    detail = "; ".join(told) or "nothing is sealed yet"
    return Check("secrets", ok=True, detail=detail, advice="\n".join(filter(None, advice)))


def _advice(settings: Settings, sealed_by: Iterable[str]) -> str:
    """What to do about keys that are not the first."""
    first, *others = [key.id for key in settings.secret_keys]
    needed = [repr(each) for each in others if each in sealed_by]
    idle = [repr(each) for each in others if each not in sealed_by]
    lines = []
    if needed:
        lines.append(
            f"Keep {_listed(needed)} in SECRET_KEYS; 'posthorn secrets rewrap' seals all of it with {first!r}."
        )
    if idle:
        lines.append(
            f"Nothing stored needs {_listed(idle)}: remove it from SECRET_KEYS, once every process has {first!r} first."
        )
    return "\n".join(lines)


def _clear_advice(clear: ClearUrls) -> str:
    if not (clear.organization_count or clear.url_count):
        return ""
    return (
        f"{count_of(clear.endpoint_count, 'endpoint')} and "
        f"{count_of(clear.ended_subscription_count, 'ended subscription')} with a query in clear in the URL, and "
        f"{count_of(clear.organization_count, 'organization')} where new ones are stored so.\n"
        "When every process is of this release, 'posthorn secrets rewrap' seals them."
    )


def left_behind(groups: Sequence[SealedGroup], keys: Sequence[SecretKey]) -> dict[str, str]:
    """What other keys than the first sealed, in words, by key; without what no key opens and is gone in a day."""
    first, known = keys[0].id, {key.id for key in keys}
    left = [group for group in groups if group.key_id != first and (group.column.is_lasting or group.key_id in known)]
    return {key_id: _of_key(left, key_id) for key_id in sorted({group.key_id for group in left})}


async def require_openable(engine: AsyncEngine, settings: Settings, *, tells: bool) -> None:
    """Raise ``CommandError`` if SECRET_KEYS opens nothing of what was looked at; log what it does not open.

    What is closed among what is open stops only its own endpoints, so the service runs for all others. ``tells``: log
    that. Looks at a bounded number of rows.
    """
    sample, box = await sealed_sample(engine), AesSecretBox(settings.secret_keys)
    closed: Counter[tuple[SealedColumn, str, str]] = Counter()
    for column, value in sample:
        if why := _why_closed(box, value):
            closed[column, value.key_id, why] += 1
    if not closed:
        return
    told = "; ".join(
        f"{count_of(count, column.one, column.many)} sealed with key {key_id!r}: {why}"
        for (column, key_id, why), count in closed.items()
    )
    if closed.total() == len(sample):
        ids = _listed(sorted({repr(key_id) for _, key_id, _ in closed}))
        raise CommandError(
            f"SECRET_KEYS opens nothing that is stored. It needs {ids}, as it was when this was sealed: {told}.\n"
            "Put it back, after the key that shall seal from now on; 'posthorn doctor' checks it.",
            BAD_USAGE,
        )
    if tells:
        structlog.get_logger().error("secrets.unopenable", detail=told, looked_at=len(sample), advice=PUT_BACK)


def _why_closed(box: AesSecretBox, value: SealedValue) -> str:
    try:
        value.open(box)
    except SecretUnopenableError as error:
        return str(error)
    return ""


def _of_key(groups: Sequence[SealedGroup], key_id: str) -> str:
    return _listed([_counted(group) for group in groups if group.key_id == key_id])


def _counted(group: SealedGroup) -> str:
    return count_of(group.count, group.column.one, group.column.many)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
