// The pictures of the guide, of the cloud that the walk has made.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { Browser } = require("./browser.js");

const BYTES_MAX = 150_000; // of one picture: they are kept with the sources

/** What is shown, and how: [name, where links lead to it, more]. */
const PICTURES = [
  ["overview", ["Overview"]],
  ["overview-dark", ["Overview"], { dark: true }],
  ["servers", ["Servers"]],
  ["token", ["Servers", "Token"], { press: "Request a token" }],
  ["server", ["Servers", "rack1"], { dark: true }],
  ["services", ["Services"]],
  ["request", ["Services", "Request a service"], { press: "Choose helloworld" }],
  ["service", ["Services", "shop"]],
  ["service-dialog", ["Services", "moon", "Stop"]],
  ["service-phone", ["Services", "moon"], { phone: true }],
  ["services-phone-dark", ["Services"], { phone: true, dark: true }],
  ["software", ["Software"]],
];

async function take(browser, page, directory) {
  fs.mkdirSync(directory, { recursive: true });
  const cookies = await Browser.cookies(page);
  for (const [name, links, { dark, phone, press } = {}] of PICTURES) {
    const shown = await browser.window({ phone, cookies });
    await shown.emulateMedia({ colorScheme: dark ? "dark" : "light" });
    await shown.goto("/");
    let found = true;
    for (const word of links) {
      const link = shown.getByRole("link", { name: word, exact: true }).locator("visible=true").first();
      found = (await link.count()) > 0;
      if (!found) break;
      await link.click();
      await shown.locator("h1, dialog h2", { hasText: word }).first().waitFor();
    }
    if (press) await shown.getByRole("button", { name: press, exact: true }).click();
    if (press) await shown.waitForLoadState();
    if (found) {
      const file = path.join(directory, `${name}.png`);
      await shown.screenshot({ path: file, animations: "disabled" });
      const { size } = fs.statSync(file);
      if (size > BYTES_MAX) throw new Error(`${file} has ${size} bytes`);
      console.log(`${String(size).padStart(8)} bytes  ${file}`);
    } else {
      throw new Error(`${name}: nothing leads to ${links.join(", ")}`);
    }
    await shown.context().close();
  }
}

module.exports = { take };
