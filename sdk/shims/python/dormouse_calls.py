"""Takes several calls in one HTTP request, for functions written with the official SDK, which is not changed.

Dormouse asks with the header `dormouse-calls` when its manifest says `calls_per_request`; a server that answers
with the same header is sent several calls at once, each for an address of its own. They run beside each
other, and one that fails fails no other. Use it around `RequestReplyHandler.handle_async`, in any server:

    status, headers, body = await dormouse_calls.answer(handler.handle_async, request_headers, request_body)
"""
import asyncio
import logging
import struct

HEADER = "dormouse-calls"
CONTENT_TYPE = "application/vnd.dormouse.calls"
OCTET_STREAM = "application/octet-stream"

# Most calls of one request.
CALLS_MAX = 256


async def answer(handle, headers, body):
    """Answers a request: its status, headers and body.

    `handle` makes the bytes of a FromFunction of those of a ToFunction. `headers` maps names in small letters to
    texts.
    """
    answered = {"content-type": OCTET_STREAM}
    if HEADER in headers:
        answered[HEADER] = str(CALLS_MAX)
    if headers.get("content-type", "").split(";")[0].strip().lower() == CONTENT_TYPE:
        try:
            calls = split(body)
        except ValueError as error:
            return 400, {**answered, "content-type": "text/plain"}, f"{error}\n".encode()
        parts = await asyncio.gather(*(_part(handle, call) for call in calls))
        return 200, answered, b"".join(parts)
    try:
        return 200, answered, await handle(body)
    except Exception as error:
        logging.exception("a call failed")
        return 500, {**answered, "content-type": "text/plain"}, f"{_text(error)}\n".encode()


def split(body):
    """The calls of a request."""
    calls, at = [], 0
    while at < len(body):
        if len(calls) == CALLS_MAX:
            raise ValueError(f"a request of several calls has at most {CALLS_MAX}")
        if len(body) - at < 4:
            raise ValueError("the request of several calls ends within a part")
        (length,) = struct.unpack_from(">I", body, at)
        at += 4
        if len(body) - at < length:
            raise ValueError("the request of several calls ends within a part")
        calls.append(bytes(body[at : at + length]))
        at += length
    if not calls:
        raise ValueError("the request of several calls has no call")
    return calls


async def _part(handle, call):
    try:
        answered = await handle(call)
        return struct.pack(">BI", 0, len(answered)) + answered
    except Exception as error:
        logging.exception("one of several calls failed")
        text = _text(error).encode()
        return struct.pack(">BII", 1, len(text) + 4, 0) + text


def _text(error):
    """One line."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:1000]
