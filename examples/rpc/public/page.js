import { Peer } from "./rpc.js";

// What the server has, and parameters to begin with.
const EXAMPLES = {
  add: "[2, 3]",
  divide: '{"dividend": 1, "divisor": 4}',
  count: "[3]",
  greet: "",
  tell: '["hello, everybody"]',
};

const find = (id) => document.getElementById(id);

/** The newest is above. */
function show(text, className = "") {
  const line = document.createElement("li");
  line.className = className;
  line.textContent = text;
  find("log").prepend(line);
}

function showState(state, text) {
  find("status").dataset.state = state;
  find("status").textContent = text ?? state;
  find("call").querySelector("button").disabled = state !== "connected";
}

const socket = new WebSocket(location.href.replace(/^http/, "ws").replace(/#.*/, ""));
socket.addEventListener("open", () => showState("connected"));
socket.addEventListener("close", ({ code }) => {
  showState("closed", `closed (${code}): load the page again to connect`);
});

// What the server may call here.
const peer = new Peer(socket, new Map(Object.entries({
  name: () => "the page",
  tick: ([number]) => show(`tick ${number}`),
  told: ([text]) => show(`told: ${text}`),
})));

find("methods").append(...Object.keys(EXAMPLES).map((name) => new Option(name)));

// Another method gets its own example, unless somebody has written something.
find("method").addEventListener("input", ({ target }) => {
  const untouched = ["", ...Object.values(EXAMPLES)].includes(find("params").value);
  if (untouched && target.value in EXAMPLES) find("params").value = EXAMPLES[target.value];
});

find("call").addEventListener("submit", async (event) => {
  event.preventDefault();
  const method = find("method").value;
  try {
    const params = find("params").value.trim();
    const result = await peer.call(method, params ? JSON.parse(params) : undefined);
    show(`${method}: ${JSON.stringify(result)}`);
  } catch (error) {
    const code = error.code === undefined ? "" : ` (${error.code})`;
    show(`${method} failed: ${error.message}${code}`, "failed");
  }
});
