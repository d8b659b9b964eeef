// Two readers in two tabs of a real browser use the live comments of examples/hub.
// usage: node comments.mjs SCREENSHOT COMMAND... (the server, told a port)

import assert from "node:assert/strict";
import { launch } from "./browser.mjs";
import { ended, start } from "./program.mjs";
import { run } from "./report.mjs";

const [screenshot, ...command] = process.argv.slice(2);
const SEEN = { timeout: 8000 };
const errors = []; // of any page

/** A page of somebody who has never been here, or another tab of a context. */
async function open(url, context) {
  context ??= await browser.newContext({ viewport: { width: 800, height: 900 }, locale: "en-GB" });
  const page = await context.newPage();
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    // That the server is away is part of the play.
    const expected = message.text().includes("WebSocket connection to");
    if (message.type() === "error" && !expected) errors.push(message.text());
  });
  await page.goto(url);
  await state(page, "online");
  return page;
}

const state = (page, name) => page.locator(`#status[data-state=${name}]`).waitFor(SEEN);
const texts = (page) => page.locator("li p.text").allTextContents();
const notices = (page) => page.locator("li.notice").allTextContents();

async function name(page, text) {
  await page.getByLabel("Your name").fill(text);
  await page.getByLabel("Comment", { exact: true }).focus();
  await lists(page, text);
  await state(page, "online");
}

async function comment(page, text) {
  await page.getByLabel("Comment", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Comment" }).click();
}

/** Waits until the page has exactly these comments. */
async function has(page, ...wanted) {
  await page.waitForFunction((list) =>
    [...document.querySelectorAll("li p.text")].map((one) => one.textContent).join() === list,
  wanted.join(), SEEN);
}

/** Waits until these are among those who read now, or are not. */
async function lists(page, ...names) {
  await page.waitForFunction((wanted) => {
    const listed = [...document.querySelectorAll("#readers bdi")].map((one) => one.textContent);
    return wanted.every((one) => listed.includes(one));
  }, names, SEEN);
}
async function listsExactly(page, ...names) {
  await page.waitForFunction((wanted) =>
    [...document.querySelectorAll("#readers bdi")].map((one) => one.textContent).join() === wanted,
  names.join(), SEEN);
}

let server = await start(command, 0);
const port = new URL(server.url).port;
const browser = await launch();
let ada, bob, tab;

await run({
  "two readers see each other and what they write": async () => {
    ada = await open(server.url);
    await name(ada, "Ada");
    bob = await open(server.url);
    await name(bob, "Bob");
    await listsExactly(ada, "Ada", "Bob");
    await listsExactly(bob, "Ada", "Bob");
    await comment(ada, "First!");
    await has(bob, "First!");
    await comment(bob, "שלום 👋 <b>no HTML</b>");
    for (const page of [ada, bob]) await has(page, "First!", "שלום 👋 <b>no HTML</b>");
    assert.equal(await ada.locator("#comments b").count(), 0);
  },

  "a reader with two tabs is one, until both are closed": async () => {
    tab = await open(server.url, bob.context());
    await has(tab, ...await texts(ada));
    await listsExactly(ada, "Ada", "Bob");
    await tab.close();
    const before = await texts(ada);
    await comment(ada, "still there, Bob?");
    for (const page of [ada, bob]) await has(page, ...before, "still there, Bob?");
    await listsExactly(ada, "Ada", "Bob");
  },

  "who was offline gets what was missed, once and in order": async () => {
    await bob.getByRole("button", { name: "Go offline" }).click();
    await state(bob, "offline");
    await listsExactly(ada, "Ada");
    for (const text of ["one", "two", "three"]) await comment(ada, text);
    await has(ada, ...(await texts(bob)), "one", "two", "three");
    await bob.getByRole("button", { name: "Go online" }).click();
    const all = await texts(ada);
    await has(bob, ...all);
    await comment(bob, "back");
    for (const page of [ada, bob]) await has(page, ...all, "back");
    assert.deepEqual(await notices(bob), []);
    await ada.screenshot({ path: screenshot });
  },

  "who missed more than is kept is told so": async () => {
    await bob.getByRole("button", { name: "Go offline" }).click();
    await state(bob, "offline");
    await ada.evaluate(async () => {
      const socket = new WebSocket(location.origin.replace("http", "ws"));
      await new Promise((resolve) => { socket.onopen = resolve; });
      socket.send(JSON.stringify({ type: "enter", article: "on-walking", name: "Eve", reader: "eve" }));
      for (let i = 1; i <= 105; i++) socket.send(JSON.stringify({ type: "comment", text: `${i}` }));
    });
    await ada.getByText("105", { exact: true }).waitFor(SEEN);
    await bob.getByRole("button", { name: "Go online" }).click();
    await bob.getByText("105", { exact: true }).waitFor(SEEN);
    assert.deepEqual(await notices(bob), ["5 comments are missing here."]);
    assert.equal((await texts(bob)).slice(-100)[0], "6");
  },

  "a killed server is found again, and what it forgot is not hidden": async () => {
    const before = await texts(ada);
    const gone = ended(server.child);
    server.child.kill("SIGKILL");
    await gone;
    await state(ada, "offline");
    server = await start(command, port);
    await state(ada, "online");
    await state(bob, "online");
    await listsExactly(ada, "Ada", "Bob");
    await comment(bob, "a new server");
    await has(ada, ...before, "a new server");
    assert.deepEqual(await notices(ada), ["Some comments may be missing here."]);
  },

  "no page had an error": async () => {
    assert.deepEqual(errors, []);
  },
});

await browser.close();
process.exit(0);
