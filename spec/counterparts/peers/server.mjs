// A server made with ws, for client_cases.lua and node_spec.lua. Prints its
// URL. A connection made with ?key=K is remembered: /seen?key=K tells how it
// ended.
// usage: server.mjs [CERTIFICATE KEY [CA]], files for wss; with CA, clients have
// to show a certificate

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { WebSocketServer } from "ws";
import { piece } from "./stream.mjs";

const [cert, key, ca] = process.argv.slice(2).map((path) => readFileSync(path));
const seen = new Map(); // promises by key, and how to fulfil them

function slot(key) {
  if (!seen.has(key)) {
    const one = {};
    one.promise = new Promise((resolve) => { one.resolve = resolve; });
    seen.set(key, one);
  }
  return seen.get(key);
}

const paths = {
  "/echo"(ws) {
    ws.on("message", (data, binary) => ws.send(data, { binary }));
  },
  "/close"(ws, query) {
    ws.close(Number(query.get("code")), query.get("reason"));
  },
  "/ping"(ws, query) {
    const data = Buffer.alloc(Number(query.get("size")), "x");
    ws.once("pong", (got) => ws.send(got.equals(data) ? "pong" : "another pong"));
    ws.ping(data);
  },
  "/fragments"(ws, query) {
    const count = Number(query.get("count"));
    const data = query.get("kind") === "text" ? "añ" : Buffer.from("añ");
    for (let i = 1; i <= count; i++) ws.send(data, { fin: i === count });
  },
  "/abort"(ws) {
    ws.once("message", () => ws.terminate());
  },
  // A message, and an end without a close frame.
  "/vanish"(ws) {
    ws.once("message", () => {
      ws.send("last words");
      ws._socket.end();
    });
  },
  "/subprotocol"(ws) {
    ws.send(ws.protocol || "none");
  },
  async "/seen"(ws, query) {
    ws.send(await slot(query.get("key")).promise);
  },
  // As much as the query says, both ways at once; then what was amiss.
  async "/stream"(ws, query) {
    const count = Number(query.get("count"));
    const received = new Promise((resolve) => {
      let next = 0;
      ws.on("message", (data) => {
        next++;
        if (!data.equals(piece(next))) resolve(`piece ${next} is not what it was`);
        if (next === count) resolve("all");
      });
    });
    for (let i = 1; i <= count; i++) await new Promise((sent) => ws.send(piece(i), sent));
    ws.send(await received);
  },
  // Reads nothing before the next connection to /resume.
  "/pause"(ws) {
    ws.pause();
    let bytes = 0;
    ws.on("message", (data, binary) => {
      bytes += data.length;
      if (!binary) ws.send(String(bytes));
    });
    slot("resume").promise.then(() => ws.resume());
  },
  "/resume"(ws) {
    slot("resume").resolve();
    ws.close();
  },
};

const refuse = (request, response) => response.writeHead(426).end();
const http = key ? createSecureServer({ cert, key, ca, requestCert: Boolean(ca) }, refuse) : createServer(refuse);
const server = new WebSocketServer({
  noServer: true,
  maxPayload: 1024 * 1024,
  handleProtocols: (offered) => ["chat.v2", "chat.v1"].find((one) => offered.has(one)) ?? false,
});

http.on("upgrade", (request, socket, head) => {
  const url = new URL(request.url, "ws://localhost");
  if (url.pathname === "/refused") {
    const body = "who are you?\n";
    socket.end(`HTTP/1.1 401 Unauthorized\r\nX-Why: no ticket\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    return;
  }
  server.handleUpgrade(request, socket, head, (ws) => {
    const key = url.pathname !== "/seen" && url.searchParams.get("key");
    ws.on("error", () => {}); // "close" follows
    ws.on("close", (code, reason) => key && slot(key).resolve(`${code} ${reason}`));
    paths[url.pathname](ws, url.searchParams);
  });
});

http.listen(0, "127.0.0.1", () => {
  console.log(`listening on ${key ? "wss" : "ws"}://127.0.0.1:${http.address().port}`);
});
