// A page in a real browser opens a WebSocket to where it came from.
// usage: node page.mjs URL CA, as https; prints the HTTP version of the page, the
// status that opened the WebSocket (101, or 200 over HTTP/2), the echo, how it ended

import { launch } from "./browser.mjs";

const [url, authority] = process.argv.slice(2);
const browser = await launch(authority);
const page = await browser.newPage();
const devtools = await page.context().newCDPSession(page);
await devtools.send("Network.enable");
const opened = new Promise((resolve) => {
  devtools.on("Network.webSocketHandshakeResponseReceived", ({ response }) => resolve(response.status));
});

await page.goto(url);
const { version, echo, code } = await page.evaluate(async () => {
  const [{ nextHopProtocol: version }] = performance.getEntriesByType("navigation");
  const socket = new WebSocket(new URL("/echo", location.href.replace("http", "ws")));
  const result = (type) => new Promise((resolve, reject) => {
    socket.addEventListener(type, resolve);
    socket.addEventListener("error", () => reject(new Error("no WebSocket")));
  });
  await result("open");
  socket.send("from a page");
  const { data: echo } = await result("message");
  socket.close(4000, "enough");
  const { code } = await result("close");
  return { version, echo, code };
});
console.log(version, await opened, echo, code);
await browser.close();
