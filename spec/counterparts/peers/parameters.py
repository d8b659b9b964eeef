"""Compressed connections of websockets with every combination of parameters.

usage: parameters.py client URL    of parameters.lua; prints cases
       parameters.py server        prints its URL; ?NAME=VALUE&... are options
"""

import asyncio
import json
import sys
import urllib.parse
import urllib.request

import websockets
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory)

import report

TEXT = json.dumps([
    {"id": i * 7919, "name": f"sensor {i % 5}", "unit": "°C", "values": [i * 3, i * 5, i * 11], "active": i % 3 == 0}
    for i in range(20)
], ensure_ascii=False)


def combinations():
    bits = [None, *range(9, 16)]
    for server in bits:
        for client in bits:
            for fresh in range(4):
                one = {}
                if fresh & 1:
                    one["server_no_context_takeover"] = 1
                if fresh & 2:
                    one["client_no_context_takeover"] = 1
                if server:
                    one["server_max_window_bits"] = server
                if client:
                    one["client_max_window_bits"] = client
                yield one


def options(parameters):
    """Parameters of a factory: 1 is true."""
    return {name: True if value == 1 else value for name, value in parameters.items()}


async def ask(control, parameters):
    """The URL of a new server."""
    url = urllib.parse.urljoin(control, "/open?" + urllib.parse.urlencode(parameters))
    return urllib.request.urlopen(url, timeout=10).read().decode()


async def play(control, theirs, mine):
    factory = ClientPerMessageDeflateFactory(**options(mine))
    url = await ask(control, theirs)
    async with websockets.connect(url, compression=None, extensions=[factory], ping_interval=None) as ws:
        await exchange(ws, {**theirs, **mine})


async def exchange(ws, wanted):
    data = bytes(i * i >> 7 & 255 for i in range(20_000))
    messages = [TEXT, TEXT, "", data, TEXT[:300], data[:500], TEXT]
    for i, message in enumerate(messages):
        await ws.send(message)
        assert await ws.recv() == message, f"message {i} came back as another"
    await ws.send("report")
    agreed, *lines = (await ws.recv()).split("\n")
    said = dict((part + "=").split("=")[:2] for part in agreed.split("; ")[1:])
    assert agreed.startswith("permessage-deflate"), agreed
    for which, side in enumerate(["client", "server"]):
        fresh, bits = f"{side}_no_context_takeover", f"{side}_max_window_bits"
        assert fresh in said or not wanted.get(fresh), agreed
        assert bits not in wanted or int(said.get(bits, 15)) <= wanted[bits], agreed
        first, second = (int(line.split()[which]) for line in lines[:2])
        assert first < 1000, f"{side}: {first} bytes for {len(TEXT)} characters"
        if fresh in said:
            assert second == first, f"{side}: {first}, then {second} bytes: {agreed}"
        elif int(said.get(bits, 15)) > 11:
            assert second < first / 4, f"{side}: {first}, then {second} bytes: {agreed}"
    await ws.send("fragments")
    parts = await ws.recv()
    assert len(parts) > 1000 and parts == parts[:len(parts) // 3] * 3
    await ws.send([TEXT[:700], "", TEXT[700:]])
    assert await ws.recv() == TEXT


async def every(control, theirs, mine):
    for one in combinations():
        try:
            await play(control, theirs(one), mine(one))
        except Exception as problem:
            raise AssertionError(f"{one}: {problem!r}") from problem


def client(control):
    return report.run({
        "what the client asks for": lambda: every(control, lambda one: {}, lambda one: one),
        "what the server wants": lambda: every(control, lambda one: one, lambda one: {}),
        "a shared compressor": lambda: play(control, {"compressor": "shared"}, {}),
    })


class Server(websockets.WebSocketServerProtocol):
    """What is agreed depends on the path."""

    async def process_request(self, path, headers):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(path).query))
        factory = ServerPerMessageDeflateFactory(**options({name: int(value) for name, value in query.items()}))
        general = websockets.WebSocketServerProtocol.process_extensions
        self.process_extensions = lambda headers, _: general(headers, [factory])


async def echo(ws):
    try:
        async for message in ws:
            await ws.send(["some text, " * 40] * 3 if message == "fragments" else message)
    except websockets.ConnectionClosed:
        pass


async def serve():
    async with websockets.serve(
        echo, "127.0.0.1", 0, create_protocol=Server, compression=None, ping_interval=None,
    ) as server:
        print(f"listening on ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
        await asyncio.Future()


asyncio.run(serve() if sys.argv[1] == "server" else client(sys.argv[2]))
