"""Reads the live comments, and writes those that come on standard input.

usage: client.py URL ARTICLE NAME      (Debian: python3-websockets)
"""

import asyncio
import json
import sys
import threading
import uuid

import websockets

if len(sys.argv) != 4:
    sys.exit(__doc__)
URL, ARTICLE, NAME = sys.argv[1:]


def show(message, last):
    """Prints a message of the server; returns the last comment that we have."""
    if message["type"] == "error":
        print("error:", message["message"], flush=True)
    if message["type"] == "entered":
        print("here now:", ", ".join(message["readers"]), flush=True)
        if message.get("recovered") is False:
            print("some comments may be missing", flush=True)
        return {"offset": message["offset"], "epoch": message["epoch"]}
    if message["type"] == "readers":
        for what, name in message["data"].items():
            print(f"{name} {what}", flush=True)
    if message["type"] == "comment":
        print(f"{message['data']['name']}: {message['data']['text']}", flush=True)
        return {"offset": message["offset"], "epoch": message["epoch"]}
    return last


def read_lines(put):
    for line in sys.stdin:
        put({"type": "comment", "text": line.rstrip("\n")})


async def send_from(queue, ws):
    while True:
        await ws.send(json.dumps(await queue.get()))


async def main():
    reader, last = str(uuid.uuid4()), {}
    loop, queue = asyncio.get_running_loop(), asyncio.Queue()
    put = lambda message: loop.call_soon_threadsafe(queue.put_nowait, message)
    threading.Thread(target=read_lines, args=[put], daemon=True).start()
    print("connecting to", URL, file=sys.stderr)
    async for ws in websockets.connect(URL):  # again and again, with growing delays
        enter = {"type": "enter", "article": ARTICLE, "name": NAME, "reader": reader}
        await ws.send(json.dumps(enter | last))
        sender = asyncio.create_task(send_from(queue, ws))
        try:
            async for data in ws:
                last = show(json.loads(data), last)
        except websockets.ConnectionClosedError:
            pass
        sender.cancel()
        print("the connection is gone, connecting again", file=sys.stderr)


try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
