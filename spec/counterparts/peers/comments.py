"""Readers of examples/hub/server.lua, made with the websockets library.

usage: comments.py URL
"""

import asyncio
import json
import sys

import websockets

import report

URL = sys.argv[1]


class Reader:
    """A connection that has entered."""

    def __init__(self, article, name, reader=None, **last):
        self.enter = {"type": "enter", "article": article, "name": name,
                      "reader": reader or name, **last}

    async def __aenter__(self):
        self.ws = await websockets.connect(URL, max_queue=None)
        self.early = []  # comments that came before the answer: those missed
        await self.say(self.enter)
        while (message := await self.hear())["type"] != "entered":
            if message["type"] == "comment":
                self.early.append(message["data"]["text"])
        self.entered = message
        return self

    async def __aexit__(self, *_):
        await self.ws.close()

    async def say(self, message):
        await self.ws.send(json.dumps(message))

    async def hear(self, kind=None):
        while True:
            message = json.loads(await self.ws.recv())
            if kind in (None, message["type"]):
                return message

    async def comment(self, text):
        await self.say({"type": "comment", "text": text})


def last_of(message):
    return {"offset": message["offset"], "epoch": message["epoch"]}


async def comments_come():
    async with Reader("a", "Ada") as ada, Reader("a", "Bob") as bob, Reader("b", "Carol") as carol:
        await ada.comment("👩‍🚀 one")
        first = await ada.hear("comment")
        await bob.comment("two")
        await carol.comment("elsewhere")
        second = await ada.hear("comment")
        assert [first, second] == [await bob.hear("comment"), await bob.hear("comment")]
        assert (first["data"]["name"], first["data"]["text"]) == ("Ada", "👩‍🚀 one")
        assert (second["offset"], second["epoch"]) == (2, first["epoch"])
        assert (await carol.hear("comment"))["data"]["text"] == "elsewhere"
        assert bob.entered["readers"] == ["Ada", "Bob"]


async def comes_back():
    async with Reader("back", "Ada") as ada:
        async with Reader("back", "Bob") as bob:
            await ada.comment("0")
            last = last_of(await bob.hear("comment"))
        for i in range(1, 30):
            await ada.comment(str(i))
            if i == 10:  # somebody comes back while others write
                back = Reader("back", "Bob", **last)
                joining = asyncio.create_task(back.__aenter__())
        bob = await joining
        heard = bob.early
        while heard[-1:] != ["29"]:
            heard.append((await bob.hear("comment"))["data"]["text"])
        assert heard == [str(i) for i in range(1, 30)], heard
        assert bob.entered["recovered"] is True
        await bob.ws.close()


async def knows_nothing():
    async with Reader("kept", "Ada") as ada:
        for text in "abc":
            await ada.comment(text)
            await ada.hear("comment")
        async with Reader("kept", "Bob") as bob:
            assert bob.early == ["a", "b", "c"]
            assert "recovered" not in bob.entered


async def is_gone():
    async with Reader("gone", "Ada") as ada:
        await ada.comment("1")
        epoch = (await ada.hear("comment"))["epoch"]
        for last in [{"offset": 1, "epoch": "another"}, {"offset": 5, "epoch": epoch},
                     {"offset": -1, "epoch": epoch}, {"offset": "1", "epoch": epoch},
                     {"offset": {}, "epoch": []}, {"offset": 1e300, "epoch": epoch}]:
            async with Reader("gone", "Bob", **last) as bob:
                assert bob.entered["recovered"] is False, last
                assert bob.early == ["1"]


async def vanishes():
    async with Reader("who", "Ada") as ada:
        async with Reader("who", "Bob", "bob") as one:
            two = await Reader("who", "Bob", "bob").__aenter__()
            assert two.entered["readers"] == ["Ada", "Bob"]
            two.ws.transport.abort()
            await ada.comment("x")
            await one.hear("comment")
        events = [(await ada.hear("readers"))["data"] for _ in range(2)]
        assert events == [{"joined": "Bob"}, {"left": "Bob"}], events
        async with Reader("who", "Carol") as carol:
            assert carol.entered["readers"] == ["Ada", "Carol"]


async def nonsense():
    async with websockets.connect(URL) as ws:
        for data in ["", "[", "[]", "5", '{"type":1}', '{"type":"comment","text":"x"}',
                     '{"type":"enter"}', '{"type":"enter","article":"*","name":"x","reader":"x"}',
                     '{"type":"enter","article":"a.b","name":"x","reader":"x"}',
                     '{"type":"enter","article":"a","name":{},"reader":"x"}', b"\xff"]:
            await ws.send(data)
            assert json.loads(await ws.recv())["type"] == "error", data


asyncio.run(report.run({
    "comments come to all who entered, as they were written": comments_come,
    "who comes back gets what was missed, in order and once": comes_back,
    "who knows nothing gets what is kept": knows_nothing,
    "who asks for what is gone is told so": is_gone,
    "who vanishes is missed, once for two connections": vanishes,
    "what is nonsense is answered": nonsense,
}))
