"""The work of ``endpoints``: the API's use cases, directly on the database."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, assert_never

from service.adapters.postgres.endpoints.organizations import OrganizationStore
from service.adapters.system import command_actor
from service.cli.database import connected, endpoint_store, require_secret_keys
from service.cli.hints import called_as, suggest, words
from service.cli.options import time_of
from service.cli.organizations.known import no_organization, require_organization
from service.cli.secrets.sealed import require_openable
from service.cli.tables import Column, moment, print_table
from service.cli.terminal import (
    BAD_USAGE,
    CommandError,
    print_fields,
    print_json,
    split_names,
    tell,
)
from service.core.endpoints.auth import expiry_of, masked_auth
from service.core.endpoints.refusals import (
    CapReached,
    InvalidWish,
    NoSuchOrganization,
    OtherSecret,
)
from service.core.endpoints.settings import EndpointWish
from service.core.endpoints.subscription import covers
from service.core.endpoints.target_policy import Target, TargetRefused, Verdict
from service.core.endpoints.url import masked_url
from service.core.endpoints.view import LISTED, EndpointFilter, EndpointState, EndpointView, NewSecret, Registered
from service.core.events.registry import REGISTRY
from service.core.walk import Walk
from service.settings import Settings, load_settings
from webhook_signature.styles import StyleName

PAGE_SIZE: Final = 200

_COLUMNS: Final = (
    Column("state"),
    Column("event types", moves=True),
    Column("created (UTC)"),
    Column("endpoint", moves=True),
    Column("url", moves=True),
)


def add_command(organization_id: str) -> str:
    """The command that adds an endpoint, with an example URL."""
    options = ("--url", "https://hooks.example.com/", "--event-types", "message.sent")
    return words("endpoints", "add", "--organization", organization_id, *options)


def add_endpoint(
    organization_id: str,
    url: str,
    event_types: str,
    secret: str | None,
    signature_style: StyleName | None,
    rate_limit_per_second: float | None,
    max_in_flight: int | None,
    *,
    auth_file: Path | None,
    order_by: str | None,
    order_wait_seconds: float | None,
    valid_until: str | None,
    as_json: bool,
) -> None:
    """``endpoints add``."""
    settings = load_settings()
    given: dict[str, Any] = {"url": url, "event_types": split_names(event_types)}
    asked: dict[str, Any] = {"secret": secret, "signature_style": signature_style, "max_in_flight": max_in_flight}
    asked |= {"rate_limit_per_second": rate_limit_per_second, "order_by": order_by}
    asked |= {"order_wait_seconds": order_wait_seconds, "auth": auth_file and _read_json(auth_file)}
    asked |= {"valid_until": valid_until and time_of(valid_until, "--valid-until")}
    wish = EndpointWish({**given, **{name: value for name, value in asked.items() if value is not None}})
    require_secret_keys(settings)

    async def add() -> Registered:
        async with connected(settings) as engine:
            await require_openable(engine, settings, tells=False)
            match await endpoint_store(engine, settings).subscribe(organization_id, wish, by=command_actor()):
                case Registered() as made:
                    return made
                case InvalidWish(problems):
                    raise CommandError(_in_options(problems, settings.egress_policy.judge_url(url)), BAD_USAGE)
                case OtherSecret() as refused:
                    raise CommandError(f"--secret: {refused.sentence}.", BAD_USAGE)
                case CapReached() as capped:
                    raise CommandError(f"--{capped.field.replace('_', '-')}: {capped.sentence}.")
                case NoSuchOrganization():
                    raise no_organization(organization_id, await OrganizationStore(engine).list())
                case other:
                    assert_never(other)

    made = asyncio.run(add())
    shown = {
        "id": made.endpoint.id,
        "url": masked_url(made.endpoint.settings.url),
        "event_types": made.endpoint.settings.event_types,
        "secret": made.new_secret and made.new_secret.text,
        "public_key": made.new_secret and made.new_secret.public_key,
    }
    if as_json:
        print_json(shown)
        return
    tell(_of_secret(made.new_secret))
    print_fields(shown)
    _suggest_event(_first_of(given["event_types"][0]), organization_id, settings)


def _suggest_event(event_type: str, organization_id: str, settings: Settings) -> None:
    trigger = words("trigger", event_type, "--organization", organization_id)
    if settings.amqp_url is None:
        options = ("--scopes", "publish", "--name", "trigger", "--expires-in-days", "1")
        key = words("keys", "create", "--organization", organization_id, *options)
        trigger += f' --via http --key "$({called_as()} {key} 2>/dev/null)"'
    suggest(trigger, when=", while 'posthorn serve' runs")


def _of_secret(made: NewSecret | None) -> str:
    if made is None:
        return "This URL was already registered: it keeps its endpoint, its secret and its settings."
    if made.public_key is not None:
        return "Give the public key to the receiver; the private one stays here."
    return "Give the secret to the receiver; it is shown only once."


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"--auth-file: {path}: {error.strerror}.", BAD_USAGE) from None
    except ValueError:  # its text may quote a secret
        raise CommandError(f"--auth-file: {path} is not JSON in UTF-8.", BAD_USAGE) from None


def _first_of(pattern: str) -> str:
    """A built-in event type that a pattern covers, to try the endpoint with."""
    return next((name for name in REGISTRY if covers(pattern, name)), next(iter(REGISTRY)))


def _in_options(problems: Mapping[str, Sequence[str]], target: Target | TargetRefused) -> str:
    """Describe a wish's problems by option, and name the setting that would allow a refused URL."""
    lines = [
        f"--{path.partition('[')[0].replace('_', '-')}: {sentence.rstrip('?.')}{'?' if sentence[-1] == '?' else '.'}"
        for path, sentences in problems.items()
        for sentence in sentences
    ]
    if isinstance(target, TargetRefused) and target.is_policy:
        lines.append(_permission(target))
    return "\n".join(lines)


