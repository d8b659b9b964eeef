// Compressed connections of a page in a real browser, which offers what it
// always does, with every combination of what the server wants.
// usage: parameters_page.mjs URL    of parameters.lua; prints cases

import { readFileSync } from "node:fs";
import { launch } from "./browser.mjs";
import { run } from "./report.mjs";

const [control] = process.argv.slice(2);
const browser = await launch();
const page = await browser.newPage();
await page.goto(new URL("/page", control).href);
const source = readFileSync(new URL("./exchange.mjs", import.meta.url), "utf8");
await page.evaluate(async (code) => {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  globalThis.peer = await import(url);
}, source);

/** Plays in the page; the answer is what was agreed for each. */
const play = (options) => page.evaluate(async ({ control, options }) => {
  const { ask, exchange } = globalThis.peer;
  const all = [];
  for (const one of options) {
    const socket = new WebSocket(await ask(control, one));
    socket.binaryType = "arraybuffer";
    const kept = [];
    let wake = () => {}, ended = false;
    socket.onmessage = ({ data }) => {
      kept.push(typeof data === "string" ? data : new Uint8Array(data));
      wake();
    };
    socket.onclose = () => {
      ended = true;
      wake();
    };
    await new Promise((open) => { socket.onopen = open; });
    const agreed = await exchange({
      send: (data) => socket.send(data),
      next: async () => {
        while (kept.length === 0) {
          if (ended) throw new Error(`closed: ${JSON.stringify(one)}`);
          await new Promise((resolve) => { wake = resolve; });
        }
        return kept.shift();
      },
    }, one);
    socket.close();
    all.push(agreed);
  }
  return all;
}, { control, options });

const { combinations } = await import("./exchange.mjs");

await run({
  "what a browser agrees to": async () => {
    const [agreed] = await play([{}]);
    if (agreed !== "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12") throw new Error(agreed);
  },
  "what the server wants": () => play([...combinations(9)]),
  "a shared compressor": () => play([{ compressor: "shared" }]),
});
await browser.close();
