// The page of the chat. What others wrote is shown with textContent only.

const $ = (id) => document.getElementById(id);
const FIRST_WAIT = 500; // ms before the first attempt to reconnect
const MAX_WAIT = 15_000;
const KEPT = 500; // messages and notices on the page
const TOGETHER = 120; // seconds in which messages of one person are a group

// ---- a connection that comes back ----

class Link extends EventTarget {
  #socket;
  #failures = 0;
  #timer;

  constructor(url) {
    super();
    this.url = url;
    addEventListener("online", () => this.#now());
    document.addEventListener("visibilitychange", () => document.hidden || this.#now());
    this.#open();
  }

  get open() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #open() {
    this.#timer = undefined;
    this.#tell("state", { state: "connecting" });
    const socket = (this.#socket = new WebSocket(this.url));
    socket.onopen = () => this.#tell("open");
    socket.onmessage = ({ data }) => {
      this.#failures = 0; // a server that only accepts is not back yet
      this.#tell("message", JSON.parse(data));
    };
    socket.onclose = () => this.#later();
  }

  // Waits longer after each failure, and not all pages the same time.
  #later() {
    const most = Math.min(MAX_WAIT, FIRST_WAIT * 2 ** this.#failures++);
    const wait = most * (0.5 + Math.random() / 2);
    this.#tell("state", { state: "offline", wait });
    this.#timer = setTimeout(() => this.#open(), wait);
  }

  // No need to wait any longer: the network, or the reader, is back.
  #now() {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#open();
  }
}

// ---- what the page knows ----

const stored = (key) => {
  try { return localStorage.getItem(key) } catch { return null } // blocked
};
const store = (key, value) => {
  try { localStorage.setItem(key, value) } catch { /* then not */ }
};

const roomInAddress = () => {
  try { return decodeURIComponent(location.hash.slice(1)) } catch { return "" }
};

// name: what the server made of the wish, unique in the room
const me = { wish: stored("name") ?? "", name: "", room: roomInAddress() || "lobby" };
const members = new Set();
const seen = new Set(); // ids of the messages on the page
let shownRoom, lastMessage, unread = 0;

// ---- drawing ----

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// The first character as people count them: an emoji may be many code points.
const initial = (name) =>
  "Segmenter" in Intl ? [...new Intl.Segmenter().segment(name)][0].segment : [...name][0];

function hue(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 9973;
  return (sum * 137) % 360; // near sums, far colours
}

function avatar(name) {
  const node = element("span", "avatar", initial(name));
  node.ariaHidden = "true";
  node.style.setProperty("--hue", hue(name));
  return node;
}

let following = true; // the end of the log is in view, and shall stay there

function scrolled() {
  const log = $("log");
  following = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  if (following) $("latest").hidden = true;
}

function toEnd() {
  following = true;
  $("log").scrollTop = $("log").scrollHeight;
  $("latest").hidden = true;
}

function showTitle() {
  document.title = (unread ? `(${unread}) ` : "") + `#${me.room} · Duplex chat`;
}

function append(node) {
  const list = $("messages");
  list.append(node);
  while (list.childElementCount > KEPT) list.firstElementChild.remove();
  if (following) toEnd();
}

function notice(...parts) {
  lastMessage = undefined;
  const node = element("li", "notice");
  node.append(...parts);
  append(node);
}

const bdi = (text) => element("bdi", "", text);

function showMessage({ id, name, text, time }) {
  if (seen.has(id)) return;
  seen.add(id);
  const date = new Date(time * 1000);
  const mine = name === me.name;
  const more = lastMessage?.name === name && time - lastMessage.time < TOGETHER;
  lastMessage = { name, time };

  const node = element("li", `message${mine ? " mine" : ""}${more ? " more" : ""}`);
  node.style.setProperty("--hue", hue(name));
  const clock = element("time", "", date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  clock.dateTime = date.toISOString();
  const by = element("p", "by");
  by.append(bdi(name), clock);
  const body = element("p", "text", text);
  body.dir = "auto";
  node.append(avatar(name), by, body);

  append(node);
  if (mine) toEnd();
  else if (!following) $("latest").hidden = false;
  if (document.hidden) {
    unread++;
    showTitle();
  }
}

function showMembers() {
  $("count").textContent = members.size;
  const compare = new Intl.Collator().compare;
  $("members").replaceChildren(...[...members].sort(compare).map((name) => {
    const node = element("li");
    node.append(avatar(name), bdi(name));
    if (name === me.name) node.append(element("span", "you", "you"));
    return node;
  }));
}

function showProblem(text = "") {
  $("problem").textContent = text;
}

function showState({ state, wait }) {
  const seconds = Math.ceil((wait ?? 0) / 1000);
  const texts = { online: "online", connecting: "connecting…", offline: `offline, again in ${seconds} s` };
  $("status").dataset.state = state;
  $("status").textContent = texts[state];
  $("composer").querySelector("button").disabled = state !== "online";
}

// ---- what the server says ----

const handlers = {
  welcome({ room, name, members: names, history = [] }) {
    if (room !== shownRoom) {
      $("messages").replaceChildren();
      seen.clear();
      lastMessage = undefined;
    }
    const back = room === shownRoom && name === me.name;
    // The back button leads to the room before, not to where one came from.
    const step = shownRoom && room !== roomInAddress() ? "pushState" : "replaceState";
    window.history[step](null, "", `#${encodeURIComponent(room)}`);
    Object.assign(me, { room, name });
    shownRoom = room;
    $("room").textContent = room;
    $("me").textContent = name;
    members.clear();
    for (const one of names) members.add(one);
    showMembers();
    history.forEach(showMessage);
    notice(back ? "you are back in " : "you are in ", bdi(`#${room}`), " as ", bdi(name));
    showState({ state: "online" });
    showProblem();
    showTitle();
    toEnd();
  },
  say: showMessage,
  joined({ name }) {
    if (members.has(name)) return; // it is us
    members.add(name);
    showMembers();
    notice(bdi(name), " joined");
  },
  left({ name }) {
    members.delete(name);
    showMembers();
    notice(bdi(name), " left");
  },
  renamed({ name, old_name: old }) {
    members.delete(old);
    members.add(name);
    showMembers();
    if (name !== me.name) notice(bdi(old), " is now ", bdi(name));
  },
  error({ message }) {
    showProblem(message);
    if (!shownRoom) ask(); // it is about the name or the room
  },
};

// ---- what the user does ----

function join() {
  link.send({ type: "join", room: me.room, name: me.wish });
}

function ask() {
  $("name").value = me.wish;
  $("to").value = me.room;
  if (!$("enter").open) $("enter").showModal();
  (me.wish ? $("to") : $("name")).select();
}

function enter(wish, room) {
  Object.assign(me, { wish, room });
  store("name", wish);
  if (!link) connect();
  else if (link.open) join();
  $("text").focus();
}

function say() {
  const text = $("text").value;
  if (!text.trim() || !link?.open) return;
  link.send({ type: "say", text });
  showProblem();
  $("text").value = "";
}

let link;

function connect() {
  const url = new URL(location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";
  link = new Link(url);
  link.addEventListener("open", join);
  link.addEventListener("state", ({ detail }) => showState(detail));
  link.addEventListener("message", ({ detail }) => handlers[detail.type]?.(detail));
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  say();
});
$("text").addEventListener("keydown", (event) => {
  // While an input method composes, Enter chooses a word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  say();
});
$("enter").addEventListener("submit", () => enter($("name").value, $("to").value));
// A dialog gives the focus back to where it was, when it was open.
$("enter").addEventListener("close", () => $("text").focus());
$("enter").addEventListener("cancel", (event) => shownRoom || event.preventDefault());
$("change").addEventListener("click", ask);
$("latest").addEventListener("click", toEnd);
$("log").addEventListener("scroll", scrolled);
// A keyboard on the screen takes half of the log.
new ResizeObserver(() => following && toEnd()).observe($("log"));
addEventListener("hashchange", () => {
  const room = roomInAddress();
  if (room && room !== shownRoom && me.wish) enter(me.wish, room);
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) unread = 0;
  showTitle();
});

const dark = matchMedia("(prefers-color-scheme: dark)");
const showTheme = () => {
  document.documentElement.dataset.theme = stored("theme") ?? (dark.matches ? "dark" : "light");
};
dark.addEventListener("change", showTheme);
$("theme").addEventListener("click", () => {
  store("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  showTheme();
});

showTheme();
showState({ state: "connecting" });
if (me.wish && roomInAddress()) enter(me.wish, me.room); // an address to share
else ask();
