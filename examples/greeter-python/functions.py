"""Two stateful functions, written with the official SDK of Apache Flink Stateful Functions.

`person` counts the visits of one person in its state and tells `greeter`, which writes a greeting to
the playground's egress. Neither keeps anything in this process, so any number of it may run.
"""
import json
import logging
import os

import uvicorn
from statefun import (
    IntType,
    RequestReplyHandler,
    StatefulFunctions,
    ValueSpec,
    egress_message_builder,
    message_builder,
    simple_type,
)

GREET_REQUEST = simple_type(
    typename="example/GreetRequest",
    serialize_fn=lambda request: json.dumps(request).encode(),
    deserialize_fn=json.loads,
)

EGRESS_RECORD = simple_type(
    typename="io.statefun.playground/EgressRecord",
    serialize_fn=lambda record: json.dumps(record).encode(),
    deserialize_fn=json.loads,
)

functions = StatefulFunctions()


@functions.bind(typename="example/person", specs=[ValueSpec(name="visits", type=IntType)])
async def person(context, message):
    """Counts a visit of this person and asks for a greeting."""
    request = message.as_type(GREET_REQUEST)
    visits = (context.storage.visits or 0) + 1
    context.storage.visits = visits
    context.send(
        message_builder(
            target_typename="example/greeter",
            target_id=request["name"],
            value={"name": request["name"], "visits": visits},
            value_type=GREET_REQUEST,
        )
    )


@functions.bind(typename="example/greeter")
async def greeter(context, message):
    """Writes the greeting."""
    request = message.as_type(GREET_REQUEST)
    greeting = f"Hello {request['name']}, this is visit {request['visits']}."
    context.send_egress(
        egress_message_builder(
            target_typename="io.statefun.playground/egress",
            value={"topic": "greetings", "payload": greeting},
            value_type=EGRESS_RECORD,
        )
    )


handler = RequestReplyHandler(functions)


async def app(scope, receive, send):
    """The ASGI application: one route, `POST /statefun`."""
    if scope["type"] != "http":
        return
    if scope["path"] != "/statefun":
        await respond(send, 404, b"text/plain", b"the functions are at /statefun\n")
        return
    try:
        answer = await handler.handle_async(await body_of(receive))
    except Exception:
        # Dormouse calls again: nothing of a failed invocation has happened.
        logging.exception("an invocation failed")
        await respond(send, 500, b"text/plain", b"the function failed, see its log\n")
        return
    await respond(send, 200, b"application/octet-stream", answer)


async def body_of(receive):
    """The whole body of a request."""
    body = bytearray()
    more = True
    while more:
        part = await receive()
        body += part.get("body", b"")
        more = part.get("more_body", False)
    return bytes(body)


async def respond(send, status, content_type, body):
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        app,
        host=os.environ.get("HOST", "127.0.0.1"),
        port=int(os.environ.get("PORT", "8000")),
        log_level="warning",
    )
