"""Sections 12 and 13 of the Autobahn test suite, for an endpoint that echoes.

Messages of 16 bytes to 128 KiB, whole and in fragments, of five kinds, with
every combination of parameters that the suite has. This is written from
RFC 6455 and RFC 7692 alone; zlib is Python's.

usage: compressed.py client URL COUNT    COUNT messages for each case
       compressed.py server COUNT        prints its URL, ends after the cases
Prints "ok NAME" or "not ok NAME: WHY" for each case.
"""

import base64
import hashlib
import json
import os
import random
import socket
import sys
import time
import zlib
from urllib.parse import urlsplit

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
TAIL = b"\x00\x00\xff\xff"
TIMEOUT = 10  # seconds for a read or a write

# Bytes of a message, and of its fragments, 0 for one frame.
SIZES = [
    (16, 0), (64, 0), (256, 0), (1024, 0), (4096, 0), (8192, 0), (16384, 0),
    (32768, 0), (65536, 0), (131072, 0), (8192, 256), (16384, 256),
    (32768, 256), (65536, 256), (131072, 256), (131072, 1024), (131072, 4096),
    (131072, 32768),
]

# What section 13 asks for: no context takeover, and the bits of the window, 0
# for no parameter; of the other side, in order of preference.
COMBINATIONS = [
    [(False, 0)], [(True, 0)], [(False, 9)], [(False, 15)], [(True, 9)],
    [(True, 15)], [(True, 9), (True, 0), (False, 0)],
]


# ---- what is sent ----

def words(seed):
    chance = random.Random(seed)
    syllables = "ge schlecht en der und Wél t wîr ist ein Mensch zu Geist Au gen blick".split()
    while True:
        word = "".join(chance.choice(syllables) for _ in range(chance.randint(1, 4)))
        yield word + chance.choice(["", "", "", "", ",", ".", ".\n"])


def prose(size):
    source, parts, have = words(1), [], 0
    while have < size:
        parts.append(next(source))
        have += len(parts[-1]) + 1
    return " ".join(parts)


