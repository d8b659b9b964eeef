// Compressed connections of Faye's websocket-driver and permessage-deflate with
// every combination of parameters.
// usage: parameters_faye.mjs client URL    of parameters.lua; prints cases
//        parameters_faye.mjs server        prints its URL; ?NAME=VALUE&... are options

import { once } from "node:events";
import { connect } from "node:net";
import deflate from "permessage-deflate";
import websocket from "websocket-driver";
import { ask, exchange, inbox, TEXT } from "./exchange.mjs";
import { main } from "./parameters_main.mjs";

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

function upgrade(parameters, request, socket, head) {
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
}

await main(upgrade, play, (control) => ({
  "a large message": async () => {
    const ws = await open(await ask(control, {}));
    ws.send(TEXT.repeat(500));
    if (await ws.next() !== TEXT.repeat(500)) throw new Error("another came back");
    await ws.close();
  },
}));
