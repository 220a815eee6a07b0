"""What every command that begins a replay can be told."""

from typing import Annotated

import typer

from service.core.replays.job import RATE_MAX

RateOption = Annotated[int, typer.Option(min=1, max=RATE_MAX, help="Deliveries per second, at most.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only count; nothing is stored.")]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Do not show the progress until it has ended.")]
