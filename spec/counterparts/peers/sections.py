"""Sections 12 and 13 of the Autobahn test suite: what is sent, and with which parameters.

Facts of the suite, and no line of it: sizes, counts, time limits, what is text
and what is binary, how much of which kind there is, and what is asked of the
other side. The words and pictures are our own.
"""

import json
import os
import random
import time

# Characters of a message, bytes of its compressed fragments, 0 for one frame,
# and the seconds that 1000 of them may take.
SIZES = [
    (16, 0, 60), (64, 0, 60), (256, 0, 120), (1024, 0, 240), (4096, 0, 480),
    (8192, 0, 480), (16384, 0, 480), (32768, 0, 480), (65536, 0, 480),
    (131072, 0, 480), (8192, 256, 480), (16384, 256, 480), (32768, 256, 480),
    (65536, 256, 480), (131072, 256, 480), (131072, 1024, 480),
    (131072, 4096, 480), (131072, 32768, 480),
]

# Rows of SIZES that every size of a window is tried with.
SOME = [4, 10, 16]

# What section 13 asks for: no context takeover, and the bits of the window, 0
# for no parameter; of the other side, in order of preference.
COMBINATIONS = [
    [(False, 0)], [(True, 0)], [(False, 9)], [(False, 15)], [(True, 9)],
    [(True, 15)], [(True, 9), (True, 0), (False, 0)],
]


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
        for i in range(size // 50)
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


# Of each section 12.x; text is str and goes as text, what is bytes as binary.
DATA = [
    records(194_056)[:194_056], picture(263_222), prose(222_218)[:222_218].encode("latin-1"),
    page(263_527)[:263_527], print_file(1_042_328)[:1_042_328],
]


def messages(data, size, count):
    """Pieces of the data, one behind another; behind its end comes its beginning."""
    at = 0
    for _ in range(count):
        end = (at + size) % len(data)
        yield data[at:end] if end > at else data[at:] + data[:end]
        at = end


class Case:
    def __init__(self, name, data, size, fragment, seconds, wanted):
        self.name, self.data, self.size, self.fragment, self.wanted = name, data, size, fragment, wanted
        self.seconds, self.began = seconds, time.monotonic()
        self.shrinks = size >= 256 and data is not DATA[1] and data is not DATA[4]

    def messages(self, count):
        return messages(self.data, self.size, count)

    def report(self, problem=None):
        taken = time.monotonic() - self.began
        if not problem and taken > self.seconds:
            problem = f"took {taken:.0f} s"
        print(f"not ok {self.name}: {problem}" if problem else f"ok {self.name}", flush=True)
        if os.environ.get("TIMES"):
            print(f"# {self.name} {taken:.2f} s", flush=True)


def cases():
    for section, data in enumerate(DATA, 1):
        for i, row in enumerate(SIZES, 1):
            yield Case(f"12.{section}.{i}", data, *row, [(False, 0)])
    for section, wanted in enumerate(COMBINATIONS, 1):
        for i, row in enumerate(SIZES, 1):
            yield Case(f"13.{section}.{i}", DATA[0], *row, wanted)


def windows():
    """More than the suite has: windows of all sizes, with and without context takeover."""
    for bits in range(9, 16):
        for fresh in (False, True):
            for i in SOME:
                name = f"{bits} bits{', no context takeover' if fresh else ''}, {i}"
                yield Case(name, DATA[0], *SIZES[i - 1], [(fresh, bits)])
