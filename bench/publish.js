// SPDX-License-Identifier: MIT

// Publishes to many subscribers with Node's ws, for the benchmark:
// node publish.js PORT
// What it answers is written in fanout.c.  Without a port it only sees whether
// everything it needs is there.
"use strict";

const { WebSocketServer } = require("ws");

if (process.argv.length < 3) process.exit(0);

const subscribers = new Set();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  perMessageDeflate: false,
});

server.on("connection", (ws) => {
  ws.on("message", (data, binary) => {
    if (data[0] === 80) {
      for (const each of subscribers) each.send(data, { binary });
      return;
    }
    if (data[0] === 83) subscribers.add(ws);
    ws.send(data, { binary });
  });
  ws.on("close", () => subscribers.delete(ws));
  ws.on("error", () => {}); // the load generator hangs up without a close
});
