// Compressed connections of Faye's websocket-driver and permessage-deflate with
// every combination of parameters.
// usage: parameters_faye.mjs client URL    of parameters.lua; prints cases
//        parameters_faye.mjs server        prints its URL; ?NAME=VALUE&... are options

import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import deflate from "permessage-deflate";
import websocket from "websocket-driver";
import { ask, every, exchange, inbox, TEXT } from "./exchange.mjs";
import { run } from "./report.mjs";

/** Options of permessage-deflate, where 'own' is "client" or "server". */
function options(parameters, own) {
  const named = {};
  for (const [name, value] of Object.entries(parameters)) {
    const mine = name.startsWith(own);
    if (name.endsWith("bits")) named[mine ? "maxWindowBits" : "requestMaxWindowBits"] = value;
    else named[mine ? "noContextTakeover" : "requestNoContextTakeover"] = true;
  }
  return deflate.configure(named);
}

async function open(url, mine = {}) {
  const driver = websocket.client(url);
  driver.addExtension(options(mine, "client"));
  const { push, next } = inbox();
  driver.on("message", ({ data }) => push(data));
  driver.on("error", ({ message }) => push(message));
  const socket = connect(new URL(url).port, "127.0.0.1");
  socket.pipe(driver.io).pipe(socket);
  driver.start();
  await new Promise((resolve) => driver.on("open", resolve));
  return {
    send: (data) => (typeof data === "string" ? driver.text(data) : driver.binary(Buffer.from(data))),
    next,
    close: () => {
      driver.close();
      return once(socket, "close");
    },
  };
}

async function play(control, theirs, mine) {
  const ws = await open(await ask(control, theirs), mine);
  await exchange(ws, { ...theirs, ...mine });
  await ws.close();
}

function serve() {
  const http = createServer((request, response) => response.writeHead(426).end());
  http.on("upgrade", (request, socket, head) => {
    const query = new URL(request.url, "ws://localhost").searchParams;
    const parameters = Object.fromEntries([...query].map(([name, value]) => [name, Number(value)]));
    const driver = websocket.http(request);
    driver.addExtension(options(parameters, "server"));
    driver.on("message", ({ data }) => {
      // It sends no fragments: one message has to do.
      if (data === "fragments") driver.text("some text, ".repeat(40).repeat(3));
      else if (typeof data === "string") driver.text(data);
      else driver.binary(data);
    });
    socket.on("error", () => {}); // "close" follows
    driver.io.write(head);
    socket.pipe(driver.io).pipe(socket);
    driver.start();
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
      const ws = await open(await ask(control, {}));
      ws.send(TEXT.repeat(500));
      if (await ws.next() !== TEXT.repeat(500)) throw new Error("another came back");
      await ws.close();
    },
    "a shared compressor": () => play(control, { compressor: "shared" }, {}),
  });
  process.exit(0);
}
