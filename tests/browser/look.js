// What every page is held to: accessibility, weight, width, silence.
"use strict";
const fs = require("node:fs");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const WEIGHT_MAX = 100_000; // bytes of a page with all it needs, as they are sent
const WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const COLOURS = ["color-contrast", "link-in-text-block"]; // all that a theme can change

class Look {
  constructor(browser) {
    this.browser = browser;
    this.paints = [];
  }

  fail(page, name, text) {
    this.browser.problems.push(`${name} (${new URL(page.url()).pathname}): ${text}`);
  }

  /** Holds the page that is shown to all of it, in light and dark. */
  async at(page, name) {
    const phone = page.viewportSize().width < 600;
    const where = `${name}, ${phone ? "phone" : "desktop"}`;
    if ((await page.locator("h1").count()) !== 1) this.fail(page, where, "it needs one h1");
    if (!page.hasScript) return;
    await this.accessible(page, `${where}, light`, { type: "tag", values: WCAG });
    await page.emulateMedia({ colorScheme: "dark" });
    await this.accessible(page, `${where}, dark`, { type: "rule", values: COLOURS });
    await page.emulateMedia({ colorScheme: "light" });
    await this.measure(page, where);
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
    if (found.paint) this.paints.push([found.paint, found.weight, where]);
  }

  /**
   * Visits every page that links lead to from those of the menu, one of each kind, and holds it to
   * everything. Pages that are new are found by themselves. The paths that were visited; no further
   * than `depth` links away.
   */
  async everywhere(page, depth = 9) {
    const kinds = new Set();
    const paths = [];
    let next = [["/", 0]];
    while (next.length > 0) {
      const [path, far] = next.shift();
      const kind = kindOf(path);
      if (kinds.has(kind)) continue;
      kinds.add(kind);
      const reply = await page.goto(path);
      if (reply.status() !== 200) {
        this.fail(page, path, `answers ${reply.status()}`);
        continue;
      }
      // Asked for something that is no page, such as a certificate.
      if (!reply.headers()["content-type"].startsWith("text/html")) continue;
      paths.push(path);
      await this.at(page, kind);
      if (far < depth) next = next.concat((await this.links(page)).map((link) => [link, far + 1]));
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

  /** The slowest first paint and the heaviest page, for people. */
  summary() {
    const paints = this.paints.map(([paint]) => paint).sort((a, b) => a - b);
    const [weight, where] = this.paints.reduce(([most, at], [, bytes, name]) => (bytes > most ? [bytes, name] : [most, at]), [0, ""]);
    const middle = paints[Math.floor(paints.length / 2)] ?? 0;
    return `${this.paints.length} looks; first contentful paint ${middle.toFixed(0)} ms in the middle, ` +
      `${(paints.at(-1) ?? 0).toFixed(0)} ms at most; the heaviest page has ${weight} bytes (${where})`;
  }
}

/** Pages of one kind differ in references and serial numbers only. */
function kindOf(path) {
  return path.split("/").map((word) => (/\d/.test(word) || word.length > 24 ? "*" : word)).join("/");
}

module.exports = { Look };
