// The page of the live comments. What others wrote is shown with textContent only.

const $ = (id) => document.getElementById(id);
const FIRST_WAIT = 500; // ms before the first attempt to reconnect
const MAX_WAIT = 15_000;

const stored = (key) => {
  try { return localStorage.getItem(key) } catch { return null } // blocked
};
const store = (key, value) => {
  try { localStorage.setItem(key, value) } catch { /* then not */ }
};

const article = location.hash.slice(1) || "on-walking";
const reader = stored("reader") ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
store("reader", reader);

// The last comment on the page: what the server needs to know to send the rest.
let last = { offset: undefined, epoch: undefined };
const readers = new Map(); // how often a name is there

// ---- drawing ----

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function notice(text) {
  $("comments").append(element("li", "notice", text));
}

function showComment({ name, text, time }) {
  const date = new Date(time * 1000);
  const clock = element("time", "", date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  clock.dateTime = date.toISOString();
  const by = element("p", "by");
  by.append(element("bdi", "", name), " ", clock);
  const body = element("p", "text", text);
  body.dir = "auto";
  const node = element("li", "comment");
  node.append(by, body);
  $("comments").append(node);
}

function showReaders() {
  const names = [...readers.keys()].sort(new Intl.Collator().compare);
  $("readers").replaceChildren(...names.flatMap((name, i) => [i ? ", " : "", element("bdi", "", name)]));
}

function count(name, more) {
  const times = (readers.get(name) ?? 0) + more;
  if (times > 0) readers.set(name, times);
  else readers.delete(name);
}

function showState(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text ?? state;
  $("send").disabled = state !== "online";
}

// ---- what the server says ----

const handlers = {
  comment({ offset, epoch, data }) {
    if (epoch !== last.epoch && last.epoch !== undefined) {
      notice("Some comments may be missing here.");
    } else if (last.offset !== undefined && offset > last.offset + 1) {
      notice(`${offset - last.offset - 1} comments are missing here.`);
    } else if (offset <= last.offset) {
      return; // it is there already
    }
    last = { offset, epoch };
    showComment(data);
  },
  readers({ data: { joined, left } }) {
    if (joined !== undefined) count(joined, 1);
    if (left !== undefined) count(left, -1);
    showReaders();
  },
  entered({ readers: names, offset, epoch }) {
    if (last.epoch !== undefined && last.epoch !== epoch) {
      notice("Some comments may be missing here."); // and none of the new ones is there yet
    }
    last = { offset, epoch };
    readers.clear();
    for (const name of names) count(name, 1);
    showReaders();
    $("problem").textContent = "";
    showState("online");
  },
  error({ message }) {
    $("problem").textContent = message;
  },
};

// ---- a connection that comes back ----

let socket, failures = 0, timer, wanted = false;

function open() {
  clearTimeout(timer);
  showState("connecting");
  const url = new URL("/", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  socket.onopen = () => {
    socket.send(JSON.stringify({ type: "enter", article, reader, name: stored("name") || "a reader", ...last }));
  };
  socket.onmessage = ({ data }) => {
    failures = 0; // a server that only accepts is not back yet
    const message = JSON.parse(data);
    handlers[message.type]?.(message);
  };
  socket.onclose = () => {
    if (!wanted) return showState("offline");
    // Waits longer after each failure, and not all pages the same time.
    const most = Math.min(MAX_WAIT, FIRST_WAIT * 2 ** failures++);
    const wait = most * (0.5 + Math.random() / 2);
    showState("offline", `offline, again in ${Math.ceil(wait / 1000)} s`);
    timer = setTimeout(open, wait);
  };
}

function setLine(on) {
  wanted = on;
  $("line").textContent = on ? "Go offline" : "Go online";
  clearTimeout(timer);
  if (on) open();
  else if (socket.readyState === WebSocket.CLOSED) showState("offline");
  else socket.close();
}

// ---- what the user does ----

$("line").addEventListener("click", () => setLine(!wanted));
$("name").value = stored("name") ?? "";
$("name").addEventListener("change", () => {
  store("name", $("name").value.trim());
  socket.close(4000, "another name"); // and enter again with it
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  $("problem").textContent = "";
  const text = $("text").value.trim();
  if (text) socket.send(JSON.stringify({ type: "comment", text }));
  $("text").value = "";
});

setLine(true);
