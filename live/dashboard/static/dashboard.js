// The page keeps up with the portfolio: what has changed comes as a stream, or is asked for where no stream is free, and is
// written into the page once a frame. Rows come as texts; this file decides nothing.
"use strict";

const page = document.getElementById("page").dataset;
const portfolio = page.portfolio;
const SILENT_MILLISECONDS = 6000;
const POLL_MILLISECONDS = 2000;
const HIDDEN_POLL_MILLISECONDS = 15000;
// Browsers wake a hidden page's timers once a minute.
const HIDDEN_SILENT_MILLISECONDS = 150000;
const STREAM_AGAIN_MILLISECONDS = 30000;
const ROWS_A_FRAME = 100;
const SECTIONS = ["remarks", "waiting", "gauges", "positions", "instruments", "signals", "orders", "instances", "terms"];
const ask = (path, more = {}) => `${path}?${new URLSearchParams({ portfolio, ...more })}`;
const announce = new EventTarget();

// --- rows

// A table's rows by key, in the order of their keys, and of each the elements that a row's texts go into.
class Rows {
  constructor(section) {
    this.section = section;
    this.place = document.querySelector(`[data-rows=${section}]`);
    this.newest = "newest" in this.place.dataset;
    this.template = document.getElementById(`row-${section}`).content.firstElementChild;
    this.known = new Map();
    for (const element of [...this.place.children]) this.known.set(element.dataset.key, this.held(element));
    this.place.replaceChildren(...this.place.children);
    this.keys = [...this.known.keys()];
    this.scroll = this.place.closest(".scroll");
  }

  drawn() { this.scroll?.classList.toggle("none", !this.keys.length); }

  held(element) {
    const texts = [...element.querySelectorAll("[data-f]")].map((each) => [each, each.dataset.f]);
    const sets = [element, ...element.querySelectorAll("[data-set]")]
      .filter((each) => each.dataset.set)
      .map((each) => [each, ...each.dataset.set.split(":")]);
    return { element, texts, sets, row: null };
  }

  put(key, row) {
    let held = this.known.get(key);
    if (row === null) {
      if (held) { held.element.remove(); this.known.delete(key); this.keys.splice(this.keys.indexOf(key), 1); }
      return;
    }
    if (!held) {
      held = this.held(this.template.cloneNode(true));
      held.element.dataset.key = key;
      this.known.set(key, held);
      this.insert(key, held.element);
      if (!document.hidden) held.element.classList.add("fresh");
    }
    held.row = row;
    for (const [element, name] of held.texts) {
      const text = row[name] ?? "";
      if (element.textContent !== text) element.textContent = text;
    }
    for (const [element, attribute, name] of held.sets) {
      element.setAttribute(attribute, row[name] ?? "");
      if (attribute === "data-why") element.href = ask("/dashboard/journal", { of: row[name] });
    }
    if ((held.element.dataset.tone ?? "") !== (row.tone ?? "")) held.element.dataset.tone = row.tone ?? "";
  }

  insert(key, element) {
    const before = (one, other) => (this.newest ? one > other : one < other);
    let low = 0, high = this.keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (before(this.keys[middle], key)) low = middle + 1; else high = middle;
    }
    const next = this.keys[low];
    this.keys.splice(low, 0, key);
    this.place.insertBefore(element, next === undefined ? null : this.known.get(next).element);
  }
}

const tables = new Map(SECTIONS.map((section) => [section, new Rows(section)]));
const facts = new Map();
for (const element of document.querySelectorAll("[data-fact]")) facts.set(element.dataset.fact, element);

function putFact(name, row) {
  const element = facts.get(name);
  if (!element || row === null) return;
  if (element.textContent !== row.text) element.textContent = row.text;
  element.dataset.tone = row.tone;
  if (name === "title") {
    document.getElementById("top").dataset.tone = row.tone;
    document.title = `${row.text} – ${portfolio}`;
  }
}

// --- what came, written once a frame

const waiting = new Map();
// A hidden page has no frames.
const frame = (work) => (document.hidden ? setTimeout(work, 0) : requestAnimationFrame(work));
let drawing = false;

function take(text) {
  const { version, whole, rows } = JSON.parse(text);
  page.version = version;
  if (whole) {
    waiting.clear();
    for (const [section, table] of tables) {
      for (const key of table.keys) if (!(key in (rows[section] ?? {}))) waiting.set(`${section} ${key}`, [section, key, null]);
    }
  }
  for (const [section, changed] of Object.entries(rows)) {
    for (const [key, row] of Object.entries(changed)) waiting.set(`${section} ${key}`, [section, key, row]);
  }
  if (waiting.size && !drawing) { drawing = true; frame(draw); }
}

function draw() {
  const touched = new Set();
  let left = ROWS_A_FRAME;
  for (const [place, [section, key, row]] of waiting) {
    if (left-- === 0) break;
    waiting.delete(place);
    touched.add(section);
    if (section === "facts") putFact(key, row); else tables.get(section)?.put(key, row);
    if (section === "signals" && row !== null) heard(row);
  }
  for (const section of touched) tables.get(section)?.drawn();
  if (waiting.size) frame(draw); else drawing = false;
  announce.dispatchEvent(new CustomEvent("drawn", { detail: touched }));
}

