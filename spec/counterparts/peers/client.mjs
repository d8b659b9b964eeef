// A client made with ws, for the paths of duplex_server.lua.
// usage: client.mjs URL [CA [CERTIFICATE KEY]], files for wss: whom to trust, and
// what to show

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { WebSocket } from "ws";
import { run } from "./report.mjs";
import { piece } from "./stream.mjs";

const [URL, ...files] = process.argv.slice(2);
const [ca, cert, key] = files.map((path) => readFileSync(path));
const OPTIONS = { ca, cert, key };
const SIZES = [0, 1, 125, 126, 127, 65535, 65536, 1_000_000];
const UNICODE = ["", "é ñ", "שלום مرحبا", "👩‍🚀 🏳️‍🌈", "e\u0301 Z\u0335\u0322", "𠮷𝔘", "\0 \x7f \uffff \u{10ffff}"];

/** An open connection; messages that nobody waits for yet are kept. */
async function connect(path, protocols = []) {
  const ws = new WebSocket(URL + path, protocols, OPTIONS);
  const kept = [];
  let wake = () => {};
  ws.on("error", () => {}); // "close" follows
  ws.on("message", (data, binary) => {
    kept.push(binary ? data : data.toString());
    wake();
  });
  ws.ended = new Promise((resolve) => {
    ws.on("close", (code, reason) => {
      resolve({ code, reason: reason.toString() });
      wake();
    });
  });
  ws.next = async () => {
    while (kept.length === 0) {
      if (ws.readyState === WebSocket.CLOSED) throw new Error("closed");
      await new Promise((resolve) => { wake = resolve; });
    }
    return kept.shift();
  };
  await once(ws, "open");
  return ws;
}

async function seen(key) {
  const ws = await connect(`/seen?key=${key}`);
  const answer = await ws.next();
  ws.close();
  return answer;
}

