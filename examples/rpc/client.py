"""Calls methods of the server, and has some that it calls.

usage: client.py [URL], with the websockets library (apt-get install python3-websockets)
"""

import asyncio
import itertools
import json
import sys

import websockets

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/"


class RpcError(Exception):
    """What the server answered instead of a result."""


class Peer:
    """JSON-RPC 2.0, both ways over one connection."""

    def __init__(self, ws, methods):
        self.ws, self.methods = ws, methods
        self.numbers, self.waiting = itertools.count(1), {}

    async def call(self, method, params=None, timeout=5):
        number = next(self.numbers)
        answer = self.waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await self.send(method=method, id=number, **({} if params is None else {"params": params}))
            return await asyncio.wait_for(answer, timeout)
        finally:
            del self.waiting[number]

    async def send(self, **message):
        await self.ws.send(json.dumps({"jsonrpc": "2.0", **message}))

    async def run(self):
        """Reads until the end of the connection."""
        async for text in self.ws:
            message = json.loads(text)
            if "method" in message:
                await self.obey(message)
            elif message.get("id") in self.waiting:
                answer = self.waiting[message["id"]]
                if "error" in message:
                    answer.set_exception(RpcError(message["error"]["message"]))
                else:
                    answer.set_result(message["result"])

    async def obey(self, message):
        method, number = self.methods.get(message["method"]), message.get("id")
        if method is None:
            reply = {"error": {"code": -32601, "message": "Method not found"}}
        else:
            reply = {"result": method(*message.get("params", []))}
        if number is not None:
            await self.send(id=number, **reply)


async def main():
    told = asyncio.Event()

    def on_told(text):
        print("told", text)
        told.set()

    async with websockets.connect(URL) as ws:
        peer = Peer(ws, {"name": lambda: "Python", "tick": lambda i: print("tick", i), "told": on_told})
        reading = asyncio.create_task(peer.run())
        print(await peer.call("add", [2, 3]))
        try:
            await peer.call("divide", {"dividend": 1, "divisor": 0})
        except RpcError as error:
            print("error:", error)
        print(await peer.call("greet"))
        print(await peer.call("count", [3]))
        await peer.send(method="tell", params=["hello from Python"])
        await asyncio.wait_for(told.wait(), 5)
    await reading


try:
    asyncio.run(main())
except OSError as problem:
    sys.exit(f"cannot connect to {URL}: {problem}")
