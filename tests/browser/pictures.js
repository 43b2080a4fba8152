// The pictures of the guide, of the cloud that the walk has made.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { Browser } = require("./browser.js");

const BYTES_MAX = 150_000; // of one picture: they are kept with the sources

/** What is shown, and how: [name, where links lead to it, more]. */
const PICTURES = [
  ["overview", ["Overview"]],
  ["servers", ["Servers"]],
  ["token", ["Servers", "Token"], { press: "Request a token" }],
  ["server", ["Servers", "rack1", "Releases"], { dark: true }],
  ["services", ["Services"]],
  ["request", ["Services", "Request a service"], { press: "Choose helloworld" }],
  ["service", ["Services", "shop"]],
  ["service-dialog", ["Services", "moon", "Stop"], { dark: true }],
  ["service-phone", ["Services", "moon"], { phone: true }],
  ["services-phone-dark", ["Services"], { phone: true, dark: true }],
  ["health", ["Health"]],
  ["software", ["Software", "Hello World", "Parameters"]],
];

async function take(browser, page, directory) {
  fs.mkdirSync(directory, { recursive: true });
  const cookies = await Browser.cookies(page);
  for (const [name, links, { dark, phone, press } = {}] of PICTURES) {
    const shown = await browser.window({ phone, cookies });
    await shown.emulateMedia({ colorScheme: dark ? "dark" : "light" });
    await shown.goto("/");
    for (const word of links) {
      await shown.getByRole("link", { name: word, exact: true }).locator("visible=true").first().click();
      // A page has it as its title or in its subheader, a dialog as its beginning.
      await shown.locator("h1, dialog h2, .tabs [aria-current]", { hasText: word }).first().waitFor();
    }
    if (press) {
      await shown.getByRole("button", { name: press, exact: true }).click();
      await shown.waitForURL(/new\?|token/);
      await shown.waitForLoadState();
    }
    const file = path.join(directory, `${name}.png`);
    await shown.screenshot({ path: file, animations: "disabled" });
    const { size } = fs.statSync(file);
    if (size > BYTES_MAX) throw new Error(`${file} has ${size} bytes`);
    console.log(`${String(size).padStart(8)} bytes  ${file}`);
    await shown.context().close();
  }
}

module.exports = { take };
