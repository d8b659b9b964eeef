// What the programs parameters*.mjs have in common: the roles, a server whose
// options are in the URL, and the cases that each of them plays.

import { createServer } from "node:http";
import { every } from "./exchange.mjs";
import { run } from "./report.mjs";

function serve(upgrade) {
  const http = createServer((request, response) => response.writeHead(426).end());
  http.on("upgrade", (request, socket, head) => {
    const query = new URL(request.url, "ws://localhost").searchParams;
    upgrade(Object.fromEntries([...query].map(([name, value]) => [name, Number(value)])), request, socket, head);
  });
  http.listen(0, "127.0.0.1", () => console.log(`listening on ws://127.0.0.1:${http.address().port}/`));
}

/**
 * Plays the role that the program was called with.
 * upgrade(parameters, request, socket, head) answers a request;
 * play(control, theirs, mine) talks over one connection;
 * more(control) gives cases of the program's own.
 */
export async function main(upgrade, play, more) {
  const [role, control] = process.argv.slice(2);
  if (role === "server") return serve(upgrade);
  await run({
    "what the client asks for": () => every(play, control, () => ({}), (one) => one),
    "what the server wants": () => every(play, control, (one) => one, () => ({})),
    "a shared compressor": () => play(control, { compressor: "shared" }, {}),
    ...more(control),
  });
  process.exit(0);
}
