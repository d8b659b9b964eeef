# SPDX-License-Identifier: MIT

"""An echo server on Python's websockets, for the benchmark:
echo.py [--compression=dedicated|shared] [CERTIFICATE KEY] PORT

Without a port it only sees whether everything it needs is there.
"""

import asyncio
import ssl
import sys

import websockets
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory


async def echo(ws):
    try:
        async for message in ws:
            await ws.send(message)
    except websockets.ConnectionClosed:
        pass  # the load generator hangs up without a close


def compression(alone):
    """As Duplex does it unless it is told otherwise."""
    return ServerPerMessageDeflateFactory(
        server_no_context_takeover=alone, client_no_context_takeover=alone,
        server_max_window_bits=12, client_max_window_bits=12,
        compress_settings={"level": 6, "memLevel": 5},
    )


async def main():
    port = int(sys.argv.pop())
    extensions = []
    if len(sys.argv) > 1 and sys.argv[1].startswith("--compression="):
        extensions = [compression(sys.argv.pop(1).endswith("=shared"))]
    tls = None
    if len(sys.argv) > 1:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*sys.argv[1:])
    async with websockets.serve(
        echo, "127.0.0.1", port, ssl=tls, compression=None, extensions=extensions,
        max_size=64 << 20,
    ):
        await asyncio.Future()


if len(sys.argv) > 1:
    asyncio.run(main())