def _permission(refused: TargetRefused) -> str:
    match refused.verdict:
        case None:
            return "POSTHORN_ALLOW_HTTP=true allows http:// too."
        case Verdict.DENIED_BY_OPERATOR:
            return "POSTHORN_EGRESS_DENY forbids it."
        case _:
            return "POSTHORN_EGRESS_ALLOW can allow it."


def list_endpoints(organization_id: str, wanted: EndpointFilter, *, as_json: bool) -> None:
    """``endpoints list``."""
    settings = load_settings()

    async def find() -> list[EndpointView]:
        async with connected(settings) as engine:
            await require_organization(engine, organization_id)
            store = endpoint_store(engine, settings)
            found: list[EndpointView] = []
            page_size = PAGE_SIZE
            while page_size == PAGE_SIZE:
                after = (found[-1].created_at, found[-1].id) if found else None
                page = await store.list(organization_id, Walk(PAGE_SIZE, after), wanted)
                page_size = len(page)
                found += page
            return found

    found = asyncio.run(find())
    if as_json:
        print_json({"data": [_shown(each) for each in found]})
        return
    rows = [
        (_state(each), each.settings.event_types, moment(each.created_at), each.id, masked_url(each.settings.url))
        for each in found
    ]
    print_table(
        _COLUMNS,
        rows,
        nothing=f"{organization_id} has no such endpoints."
        if wanted != LISTED
        else f"{organization_id} has no endpoints yet.",
    )
    if found:
        suggest(words("deliveries", "list", "--organization", organization_id, "--endpoint", found[0].id))
    else:
        suggest(add_command(organization_id))


def _state(endpoint: EndpointView) -> str:
    """The state, and the gates that it does not name."""
    others = [str(each.kind) for each in endpoint.gates if str(each.kind) != endpoint.state.value]
    return f"{endpoint.state} ({', '.join(others)})" if others else endpoint.state.value


def _no_endpoint(organization_id: str, endpoint_id: str) -> CommandError:
    lists = f"'posthorn endpoints list --organization {organization_id}' lists its endpoints"
    return CommandError(f"{organization_id} has no endpoint {endpoint_id!r}: {lists}.")


def _shown(endpoint: EndpointView) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "url": masked_url(endpoint.settings.url),
        "event_types": endpoint.settings.event_types,
        "signature_style": endpoint.settings.signature_style,
        "public_keys": [each.public_key for each in endpoint.secrets if each.public_key is not None],
        "auth": masked_auth(endpoint.settings.auth),
        "auth_expires_at": expiry_of(endpoint.settings.auth),
        "rate_limit_per_second": endpoint.settings.rate_limit_per_second,
        "max_in_flight": endpoint.settings.max_in_flight,
        "order_by": endpoint.settings.order_by,
        "order_wait_seconds": endpoint.settings.order_wait_seconds,
        "state": endpoint.state,
        "is_paused": endpoint.state is EndpointState.PAUSED,
        "gates": [
            {"kind": each.kind, "reason": each.reason, "since": each.since, "until": each.until}
            for each in endpoint.gates
        ],
        "verified_at": endpoint.verified_at,
        "valid_until": endpoint.settings.valid_until,
        "created_at": endpoint.created_at,
    }


def remove_endpoint(endpoint_id: str, organization_id: str, *, as_json: bool) -> None:
    """``endpoints remove``."""
    settings = load_settings()

    async def remove() -> bool:
        async with connected(settings) as engine:
            await require_organization(engine, organization_id)
            store, by = endpoint_store(engine, settings), command_actor()
            return await store.remove(organization_id, endpoint_id, by=by) is None

    if not asyncio.run(remove()):
        raise _no_endpoint(organization_id, endpoint_id)
    if as_json:
        print_json({"id": endpoint_id, "removed": True})
    else:
        tell(f"Removed {endpoint_id}.")
        suggest(words("endpoints", "list", "--organization", organization_id))
