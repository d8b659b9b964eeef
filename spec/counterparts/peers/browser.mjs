// Starts a real browser that keeps nothing.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** A Chromium that trusts the certificates of a file too, if one is given. */
export async function launch(authority) {
  // Chromium on Linux takes a user's own authorities from here.
  const home = mkdtempSync(join(tmpdir(), "duplex-browser-"));
  process.once("exit", () => rmSync(home, { recursive: true, force: true }));
  if (authority) {
    const store = join(home, ".pki/nssdb");
    mkdirSync(store, { recursive: true });
    execFileSync("certutil", ["-N", "--empty-password", "-d", `sql:${store}`]);
    execFileSync("certutil", ["-A", "-d", `sql:${store}`, "-n", "spec", "-t", "C,,", "-i", authority]);
  }
  return chromium.launch({
    executablePath: process.env.CHROMIUM
      ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync),
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    env: { ...process.env, HOME: home },
  });
}
