// What every page is held to: accessibility, weight, width, silence.
"use strict";
const fs = require("node:fs");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const { DESKTOP, PHONE } = require("./browser.js");

const WEIGHT_MAX = 100_000; // bytes of a page with all it needs, as they are sent
const WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const COLOURS = ["color-contrast", "link-in-text-block"]; // all that a theme can change

class Look {
  constructor(browser) {
    this.browser = browser;
    this.seen = new Set();
    this.paints = new Map();
  }

  fail(page, name, text) {
    this.browser.problems.push(`${name} (${new URL(page.url()).pathname}): ${text}`);
  }

  /** Holds the page that is shown to all of it, on a desktop and a phone, in light and dark; once. */
  async at(page, name) {
    if (this.seen.has(name) || !page.hasScript) return;
    this.seen.add(name);
    if ((await page.locator("h1").count()) !== 1) this.fail(page, name, "it needs one h1");
    for (const [size, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
      await page.setViewportSize(viewport);
      await this.accessible(page, `${name}, ${size}, light`, { type: "tag", values: WCAG });
      await page.emulateMedia({ colorScheme: "dark" });
      await this.accessible(page, `${name}, ${size}, dark`, { type: "rule", values: COLOURS });
      await page.emulateMedia({ colorScheme: "light" });
      await this.measure(page, `${name}, ${size}`);
    }
    await page.setViewportSize(DESKTOP);
  }

  async accessible(page, where, runOnly) {
    // Not by a tag or by eval, which the pages' policy forbids.
    if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(`${axe}; 0`);
    const found = await page.evaluate(
      async (only) => {
        const { violations } = await window.axe.run(document, {
          runOnly: only,
          resultTypes: ["violations"],
          preload: false, // no rule of these needs the style sheets once more
          selectors: false,
        });
        return violations.flatMap(({ id, help, nodes }) =>
          nodes.slice(0, 3).map((node) => `${id}: ${help}: ${node.html.slice(0, 200)} ${node.any[0]?.message ?? ""}`));
      },
      runOnly,
    );
    for (const text of found) this.fail(page, where, text);
  }

  /** Weight, width and first paint. */
  async measure(page, where) {
    const found = await page.evaluate(() => {
      const needed = ["navigation", "link", "script", "css", "img"];
      const loaded = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
        .filter((entry) => needed.includes(entry.initiatorType));
      const paint = performance.getEntriesByName("first-contentful-paint")[0];
      const root = document.documentElement;
      return {
        weight: loaded.reduce((sum, entry) => sum + entry.encodedBodySize, 0),
        paint: paint?.startTime,
        wide: root.scrollWidth - root.clientWidth,
      };
    });
    if (found.weight > WEIGHT_MAX) this.fail(page, where, `it weighs ${found.weight} bytes`);
    if (found.wide > 0) this.fail(page, where, `it is ${found.wide} pixels wider than the screen`);
    if (found.paint) this.paints.set(new URL(page.url()).pathname, [found.paint, found.weight]);
  }

  /**
   * Visits every page that links lead to from those of the menu, one of each kind, no further than
   * `depth` links away, and holds it to everything. Pages that are new are found by themselves. The
   * windows share the work. The paths that were visited.
   */
  async everywhere(windows, { name = "", depth = 9 } = {}) {
    const kinds = new Set();
    const paths = [];
    const next = [["/", 0]];
    const visit = async (page, path, far) => {
      const reply = await page.goto(path);
      if (reply.status() !== 200) return this.fail(page, path, `answers ${reply.status()}`);
      // A link may lead to what is no page, such as a certificate.
      if (!reply.headers()["content-type"].startsWith("text/html")) return;
      paths.push(path);
      if (far < depth) next.push(...(await this.links(page)).map((link) => [link, far + 1]));
      await this.at(page, `${name}${kindOf(path)}`);
    };
    // As many rounds as it takes: what one window finds, another one may visit.
    while (next.length > 0) {
      const fresh = next.splice(0).filter(([path]) => !kinds.has(kindOf(path)) && kinds.add(kindOf(path)));
      await Promise.all(windows.map(async (page) => {
        for (let one = fresh.shift(); one; one = fresh.shift()) await visit(page, ...one);
      }));
    }
    return paths;
  }

  async links(page) {
    const links = await page.locator("a[href]:not([target]):not([download])").evaluateAll((all) => all.map((a) => a.href));
    return links
      .map((link) => new URL(link))
      .filter((link) => link.origin === this.browser.origin && !link.search && !link.pathname.endsWith(".crt"))
      .map((link) => link.pathname);
  }

  /** First paints and the heaviest page, for people. */
  summary() {
    const paints = [...this.paints.values()].map(([paint]) => paint).sort((a, b) => a - b);
    const [where, [, weight]] = [...this.paints].reduce((most, one) => (one[1][1] > most[1][1] ? one : most));
    return `${this.seen.size} looks; first contentful paint ${paints[paints.length >> 1].toFixed(0)} ms in the middle, ` +
      `${paints.at(-1).toFixed(0)} ms at most; the heaviest page is ${where} with ${weight} bytes`;
  }
}

/** Pages of one kind differ in references and serial numbers only. */
function kindOf(path) {
  return path.split("/").map((word) => (/\d/.test(word) || word.length > 24 ? "*" : word)).join("/");
}

module.exports = { Look };
