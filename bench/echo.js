// SPDX-License-Identifier: MIT

// An echo server on Node's ws, for the benchmark:
// node echo.js [--compression=dedicated|shared] [CERTIFICATE KEY] PORT
// Without a port it only sees whether everything it needs is there.
"use strict";

const { readFileSync } = require("fs");
const http = require("http");
const https = require("https");
const { WebSocketServer } = require("ws");

if (process.argv.length < 3) process.exit(0);

// As Duplex does it unless it is told otherwise.
const compression = {
  serverMaxWindowBits: 12, clientMaxWindowBits: 12, threshold: 64,
  zlibDeflateOptions: { level: 6, memLevel: 5 },
};
const kind = process.argv[2].match(/^--compression=(.*)$/)?.[1];
if (kind) process.argv.splice(2, 1);
if (kind === "shared") {
  compression.serverNoContextTakeover = compression.clientNoContextTakeover = true;
}

const port = Number(process.argv.pop());
const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file));
const listener = cert ? https.createServer({ cert, key }) : http.createServer();

const server = new WebSocketServer({
  server: listener.listen(port, "127.0.0.1"),
  perMessageDeflate: kind ? compression : false,
  maxPayload: 64 << 20,
});

server.on("connection", (ws) => {
  ws.on("message", (data, isBinary) => ws.send(data, { binary: isBinary }));
  ws.on("error", () => {}); // the load generator hangs up without a close
});
