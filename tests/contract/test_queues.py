"""The broker's state, as operators see it."""

import pytest

from service.adapters.rabbitmq import queues
from service.adapters.rabbitmq.queues import RabbitQueues
from service.adapters.rabbitmq.topology import declare_topology
from service.core.oversight import BrokerState, QueueState
from tests.contract.broker_rig import Bench


async def test_how_full_queues_are_and_who_reads_them(bench: Bench) -> None:
    topology = bench.topology
    asked = RabbitQueues(bench.url, topology)
    nothing = BrokerState(QueueState(topology.intake_queue, None, 0), QueueState(topology.parked, None, 0))
    assert await asked.state() == nothing
    await declare_topology(bench.url, topology)
    channel = await bench.channel()
    for _ in range(3):
        await channel.basic_publish(b"x", exchange=topology.parked)
    await bench.arrivals(topology.intake_queue)
    assert await asked.state() == BrokerState(
        QueueState(topology.intake_queue, 0, 1), QueueState(topology.parked, 3, 0)
    )


async def test_a_broker_that_cannot_be_asked_is_said_and_no_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "ASKED_SECONDS_MAX", 0.2)
    bench.relay.sink()
    assert "no answer" in ((await RabbitQueues(bench.relayed_url, bench.topology).state()).trouble or "")
    assert "refused" in ((await RabbitQueues("amqp://127.0.0.1:1/", bench.topology).state()).trouble or "")
