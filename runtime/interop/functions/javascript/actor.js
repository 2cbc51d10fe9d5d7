// The actor with the official JavaScript SDK: it does what its message says, see ../README.md.
"use strict";

const http = require("http");
const { StateFun, messageBuilder, egressMessageBuilder } = require("apache-flink-statefun");

const EgressRecord = StateFun.jsonType("io.statefun.playground/EgressRecord");

const specs = [
  { name: "count", type: StateFun.intType() },
  { name: "ratio", type: StateFun.floatType() },
  { name: "flag", type: StateFun.booleanType() },
  { name: "text", type: StateFun.stringType() },
  { name: "brief", type: StateFun.intType(), expireAfterWrite: 1500 },
  { name: "used", type: StateFun.intType(), expireAfterCall: 1500 },
];
const types = Object.fromEntries(specs.map(({ name, type }) => [name, type]));
const parsers = { ratio: parseFloat, flag: (text) => text === "true", text: (text) => text };

/** The first `count` words, and all that follows them. */
function words(line, count) {
  const parts = line.split(" ");
  return [...parts.slice(0, count), parts.slice(count).join(" ")];
}

function command(typename, id, value) {
  return messageBuilder({ typename, id, value, valueType: StateFun.stringType() });
}

function tell(context, text) {
  const { caller, self, storage } = context;
  const who = caller ? `${caller.typename}/${caller.id}` : "nobody";
  const count = storage.count === null ? "none" : storage.count;
  const payload = `${text}: ${self.id} called by ${who}, count ${count}`;
  context.send(
    egressMessageBuilder({
      typename: "io.statefun.playground/egress",
      value: { topic: "news", payload },
      valueType: EgressRecord,
    })
  );
}

const steps = {
  add({ storage }, rest) {
    storage.count = (storage.count || 0) + parseInt(rest);
  },
  put({ storage }, rest) {
    const [name, value] = words(rest, 1);
    storage[name] = (parsers[name] || parseInt)(value);
  },
  clear({ storage }, name) {
    storage[name] = null;
  },
  show(context, name) {
    const value = context.storage[name];
    const [sent, valueType] = value === null ? ["unset", StateFun.stringType()] : [value, types[name]];
    context.send(messageBuilder({ typename: "probe/sink", id: context.self.id, value: sent, valueType }));
  },
  send(context, rest) {
    context.send(command(...words(rest, 2)));
  },
  burst(context, rest) {
    const [count, typename, id, sent] = words(rest, 3);
    for (let i = 0; i < parseInt(count); i++) {
      context.send(command(typename, id, sent));
    }
  },
  after(context, rest) {
    const [millis, sent] = words(rest, 1);
    context.sendAfter(parseInt(millis), command(context.self.typename, context.self.id, sent));
  },
  timer(context, rest) {
    const [millis, token, sent] = words(rest, 2);
    context.sendAfter(parseInt(millis), command(context.self.typename, context.self.id, sent), token);
  },
  cancel(context, token) {
    context.cancelDelayedMessage(token);
  },
  reply(context, rest) {
    context.send(command(context.caller.typename, context.caller.id, rest));
  },
  tell,
  fail() {
    throw new Error("asked to fail");
  },
};

function actor(context, message) {
  for (const step of message.asString().split(";")) {
    const [verb, rest] = words(step.trim(), 1);
    steps[verb](context, rest);
  }
}

const RING = 10000;

function relay(context, message) {
  context.storage.count = (context.storage.count || 0) + 1;
  const left = message.asInt();
  if (left > 0) {
    const id = String((parseInt(context.self.id) + 1) % RING);
    context.send(messageBuilder({ typename: "suite/relay", id, value: left - 1, valueType: StateFun.intType() }));
  }
}

const functions = new StateFun();
functions.bind({ typename: "suite/actor", specs, fn: actor });
functions.bind({ typename: "frail/actor", specs, fn: actor });
functions.bind({ typename: "suite/relay", specs: specs.slice(0, 1), fn: relay });

// With it, several calls in one request are taken.
const handler = process.env.TOGETHER ? require("./dormouse-calls").handler(functions) : functions.handler();
http.createServer(handler).listen(Number(process.env.PORT), "127.0.0.1");
