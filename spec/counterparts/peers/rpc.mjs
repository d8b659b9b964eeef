// Two libraries of others and a page in a real browser call the methods of
// examples/rpc, and have methods that it calls.
// usage: node rpc.mjs HTTP_URL WS_URL

import assert from "node:assert/strict";
import { once } from "node:events";
import { JSONRPCClient, JSONRPCServer, JSONRPCServerAndClient, createJSONRPCRequest } from "json-rpc-2.0";
import { Client } from "rpc-websockets";
import WebSocket from "ws";
import { launch } from "./browser.mjs";
import { run } from "./report.mjs";

const [page_url, url] = process.argv.slice(2);

/** A connection with both halves of json-rpc-2.0. */
async function connect() {
  const socket = new WebSocket(url);
  await once(socket, "open");
  const peer = new JSONRPCServerAndClient(new JSONRPCServer({ errorListener() {} }),
    new JSONRPCClient((message) => socket.send(JSON.stringify(message))));
  socket.on("message", (data) => peer.receiveAndSend(JSON.parse(data)));
  socket.on("close", () => peer.rejectAllPendingRequests("closed"));
  return { socket, peer };
}

async function simple() {
  const client = new Client(url, { reconnect: false });
  await once(client, "open");
  return client;
}

/** A page that shows what happened, the newest first. */
async function open(browser) {
  const page = await browser.newPage();
  page.on("pageerror", (error) => { page.failed = error; });
  await page.goto(page_url);
  await page.locator("#status", { hasText: "connected" }).waitFor();
  return page;
}

async function ask(page, method, params) {
  await page.getByLabel("Method").fill(method);
  await page.getByLabel("Params").fill(params);
  await page.keyboard.press("Enter");
}

const shows = (page, text) => page.locator("#log li").getByText(text, { exact: true }).waitFor();

let browser;

await run({
  "json-rpc-2.0 calls": async () => {
    const { socket, peer } = await connect();
    assert.equal(await peer.request("add", [2, 3]), 5);
    assert.equal(await peer.request("divide", { dividend: 1, divisor: 4 }), 0.25);
    const results = await Promise.all(Array.from({ length: 500 }, (_, i) => peer.request("add", [i, 1])));
    assert.deepEqual(results, Array.from({ length: 500 }, (_, i) => i + 1));
    socket.close();
  },

  "json-rpc-2.0 gets errors with their codes": async () => {
    const { socket, peer } = await connect();
    const code = (number) => (error) => error.code === number;
    await assert.rejects(peer.request("divide", { dividend: 1, divisor: 0 }), code(1));
    await assert.rejects(peer.request("divide", [1]), code(-32602));
    await assert.rejects(peer.request("__index"), code(-32601));
    socket.close();
  },

  "json-rpc-2.0 is called": async () => {
    const { socket, peer } = await connect();
    const ticks = [];
    peer.addMethod("name", () => "Node");
    peer.addMethod("tick", ([number]) => ticks.push(number));
    assert.equal(await peer.request("greet"), "hello, Node");
    assert.equal(await peer.request("count", [5]), 5);
    assert.deepEqual(ticks, [1, 2, 3, 4, 5]);
    peer.addMethod("name", () => { throw new Error("no name"); });
    await assert.rejects(peer.request("greet"), /who are you\? RPC: no name/);
    socket.close();
  },

  "json-rpc-2.0 sends batches": async () => {
    const { socket, peer } = await connect();
    const told = new Promise((resolve) => { peer.addMethod("told", ([text]) => resolve(text)); });
    const answers = await peer.client.requestAdvanced([
      createJSONRPCRequest("a", "add", [1, 2]),
      createJSONRPCRequest("b", "nothing"),
      createJSONRPCRequest("c", "add", [3, 4]),
    ]);
    assert.deepEqual(answers.map(({ id }) => id).sort(), ["a", "b", "c"]);
    const by_id = Object.fromEntries(answers.map((answer) => [answer.id, answer]));
    assert.equal(by_id.a.result, 3);
    assert.equal(by_id.b.error.code, -32601);
    assert.equal(by_id.c.result, 7);
    peer.notify("tell", ["from Node"]);
    assert.equal(await told, "from Node");
    socket.close();
  },

  "rpc-websockets calls": async () => {
    const client = await simple();
    assert.equal(await client.call("add", [5, 3]), 8);
    assert.equal(await client.call("divide", { dividend: 9, divisor: 3 }), 3);
    await assert.rejects(client.call("divide", { dividend: 1, divisor: 0 }),
      (error) => error.code === 1 && error.message === "division by zero");
    await assert.rejects(client.call("nothing"), (error) => error.code === -32601);
    client.close();
  },

  "rpc-websockets is notified": async () => {
    const client = await simple();
    const ticks = [];
    client.on("tick", ([number]) => ticks.push(number));
    const told = once(client, "told");
    assert.equal(await client.call("count", [3]), 3);
    assert.deepEqual(ticks, [1, 2, 3]);
    await client.notify("tell", ["ünïcode 👋"]);
    assert.deepEqual(await told, [["ünïcode 👋"]]);
    client.close();
  },

  "a page calls, and is called": async () => {
    browser = await launch();
    const page = await open(browser);
    await ask(page, "add", "[20, 22]");
    await shows(page, "add: 42");
    await ask(page, "divide", '{"dividend": 1, "divisor": 0}');
    await shows(page, "divide failed: division by zero (1)");
    await ask(page, "greet", "");
    await shows(page, 'greet: "hello, the page"');
    await ask(page, "count", "[3]");
    await shows(page, "count: 3");
    await shows(page, "tick 3");
    await ask(page, "nothing", "[]");
    await shows(page, "nothing failed: Method not found (-32601)");
    assert.equal(page.failed, undefined);
  },

  "pages and programs are told what one of them tells": async () => {
    const [one, other] = [await open(browser), await open(browser)];
    const { socket, peer } = await connect();
    const told = new Promise((resolve) => { peer.addMethod("told", ([text]) => resolve(text)); });
    await ask(one, "tell", '["<b>hello</b>"]');
    await Promise.all([one, other].map((page) => shows(page, "told: <b>hello</b>")));
    assert.equal(await told, "<b>hello</b>");
    socket.close();
  },
});
await browser?.close();
process.exit(); // a case that failed leaves connections
