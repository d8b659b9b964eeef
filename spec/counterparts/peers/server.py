"""A server made with the websockets library, for client_cases.lua. Prints its URL.

A connection made with ?key=K is remembered: /seen?key=K tells how it ended.
usage: server.py [CERTIFICATE KEY [CA]], files for wss; with CA, clients have to
show a certificate
"""

import asyncio
import http
import ssl
import sys
import urllib.parse

import websockets

seen = {}


async def echo(ws, query):
    async for message in ws:
        await ws.send(message)


async def close(ws, query):
    await ws.close(int(query["code"]), query.get("reason", ""))


async def ping(ws, query):
    await (await ws.ping(b"x" * int(query["size"])))
    await ws.send("pong")


async def fragments(ws, query):
    piece = "añ" if query["kind"] == "text" else "añ".encode()
    await ws.send([piece] * int(query["count"]))


async def abort(ws, query):
    await ws.recv()
    ws.transport.abort()


async def subprotocol(ws, query):
    await ws.send(ws.subprotocol or "none")


async def tell(ws, query):
    await ws.send(await asyncio.wait_for(slot(query["key"]), 10))


PATHS = {
    "/echo": echo, "/close": close, "/ping": ping, "/fragments": fragments,
    "/abort": abort, "/subprotocol": subprotocol, "/seen": tell,
}


def slot(key):
    return seen.setdefault(key, asyncio.get_running_loop().create_future())


async def serve(ws):
    parts = urllib.parse.urlsplit(ws.path)
    query = dict(urllib.parse.parse_qsl(parts.query))
    try:
        await PATHS[parts.path](ws, query)
    except websockets.ConnectionClosed:
        pass
    if parts.path != "/seen" and "key" in query:
        await ws.wait_closed()
        slot(query["key"]).set_result(f"{ws.close_code} {ws.close_reason}")


async def refuse(path, headers):
    if path == "/refused":
        return http.HTTPStatus.UNAUTHORIZED, [("X-Why", "no ticket")], b"who are you?\n"
    return None


async def main():
    tls = None
    if sys.argv[1:]:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*sys.argv[1:3])
    if sys.argv[3:]:
        tls.load_verify_locations(sys.argv[3])
        tls.verify_mode = ssl.CERT_REQUIRED
    async with websockets.serve(
        serve, "127.0.0.1", 0, ssl=tls, process_request=refuse, ping_interval=None,
        subprotocols=["chat.v2", "chat.v1"], max_size=1024 * 1024,
    ) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"listening on {'wss' if tls else 'ws'}://127.0.0.1:{port}", flush=True)
        await asyncio.Future()


asyncio.run(main())
