"""The connected components of a graph, after the StateFun playground: each vertex knows its neighbours and
the smallest id that reached it, tells them when that changes, and writes each change to the egress."""
import json
import os

import functions as example
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


def json_type(typename):
    return simple_type(
        typename=typename,
        serialize_fn=lambda value: json.dumps(value).encode(),
        deserialize_fn=json.loads,
    )


VERTEX = json_type("connected-components.types/vertex")
CHANGE = json_type("connected-components.types/vertexComponentChange")
NEIGHBOURS = json_type("connected-components.types/neighbours")
EGRESS_RECORD = json_type("io.statefun.playground/EgressRecord")

functions = StatefulFunctions()


@functions.bind(
    typename="connected-components.fns/vertex",
    specs=[
        ValueSpec(name="component", type=IntType),
        ValueSpec(name="neighbours", type=NEIGHBOURS),
    ],
)
async def vertex(context, message):
    own = int(context.address.id)
    neighbours = set(context.storage.neighbours or [])
    component = context.storage.component
    if message.is_type(VERTEX):
        given = {int(id) for id in message.as_type(VERTEX)["neighbours"]}
        if component is None or component > own:
            component = own
            move(context, component)
        for neighbour in sorted(given - neighbours):
            tell(context, neighbour, component)
        context.storage.neighbours = sorted(given | neighbours)
        return
    change = message.as_type(CHANGE)
    source, candidate = change["source"], change["component_id"]
    # Edges have a direction: only what this vertex can reach concerns it.
    if source not in neighbours:
        return
    if component is not None and component < candidate:
        tell(context, source, component)
    elif component is None or component > candidate:
        move(context, candidate)
        for neighbour in sorted(neighbours - {source}):
            tell(context, neighbour, candidate)


def tell(context, neighbour, component):
    change = {"source": int(context.address.id), "target": neighbour, "component_id": component}
    context.send(
        message_builder(
            target_typename="connected-components.fns/vertex",
            target_id=str(neighbour),
            value=change,
            value_type=CHANGE,
        )
    )


def move(context, component):
    context.storage.component = component
    payload = f"Vertex {context.address.id} belongs to component {component}."
    context.send_egress(
        egress_message_builder(
            target_typename="io.statefun.playground/egress",
            value={"topic": "connected-component-changes", "payload": payload},
            value_type=EGRESS_RECORD,
        )
    )


if __name__ == "__main__":
    example.handler = RequestReplyHandler(functions)
    uvicorn.run(
        example.app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning"
    )
