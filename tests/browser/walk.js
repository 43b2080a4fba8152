// Walks the dashboard as a person does, from the administrator's first link to signing out, and
// holds every page to what all pages are held to. Its one argument is a file with its settings,
// written by `tests/dashboard.rs`.
"use strict";
const fs = require("node:fs");
const { Browser } = require("./browser.js");
const { Look } = require("./look.js");
const { Node } = require("./node.js");
const pictures = require("./pictures.js");
const { Person } = require("./person.js");

/** Fewer kinds of pages than this would mean that links are not found. */
const PAGES_MIN = 25;

const settings = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));

/** Releases by the references of their products. */
const release = Object.fromEntries(settings.products.map(([reference, , url]) => [reference, url]));

/** Tells how long each part took: the whole is to stay short. */
async function step(name, what) {
  const begin = Date.now();
  await what();
  console.log(`${((Date.now() - begin) / 1000).toFixed(1).padStart(6)} s  ${name}`);
}

async function main() {
  const browser = await Browser.start(settings.chromium, settings.url);
  const look = new Look(browser);
  const [node, other] = ["rack1", "rack2"].map((name) => new Node(settings, name));
  const page = await browser.window();
  const person = new Person(browser, look, page, settings.link);
  try {
    await step("first start, sign in", () => person.comesIn());
    await step("a dashboard that is empty", () => look.everywhere([page], { name: "empty ", depth: 1 }));
    await step("a server, by a token", () => person.registers(node));
    await step("its scope", () => person.tends("rack1"));
    await step("products", async () => {
      for (const [reference, title, release] of settings.products) await person.catalogues(reference, title, release);
    });
    await step("a release", () => person.supplies("rack1", release.helloworld));
    await step("a service", () => person.requests("moon", { Name: "Moon" }));
    await step("its parameters", () => person.changes("moon"));
    await step("stopped, started", () => person.stopsAndStarts("moon"));
    await step("a service of several instances", async () => {
      await person.supplies("rack1", release.shop);
      await person.requestsTree("shop");
    });
    await step("a service that waits", () => person.requestsInVain("blog"));
    await step("projects, people", () => person.leads());
    await step("account", () => person.minds());
    if (settings.pictures) {
      await step("another server", () => person.registers(other));
      await step("pictures", () => pictures.take(browser, page, settings.pictures));
      return;
    }
    let paths = [];
    await step("every page", async () => {
      const second = await browser.window({ cookies: await Browser.cookies(page) });
      paths = await look.everywhere([page, second]);
      await second.context().close();
      if (paths.length < PAGES_MIN) throw new Error(`only ${paths.length} pages are found: ${paths}`);
    });
    await step("on a phone", async () => {
      const phone = await browser.window({ phone: true, cookies: await Browser.cookies(page) });
      await new Person(browser, look, phone).carriesAPhone();
      await phone.context().close();
    });
    await step("without JavaScript", async () => {
      const plain = await browser.window({ javascript: false, cookies: await Browser.cookies(page) });
      const reader = new Person(browser, look, plain);
      await reader.reads(paths);
      await reader.requests("mars", { Name: "Mars" });
      await reader.stops("mars");
      await reader.destroys("mars");
      await plain.context().close();
    });
    await step("a better release", () => person.refusesUpgrade("moon", "Hello World", settings.newer));
    await step("destroyed", () => person.destroys("moon"));
    await step("a release that goes", () => person.removesRelease("rack1", release.helloworld));
    await step("themes, signed out", () => person.leaves());
    console.log(`${paths.length} pages; ${look.summary()}`);
  } catch (error) {
    for (const shown of browser.pages()) {
      await shown.screenshot({ path: settings.failure, fullPage: true }).catch(() => {});
      console.error(`at ${shown.url()}\n${await shown.locator("body").innerText().catch(() => "")}`);
    }
    throw error;
  } finally {
    node.stop();
    other.stop();
    await browser.stop();
  }
  if (browser.problems.length > 0) {
    throw new Error(`${browser.problems.length} problems:\n${[...new Set(browser.problems)].join("\n")}`);
  }
}

main().catch((error) => {
  console.error(error.message ?? error);
  process.exitCode = 1;
});
