"""Sections 12 and 13 of the Autobahn test suite, played by the library that the suite is made of.

Autobahn|Python negotiates, compresses, fragments, masks and closes here, as it
does in the suite; what is sent is in sections.py. A case is ok when every
message came back in time, compressed if that makes it smaller, and the
connection was closed cleanly with code 1000, by the server.

usage: suite.py cases|windows client URL COUNT    COUNT messages for each case
       suite.py cases|windows server COUNT        prints its URL, ends after the cases
Prints "ok NAME" or "not ok NAME: WHY" for each case.
"""

import asyncio
import hashlib
import sys
from urllib.parse import urlsplit

import txaio
from autobahn.asyncio.websocket import (
    WebSocketClientFactory, WebSocketClientProtocol, WebSocketServerFactory, WebSocketServerProtocol)
from autobahn.websocket.compress import (
    PerMessageDeflateOffer, PerMessageDeflateOfferAccept, PerMessageDeflateResponseAccept)

import sections

NOTHING = "nothing was agreed on"
PATIENCE = 30  # seconds for a handshake; the library waits for only one on closing


class Player:
    """A connection that plays the case of its factory and then sets the future 'ended' to a problem, or None."""

    problem = "not all messages came back"
    timeout = None

    def onOpen(self):
        self.case = self.factory.case
        self.binary = isinstance(self.case.data, bytes)
        self.messages = self.case.messages(self.factory.count)
        seconds = self.case.seconds
        self.timeout = self.factory.loop.call_later(seconds, self.end, f"not done within {seconds} s")
        if self._perMessageCompress is None:
            self.end(NOTHING)
        else:
            self.send_one()

    def end(self, problem):
        self.problem = problem
        self.sendClose(1000)

    def send_one(self):
        message = next(self.messages, None)
        if message is None:
            self.end(None)
            return
        data = message if self.binary else message.encode()
        self.expected = hashlib.sha1(data).digest()
        self.sendMessage(data, self.binary)

    def onMessage(self, data, binary):
        if binary == self.binary and hashlib.sha1(data).digest() == self.expected:
            self.send_one()
        else:
            self.end(f"{len(data)} other bytes came back, {'binary' if binary else 'text'}")

    def onClose(self, was_clean, code, reason):
        problem = self.problem
        if problem != NOTHING and (not was_clean or code != 1000):
            problem = f"{problem or 'done'}; closed with {code} {reason!r}, {self.wasNotCleanReason or 'cleanly'}"
        if not problem and self.droppedByMe and not self.factory.isServer:
            problem = "the server has left closing TCP to us"
        stats = self.trafficStats
        if not problem and self.case.shrinks and stats.incomingOctetsWebSocketLevel >= stats.incomingOctetsAppLevel:
            problem = f"{stats.incomingOctetsWebSocketLevel} of {stats.incomingOctetsAppLevel} bytes came back"
        if self.timeout:
            self.timeout.cancel()
        if not self.factory.ended.done():
            self.factory.ended.set_result(problem)


class Client(Player, WebSocketClientProtocol):
    pass


class Server(Player, WebSocketServerProtocol):
    pass


def offers(wanted):
    return [PerMessageDeflateOffer(request_no_context_takeover=fresh, request_max_window_bits=bits)
            for fresh, bits in wanted]


def accepts(wanted):
    """What a server answers: the first wish that some offer admits."""
    def accept(offers_of_client):
        for fresh, bits in wanted:
            for one in offers_of_client:
                if (one.accept_no_context_takeover or not fresh) and (one.accept_max_window_bits or not bits):
                    return PerMessageDeflateOfferAccept(one, fresh, bits)
        return None
    return accept


async def connect(factory, case, host, port):
    factory.setProtocolOptions(perMessageCompressionOffers=offers(case.wanted),
                               perMessageCompressionAccept=PerMessageDeflateResponseAccept)
    await factory.loop.create_connection(factory, host, port)
    return await factory.ended


async def answer(factory, case):
    factory.setProtocolOptions(perMessageCompressionAccept=accepts(case.wanted))
    return await factory.ended


async def play(cases, factory, one, attempts):
    for case in cases():
        problem = None
        for _ in range(attempts):  # the other offer of our client
            factory.case, factory.ended = case, factory.loop.create_future()
            factory.setProtocolOptions(autoFragmentSize=case.fragment)
            try:
                problem = await asyncio.wait_for(one(factory, case), case.seconds + 2 * PATIENCE)
            except Exception as error:  # whatever it was, the spec shows it
                problem = f"{type(error).__name__}: {error}"
            if problem != NOTHING:
                break
        case.report(problem)


async def main():
    cases, role, *rest = sys.argv[1:]
    cases = {"cases": sections.cases, "windows": sections.windows}[cases]
    txaio.use_asyncio()
    txaio.start_logging(level="error")
    loop = asyncio.get_running_loop()
    client = role == "client"
    factory = (WebSocketClientFactory if client else WebSocketServerFactory)(rest[0] if client else None, loop=loop)
    factory.protocol, factory.count = Client if client else Server, int(rest[-1])
    factory.setProtocolOptions(openHandshakeTimeout=PATIENCE, closeHandshakeTimeout=PATIENCE)
    if client:
        factory.setProtocolOptions(serverConnectionDropTimeout=PATIENCE)
        at = urlsplit(rest[0])
        await play(cases, factory, lambda *case: connect(*case, at.hostname, at.port), 1)
    else:
        listener = await loop.create_server(factory, "127.0.0.1", 0)
        print(f"listening on ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}/", flush=True)
        await play(cases, factory, answer, 2)
        listener.close()


asyncio.run(main())
