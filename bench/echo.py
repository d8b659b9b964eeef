# SPDX-License-Identifier: MIT

"""An echo server on Python's websockets, for the benchmark:
echo.py [CERTIFICATE KEY] PORT

Without a port it only sees whether everything it needs is there.
"""

import asyncio
import ssl
import sys

import websockets


async def echo(ws):
    try:
        async for message in ws:
            await ws.send(message)
    except websockets.ConnectionClosed:
        pass  # the load generator hangs up without a close


async def main():
    port = int(sys.argv.pop())
    tls = None
    if len(sys.argv) > 1:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*sys.argv[1:])
    async with websockets.serve(
        echo, "127.0.0.1", port, ssl=tls, compression=None, max_size=64 << 20
    ):
        await asyncio.Future()


if len(sys.argv) > 1:
    asyncio.run(main())
