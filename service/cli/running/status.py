"""``status``: the service on one screen."""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, replace

from service.adapters.postgres.oversight import OversightReader
from service.adapters.rabbitmq.queues import RabbitQueues
from service.cli.database import connected
from service.cli.hints import called_as
from service.cli.terminal import print_json, print_line, shown
from service.core.oversight import BrokerState, Oversight, concerns, verdict
from service.core.wording import count_of
from service.settings import Settings, load_settings


def status(*, as_json: bool) -> None:
    """Read it, and print it."""
    seen = asyncio.run(_look(load_settings()))
    if as_json:
        print_json(asdict(seen) | {"concerns": [asdict(each) for each in concerns(seen)]})
        return
    for line in _lines(seen):
        print_line(line)


async def _look(settings: Settings) -> Oversight:
    async with connected(settings) as engine:
        if settings.amqp_url is None:
            return await OversightReader(engine).look()
        seen, broker = await asyncio.gather(
            OversightReader(engine).look(), RabbitQueues(settings.amqp_url, settings.topology).state()
        )
        return replace(seen, broker=broker)


def _lines(seen: Oversight) -> Iterator[str]:
    found = concerns(seen)
    for each in found:
        command = f"  ({called_as()} {each.command})" if each.command else ""
        yield f"! {shown(each.sentence)}.{command}"
    if not found:
        yield f"{verdict(seen, is_broker_checked=seen.broker is not None)}."
    yield ""
    waiting = seen.waiting
    yield _row("due", f"{waiting.due_count}, the oldest for {_span(waiting.oldest_due_age_seconds)}")
    gated = f"{waiting.gated_count}, the oldest for {_span(waiting.oldest_gated_age_seconds)}"
    yield _row("due, gated", gated)
    yield _row("fan-outs", f"{waiting.fan_out_count} waiting")
    yield _row("broker", _broker(seen.broker))
    for process in seen.processes:
        role = process.role or "gone"
        since = f" since {shown(process.connected_since)}" if process.connected_since else ""
        yield _row(
            role, f"{shown(process.name)}{since}, {count_of(process.leased_count, 'delivery', 'deliveries')} in hand"
        )
    for kind, count in seen.gates.items():
        yield _row("gates", f"{count} {kind}")
    for gate in seen.oldest_gates[:5]:
        detail = f": {shown(gate.detail)}" if gate.detail else ""
        yield _row("", f"{gate.kind} {gate.endpoint_id} of {gate.organization_id} since {shown(gate.since)}{detail}")
    for failing in seen.failing[:5]:
        endpoints = count_of(failing.endpoint_count, "endpoint")
        yield _row("failing", f"{endpoints} of {failing.organization_id}, since {shown(failing.failing_since)}")


def _row(name: str, text: str) -> str:
    return f"{name:<12}{text}".rstrip()


def _broker(state: BrokerState | None) -> str:
    if state is None:
        return "not checked: AMQP_URL is not set here"
    if state.trouble is not None:
        return f"cannot be used: {shown(state.trouble)}"
    told = []
    for queue in (state.intake, state.parked):
        if queue is not None and queue.ready_count is None:
            told.append(f"{queue.name} does not exist")
        elif queue is not None:
            readers = f", {count_of(queue.consumer_count, 'reader')}" if queue is state.intake else ""
            told.append(f"{queue.name} {queue.ready_count} waiting{readers}")
    return "; ".join(told)


def _span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
