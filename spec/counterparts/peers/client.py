"""A client made with the websockets library, for the paths of duplex_server.lua.

usage: client.py URL [CA [CERTIFICATE KEY]], files for wss: whom to trust, and
what to show
"""

import asyncio
import ssl
import sys
import urllib.parse

import websockets
from websockets.exceptions import ConnectionClosed

import report

URL = sys.argv[1]
TLS = {"ssl": ssl.create_default_context(cafile=sys.argv[2])} if sys.argv[2:] else {}
if sys.argv[3:]:
    TLS["ssl"].load_cert_chain(*sys.argv[3:])
SIZES = [0, 1, 125, 126, 127, 65535, 65536, 1_000_000]
UNICODE = ["", "é ñ", "שלום مرحبا", "👩‍🚀 🏳️‍🌈", "e\u0301 Z\u0335\u0322", "𠮷𝔘", "\0 \x7f \uffff \U0010ffff"]
cases = {}


def case(name):
    def keep(body):
        cases[name] = body
        return body
    return keep


def connect(path, **query):
    options = query.pop("options", {})
    url = URL + path + "?" + urllib.parse.urlencode(query)
    return websockets.connect(url, ping_interval=None, max_size=None, **TLS, **options)


async def seen(key):
    async with connect("/seen", key=key) as ws:
        return await ws.recv()


async def closed(ws):
    """Waits for the end; returns code and reason."""
    try:
        while True:
            await ws.recv()
    except ConnectionClosed:
        return ws.close_code, ws.close_reason


def check(actual, expected):
    assert actual == expected, f"expected {expected!r}, got {actual!r}"


@case("text and binary of all sizes")
async def sizes():
    async with connect("/echo") as ws:
        for size in SIZES:
            for data in ("x" * size, bytes(i * 7 % 256 for i in range(size))):
                await ws.send(data)
                answer = await ws.recv()
                assert type(answer) is type(data) and answer == data, f"{size} {type(data)}"


@case("Unicode")
async def unicode():
    async with connect("/echo") as ws:
        for text in UNICODE:
            await ws.send(text)
            check(await ws.recv(), text)


@case("many messages at once, in order")
async def order():
    async with connect("/echo") as ws:
        texts = [str(i) * (i % 50) for i in range(2000)]
        sending = asyncio.ensure_future(send_all(ws, texts))
        for text in texts:
            check(await ws.recv(), text)
        await sending


async def send_all(ws, texts):
    for text in texts:
        await ws.send(text)


@case("fragments from the client, pings between them")
async def fragments_out():
    async with connect("/echo") as ws:
        async def pieces():
            for piece in ["añ", "", "👋", "b" * 70000]:
                yield piece
                await (await ws.ping(b"between"))
        await ws.send(pieces())
        check(await ws.recv(), "añ👋" + "b" * 70000)
        await ws.send([bytes([i]) * i for i in range(200)])
        check(await ws.recv(), b"".join(bytes([i]) * i for i in range(200)))


@case("fragments from the server")
async def fragments_in():
    for kind, expected in (("text", "añ" * 300), ("binary", "añ".encode() * 300)):
        async with connect("/fragments", count=300, kind=kind) as ws:
            check(await ws.recv(), expected)


@case("a message that the server takes in pieces")
async def pieces():
    async with connect("/pieces") as ws:
        await ws.send(b"x" * 900_000)
        check(await ws.recv(), "binary 900000 900000")
        await ws.send(["añ", "👋"])
        check(await ws.recv(), "text 7 7")


@case("pings from the client")
async def ping():
    async with connect("/echo") as ws:
        for data in (b"", b"x", b"x" * 125):
            await (await ws.ping(data))


@case("pings from the server")
async def pinged():
    async with connect("/ping") as ws:
        check(await ws.recv(), "pong")


@case("close codes and reasons from the client")
async def close_out():
    for i, (code, reason) in enumerate([(1000, ""), (1001, "away"), (1011, "é👋"), (3000, "x" * 123), (4999, "z")]):
        async with connect("/echo", key=f"py-close-{i}") as ws:
            await ws.close(code, reason)
            check(ws.close_code, code)  # the server's echo
        check(await seen(f"py-close-{i}"), f"{code} clean {reason}")


@case("close codes and reasons from the server")
async def close_in():
    for code, reason in [(1000, ""), (1001, "away"), (1012, "é👋"), (3000, "x" * 123), (4999, "z")]:
        async with connect("/close", code=code, reason=reason) as ws:
            check(await closed(ws), (code, reason))


@case("what a handler's end means")
async def handler_end():
    async with connect("/return") as ws:
        check(await closed(ws), (1000, ""))
    async with connect("/raise") as ws:
        check((await closed(ws))[0], 1011)


@case("subprotocols")
async def subprotocols():
    for offered, chosen in [(["chat.v1"], "chat.v1"), (["x", "chat.v1", "chat.v2"], "chat.v2"), (["x"], None), (None, None)]:
        async with connect("/subprotocol", options={"subprotocols": offered}) as ws:
            check(ws.subprotocol, chosen)
            check(await ws.recv(), chosen or "none")


@case("a message that is too big")
async def too_big():
    async with connect("/echo", key="py-big") as ws:
        await ws.send("x" * (1024 * 1024))
        check(len(await ws.recv()), 1024 * 1024)
        try:
            await ws.send("x" * (1024 * 1024 + 1))
        except ConnectionClosed:
            pass
        check((await closed(ws))[0], 1009)
    check((await seen("py-big")).split()[1], "TOO_BIG")


@case("an abrupt end")
async def abrupt():
    ws = await connect("/echo", key="py-abrupt")
    await ws.send("x")
    await ws.recv()
    ws.transport.abort()
    check(await seen("py-abrupt"), "1006 LOST ")


asyncio.run(report.run(cases))
