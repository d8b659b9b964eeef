// Two people in two tabs of a real browser use the chat.
// usage: node chat.mjs SCREENSHOT CA COMMAND... (the server, told a port)
// CA is a file of the certificates that the browser trusts, and means https and
// wss; "-" is neither.

import assert from "node:assert/strict";
import { launch } from "./browser.mjs";
import { ended, start } from "./program.mjs";
import { run } from "./report.mjs";

const [screenshot, authority, ...command] = process.argv.slice(2);
const secure = authority !== "-";
const SEEN = { timeout: 8000 };

// ---- what a person sees and does ----

const startServer = (port) => start(command, port, secure);
const errors = []; // of any page

/** A page of somebody who has never been here. */
async function open(url) {
  const context = await browser.newContext({
    viewport: { width: 1100, height: 760 }, locale: "en-GB",
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    // That the server is away is part of the play.
    const expected = message.text().includes("WebSocket connection to");
    if (message.type() === "error" && !expected) errors.push(message.text());
  });
  page.response = await page.goto(url);
  return page;
}

async function enter(page, name, room) {
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Room").fill(room);
  await page.keyboard.press("Enter");
  await state(page, "online");
  await page.locator("#text:focus").waitFor(SEEN); // ready to write
}

async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

const state = (page, name) => page.locator(`#status[data-state=${name}]`).waitFor(SEEN);
const sees = (page, text) => page.waitForFunction((wanted) =>
  [...document.querySelectorAll("p.text")].some((one) => one.textContent === wanted), text, SEEN);
async function tell(from, to, text) {
  await say(from, text);
  await Promise.all([sees(from, text), sees(to, text)]);
}
const notices = (page, text) => page.locator(".notice").filter({ hasText: text }).first().waitFor(SEEN);
const texts = (page) => page.locator("p.text").allTextContents();

/** Waits until exactly these are listed as being here. */
async function lists(page, ...names) {
  await page.waitForFunction((wanted) => {
    const listed = [...document.querySelectorAll("#members > li > bdi")];
    return listed.map((one) => one.textContent).join() === wanted;
  }, names.join(), SEEN);
}

async function picture(page, path) {
  await page.evaluate(() => Promise.all(document.getAnimations().map((one) => one.finished)));
  await page.screenshot({ path });
}

// ---- the play ----

const UNICODE = [
  "emoji 👩‍🚀 👍🏽 🏳️‍🌈",
  "RTL שלום עולם, مرحبا بالعالم",
  "combining é ñ Z̵̢͝ क्षि",
  "wide 漢字かな交じり文 𠮷",
  "outside the BMP 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
];

let server = await startServer(0);
const port = new URL(server.url).port;
const browser = await launch(secure ? authority : undefined);
let ada, bob, carol;

