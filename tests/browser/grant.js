// Grants a login in a real browser: opens the link that ncfs login shows, logs in, grants or denies.
//
//   node grant.js LINK USER SCREENSHOT [grant|deny]      with the password in PASSWORD
//
// CHROMIUM names the program (default /usr/bin/chromium). CHROMIUM_ARGS adds arguments, one a line.
// A screenshot of the grant page is stored as SCREENSHOT, one of the last page beside it. Everything
// is found by its label or role, as a person finds it, in the order of Login Flow v2.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { chromium } from "playwright-core";

const [link, user, screenshot, answer = "grant"] = process.argv.slice(2);
const password = process.env.PASSWORD;
if (!link || !user || !screenshot || !password) {
  console.error("usage: PASSWORD=.. node grant.js LINK USER SCREENSHOT [grant|deny]");
  process.exit(2);
}

const profile = mkdtempSync(join(tmpdir(), "ncfs-browser-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  locale: "en-US",
  viewport: { width: 900, height: 700 },
  args: [
    "--no-sandbox", // Chromium refuses its sandbox to root.
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    ...(process.env.CHROMIUM_ARGS ?? "").split("\n").filter(Boolean),
  ],
});
try {
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(link);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByLabel("Account name or email").fill(user);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Log in", exact: true }).click();

  const grant = page.getByRole("button", { name: "Grant access" });
  await grant.waitFor();
  await page.screenshot({ path: screenshot });
  if (answer === "deny") {
    await page.getByRole("button", { name: "Deny" }).click();
    await page.getByRole("heading", { name: "Access denied" }).waitFor();
  } else {
    await grant.click();
    await page.getByRole("heading", { name: "Account connected" }).waitFor();
  }
  await page.screenshot({ path: screenshot.replace(/\.png$/, "-done.png") });
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
