"""WebSockets that are asked once and answer until there is no more."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from anyio import CancelScope
from fastapi import WebSocket
from pydantic import BaseModel, ValidationError
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect

from app.core.errors import DomainError, InvalidInput
from app.core.tasks import stop

# Seconds: who has connected has to say what for. Nobody is known yet, and a socket is held.
FIRST_MESSAGE_WITHIN = 5.0

Asked = TypeVar("Asked", bound=BaseModel)


class NoFirstMessage(DomainError):
    type, title, status = "no-first-message", "The first message did not come in time", 408


async def receive_first(socket: WebSocket, model: type[Asked]) -> Asked:
    """Accept, and read what is asked for.

    Whatever can be wrong with it is said after the handshake: of one that failed, a browser shows
    a program no status. Raises `NoFirstMessage`, `InvalidInput` and `WebSocketDisconnect`.
    """
    await socket.accept()
    try:
        async with asyncio.timeout(FIRST_MESSAGE_WITHIN):
            message = await socket.receive()
    except TimeoutError:
        raise NoFirstMessage(f"it has to come within {FIRST_MESSAGE_WITHIN:g} s") from None
    _still_there(message)
    try:
        return model.model_validate_json(message.get("text") or message.get("bytes") or "")
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(["message", *map(str, first["loc"])])
        raise InvalidInput(f"{field}: {first['msg']}", field=field) from None


def _still_there(message: Message) -> None:
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"], message.get("reason"))


async def send_all(socket: WebSocket, messages: AsyncGenerator[BaseModel, None]) -> None:
    """Send them and close, or stop at once when the client leaves.

    What the client does not read waits in a buffer that uvicorn bounds; a client that answers no
    ping any more has left. Raises what `messages` raises, `WebSocketDisconnect`, and `InvalidInput`
    for a second message.
    """
    heard = asyncio.create_task(socket.receive())
    try:
        with CancelScope() as scope:
            heard.add_done_callback(lambda _: scope.cancel())
            async with aclosing(messages):
                async for message in messages:
                    await socket.send_text(message.model_dump_json())
    finally:
        await stop(heard)
    if scope.cancelled_caught:
        _still_there(heard.result())
        raise InvalidInput("after the first message, there is nothing more to say")
    await socket.close()