await run({
  "two people enter and see each other": async () => {
    ada = await open(server.url);
    await enter(ada, "Ada", "harbour");
    await lists(ada, "Ada");
    bob = await open(`${server.url}#harbour`);
    await enter(bob, "Bob", "harbour");
    await lists(ada, "Ada", "Bob");
    await lists(bob, "Ada", "Bob");
    assert.match(await bob.title(), /#harbour/);
  },

  "TLS is what was asked for, and verified": async () => {
    const { issuer, protocol } = await ada.response.securityDetails() ?? {};
    if (!secure) return assert.equal(protocol, undefined);
    assert.deepEqual([issuer, protocol], ["Duplex Spec Root", "TLS 1.3"]);
    const stranger = await launch(); // does not know the authority
    const page = await stranger.newPage();
    await assert.rejects(page.goto(server.url), /ERR_CERT_AUTHORITY_INVALID/);
    await stranger.close();
  },

  "messages go both ways": async () => {
    await tell(ada, bob, "Hello Bob, is the tide in?");
    await tell(bob, ada, "Nearly. Come down to the pier! 🌊");
    await tell(bob, ada, "Samir is here already, he says مرحبا 👋");
    await tell(ada, bob, "On my way. Shall I bring coffee?");
  },

  "who enters late gets the history": async () => {
    carol = await open(`${server.url}#harbour`);
    await enter(carol, "Carol", "harbour");
    await lists(carol, "Ada", "Bob", "Carol");
    await lists(ada, "Ada", "Bob", "Carol");
    await notices(ada, "Carol joined");
    assert.deepEqual(await texts(carol), await texts(ada));
    await tell(carol, ada, "Did I miss the boat?");
  },

  "the page looks as it should": async () => {
    await ada.bringToFront();
    await picture(ada, screenshot);
    await ada.setViewportSize({ width: 390, height: 780 });
    await ada.getByRole("button", { name: "Dark or light" }).click();
    await picture(ada, screenshot.replace(".png", "-phone.png"));
    const overflow = await ada.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `the page is ${overflow} pixels too wide`);
  },

  "Unicode comes through unharmed": async () => {
    for (const [i, text] of UNICODE.entries()) {
      await tell(...(i % 2 ? [ada, bob] : [bob, ada]), text);
    }
    assert.deepEqual(await texts(ada), await texts(bob));
  },

  "Shift+Enter begins a line": async () => {
    await ada.getByLabel("Message", { exact: true }).fill("one");
    await ada.keyboard.press("Shift+Enter");
    await ada.keyboard.type("two");
    await ada.keyboard.press("Enter");
    await sees(bob, "one\ntwo");
  },

  "who leaves is gone from the list": async () => {
    await carol.close();
    await notices(ada, "Carol left");
    await lists(ada, "Ada", "Bob");
  },

  "a name that is taken gets a number": async () => {
    await ada.locator("#change").click();
    await enter(ada, "bob", "harbour");
    await notices(bob, "Ada is now bob 2");
    await lists(bob, "Bob", "bob 2");
    await ada.locator("#change").click();
    await enter(ada, "Ada", "harbour");
    await lists(bob, "Ada", "Bob");
  },

  "what looks like HTML is text": async () => {
    const text = "<img src=x onerror=\"document.title='owned'\"> <script>1</script> & <b>";
    await tell(bob, ada, text);
    assert.equal(await ada.locator("#messages :is(img, script, b)").count(), 0);
    assert.doesNotMatch(await ada.title(), /owned/);
  },

  "a page that is loaded again knows the name and the room": async () => {
    await bob.reload();
    await state(bob, "online");
    await lists(ada, "Ada", "Bob");
    await lists(bob, "Ada", "Bob");
  },

  "rooms are apart": async () => {
    await bob.locator("#change").click();
    await enter(bob, "Bob", "lighthouse");
    await bob.waitForURL(/#lighthouse$/);
    await lists(bob, "Bob");
    await lists(ada, "Ada");
    assert.deepEqual(await texts(bob), []);
    await bob.goBack();
    await bob.waitForURL(/#harbour$/);
    await lists(ada, "Ada", "Bob");
    await sees(bob, UNICODE[0]);
  },

  "a refusal is shown": async () => {
    await ada.evaluate(() => { document.getElementById("text").maxLength = 1e6; });
    await say(ada, "x".repeat(2001));
    await ada.getByText("the message has 2001 characters, 2000 are allowed").waitFor(SEEN);
    await tell(ada, bob, "short");
  },

  "a killed server is noticed, and found again": async () => {
    const before = await texts(ada);
    const gone = ended(server.child);
    server.child.kill("SIGKILL");
    await gone;
    await state(ada, "offline");
    await state(bob, "offline");
    assert.ok(await ada.getByRole("button", { name: "Send" }).isDisabled());
    server = await startServer(port);
    await state(ada, "online");
    await state(bob, "online");
    await lists(ada, "Ada", "Bob");
    await tell(bob, ada, "we are back");
    assert.deepEqual(await texts(ada), [...before, "we are back"]);
  },

  "a stopped server says so and ends": async () => {
    await ada.evaluate(() => new Promise((opened) => {
      const socket = new WebSocket(location.origin.replace("http", "ws"));
      socket.onopen = opened;
      window.ended = new Promise((resolve) => {
        socket.onclose = ({ code, wasClean }) => resolve({ code, wasClean });
      });
    }));
    const gone = ended(server.child);
    server.child.kill("SIGTERM");
    assert.equal(await gone, 0);
    assert.deepEqual(await ada.evaluate(() => window.ended), { code: 1001, wasClean: true });
    await state(ada, "offline");
  },

  "no page had an error": async () => {
    assert.deepEqual(errors, []);
  },
});

await browser.close();
process.exit(0);