def records(size):
    chance, source = random.Random(2), words(3)
    rows = [
        {"id": i, "name": next(source), "at": [chance.random(), chance.random()],
         "tags": [next(source) for _ in range(3)], "active": chance.random() < 0.5}
        for i in range(size // 100)
    ]
    return json.dumps(rows, ensure_ascii=False)


def page(size):
    source = words(4)
    return "".join(
        f'<tr class="{"even" if i % 2 else "odd"}"><td>{i}</td><td><a href="/{next(source)}">{next(source)}</a></td></tr>\n'
        for i in range(size // 60)
    )


def picture(size):
    chance, grey, row = random.Random(5), 128, bytearray()
    for _ in range(size):
        grey = min(255, max(0, grey + chance.randint(-3, 3)))
        row.append(grey)
    return bytes(row)


def print_file(size):
    """Much that is compressed already, between words."""
    chance = random.Random(6)
    return b"".join(
        b"%d 0 obj << /Filter /FlateDecode >> stream\n%s\nendstream\n" % (i, chance.randbytes(900))
        for i in range(size // 900)
    )


ROOM = 400_000
DATA = [
    (True, records(ROOM).encode()), (False, picture(ROOM)), (True, prose(ROOM).encode()),
    (True, page(ROOM).encode()), (False, print_file(ROOM)),
]


def messages(text, data, size, count):
    """Parts of the data, one after another; text is cut between characters."""
    at = 0
    for _ in range(count):
        if at + size > len(data):
            at = 0
        part = data[at:at + size]
        if text:
            part = part.decode(errors="ignore").encode()
            part += b" " * (size - len(part))
        at += size
        yield part


# ---- frames and parameters ----

class Peer:
    """The end of a connection that plays cases."""

    def __init__(self, sock, masks):
        sock.settimeout(TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.file = sock.makefile("rb", 1 << 16)
        self.masks = masks
        self.key = bytes([0x37, 0xfa, 0x21, 0x3d])

    def head(self):
        lines = []
        while True:
            line = self.file.readline().decode("latin-1")
            if line in ("\r\n", ""):
                return lines[0], [tuple(part.strip() for part in row.split(":", 1)) for row in lines[1:]]
            lines.append(line)

    def masked(self, data):
        n = len(data)
        key = int.from_bytes((self.key * (n // 4 + 1))[:n], "big")
        return (int.from_bytes(data, "big") ^ key).to_bytes(n, "big")

    def frame(self, first, payload):
        n = len(payload)
        mark = 0x80 if self.masks else 0
        if n < 126:
            head = bytes([first, mark | n])
        elif n < 65536:
            head = bytes([first, mark | 126]) + n.to_bytes(2, "big")
        else:
            head = bytes([first, mark | 127]) + n.to_bytes(8, "big")
        return head + self.key + self.masked(payload) if self.masks else head + payload

    def read(self, n):
        data = self.file.read(n)
        if len(data) != n:
            raise ConnectionError("the connection ended")
        return data

    def read_frame(self):
        first, length = self.read(2)
        masked, length = length & 0x80, length & 0x7f
        if length > 125:
            length = int.from_bytes(self.read(2 if length == 126 else 8), "big")
        assert bool(masked) != self.masks, "masked by the wrong side"
        if masked:
            self.key, key = self.read(4), self.key
            payload = self.masked(self.read(length))
            self.key = key
        else:
            payload = self.read(length)
        return first, payload

    def use(self, said, client):
        """Remembers what was agreed on."""
        mine, other = ("client", "server") if client else ("server", "client")
        self.fresh = f"{mine}_no_context_takeover" in said
        self.fresh_in = f"{other}_no_context_takeover" in said
        self.bits = int(said.get(f"{mine}_max_window_bits") or 15)
        self.bits_in = int(said.get(f"{other}_max_window_bits") or 15)
        self.out = self.into = None
        self.agreed = said

    def compressed(self, data):
        if not self.out or self.fresh:
            self.out = zlib.compressobj(wbits=-self.bits)
        data = self.out.compress(data) + self.out.flush(zlib.Z_SYNC_FLUSH)
        assert data.endswith(TAIL)
        return data[:-4]

    def inflated(self, data):
        if not self.into or self.fresh_in:
            self.into = zlib.decompressobj(-self.bits_in)
        data = self.into.decompress(data + TAIL)
        # RFC 7692 7.2.3.4: the last block may say so, and zlib then takes no more.
        behind = self.into.unused_data
        assert behind == (b"\0" + TAIL if self.into.eof else b""), behind
        assert self.fresh_in or not self.into.eof
        return data

    def send(self, opcode, message, fragment):
        """One compressed message; fragments are of its compressed bytes."""
        data = self.compressed(message)
        parts = [data[i:i + fragment] for i in range(0, len(data), fragment)] if fragment else [data]
        frames = []
        for i, part in enumerate(parts or [b""]):
            first = opcode | 0x40 if i == 0 else 0
            frames.append(self.frame(first | (0x80 if i == len(parts) - 1 else 0), part))
        self.sock.sendall(b"".join(frames))

    def message(self):
        """The next message: opcode, whether it was compressed, bytes."""
        parts, opcode, compressed = [], None, False
        while True:
            first, payload = self.read_frame()
            if first & 0x0f == 8:
                raise ConnectionError(f"closed with {int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}")
            if first & 0x0f >= 8:
                assert first & 0xf0 == 0x80
                if first & 0x0f == 9:
                    self.sock.sendall(self.frame(0x8a, payload))
                continue
            if opcode is None:
                opcode, compressed = first & 0x0f, bool(first & 0x40)
            else:
                assert first & 0x7f == 0
            assert first & 0x30 == 0
            parts.append(payload)
            if first & 0x80:
                data = b"".join(parts)
                return opcode, compressed, self.inflated(data) if compressed else data

    def play(self, kind, size, fragment, count):
        text, data = DATA[kind]
        opcode = 1 if text else 2
        squeezed = 0
        for i, message in enumerate(messages(text, data, size, count)):
            self.send(opcode, message, fragment)
            got, compressed, answer = self.message()
            assert got == opcode, f"message {i}: opcode {got}"
            assert answer == message, f"message {i}: other bytes came back, {len(answer)} of {len(message)}"
            squeezed += compressed
        if kind in (0, 2, 3) and size >= 256:
            assert squeezed == count, f"only {squeezed} of {count} echoes were compressed"
        self.sock.sendall(self.frame(0x88, b"\x03\xe8"))
        first, payload = self.read_frame()
        assert (first, payload[:2]) == (0x88, b"\x03\xe8"), f"frame {first:02x} {payload!r} instead of a close frame"


def parameters(text):
    """{ name: value } of one extension."""
    said = {}
    for part in text.split(";")[1:]:
        name, _, value = part.strip().partition("=")
        assert name not in said, text
        said[name] = value
    return said


def offer(fresh, bits):
    return ("permessage-deflate; client_no_context_takeover; client_max_window_bits"
            + ("; server_no_context_takeover" if fresh else "")
            + (f"; server_max_window_bits={bits}" if bits else ""))


def accept(offers, wanted):
    """The answer of a server, or None: of the first wish that some offer admits."""
    for fresh, bits in wanted:
        for one in offers:
            said = parameters(one)
            if fresh and "client_no_context_takeover" not in said:
                continue
            if bits and "client_max_window_bits" not in said:
                continue
            return ("permessage-deflate"
                    + ("; server_no_context_takeover" if "server_no_context_takeover" in said else "")
                    + (f"; server_max_window_bits={said['server_max_window_bits']}"
                       if "server_max_window_bits" in said else "")
                    + ("; client_no_context_takeover" if fresh else "")
                    + (f"; client_max_window_bits={bits}" if bits else ""))
    return None


# ---- roles ----

def connect(url, wanted):
    parts = urlsplit(url)
    peer = Peer(socket.create_connection((parts.hostname, parts.port), TIMEOUT), True)
    lines = [
        "GET / HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Extensions: " + ", ".join(offer(*one) for one in wanted),
    ]
    peer.sock.sendall("\r\n".join(lines + ["", ""]).encode())
    status, fields = peer.head()
    assert " 101 " in status, status
    chosen = [value for name, value in fields if name.lower() == "sec-websocket-extensions"]
    assert len(chosen) == 1, f"extensions: {chosen}"
    said = parameters(chosen[0])
    fresh, bits = wanted[0]
    assert not fresh or "server_no_context_takeover" in said, chosen
    assert not bits or int(said["server_max_window_bits"]) <= bits, chosen
    peer.use(said, True)
    return peer


def answer(listener, wanted):
    """The next client whose offer admits what is wanted; others are refused."""
    while True:
        peer = Peer(listener.accept()[0], False)
        _, fields = peer.head()
        fields = {name.lower(): value for name, value in fields}
        chosen = accept(fields.get("sec-websocket-extensions", "").split(","), wanted)
        if chosen:
            break
        peer.sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        peer.sock.close()
    key = base64.b64encode(hashlib.sha1(fields["sec-websocket-key"].encode() + GUID).digest()).decode()
    peer.sock.sendall((
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {key}\r\nSec-WebSocket-Extensions: {chosen}\r\n\r\n").encode())
    peer.use(parameters(chosen), False)
    return peer


def cases():
    for section, (kind, _) in enumerate(enumerate(DATA), 1):
        for i, (size, fragment) in enumerate(SIZES, 1):
            yield f"12.{section}.{i}", kind, size, fragment, [(False, 0)]
    for section, wanted in enumerate(COMBINATIONS, 1):
        for i, (size, fragment) in enumerate(SIZES, 1):
            yield f"13.{section}.{i}", 0, size, fragment, wanted


def run(open_peer, count):
    for name, kind, size, fragment, wanted in cases():
        began, peer = time.monotonic(), None
        try:
            peer = open_peer(wanted)
            peer.play(kind, size, fragment, count)
            print(f"ok {name}", flush=True)
        except Exception as problem:  # whatever it was, the spec shows it
            print(f"not ok {name}: {type(problem).__name__}: {problem}", flush=True)
        finally:
            if peer:
                peer.sock.close()
        if os.environ.get("TIMES"):
            print(f"# {name} {time.monotonic() - began:.2f} s", flush=True)


def main():
    role, *rest = sys.argv[1:]
    if role == "client":
        url, count = rest
        run(lambda wanted: connect(url, wanted), int(count))
        return
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(TIMEOUT)
    print(f"listening on ws://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    run(lambda wanted: answer(listener, wanted), int(rest[0]))


main()
