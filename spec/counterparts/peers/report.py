"""Cases, and what became of them, for spec/support/child.lua."""

import asyncio
import traceback

DEADLINE = 10  # seconds a case may take


async def run(cases):
    """Runs cases one after another; prints "ok NAME" or "not ok NAME: WHY"."""
    for name, body in cases.items():
        try:
            await asyncio.wait_for(body(), DEADLINE)
            print(f"ok {name}", flush=True)
        except Exception:  # whatever it was, the spec shows it
            print(f"not ok {name}: {traceback.format_exc()}", flush=True)
