import { Peer } from "./rpc.js";

const find = (id) => document.getElementById(id);

function show(text) {
  const line = document.createElement("li");
  line.textContent = text;
  find("log").prepend(line);
}

const socket = new WebSocket(location.href.replace(/^http/, "ws"));
socket.addEventListener("open", () => { find("status").textContent = "connected"; });
socket.addEventListener("close", ({ code }) => { find("status").textContent = `closed (${code})`; });

// What the server may call here.
const peer = new Peer(socket, new Map(Object.entries({
  name: () => "the page",
  tick: ([number]) => show(`tick ${number}`),
  told: ([text]) => show(`told: ${text}`),
})));

find("call").addEventListener("submit", async (event) => {
  event.preventDefault();
  const method = find("method").value;
  try {
    const params = find("params").value.trim();
    const result = await peer.call(method, params ? JSON.parse(params) : undefined);
    show(`${method}: ${JSON.stringify(result)}`);
  } catch (error) {
    show(`${method} failed: ${error.message}${error.code === undefined ? "" : ` (${error.code})`}`);
  }
});
