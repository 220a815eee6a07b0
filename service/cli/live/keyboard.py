"""Single keys from the terminal, which is as it was again on every way out: the end, an error, SIGTERM, Ctrl-Z.

Ctrl-C and Ctrl-Z stay signals. Only a process in the foreground may read keys or set modes: another one is stopped.
"""

import asyncio
import os
import signal
import sys
import termios
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Self

_QUIT: Final = {"q", "Q", "\x04"}


class Keyboard:
    """``async with Keyboard(…) as keys: async for key in keys.until_quit()``. Needs a terminal on standard input."""

    def __init__(self, on_return: Callable[[], None]) -> None:
        """``on_return`` is called when the terminal is ours again, after Ctrl-Z."""
        self._descriptor = sys.stdin.fileno()
        self._on_return = on_return
        self._pressed = asyncio.Queue[str]()
        self._before: list[Any] | None = None

    async def until_quit(self) -> AsyncIterator[str]:
        """Each key as it is pressed; ends at q."""
        while (key := await self._pressed.get()) not in _QUIT:
            yield key

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTSTP, self._stop)
        loop.add_signal_handler(signal.SIGCONT, self._go_on)
        self._take()
        return self

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTSTP)
        loop.remove_signal_handler(signal.SIGCONT)
        self._give_back()

    def _take(self) -> None:
        """Have keys at once, and unseen."""
        if not self._is_in_foreground():
            return
        if self._before is None:
            self._before = termios.tcgetattr(self._descriptor)
        modes = termios.tcgetattr(self._descriptor)
        modes[3] &= ~(termios.ICANON | termios.ECHO)
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, modes)
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def _go_on(self) -> None:
        self._take()
        if self._is_in_foreground():
            self._on_return()

    def _give_back(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        if self._before is not None and self._is_in_foreground():
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
            self._before = None

    def _stop(self) -> None:
        """Ctrl-Z: stop as if nobody had caught it. SIGCONT goes on."""
        self._give_back()
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGTSTP)
        loop.add_signal_handler(signal.SIGTSTP, self._stop)

    def _read(self) -> None:
        if not self._is_in_foreground():
            asyncio.get_running_loop().remove_reader(self._descriptor)
            return
        pressed = os.read(self._descriptor, 64)
        if not pressed:  # the terminal is gone
            asyncio.get_running_loop().remove_reader(self._descriptor)
        for each in pressed.decode(errors="ignore"):
            self._pressed.put_nowait(each)

    def _is_in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:  # the terminal is gone
            return False
