"""A request's connection, below what ASGI lets an application do to it."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import Final

from starlette.types import Message, Receive, Scope, Send

_NO_LINGER: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Wire:
    """A request with what is needed to answer it; ``transport`` is the server's."""

    scope: Scope
    receive: Receive
    send: Send
    transport: asyncio.Transport

    @classmethod
    def of(cls, scope: Scope, receive: Receive, send: Send) -> Wire:
        """That of a request as uvicorn gives it to the outermost application, and to no other.

        Raises:
            TypeError: it is no request that comes straight from uvicorn.
        """
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("faults can be injected only right behind uvicorn")
        return cls(scope, receive, send, transport)

    async def reset(self) -> None:
        """End it as a machine does that crashed: by TCP RST, with all that was not sent yet."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None and not self.transport.is_closing():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()
        await self.until_gone()

    async def close(self) -> None:
        """End it once all is sent that was written, whatever was announced."""
        self.transport.close()
        await self.until_gone()

    async def until_gone(self) -> None:
        """Wait for the connection's end. What is received until then is dropped."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


async def dropped(_message: Message) -> None:
    """Send nothing, to nobody."""