// --- the feed in words, for who listens to it: not each of a hundred a second

let unsaid = 0, latest = null;
function heard(row) { unsaid += 1; latest = row; }
setInterval(() => {
  if (!unsaid) return;
  const words = `${latest.type} ${latest.instrument} ${latest.layer}: ${latest.status}, ${latest.words}`;
  document.getElementById("announced").textContent = unsaid === 1 ? words : `${unsaid} signals, the latest: ${words}`;
  unsaid = 0;
}, 5000);

// --- the stream, and what is done without one

const connection = document.getElementById("connection");
const clock = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", timeStyle: "medium" });
let stream = null, timer = null, streamAt = 0, heardAt = Date.now(), titleBefore = null;

function alive(how) {
  heardAt = Date.now();
  connection.textContent = `${how}, as of ${clock.format(heardAt)} UTC`;
  if (titleBefore) { putFact("title", titleBefore); titleBefore = null; }
}

// Figures that have stopped moving look as calm as good ones: say so.
function watch() {
  if (titleBefore || Date.now() - heardAt < (document.hidden ? HIDDEN_SILENT_MILLISECONDS : SILENT_MILLISECONDS)) return;
  const title = facts.get("title");
  titleBefore = { text: title.textContent, tone: title.dataset.tone };
  connection.textContent = `not connected since ${clock.format(heardAt)} UTC`;
  putFact("title", { text: `Not connected: what is shown is of ${clock.format(heardAt)} UTC`, tone: "act" });
}

function listen() {
  clearTimeout(timer);
  stream?.close();
  streamAt = Date.now();
  stream = new EventSource(ask("/events", { version: page.version }));
  stream.onmessage = (event) => { alive("live"); take(event.data); };
  stream.addEventListener("beat", () => alive("live"));
  // Closed for good where no stream is free: it is tried again from time to time, and asked for instead.
  stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) poll(); };
}

async function poll() {
  clearTimeout(timer);
  const every = document.hidden ? HIDDEN_POLL_MILLISECONDS : POLL_MILLISECONDS;
  try {
    const answer = await fetch(ask("/dashboard/state", { version: page.version }));
    if (answer.ok) { alive(`every ${every / 1000} s`); take(await answer.text()); }
  } catch { /* watch() says so */ }
  clearTimeout(timer);
  const again = !document.hidden && Date.now() - streamAt > STREAM_AGAIN_MILLISECONDS;
  timer = setTimeout(again ? listen : poll, again ? 0 : every);
}

setInterval(watch, 1000);
// A page that nobody sees leaves its stream to another one; its title is still right.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { stream.close(); poll(); } else listen();
});
listen();

// --- filter, explanations

const filter = document.getElementById("filter");
const body = document.querySelector("[data-rows=positions]");

let filtering = false;

// A thousand rows that are shown again at once keep the page busy for up to a second: so many a frame, then the others.
function filtered() {
  let shown = 0;
  for (const row of body.rows) {
    const hidden = filter.value !== "" && row.dataset.of !== filter.value;
    if (row.hidden === hidden) continue;
    if (!hidden && ++shown > ROWS_A_FRAME) {
      if (!filtering) { filtering = true; frame(() => { filtering = false; filtered(); }); }
      return;
    }
    row.hidden = hidden;
  }
}

function instruments() {
  const names = [...tables.get("instruments").keys];
  const shown = [...filter.options].slice(1).map((option) => option.value);
  if (names.join() === shown.join()) return;
  const chosen = filter.value;
  filter.replaceChildren(new Option("all", ""), ...names.map((name) => new Option(name)));
  filter.value = names.includes(chosen) ? chosen : "";
}

announce.addEventListener("drawn", ({ detail }) => {
  if (detail.has("instruments")) instruments();
  if (detail.has("positions") && filter.value) filtered();
});
filter.addEventListener("change", filtered);
instruments();

async function explain(address) {
  const place = document.getElementById("explained");
  place.textContent = "Looking…";
  try {
    const text = await (await fetch(address)).text();
    const found = new DOMParser().parseFromString(text, "text/html").getElementById("result");
    place.replaceChildren(...(found ? found.childNodes : ["It could not be read."]));
  } catch { place.textContent = "The engine does not answer."; }
  place.scrollIntoView({ block: "nearest" });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-why]");
  if (link && !event.ctrlKey && !event.metaKey) { event.preventDefault(); explain(ask("/dashboard/journal", { of: link.dataset.why })); }
  const show = event.target.closest("[data-show]");
  if (show) announce.dispatchEvent(new CustomEvent("show", { detail: show.textContent }));
});
document.getElementById("why").addEventListener("submit", (event) => {
  event.preventDefault();
  explain(ask("/dashboard/journal", { of: new FormData(event.target).get("of") }));
});
document.getElementById("chooser")?.addEventListener("change", (event) => event.currentTarget.submit());
