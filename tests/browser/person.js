// What a person does on the pages. Nothing here knows an address that a person would not type:
// links are followed, buttons are pressed by their names, and what happens is waited for on screen.
"use strict";
const http = require("node:http");
const { PATIENCE } = require("./browser.js");

const PASSWORD = "correct horse battery";
const NEW_PASSWORD = "staple horse battery";

/** Asks again and again until the answer is what is wished for. */
async function until(what, ask) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const [is, seen] = await ask();
    if (is) return seen;
    if (Date.now() > end) throw new Error(`${what}: not yet, but ${seen}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function fetchText(url) {
  return new Promise((resolve) => {
    const request = http.get(url, (reply) => {
      let text = "";
      reply.on("data", (part) => (text += part));
      reply.on("end", () => resolve(text));
    });
    request.on("error", (error) => resolve(String(error)));
  });
}

class Person {
  constructor(browser, look, page, link) {
    Object.assign(this, { browser, look, page, link });
    this.password = PASSWORD;
  }

  // -- small things --

  button(name, within = this.page) {
    return within.getByRole("button", { name, exact: true });
  }

  async press(name, within = this.page) {
    await this.button(name, within).click();
  }

  async type(label, text) {
    await this.page.getByLabel(label, { exact: true }).fill(text);
  }

  /** An entry of the menu. */
  async menu(word) {
    await this.page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: word, exact: true }).click();
    await this.heading(word);
  }

  /** An entry of the subheader. */
  async tab(word) {
    await this.page.getByRole("navigation", { name: "Subheader" }).getByRole("link", { name: word, exact: true }).click();
  }

  async heading(text) {
    await this.page.getByRole("heading", { level: 1, name: text, exact: true }).waitFor();
  }

  /** Waits until the page shows it by itself; without a script, by looking again. */
  async shows(locator) {
    if (!this.page.hasScript) {
      await until(`${locator}`, async () => {
        if ((await locator.count()) > 0) return [true];
        await this.page.reload();
        return [false, await this.page.locator("main").innerText()];
      });
      return;
    }
    await this.page.evaluate(() => (window.sameDocument = true));
    await locator.first().waitFor();
    if (!(await this.page.evaluate(() => window.sameDocument))) throw new Error("the page was loaded again");
  }

  badge(word) {
    return this.page.locator(".badge", { hasText: new RegExp(`^${word}$`) });
  }

  state(word) {
    return this.page.locator("#state .badge", { hasText: new RegExp(`^${word}$`) });
  }

  /** Confirms what a link asks, in a dialog where there is a script, else on a page. */
  async confirms(link, verb) {
    await this.page.getByRole("link", { name: link, exact: true }).first().click();
    if (this.page.hasScript) {
      const dialog = this.page.getByRole("dialog");
      await dialog.waitFor();
      await this.press(verb, dialog);
      await dialog.waitFor({ state: "detached" });
    } else {
      await this.press(verb);
    }
  }

  async service(title) {
    await this.menu("Services");
    await this.page.getByRole("main").getByRole("link", { name: title, exact: true }).click();
    await this.heading(title);
  }

  // -- the walk --

  /** The administrator's link, a password, out and in again. */
  async comesIn() {
    const { page } = this;
    await this.choosesPassword();
    await this.press("Sign out");
    await this.heading("Sign in");
    await this.look.at(page, "sign in");
    await this.type("Login name", "admin");
    await this.type("Password", "something else");
    await this.browser.expecting(page, /status of 403/, async () => {
      await this.press("Sign in");
      await page.getByRole("alert").waitFor();
    });
    await this.look.at(page, "sign in, refused");
    await this.type("Password", PASSWORD);
    await this.press("Sign in");
    await this.heading("Overview");
  }

  /** By a link that works once. */
  async choosesPassword() {
    await this.page.goto(this.link);
    await this.heading("Choose a password");
    await this.look.at(this.page, "choose a password");
    await this.type("New password", PASSWORD);
    await this.type("Once more", PASSWORD);
    await this.press("Set password");
    await this.heading("Overview");
  }

  /** The tutorial: Servers in the side menu, Token in the subheader. */
  async registers(node) {
    const { page } = this;
    const { name } = node;
    await this.menu("Servers");
    await this.tab("Token");
    await this.press("Request a token");
    const line = page.locator("pre", { hasText: "slapos node register" });
    await line.waitFor();
    await this.look.at(page, "a new token");
    const fingerprint = await page.locator("code.long").first().innerText();
    const text = await line.innerText();
    await this.menu("Servers");
    node.register(text, fingerprint);
    await this.shows(page.getByRole("link", { name, exact: true }));
    node.work();
    const row = page.getByRole("row").filter({ hasText: name });
    await this.shows(row.locator(".badge", { hasText: "Online" }));
    await page.getByRole("link", { name, exact: true }).click();
    await this.heading(name);
    await this.tab("Partitions");
    await this.shows(this.badge("Free").nth(3));
  }

  /** A release is supplied on the server's page, and built meanwhile. */
  async supplies(server, release) {
    const { page } = this;
    await this.menu("Servers");
    await page.getByRole("main").getByRole("link", { name: server, exact: true }).click();
    await this.heading(server);
    await this.tab("Releases");
    await this.type("Have a release installed", release);
    await this.press("Supply");
    const row = page.getByRole("row").filter({ hasText: release });
    await this.shows(row.locator(".badge", { hasText: "Installed" }));
  }

  /** A product with its first release. */
  async catalogues(reference, title, release) {
    await this.menu("Software");
    await this.type("Reference", reference);
    await this.type("Title", title);
    await this.type("Its first release", release);
    await this.press("Make the product");
    await this.heading(title);
    await this.page.getByRole("main").getByText(release).first().waitFor();
  }

  /** A server is closed, and opened again. */
  async tends(server) {
    const { page } = this;
    await this.menu("Servers");
    await page.getByRole("main").getByRole("link", { name: server, exact: true }).click();
    await this.heading(server);
    await this.tab("Settings");
    for (const scope of ["Closed", "Open"]) {
      await page.getByRole("radio").and(page.locator(`label:has(.badge:text-is("${scope}")) input`)).check();
      await this.press("Set the scope");
      await this.shows(this.state(scope));
    }
  }

  /** A better release is offered on the page that is open; it is refused. */
  async refusesUpgrade(title, product, release) {
    const { page } = this;
    await this.menu("Software");
    await page.getByRole("main").getByRole("link", { name: product, exact: true }).click();
    await this.heading(product);
    await this.type("Add a release", release);
    await this.press("Add");
    const row = page.getByRole("row").filter({ hasText: release });
    await row.getByRole("link", { name: "Another day" }).click();
    await this.button("Set the day").waitFor();
    await this.look.at(page, "the day of a release");
    await this.tab("Services");
    await page.getByRole("row").filter({ hasText: title }).waitFor();
    await this.look.at(page, "services of a product");
    await this.service(title);
    await this.shows(this.button("Upgrade"));
    await this.look.at(page, "an upgrade");
    await this.press("Not this one");
    await this.button("Upgrade").waitFor({ state: "detached" });
  }

  /** A release goes from a server. */
  async removesRelease(server, release) {
    const { page } = this;
    await this.menu("Servers");
    await page.getByRole("main").getByRole("link", { name: server, exact: true }).click();
    await this.tab("Releases");
    const row = page.getByRole("row").filter({ hasText: release });
    await row.getByRole("link", { name: "Remove" }).click();
    await this.press("Remove", page.getByRole("dialog"));
    await row.waitFor({ state: "detached" });
  }

  /** A project, somebody new, and what both have to do with each other. */
  async leads() {
    const { page } = this;
    await this.menu("Projects");
    await this.type("Title", "Laboratory");
    await this.press("Make the project");
    await this.heading("Laboratory");
    await this.menu("Projects");
    await this.tab("People");
    await this.type("Login name", "bob1");
    await this.type("Name", "Bob");
    await this.press("Make known");
    const link = await page.locator("pre", { hasText: "/password?token=" }).innerText();
    await this.look.at(page, "somebody new");
    await this.menu("Projects");
    await page.getByRole("main").getByRole("link", { name: "Laboratory", exact: true }).click();
    await this.heading("Laboratory");
    await this.tab("Members");
    await this.type("Login name", "bob1");
    await this.press("Add");
    await page.getByRole("row").filter({ hasText: "bob1" }).waitFor();
    // Who is no administrator sees less.
    const other = await this.browser.window();
    const bob = new Person(this.browser, this.look, other, link);
    await bob.choosesPassword();
    await bob.menu("Projects");
    if (await other.getByRole("link", { name: "People" }).count()) throw new Error("bob sees all people");
    await this.look.at(other, "somebody's projects");
    await other.getByRole("main").getByRole("link", { name: "Laboratory", exact: true }).click();
    await bob.tab("Services");
    await this.look.at(other, "services of a project");
    await other.context().close();
  }

  /** The wizard, with a mistake on the way, until the service runs and says where. */
  async requests(title, parameters) {
    const { page } = this;
    await this.chooses("helloworld");
    for (const [label, text] of Object.entries(parameters)) await this.type(label, text);
    await this.type("Port", "80");
    await this.browser.expecting(page, /status of 400/, async () => {
      await this.press("Go on");
      await page.locator(".wrong").first().waitFor();
    });
    await this.look.at(page, "parameters with a mistake");
    await this.type("Port", "");
    await this.press("JSON");
    await page.getByLabel("Parameters", { exact: true }).waitFor();
    await this.look.at(page, "parameters as JSON");
    await this.press("Form");
    await this.places(title);
    await this.runs();
  }

  /** A service of several instances, whose release has no schema. */
  async requestsTree(title) {
    await this.chooses("shop");
    await this.look.at(this.page, "parameters without a schema");
    await this.places(title);
    await this.shows(this.state("Running"));
    await this.shows(this.page.locator("#tree svg"));
    await this.look.at(this.page, "a service of several instances");
  }

  /** One that no server can run: it says why. */
  async requestsInVain(title) {
    await this.chooses("blog");
    // Of several types, one is chosen.
    await this.look.at(this.page, "types");
    await this.page.getByLabel("A mirror").check();
    await this.press("Go on");
    await this.places(title);
    await this.page.getByRole("alert").filter({ hasText: "waits" }).first().waitFor();
    await this.look.at(this.page, "a service that waits");
  }

  async chooses(product) {
    await this.menu("Services");
    await this.page.getByRole("link", { name: "Request a service" }).first().click();
    await this.heading("Request a service");
    await this.press(`Choose ${product}`);
  }

  async places(title) {
    await this.press("Go on");
    await this.type("Title", title);
    await this.look.at(this.page, "place");
    await this.press("Review");
    await this.look.at(this.page, "review");
    await this.press("Request it");
    await this.heading(title);
  }

  /** Waits until the service that is shown runs and says where; its address. */
  async runs() {
    await this.shows(this.state("Running"));
    const link = this.page.locator("#connection dt", { hasText: /^url$/ }).locator("xpath=following-sibling::dd//a");
    await this.shows(link);
    return link.innerText();
  }

  /** A parameter is changed: the running service greets otherwise. */
  async changes(title) {
    const { page } = this;
    const url = await this.runs();
    await page.getByRole("link", { name: "Change", exact: true }).click();
    await this.heading(`Parameters of ${title}`);
    await this.type("Greeting", "Good night");
    await this.press("Review");
    await this.look.at(page, "what changes");
    await this.press("Change it");
    await this.heading(title);
    await this.shows(page.locator("#parameters", { hasText: "Good night" }));
    await until(`${url} greets otherwise`, async () => {
      const text = await fetchText(url);
      return [text.includes("Good night"), text];
    });
  }

  async stopsAndStarts(title) {
    const { page } = this;
    // Asked, and left alone.
    await page.getByRole("link", { name: "Stop", exact: true }).click();
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    await this.look.at(page, "a dialog");
    await dialog.getByRole("link", { name: "Cancel" }).click();
    await dialog.waitFor({ state: "detached" });
    await this.stops(title);
    await this.confirms("Start", "Start it");
    await this.runs();
  }

  async stops(title) {
    await this.heading(title);
    await this.confirms("Stop", "Stop it");
    await this.shows(this.state("Stopped"));
  }

  async destroys(title) {
    const { page } = this;
    await this.service(title);
    await this.confirms("Destroy", "Destroy it for good");
    await this.heading("Services");
    const link = page.getByRole("link", { name: title, exact: true });
    await until(`${title} is gone`, async () => {
      if ((await link.count()) === 0) return [true];
      if (!this.page.hasScript) await page.reload();
      return [false, await page.locator("main").innerText()];
    });
  }

  /** Certificates, tokens, sessions, password. */
  async minds() {
    const { page } = this;
    await this.press("Sign out").then(() => this.heading("Sign in"));
    await this.signsIn();
    await page.locator(".who a:visible").click();
    await this.heading("Account");
    await this.tab("Certificates");
    await this.press("Issue a certificate");
    await this.heading("A new certificate");
    await page.locator("pre", { hasText: "BEGIN CERTIFICATE" }).waitFor();
    await this.look.at(page, "a new certificate");
    await this.tab("Certificates");
    await this.confirms("Revoke", "Revoke");
    await this.badge("Revoked").first().waitFor();
    await this.tab("Tokens");
    await this.press("Make a token for a command line");
    await this.heading("A new token");
    await this.tab("Tokens");
    const tokens = await page.getByRole("link", { name: "Revoke" }).count();
    await this.confirms("Revoke", "Revoke");
    await until("the token is gone", async () => {
      const left = await page.getByRole("link", { name: "Revoke" }).count();
      return [left === tokens - 1, left];
    });
    await this.press("Make a token for a command line");
    await this.heading("A new token");

    // Another browser, which is signed out from here.
    const other = await this.browser.window();
    const same = new Person(this.browser, this.look, other);
    await same.signsIn();
    await this.tab("Sessions");
    await this.press("Sign out all others");
    await page.getByRole("status").waitFor();
    await other.goto("/services");
    await same.heading("Sign in");
    await other.context().close();

    await this.tab("Password");
    await this.type("Present password", this.password);
    await this.type("New password", NEW_PASSWORD);
    await this.type("Once more", NEW_PASSWORD);
    await this.press("Change password");
    this.password = NEW_PASSWORD;
    await this.heading("Account");
    // Waits to be shown and to be revoked on the pages everywhere.
    await this.tab("Certificates");
    await this.press("Issue a certificate");
    await this.heading("A new certificate");
  }

  async signsIn() {
    if (this.page.url() === "about:blank") {
      await this.page.goto("/");
      await this.look.at(this.page, "the door");
      await this.page.getByRole("link", { name: "Sign in" }).click();
    }
    await this.type("Login name", "admin");
    await this.type("Password", this.password);
    await this.press("Sign in");
    await this.heading("Overview");
  }

  /** Every page says the same without a script. */
  async reads(paths) {
    for (const path of paths) {
      const reply = await this.page.goto(path);
      if (reply.status() !== 200) throw new Error(`${path}: ${reply.status()}`);
      await this.page.locator("h1").waitFor();
      // Only a script shows this.
      if (await this.page.locator("[data-theme-switch]:visible").count()) throw new Error(`${path} ran a script`);
    }
  }

  /** The menu of a phone, and a subheader that is wider than it. */
  async carriesAPhone() {
    const { page } = this;
    await page.goto("/");
    await page.locator(".more > summary").tap();
    await page.locator(".more .who a").tap();
    await this.heading("Account");
    await this.tab("Password");
    await this.heading("Password");
    const { width } = page.viewportSize();
    await until("the part that is shown is in sight", async () => {
      const { x, width: own } = await page.locator(".tabs [aria-current]").boundingBox();
      return [x >= 0 && x + own <= width, `it is at ${x}`];
    });
    await this.look.measure(page, "a phone");
  }

  /** The three themes in turn, kept on the next page; and out. */
  async leaves() {
    const { page } = this;
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme ?? "system");
    const button = page.locator("button[data-theme-switch]:visible");
    for (const expected of ["light", "dark"]) {
      await button.click();
      await page.reload();
      const found = await theme();
      if (found !== expected) throw new Error(`the theme is ${found}, not ${expected}`);
      await this.look.accessible(page, `theme ${found}`, { type: "rule", values: ["color-contrast"] });
    }
    await button.click();
    if ((await theme()) !== "system") throw new Error(`the theme is ${await theme()}`);
    await this.press("Sign out");
    await this.heading("Sign in");
    await page.goto("/services");
    await this.heading("Sign in");
  }
}

module.exports = { Person };
