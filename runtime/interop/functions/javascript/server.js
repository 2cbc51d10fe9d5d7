// The greeter functions with the official JavaScript SDK: `person` counts visits, `greeter` greets.
"use strict";

const http = require("http");
const { StateFun, messageBuilder, egressMessageBuilder } = require("apache-flink-statefun");

const GreetRequest = StateFun.jsonType("example/GreetRequest");
const EgressRecord = StateFun.jsonType("io.statefun.playground/EgressRecord");

const functions = new StateFun();

functions.bind({
  typename: "example/person",
  specs: [{ name: "visits", type: StateFun.intType() }],
  fn(context, message) {
    const { name } = message.as(GreetRequest);
    const visits = (context.storage.visits || 0) + 1;
    context.storage.visits = visits;
    context.send(
      messageBuilder({ typename: "example/greeter", id: name, value: { name, visits }, valueType: GreetRequest })
    );
  },
});

functions.bind({
  typename: "example/greeter",
  fn(context, message) {
    const { name, visits } = message.as(GreetRequest);
    const payload = `Hello ${name}, this is visit ${visits}.`;
    context.send(
      egressMessageBuilder({
        typename: "io.statefun.playground/egress",
        value: { topic: "greetings", payload },
        valueType: EgressRecord,
      })
    );
  },
});

// With it, several calls in one request are taken.
const handler = process.env.TOGETHER ? require("./dormouse-calls").handler(functions) : functions.handler();
http.createServer(handler).listen(Number(process.env.PORT || 8000), "127.0.0.1");
