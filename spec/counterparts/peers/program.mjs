// The server of an example, as a program of its own.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Starts a command, told a port, and reads its address: { child, url }. */
export async function start(command, port, secure) {
  const child = spawn(command[0], [...command.slice(1), String(port)],
    { stdio: ["ignore", "pipe", "inherit"] });
  process.once("exit", () => child.kill("SIGKILL"));
  for await (const line of createInterface(child.stdout)) {
    const url = line.match(/open (http:\S+)/)?.[1];
    if (url) return { child, url: secure ? url.replace("http:", "https:") : url };
  }
  throw new Error("the server printed no address");
}

export function ended(child) {
  return new Promise((resolve) => child.once("exit", resolve));
}
