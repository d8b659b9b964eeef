// What clients do with a server of parameters.lua, in Node and in a page.

export const TEXT = JSON.stringify(Array.from({ length: 20 }, (_, i) => (
  { id: i * 7919, name: `sensor ${i % 5}`, unit: "°C", values: [i * 3, i * 5, i * 11], active: i % 3 === 0 })));

/** All combinations of the four parameters, with bits from 'least' on. */
export function* combinations(least) {
  const bits = [undefined];
  for (let n = least; n <= 15; n++) bits.push(n);
  for (const server of bits) {
    for (const client of bits) {
      for (let fresh = 0; fresh < 4; fresh++) {
        const one = {};
        if (fresh & 1) one.server_no_context_takeover = 1;
        if (fresh & 2) one.client_no_context_takeover = 1;
        // Neither zlib nor we can compress with 8; others have to be able to.
        if (server > 8) one.server_max_window_bits = server;
        if (client) one.client_max_window_bits = client;
        yield one;
      }
    }
  }
}

/** The URL of a new server. */
export async function ask(control, options) {
  const answer = await fetch(new URL("/open?" + new URLSearchParams(options), control));
  if (answer.status !== 200) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.text();
}

/** Calls play(control, theirs(one), mine(one)) for each combination. */
export async function every(play, control, theirs, mine) {
  for (const one of combinations(8)) {
    try {
      await play(control, theirs(one), mine(one));
    } catch (problem) {
      problem.message = `${JSON.stringify(one)}: ${problem.message}`;
      throw problem;
    }
  }
}

/** What came and was not asked for yet. */
export function inbox() {
  const kept = [];
  let wake = () => {};
  return {
    push(message) {
      kept.push(message);
      wake();
    },
    async next() {
      while (kept.length === 0) await new Promise((resolve) => { wake = resolve; });
      return kept.shift();
    },
  };
}

function check(fine, problem) {
  if (!fine) throw new Error(problem);
}

function same(a, b) {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/**
 * Sends and receives with what has send(data, fin) and next(), and compares what
 * was agreed with the parameters that one side or both had asked for.
 */
export async function exchange(ws, wanted) {
  const bytes = new Uint8Array(10_000).map((_, i) => (i * i) >> 7);
  const messages = [TEXT, TEXT, "", bytes, TEXT.slice(0, 300), bytes.slice(0, 500), TEXT];
  for (const [i, message] of messages.entries()) {
    ws.send(message);
    check(same(await ws.next(), message), `message ${i} came back as another`);
  }
  ws.send("report");
  const [agreed, ...lines] = (await ws.next()).split("\n");
  const said = Object.fromEntries(agreed.split("; ").slice(1).map((part) => part.split("=")));
  check(agreed.startsWith("permessage-deflate"), `agreed: ${agreed}`);
  for (const side of ["server", "client"]) {
    const fresh = `${side}_no_context_takeover`, bits = `${side}_max_window_bits`;
    check(fresh in said || !wanted[fresh], `no ${fresh}: ${agreed}`);
    check(!wanted[bits] || Number(said[bits] ?? 15) <= wanted[bits], `${bits}: ${agreed}`);
    // The same message again is a reference to the first, if there may be one:
    // in a window of less it is too far away.
    const [first, second] = lines.map((line) => Number(line.split(" ")[side === "client" ? 0 : 1]));
    check(first < 1000, `${side}: ${first} bytes for ${TEXT.length} characters`);
    if (fresh in said) check(second === first, `${side}: ${first}, then ${second} bytes: ${agreed}`);
    else if (Number(said[bits] ?? 15) > 11) check(second < first / 4, `${side}: ${first}, then ${second} bytes: ${agreed}`);
    else check(second <= first, `${side}: ${first}, then ${second} bytes: ${agreed}`);
  }
  ws.send("fragments");
  const parts = await ws.next();
  check(parts.length > 1000 && parts === parts.slice(0, parts.length / 3).repeat(3), "fragments from the server");
  if (ws.fragments) {
    ws.send(TEXT.slice(0, 700), false);
    ws.send("", false);
    ws.send(TEXT.slice(700), true);
    check(await ws.next() === TEXT, "fragments from the client");
  }
  return agreed;
}
