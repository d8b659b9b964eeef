// Compressed connections of ws with every combination of parameters.
// usage: parameters.mjs client URL    of parameters.lua; prints cases
//        parameters.mjs server        prints its URL; ?NAME=VALUE&... are options

import assert from "node:assert/strict";
import { once } from "node:events";
import { WebSocket, WebSocketServer } from "ws";
import { ask, exchange, inbox, TEXT } from "./exchange.mjs";
import { main } from "./parameters_main.mjs";

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

function upgrade(parameters, request, socket, head) {
  const server = new WebSocketServer({ noServer: true, perMessageDeflate: options(parameters) });
  server.handleUpgrade(request, socket, head, (ws) => {
    ws.on("error", () => {}); // "close" follows
    ws.on("message", (data, binary) => {
      if (data.toString() !== "fragments") return ws.send(data, { binary });
      for (let i = 0; i < 3; i++) ws.send("some text, ".repeat(40), { fin: i === 2 });
    });
  });
}

await main(upgrade, play, (control) => ({
  "a large message": async () => {
    const ws = new WebSocket(await ask(control, {}));
    await once(ws, "open");
    ws.send(TEXT.repeat(500));
    const [data] = await once(ws, "message");
    assert.ok(data.toString() === TEXT.repeat(500));
    ws.close();
  },
  "a client that does not compress": async () => {
    const ws = new WebSocket(await ask(control, {}), { perMessageDeflate: false });
    await once(ws, "open");
    ws.send("report");
    const [data] = await once(ws, "message");
    assert.equal(data.toString(), ""); // nothing was agreed
    ws.close();
  },
}));
