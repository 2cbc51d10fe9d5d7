"""The actor with the official Python SDK: it does what its message says, see ../README.md."""
import json
import os
from datetime import timedelta

import functions as example
import uvicorn
from statefun import (
    BoolType,
    DoubleType,
    FloatType,
    IntType,
    LongType,
    RequestReplyHandler,
    StatefulFunctions,
    StringType,
    ValueSpec,
    egress_message_builder,
    message_builder,
    simple_type,
)

BRIEF = timedelta(milliseconds=1500)
RING = 10_000

STATES = [
    ValueSpec(name="count", type=IntType),
    ValueSpec(name="big", type=LongType),
    ValueSpec(name="ratio", type=FloatType),
    ValueSpec(name="exact", type=DoubleType),
    ValueSpec(name="flag", type=BoolType),
    ValueSpec(name="text", type=StringType),
    ValueSpec(name="brief", type=IntType, expire_after_write=BRIEF),
    ValueSpec(name="used", type=IntType, expire_after_call=BRIEF),
]
TYPES = {spec.name: spec.type for spec in STATES}
PARSERS = {
    "ratio": float,
    "exact": float,
    "flag": lambda text: text == "true",
    "text": str,
}

EGRESS_RECORD = simple_type(
    typename="io.statefun.playground/EgressRecord",
    serialize_fn=lambda record: json.dumps(record).encode(),
    deserialize_fn=json.loads,
)

functions = StatefulFunctions()


@functions.bind(typename="suite/actor", specs=STATES)
async def actor(context, message):
    for step in message.as_string().split(";"):
        act(context, step.strip())


@functions.bind(typename="frail/actor", specs=STATES)
async def frail(context, message):
    await actor(context, message)


@functions.bind(typename="suite/relay", specs=[ValueSpec(name="count", type=IntType)])
async def relay(context, message):
    context.storage.count = (context.storage.count or 0) + 1
    left = message.as_int()
    if left > 0:
        next_id = str((int(context.address.id) + 1) % RING)
        context.send(message_builder(target_typename="suite/relay", target_id=next_id, int_value=left - 1))


def act(context, step):
    storage, own = context.storage, context.address
    verb, _, rest = step.partition(" ")
    if verb == "add":
        storage.count = (storage.count or 0) + int(rest)
    elif verb == "put":
        name, _, value = rest.partition(" ")
        setattr(storage, name, PARSERS.get(name, int)(value))
    elif verb == "clear":
        delattr(storage, rest)
    elif verb == "show":
        show(context, rest, getattr(storage, rest))
    elif verb == "send":
        typename, target, sent = rest.split(" ", 2)
        context.send(command(typename, target, sent))
    elif verb == "burst":
        count, typename, target, sent = rest.split(" ", 3)
        for _ in range(int(count)):
            context.send(command(typename, target, sent))
    elif verb == "after":
        millis, sent = rest.split(" ", 1)
        delay = timedelta(milliseconds=int(millis))
        context.send_after(delay, command(own.typename, own.id, sent))
    elif verb == "timer":
        millis, token, sent = rest.split(" ", 2)
        delay = timedelta(milliseconds=int(millis))
        context.send_after(delay, command(own.typename, own.id, sent), token)
    elif verb == "cancel":
        context.cancel_delayed_message(rest)
    elif verb == "reply":
        context.send(command(context.caller.typename, context.caller.id, rest))
    elif verb == "tell":
        tell(context, rest)
    elif verb == "fail":
        raise ValueError("asked to fail")
    else:
        raise ValueError(f"no step: {step}")


def command(typename, target, step):
    return message_builder(target_typename=typename, target_id=target, str_value=step)


def show(context, name, value):
    if value is None:
        context.send(command("probe/sink", context.address.id, "unset"))
        return
    context.send(
        message_builder(
            target_typename="probe/sink",
            target_id=context.address.id,
            value=value,
            value_type=TYPES[name],
        )
    )


def tell(context, text):
    caller = context.caller
    who = f"{caller.typename}/{caller.id}" if caller else "nobody"
    count = context.storage.count
    count = "none" if count is None else count
    payload = f"{text}: {context.address.id} called by {who}, count {count}"
    context.send_egress(
        egress_message_builder(
            target_typename="io.statefun.playground/egress",
            value={"topic": "news", "payload": payload},
            value_type=EGRESS_RECORD,
        )
    )


if __name__ == "__main__":
    # The example's server, with these functions; or the one that takes several calls in one request.
    example.handler = RequestReplyHandler(functions)
    app = example.app
    if "TOGETHER" in os.environ:
        import together

        app = together.app
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