await run({
  "text and binary of all sizes": async () => {
    const ws = await connect("/echo");
    for (const size of SIZES) {
      ws.send("x".repeat(size));
      assert.ok((await ws.next()) === "x".repeat(size), `${size} characters`);
      const bytes = Buffer.from(Uint8Array.from({ length: size }, (_, i) => i * 7));
      ws.send(bytes);
      assert.ok(bytes.equals(await ws.next()), `${size} bytes`);
    }
    ws.close();
  },

  "Unicode": async () => {
    const ws = await connect("/echo");
    for (const text of UNICODE) {
      ws.send(text);
      assert.equal(await ws.next(), text);
    }
    ws.close();
  },

  "many messages at once, in order": async () => {
    const ws = await connect("/echo");
    for (let i = 0; i < 2000; i++) ws.send(String(i).repeat(i % 50));
    for (let i = 0; i < 2000; i++) assert.equal(await ws.next(), String(i).repeat(i % 50));
    ws.close();
  },

  "fragments from the client, pings between them": async () => {
    const ws = await connect("/echo");
    const pieces = ["añ", "", "👋", "b".repeat(70000)];
    for (const [i, one] of pieces.entries()) {
      ws.send(one, { fin: i === pieces.length - 1 });
      ws.ping(`after ${i}`);
      const [data] = await once(ws, "pong");
      assert.equal(data.toString(), `after ${i}`);
    }
    assert.equal(await ws.next(), pieces.join(""));
    ws.close();
  },

  "fragments from the server": async () => {
    for (const kind of ["text", "binary"]) {
      const ws = await connect(`/fragments?count=300&kind=${kind}`);
      const data = await ws.next();
      assert.equal(typeof data, kind === "text" ? "string" : "object");
      assert.equal(data.toString(), "añ".repeat(300));
    }
  },

  "a message that the server takes in pieces": async () => {
    const ws = await connect("/pieces");
    ws.send(Buffer.alloc(900_000));
    assert.equal(await ws.next(), "binary 900000 900000");
    ws.send("añ", { fin: false });
    ws.send("👋");
    assert.equal(await ws.next(), "text 7 7");
    ws.close();
  },

  "ping and pong events": async () => {
    const ws = await connect("/echo");
    for (const data of [Buffer.alloc(0), Buffer.from("x"), Buffer.alloc(125, 255)]) {
      ws.ping(data);
      const [got] = await once(ws, "pong");
      assert.ok(got.equals(data));
    }
    const other = new WebSocket(`${URL}/ping`, OPTIONS);
    const pinged = once(other, "ping");
    const [answer] = await once(other, "message");
    await pinged;
    assert.equal(answer.toString(), "pong");
    ws.close();
  },

  "close codes and reasons from the client": async () => {
    for (const [i, [code, reason]] of
      [[1000, ""], [1001, "away"], [1011, "é👋"], [3000, "x".repeat(123)], [4999, "z"]].entries()) {
      const ws = await connect(`/echo?key=node-close-${i}`);
      ws.close(code, reason);
      assert.equal((await ws.ended).code, code); // the server's echo
      assert.equal(await seen(`node-close-${i}`), `${code} clean ${reason}`);
    }
  },

  "a close without a code": async () => {
    const ws = await connect("/echo?key=node-none");
    ws.close();
    assert.equal((await ws.ended).code, 1005);
    assert.equal(await seen("node-none"), "1005 clean ");
  },

  "close codes and reasons from the server": async () => {
    for (const [code, reason] of
      [[1000, ""], [1001, "away"], [1012, "é👋"], [3000, "x".repeat(123)], [4999, "z"]]) {
      const ws = await connect(`/close?code=${code}&reason=${encodeURIComponent(reason)}`);
      assert.deepEqual(await ws.ended, { code, reason });
    }
  },

  "what a handler's end means": async () => {
    assert.equal((await (await connect("/return")).ended).code, 1000);
    assert.equal((await (await connect("/raise")).ended).code, 1011);
  },

  "subprotocols": async () => {
    for (const [offered, chosen] of [[["chat.v1"], "chat.v1"], [["x", "chat.v1", "chat.v2"], "chat.v2"], [[], ""]]) {
      const ws = await connect("/subprotocol", offered);
      assert.equal(ws.protocol, chosen);
      assert.equal(await ws.next(), chosen || "none");
      ws.close();
    }
  },

  "a message that is too big": async () => {
    const ws = await connect("/echo?key=node-big");
    ws.send(Buffer.alloc(1024 * 1024));
    assert.equal((await ws.next()).length, 1024 * 1024);
    ws.send(Buffer.alloc(1024 * 1024 + 1));
    assert.equal((await ws.ended).code, 1009);
    assert.match(await seen("node-big"), / TOO_BIG /);
  },

  "an abrupt end": async () => {
    const ws = await connect("/echo?key=node-abrupt");
    ws.send("x");
    await ws.next();
    ws.terminate();
    assert.equal((await ws.ended).code, 1006);
    assert.equal(await seen("node-abrupt"), "1006 LOST ");
  },

  "50 MB both ways at once": async () => {
    const count = 800;
    const ws = new WebSocket(`${URL}/stream?count=${count}`, OPTIONS);
    let next = 0;
    const report = new Promise((resolve, reject) => {
      ws.on("message", (data, binary) => {
        if (!binary) return resolve(Number(data));
        next++;
        if (!data.equals(piece(next))) reject(new Error(`piece ${next} is not what it was`));
      });
      ws.on("close", (code, reason) => reject(new Error(`closed: ${code} ${reason}`)));
    });
    await once(ws, "open");
    for (let i = 1; i <= count; i++) await new Promise((sent) => ws.send(piece(i), sent));
    const most = await report;
    assert.equal(next, count);
    assert.ok(most < 256 * 1024, `${most} bytes waited in the server`);
    ws.close();
  },

  "a client that does not read for a while loses nothing": async () => {
    const ws = new WebSocket(`${URL}/fill?full=node-full`, OPTIONS);
    await once(ws, "open");
    ws.pause();
    const [, id, count] = (await seen("node-full")).match(/^(\S+) (\d+)$/);
    assert.equal(id, "FULL");
    let next = 0;
    const end = new Promise((resolve, reject) => {
      ws.on("message", (data, binary) => {
        if (!binary) return resolve(data.toString());
        next++;
        if (!data.equals(piece(next))) reject(new Error(`piece ${next} is not what it was`));
      });
    });
    ws.resume();
    assert.equal(await end, "the end");
    assert.equal(next, Number(count));
    ws.close();
  },
});
process.exit(0);
