// What a real browser makes of a WebSocket's life, for browser_spec.lua.
// usage: node events.mjs PAGE RAW: the URL of a page, and of the server whose
// paths are ends; prints "NAME: event, event, ..." for each case of events.lua

import { launch } from "./browser.mjs";

const [page_url, raw] = process.argv.slice(2);
const browser = await launch();
const page = await browser.newPage();
await page.goto(page_url);
const results = await page.evaluate(async ([echo, raw]) => {
  const say = {
    open: (e) => "open", error: (e) => "error", message: (e) => `message ${e.data}`,
    close: (e) => `close ${e.code} ${e.reason || "-"} ${e.wasClean}`,
  };
  // What happens to a socket until it is closed, and a moment longer.
  const life = (socket, on = {}) => new Promise((resolve) => {
    const seen = [];
    const note = (text) => seen.push(text);
    for (const type of Object.keys(say)) {
      socket.addEventListener(type, (event) => {
        note(`${say[type](event)} ${socket.readyState}`);
        on[type]?.(socket, note, event);
        if (type === "close") setTimeout(() => resolve(seen), 50);
      });
    }
    on.now?.(socket, note);
  });
  const name_of = (fn) => {
    try {
      fn();
      return "fine";
    } catch (e) {
      return e.name;
    }
  };
  const cases = {
    "an echo, closed from here": () => life(new WebSocket(echo), {
      open: (s) => s.send("hello"), message: (s) => s.close(4000, "bye"),
    }),
    "closed from there": () => life(new WebSocket(`${raw}/code`)),
    "closed from there without a code": () => life(new WebSocket(`${raw}/none`)),
    "closed from here without a code": () => life(new WebSocket(echo), { open: (s) => s.close() }),
    "refused": () => life(new WebSocket(`${raw}/refused`)),
    "no subprotocol chosen": () => life(new WebSocket(echo, "chat")),
    "nobody there": () => life(new WebSocket("ws://127.0.0.1:1")),
    "lost": () => life(new WebSocket(`${raw}/lost`)),
    "a broken frame": () => life(new WebSocket(`${raw}/broken`)),
    "closed while it connects": () => life(new WebSocket(`${raw}/silent`), {
      now: (s, note) => {
        s.close();
        note(`closing ${s.readyState}`);
        s.close();
        s.send?.("x");
        note(`buffered ${s.bufferedAmount}`);
      },
    }),
    "messages before the end": () => life(new WebSocket(`${raw}/messages`)),
    "too late to send": () => life(new WebSocket(echo), {
      open: (s, note) => {
        s.close(1000);
        s.send("12345");
        note(`buffered ${s.bufferedAmount}`);
      },
      close: (s, note) => {
        s.send("123");
        s.close();
        note(`buffered ${s.bufferedAmount}, state ${s.readyState}`);
      },
    }),
    "sent before it is closed": () => life(new WebSocket(echo), {
      open: (s, note) => {
        s.send("one");
        s.send("two");
        note(`buffered ${s.bufferedAmount}`);
        s.close(1000);
      },
    }),
    "listeners": () => new Promise((resolve) => {
      const socket = new WebSocket(echo), seen = [];
      const twice = () => seen.push("twice");
      const second = () => seen.push("second");
      socket.addEventListener("open", twice);
      socket.onopen = () => seen.push("handler");
      socket.addEventListener("open", twice);
      socket.addEventListener("open", () => {
        seen.push("first");
        socket.removeEventListener("open", second);
        socket.addEventListener("open", () => seen.push("added too late"));
      });
      socket.addEventListener("open", second);
      socket.addEventListener("open", () => seen.push("third"), { once: true });
      socket.onopen = () => seen.push("other handler");
      socket.onclose = () => resolve(seen);
      socket.addEventListener("open", () => socket.close());
    }),
    "exceptions": async () => {
      const open = await new Promise((resolve) => {
        const socket = new WebSocket(echo);
        socket.onopen = () => resolve(socket);
      });
      const names = [
        () => new WebSocket("nonsense://x"), () => new WebSocket("ws://foo bar.com/"),
        () => new WebSocket(`${echo}/#test`), () => new WebSocket(`${echo}/#`),
        () => new WebSocket("mailto:a@b"), () => new WebSocket(echo, "a b"), () => new WebSocket(echo, ""),
        () => new WebSocket(echo, "a,b"), () => new WebSocket(echo, ["a", "a"]),
        () => new WebSocket(echo, ["a", "A"]).close(), () => new WebSocket(echo, "é"),
        () => new WebSocket(echo.replace("ws", "http")).close(), () => new WebSocket(echo, []).close(),
        () => new WebSocket(echo).send("x"),
        () => open.close(999), () => open.close(1001), () => open.close(1005), () => open.close(2999),
        () => open.close(5000), () => open.close(0), () => open.close(3000, "x".repeat(124)),
        () => open.close(3000, "é".repeat(62)), () => open.close(3000, "x".repeat(123)),
        () => open.close(1), () => open.send("late"),
      ].map(name_of);
      return names;
    },
    "urls": async () => [
      "ws://Example.COM:80", "WSS://example.com:443/a/../b/./c?x y", "http://example.com/%7e", "https://example.com:80/",
      " ws://example.com/a b\n", "ws://joe:secret@example.com/?", "ws://@example.com/",
      "ws://j@e:se=cret@example.com/", "ws://[1:0:0:4:5:0:0:0]/", "ws://[::FFFF:1.2.3.4]/", "ws://[::1]:8080/x?a#".slice(0, -1),
    ].map((url) => {
      const socket = new WebSocket(url);
      socket.close();
      return socket.url;
    }),
    "constants": async () => {
      const socket = new WebSocket(echo);
      const values = [WebSocket.CONNECTING, WebSocket.OPEN, WebSocket.CLOSING, WebSocket.CLOSED,
        socket.CONNECTING, socket.OPEN, socket.CLOSING, socket.CLOSED, socket.readyState, socket.bufferedAmount,
        socket.protocol || "-", socket.extensions || "-", socket.binaryType, String(socket.onopen ?? "-")];
      socket.close();
      return values;
    },
  };
  const lines = [];
  for (const [name, body] of Object.entries(cases)) lines.push(`${name}: ${(await body()).join(", ")}`);
  return lines;
}, [page_url.replace("http", "ws").replace(/\/$/, ""), raw]);
console.log(results.join("\n"));
await browser.close();
