// A browser that tells of everything its pages do wrong.
"use strict";
const { chromium } = require("playwright-core");

const PATIENCE = 60_000; // ms: only what hangs takes that long
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };

class Browser {
  /** Starts Debian's Chromium for the Master at `url`. */
  static async start(program, url) {
    const root = process.getuid() === 0;
    const chromiumProcess = await chromium.launch({
      executablePath: program,
      args: ["--disable-gpu", "--force-color-profile=srgb", ...(root ? ["--no-sandbox"] : [])],
    });
    return new Browser(chromiumProcess, new URL(url).origin);
  }

  constructor(browser, origin) {
    this.browser = browser;
    this.origin = origin;
    this.problems = [];
  }

  /** A browser of its own: cookies, size, with or without JavaScript. */
  async window({ phone = false, javascript = true, cookies = [] } = {}) {
    const context = await this.browser.newContext({
      baseURL: this.origin,
      ignoreHTTPSErrors: true, // the Master's authority is its own
      viewport: phone ? PHONE : DESKTOP,
      isMobile: phone,
      hasTouch: phone,
      deviceScaleFactor: 1,
      javaScriptEnabled: javascript,
      reducedMotion: "reduce",
      colorScheme: "light",
    });
    context.setDefaultTimeout(PATIENCE);
    await context.addCookies(cookies);
    context.on("request", (request) => {
      if (new URL(request.url()).origin !== this.origin) {
        this.problems.push(`${request.url()} is asked for, which is not of this Master`);
      }
    });
    const page = await context.newPage();
    page.hasScript = javascript;
    page.on("console", (message) => {
      const at = page.url();
      if (!["error", "warning"].includes(message.type()) || page.expects?.test(message.text())) return;
      this.problems.push(`${at}: console: ${message.text()}`);
    });
    page.on("pageerror", (error) => this.problems.push(`${page.url()}: ${error.stack}`));
    return page;
  }

  /** What is refused on purpose makes the browser write a line. */
  async expecting(page, pattern, what) {
    page.expects = pattern;
    try {
      await what();
    } finally {
      page.expects = undefined;
    }
  }

  /** Cookies of a window, for another one. */
  static cookies(page) {
    return page.context().cookies();
  }

  /** All that is open. */
  pages() {
    return this.browser.contexts().flatMap((context) => context.pages());
  }

  async stop() {
    await this.browser.close();
  }
}

module.exports = { Browser, DESKTOP, PHONE, PATIENCE };
