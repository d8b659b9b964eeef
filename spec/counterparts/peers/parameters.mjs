// Compressed connections of ws with every combination of parameters.
// usage: parameters.mjs client URL    of parameters.lua; prints cases
//        parameters.mjs server        prints its URL; ?NAME=VALUE&... are options

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { WebSocket, WebSocketServer } from "ws";
import { ask, every, exchange, inbox, TEXT } from "./exchange.mjs";
import { run } from "./report.mjs";

/** Options of ws, which has names of its own for what the RFC names. */
function options(parameters) {
  const named = { threshold: 0 };
  for (const [name, value] of Object.entries(parameters)) {
    named[name.replace(/_(.)/g, (_, letter) => letter.toUpperCase())] = value === 1 ? true : value;
  }
  return named;
}

async function play(control, theirs, mine) {
  const ws = new WebSocket(await ask(control, theirs), { perMessageDeflate: options(mine) });
  const { push, next } = inbox();
  ws.on("message", (data, binary) => push(binary ? data : data.toString()));
  await once(ws, "open");
  await exchange({
    send: (data, fin = true) => ws.send(data, { fin }),
    next,
    fragments: true,
  }, { ...theirs, ...mine });
  ws.close();
  await once(ws, "close");
}

function serve() {
  const http = createServer((request, response) => response.writeHead(426).end());
  http.on("upgrade", (request, socket, head) => {
    const query = new URL(request.url, "ws://localhost").searchParams;
    const parameters = Object.fromEntries([...query].map(([name, value]) => [name, Number(value)]));
    const server = new WebSocketServer({ noServer: true, perMessageDeflate: options(parameters) });
    server.handleUpgrade(request, socket, head, (ws) => {
      ws.on("error", () => {}); // "close" follows
      ws.on("message", (data, binary) => {
        if (data.toString() !== "fragments") return ws.send(data, { binary });
        for (let i = 0; i < 3; i++) ws.send("some text, ".repeat(40), { fin: i === 2 });
      });
    });
  });
  http.listen(0, "127.0.0.1", () => console.log(`listening on ws://127.0.0.1:${http.address().port}/`));
}

const [role, control] = process.argv.slice(2);
if (role === "server") {
  serve();
} else {
  await run({
    "what the client asks for": () => every(play, control, () => ({}), (one) => one),
    "what the server wants": () => every(play, control, (one) => one, () => ({})),
    "a large message": async () => {
      const ws = new WebSocket(await ask(control, {}));
      await once(ws, "open");
      ws.send(TEXT.repeat(500));
      const [data] = await once(ws, "message");
      assert.ok(data.toString() === TEXT.repeat(500));
      ws.close();
    },
    "a shared compressor": () => play(control, { compressor: "shared" }, {}),
    "a client that does not compress": async () => {
      const ws = new WebSocket(await ask(control, {}), { perMessageDeflate: false });
      await once(ws, "open");
      ws.send("report");
      const [data] = await once(ws, "message");
      assert.equal(data.toString(), ""); // nothing was agreed
      ws.close();
    },
  });
  process.exit(0);
}
