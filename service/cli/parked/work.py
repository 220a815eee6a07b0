"""The work of ``parked``: it looks into the queue, and empties it of what was asked for."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from service.adapters.postgres.audit.log import AuditWriter
from service.adapters.postgres.engine import connect
from service.adapters.rabbitmq.parked.desk import RabbitParkedDesk
from service.adapters.system import command_actor
from service.cli.database import database_url_of, explained
from service.cli.hints import suggest, words
from service.cli.parked.showing import print_look, print_message, report
from service.cli.terminal import (
    BAD_USAGE,
    CommandError,
    split_names,
    tell,
)
from service.cli.trying.publishing import NO_AMQP_URL
from service.core.audit.actor import Actor
from service.core.audit.entry import AuditOperation, State
from service.core.parked.mending import Mend
from service.core.parked.message import ParkedFilter, ParkedMessage
from service.core.wording import count_of
from service.ports.errors import UnavailableError
from service.ports.parked import Look, Sweep
from service.settings import Settings, load_settings
from service.settings.values import masked

SAVED_BYTES_MAX: Final = 128 * 1024 * 1024  # what RabbitMQ takes at most, unless it is told to take more


def list_parked(reason: str | None, *, limit: int, skip: int, as_json: bool) -> None:
    """``parked list``."""
    settings = load_settings()
    look = asyncio.run(_look(settings, _filter((), reason), limit, skip))
    print_look(look, as_json=as_json)


def show_parked(parked_id: str, save: Path | None, *, as_json: bool) -> None:
    """``parked show``."""
    settings = load_settings()
    bytes_max = SAVED_BYTES_MAX if save else 1024 * 1024
    look = asyncio.run(_look(settings, ParkedFilter(frozenset({parked_id})), 1, 0, body_bytes_max=bytes_max))
    if not look.messages:
        raise _not_found(parked_id, look)
    (message,) = look.messages
    if save is not None:
        _save(save, message)
    print_message(message, as_json=as_json)
    if save is not None and not as_json:
        suggest(words("parked", "republish", parked_id, "--body", str(save)), when=", once it is mended")
    elif not as_json:
        suggest(words("parked", "show", parked_id, "--save", "event.json"), words("parked", "republish", parked_id))


def republish_parked(
    ids: list[str] | None,
    body: Path | None,
    event_type: str | None,
    organization_id: str | None,
    reason: str | None,
    *,
    every: bool,
    limit: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """``parked republish``."""
    settings = load_settings()
    wanted = _asked(ids, reason, every=every)
    if body is not None and len(wanted.ids) != 1:
        raise CommandError("--body: give one ID with it.", BAD_USAGE)
    mend = Mend(_read(body), event_type, organization_id)
    is_dry = dry_run or (every and not yes)
    sweep = asyncio.run(_republish(settings, wanted, mend, limit, is_dry=is_dry))
    report(sweep, wanted, "published", is_dry=is_dry, needs_yes=is_dry and not dry_run, as_json=as_json)


def discard_parked(
    ids: list[str] | None, reason: str | None, *, every: bool, limit: int, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """``parked discard``."""
    settings = load_settings()
    wanted = _asked(ids, reason, every=every)
    is_dry = dry_run or (every and not yes)
    sweep = asyncio.run(_discard(settings, wanted, limit, is_dry=is_dry))
    report(sweep, wanted, "discarded", is_dry=is_dry, needs_yes=is_dry and not dry_run, as_json=as_json)


async def _look(settings: Settings, wanted: ParkedFilter, limit: int, skip: int, *, body_bytes_max: int = 0) -> Look:
    async with _desk(settings) as desk:
        return await desk.look(wanted, limit=limit, skip=skip, body_bytes_max=body_bytes_max)


async def _republish(settings: Settings, wanted: ParkedFilter, mend: Mend, limit: int, *, is_dry: bool) -> Sweep:
    async with _desk(settings) as desk:
        return await desk.republish(wanted, mend, limit=_limit_of(wanted, limit), is_dry=is_dry, by=command_actor())


async def _discard(settings: Settings, wanted: ParkedFilter, limit: int, *, is_dry: bool) -> Sweep:
    async with _desk(settings) as desk:
        return await desk.discard(wanted, limit=_limit_of(wanted, limit), is_dry=is_dry, by=command_actor())


def _limit_of(wanted: ParkedFilter, limit: int) -> int:
    """Of messages that are the same byte for byte, as many as are named: one for each id."""
    return min(limit, len(wanted.ids)) if wanted.ids else limit


class _Log:
    """Implements ``AuditLog``; only what is entered needs a database."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def enter(self, by: Actor, operation: AuditOperation, object_id: str, after: State) -> None:
        """Enter what is about to be done. Raises ``CommandError``."""
        engine = connect(database_url_of(self._settings), pool_size=1)
        try:
            with explained(self._settings):
                await AuditWriter(engine).enter(by, operation, object_id, after)
        finally:
            await engine.dispose()


@asynccontextmanager
async def _desk(settings: Settings) -> AsyncIterator[RabbitParkedDesk]:
    if settings.amqp_url is None:
        raise CommandError(NO_AMQP_URL.partition(" (or use")[0], BAD_USAGE)
    try:
        yield RabbitParkedDesk(
            settings.amqp_url,
            settings.topology,
            settings.amqp_declare,
            log=_Log(settings),
            now=lambda: datetime.now(UTC),
        )
    except UnavailableError as error:
        raise CommandError(f"AMQP_URL: {masked(settings.amqp_url)}: {error}.") from error


def _filter(ids: Sequence[str], reason: str | None) -> ParkedFilter:
    return ParkedFilter(frozenset(ids), frozenset(split_names(reason or "")))


def _asked(ids: Sequence[str] | None, reason: str | None, *, every: bool) -> ParkedFilter:
    if every == bool(ids):
        raise CommandError("Give the IDs of messages, or --all (with --reason, all of that reason).", BAD_USAGE)
    return _filter(ids or (), reason)


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise CommandError(f"--body: {error.strerror}: {path}", BAD_USAGE) from error


def _save(path: Path, message: ParkedMessage) -> None:
    if message.body is None:
        raise CommandError(f"--save: the body has {message.body_bytes} bytes; the limit is {SAVED_BYTES_MAX}.")
    try:
        with path.open("xb") as file:
            file.write(message.body)
    except OSError as error:
        raise CommandError(f"--save: {error.strerror}: {path}", BAD_USAGE) from error
    tell(f"The body ({count_of(message.body_bytes, 'byte')}) is in {path}.")


def _not_found(parked_id: str, look: Look) -> CommandError:
    seen = f"; only {look.looked_at_count} of {look.message_count} were looked at" if look.reached_limit else ""
    return CommandError(f"There is no parked message {parked_id!r}{seen}. 'posthorn parked list' lists them.")
