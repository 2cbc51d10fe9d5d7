"""The greeter, which takes several calls in one request; the actor is served by the same application."""
import os

import uvicorn

import dormouse_calls
import functions as example
from functions import body_of, respond


async def app(scope, receive, send):
    """The ASGI application."""
    if scope["type"] != "http":
        return
    if scope["path"] != "/statefun":
        await respond(send, 404, b"text/plain", b"the functions are at /statefun\n")
        return
    headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
    handle = example.handler.handle_async
    status, answered, body = await dormouse_calls.answer(handle, headers, await body_of(receive))
    answered["content-length"] = str(len(body))
    encoded = [(name.encode(), value.encode()) for name, value in answered.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
