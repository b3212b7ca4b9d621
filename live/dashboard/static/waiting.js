// What waits for a human: how long is left of each, in words, by the engine's clock whatever the browser's is.
"use strict";

(() => {
  const section = document.getElementById("waiting"), place = document.querySelector("[data-rows=waiting]");
  const count = document.getElementById("waiting-count");
  let ahead = 0, asked = false;

  async function compareClocks() {
    asked = true;
    const sent = Date.now(), answer = await fetch("/health", { method: "HEAD" });
    const there = Date.parse(answer.headers.get("Date") ?? "");
    // A header has whole seconds: half of one is the best guess.
    if (!Number.isNaN(there)) ahead = there + 500 - (sent + Date.now()) / 2;
  }

  function inWords(milliseconds) {
    if (milliseconds <= 0) return "time is over";
    const seconds = Math.floor(milliseconds / 1000), minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60);
    if (hours >= 48) return `${Math.floor(hours / 24)} days left`;
    if (hours) return `${hours} h ${minutes % 60} min left`;
    return minutes ? `${minutes} min ${seconds % 60} s left` : `${seconds} s left`;
  }

  function tick() {
    if (!place.children.length) return;
    if (!asked) compareClocks().then(tick).catch(() => {});
    const now = Date.now() + ahead;
    for (const line of place.children) {
      const left = Date.parse(line.dataset.until) - now, words = inWords(left), told = line.querySelector("[data-left]");
      if (told.textContent !== words) told.textContent = words;
      line.dataset.tone = left < 60_000 ? "act" : "look";
    }
  }

  function counted() {
    const many = place.children.length;
    section.hidden = many === 0;
    count.textContent = many;
  }

  announce.addEventListener("drawn", ({ detail }) => {
    if (!detail.has("waiting")) return;
    // Whoever has just decided the last one stands where it was.
    const held = section.contains(document.activeElement);
    counted();
    if (held && section.hidden) document.getElementById("positions").focus();
    tick();
  });
  setInterval(tick, 1000);
  tick();
})();
