// SPDX-License-Identifier: MIT

// An echo server on Node's ws, for the benchmark: node echo.js PORT
// Without a port it only sees whether everything it needs is there.
"use strict";

const { WebSocketServer } = require("ws");

if (process.argv.length < 3) process.exit(0);

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  perMessageDeflate: false,
  maxPayload: 64 << 20,
});

server.on("connection", (ws) => {
  ws.on("message", (data, isBinary) => ws.send(data, { binary: isBinary }));
  ws.on("error", () => {}); // the load generator hangs up without a close
});
