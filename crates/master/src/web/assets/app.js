// What the pages do beyond HTML. Nothing here is needed: without it forms, links and <details> do
// the same, slower.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Ages, by the rule of `web/parts/time.rs`.
  function words(at) {
    const seconds = Math.floor(Date.now() / 1000) - Math.floor(at / 1000);
    const n = Math.abs(seconds);
    const amount =
      n < 10 ? null
      : n < 60 ? `${n} s`
      : n < 3600 ? `${Math.floor(n / 60)} min`
      : n < 86400 ? `${Math.floor(n / 3600)} h`
      : n < 172800 ? "1 day"
      : n < 5184000 ? `${Math.floor(n / 86400)} days`
      : "";
    if (amount === null) return "just now";
    if (amount === "") return new Date(at).toISOString().slice(0, 10);
    return seconds > 0 ? `${amount} ago` : `in ${amount}`;
  }
  function ages(root = document) {
    for (const time of all("time[data-age]", root)) {
      const at = Date.parse(time.dateTime);
      if (at > 0) time.textContent = words(at);
    }
  }

  // What only works with a script is shown with it.
  function reveal(root = document) {
    for (const button of all("[data-copy], [data-theme-switch]", root)) button.hidden = false;
  }

  document.addEventListener("click", (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      const text = copy.parentElement.querySelector("pre, code, a").textContent;
      const said = copy.querySelector("span");
      const say = (word) => {
        said.textContent = word;
        copy.classList.add("said");
        setTimeout(() => {
          said.textContent = "Copy";
          copy.classList.remove("said");
        }, 2000);
      };
      navigator.clipboard
        ? navigator.clipboard.writeText(text).then(() => say("Copied"), () => say("Not allowed"))
        : say("Not allowed");
      return;
    }
    if (event.target.closest("[data-theme-switch]")) {
      const root = document.documentElement;
      const next = { light: "dark", dark: "" }[root.dataset.theme || ""] ?? "light";
      if (next) root.dataset.theme = next;
      else delete root.dataset.theme;
      document.cookie = `theme=${next || "system"}; path=/; max-age=31536000; samesite=lax`;
      for (const said of all("[data-theme-switch] span")) said.textContent = `Theme: ${next || "system"}`;
      return;
    }
    const asks = event.target.closest("a[data-asks]");
    if (asks && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      ask(asks.href);
    }
  });

  // A choice above a list sends itself.
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-send]")) event.target.form.requestSubmit();
  });
  // Nothing is sent twice.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, 5000);
  });

  async function page(address) {
    const reply = await fetch(address, { headers: { Accept: "text/html" }, redirect: "follow" });
    if (!reply.ok) throw new Error(reply.status);
    return new DOMParser().parseFromString(await reply.text(), "text/html");
  }

  // The page that asks, as a dialog.
  async function ask(address) {
    try {
      const found = await page(address);
      const form = found.querySelector("form[data-dialog]");
      const dialog = document.createElement("dialog");
      const title = document.createElement("h2");
      title.textContent = found.querySelector("h1").textContent;
      title.id = "dialog-title";
      dialog.setAttribute("aria-labelledby", title.id);
      // Its links are relative to where it came from.
      form.action = new URL(form.getAttribute("action"), address);
      dialog.append(title, document.adoptNode(form));
      dialog.addEventListener("close", () => dialog.remove());
      form.querySelector("[data-cancel]").addEventListener("click", (event) => {
        event.preventDefault();
        dialog.close();
      });
      document.body.append(dialog);
      dialog.showModal();
    } catch {
      location.href = address;
    }
  }

  // Live: what changed on the server changes here, and nothing else.
  const events = document.body.dataset.live;
  const shown = new Map(all("[data-live][id]").map((region) => [region.id, region.innerHTML]));
  const isTyped = (region) =>
    all("input, textarea, select", region).some((input) =>
      input.matches("select")
        ? [...input.options].some((option) => option.selected !== option.defaultSelected)
        : input.type === "checkbox" || input.type === "radio"
          ? input.checked !== input.defaultChecked
          : input.value !== input.defaultValue);
  const focusable = "a, button, input, select, textarea, summary, [tabindex]";

  function take(region, html) {
    const open = all("details", region).map((details) => details.open);
    const focus = all(focusable, region).indexOf(document.activeElement);
    region.innerHTML = html;
    all("details", region).forEach((details, index) => {
      if (open[index]) details.open = true;
    });
    if (focus >= 0) all(focusable, region)[focus]?.focus({ preventScroll: true });
    reveal(region);
    ages(region);
  }

  let busy = false, again = false;
  async function refresh() {
    if (busy) return void (again = true);
    busy = true;
    try {
      const fresh = await page(location.href);
      // Signed out meanwhile: the door is another page.
      if (fresh.body.classList.contains("door")) return location.reload();
      for (const region of all("[data-live][id]")) {
        const html = fresh.getElementById(region.id)?.innerHTML;
        if (html === undefined || html === shown.get(region.id) || isTyped(region)) continue;
        shown.set(region.id, html);
        take(region, html);
      }
      offline(false);
    } catch {
      offline(true);
    } finally {
      busy = false;
      if (again) {
        again = false;
        setTimeout(refresh, 300);
      }
    }
  }

  function offline(is) {
    let said = document.querySelector(".offline");
    if (is && !said) {
      said = document.createElement("p");
      said.className = "offline";
      said.setAttribute("role", "status");
      said.textContent = "Not connected: what you see may be old";
      document.body.append(said);
    } else if (!is) said?.remove();
  }

  let source = null, timer = null, pause = 5000;
  function follow() {
    // A tab that nobody looks at holds no connection: browsers have few.
    source?.close();
    source = null;
    clearTimeout(timer);
    if (document.hidden) return;
    if (window.EventSource) {
      source = new EventSource(events);
      for (const kind of ["reset", "node", "tree", "instance"]) {
        source.addEventListener(kind, () => { pause = 5000; refresh(); });
      }
      source.onerror = () => source?.readyState === 2 && poll();
    } else poll();
    timer = setTimeout(slow, 60000);
  }
  // Streams tell of what nodes are to do; that a node fell silent is found by looking.
  function slow() {
    refresh();
    timer = setTimeout(slow, 60000);
  }
  function poll() {
    source = null;
    clearTimeout(timer);
    timer = setTimeout(async () => {
      await refresh();
      pause = Math.min(pause * 1.5, 60000);
      poll();
    }, pause);
  }

  reveal();
  ages();
  // A subheader may be wider than a phone.
  document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest" });
  setInterval(ages, 10000);
  // What was done is said once.
  if (location.search.includes("done=")) {
    const here = new URL(location.href);
    here.searchParams.delete("done");
    history.replaceState(null, "", here);
  }
  if (events) {
    follow();
    document.addEventListener("visibilitychange", follow);
    addEventListener("pagehide", () => source?.close());
  }
})();
