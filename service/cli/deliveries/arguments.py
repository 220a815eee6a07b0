"""Options that choose deliveries."""

from typing import Annotated

import typer

from service.core.deliveries.delivery import State
from service.core.reason import Reason

DeliveryArgument = Annotated[str, typer.Argument(metavar="ID", help="The delivery's id.")]
OrganizationOption = Annotated[str | None, typer.Option("--organization", help="Only deliveries of this organization.")]
EndpointsOption = Annotated[
    list[str] | None, typer.Option("--endpoint", help="Only deliveries to this endpoint. Repeatable.")
]
EventOption = Annotated[str | None, typer.Option("--event", help="Only deliveries of this event.")]
StatesOption = Annotated[
    list[State] | None,
    typer.Option(metavar="STATE", help=f"Only deliveries in this state: {', '.join(State)}. Repeatable."),
]
MessageOption = Annotated[
    str | None, typer.Option("--message", help="Only deliveries of events about this message; with --organization.")
]
TypesOption = Annotated[list[str] | None, typer.Option(help="Only deliveries of this event type. Repeatable.")]
StatusesOption = Annotated[
    list[str] | None,
    typer.Option(help="Only deliveries whose last answer had this status: 503, or 5xx. Repeatable."),
]
ReasonsOption = Annotated[
    list[Reason] | None,
    typer.Option(metavar="REASON", help=f"Only deliveries with this reason: {', '.join(Reason)}. Repeatable."),
]
