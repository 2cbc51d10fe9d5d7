// Takes several calls in one HTTP request, for functions written with the official SDK, which is not changed.
//
// Dormouse asks with the header `dormouse-calls` when its manifest says `calls_per_request`; a server that
// answers with the same header is sent several calls at once, each for an address of its own. They run
// beside each other, and one that fails fails no other. Instead of `statefun.handler()`:
//
//     http.createServer(require("./dormouse-calls").handler(statefun)).listen(8000);
"use strict";

const HEADER = "dormouse-calls";
const CONTENT_TYPE = "application/vnd.dormouse.calls";
const OCTET_STREAM = "application/octet-stream";

// Most calls of one request.
const CALLS_MAX = 256;

/** The handler of Node's HTTP server for the functions of a `StateFun`. */
function handler(statefun) {
  return async (request, response) => {
    if (HEADER in request.headers) {
      response.setHeader(HEADER, String(CALLS_MAX));
    }
    const contentType = (request.headers["content-type"] || "").split(";")[0].trim().toLowerCase();
    if (contentType !== CONTENT_TYPE) {
      await statefun.handle(request, response);
      return;
    }
    let calls;
    try {
      const chunks = [];
      for await (const chunk of request) {
        chunks.push(chunk);
      }
      calls = split(Buffer.concat(chunks));
    } catch (error) {
      response.writeHead(400, { "Content-Type": "text/plain" });
      response.end(`${error.message}\n`);
      return;
    }
    const body = Buffer.concat(await Promise.all(calls.map((call) => part(statefun, call))));
    response.writeHead(200, { "Content-Type": OCTET_STREAM, "Content-Length": body.length });
    response.end(body);
  };
}

/** The calls of a request. */
function split(body) {
  const calls = [];
  for (let at = 0; at < body.length; ) {
    if (calls.length === CALLS_MAX) {
      throw new Error(`a request of several calls has at most ${CALLS_MAX}`);
    }
    const end = at + 4 <= body.length ? at + 4 + body.readUInt32BE(at) : Infinity;
    if (end > body.length) {
      throw new Error("the request of several calls ends within a part");
    }
    calls.push(body.subarray(at + 4, end));
    at = end;
  }
  if (calls.length === 0) {
    throw new Error("the request of several calls has no call");
  }
  return calls;
}

/** One call as a request of its own, whose answer is kept. */
async function part(statefun, call) {
  let status = 500;
  let answered = Buffer.alloc(0);
  const response = {
    writeHead: (code) => { status = code; },
    end: (bytes) => { answered = Buffer.from(bytes || []); },
  };
  try {
    await statefun.handle([call], response);
  } catch (error) {
    status = 500;
  }
  if (status !== 200) {
    // The SDK does not say why.
    const text = Buffer.from("the function failed");
    const head = Buffer.alloc(9);
    head.writeUInt8(1, 0);
    head.writeUInt32BE(text.length + 4, 1);
    return Buffer.concat([head, text]);
  }
  const head = Buffer.alloc(5);
  head.writeUInt32BE(answered.length, 1);
  return Buffer.concat([head, answered]);
}

module.exports = { handler, split, HEADER, CONTENT_TYPE, CALLS_MAX };
