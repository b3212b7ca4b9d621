// Closed equity with its drawdown, and the layers of an instrument on its prices.
"use strict";

(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC");
  const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
  const plain = new Intl.NumberFormat("en-US", { maximumFractionDigits: 8 });
  const two = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const find = (id) => document.getElementById(id);
  const EVERY_MILLISECONDS = 4000;

  const day = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "short" });
  const hour = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", hour: "2-digit", minute: "2-digit" });
  const second = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", timeStyle: "medium" });
  const month = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", month: "short", year: "numeric" });
  // `every` seconds lie between two marks: a day's name where it begins, the time of day between.
  const when = (seconds, every) => (every >= 2419200 ? month : every >= 86400 || seconds % 86400 === 0 ? day : every >= 60 ? hour : second).format(seconds * 1e3);
  const times = () => axis({ size: 28, space: 64, values: (_, shown, __, ___, every) => shown.map((seconds) => when(seconds, every)) });

  const axis = (more) => ({
    stroke: css("--muted"), font: "12px system-ui, sans-serif",
    grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--line"), width: 1, size: 4 }, ...more,
  });

  // `options` are made anew for each drawing: colours may have changed, and what is drawn beside the data.
  function chart(place, none, options) {
    let drawn = null, data = null;
    place.dataset.none = none;
    function draw() {
      if (drawn) { drawn.destroy(); drawn = null; }
      place.classList.toggle("without", !data || !data[0].length);
      if (!data || !data[0].length) return;
      drawn = new uPlot({
        width: place.clientWidth, height: place.clientHeight, tzDate: utc, legend: { show: false }, padding: [8, 12, 0, 0],
        cursor: { points: { show: false }, drag: { x: true, y: false } }, ...options(),
      }, data, place);
    }
    new ResizeObserver(() => drawn?.setSize({ width: place.clientWidth, height: place.clientHeight })).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    // A single point has no width: uPlot would draw years around it.
    const wide = ([times, values]) => (times.length === 1 ? [[times[0] - 900, times[0], times[0] + 900], [null, values[0], null]] : [times, values]);
    return { show(next) { data = next && wide(next); draw(); } };
  }

  const stepped = uPlot.paths.stepped({ align: 1 });
  const line = (colour, fill) => ({ stroke: css(colour), width: 1.6, paths: stepped, points: { show: (u) => u.data[0].length < 4, size: 5 }, fill: fill && css(fill) });
  const beside = (size, values) => axis({ size, values: (_, shown) => shown.map((value) => (value == null ? "" : values(value))) });
  const equity = chart(find("equity"), "No trade is closed yet.", () => ({
    axes: [times(), beside(64, (value) => short.format(value))], scales: { x: { time: true } }, series: [{}, line("--accent", "--fill")],
  }));
  const drawdown = chart(find("drawdown"), "", () => ({
    axes: [times(), beside(64, (value) => `${value} %`)],
    scales: { x: { time: true }, y: { range: (_, least) => [least < 0 ? least * 1.1 : -1, 0] } }, series: [{}, line("--loss", "--fall")],
  }));

  async function read(address) {
    const answer = await fetch(address);
    return answer.ok ? answer.json() : null;
  }

  async function drawEquity() {
    const told = await read(ask("/dashboard/equity"));
    if (!told) return;
    equity.show([told.time, told.equity]);
    drawdown.show([told.time, told.drawdown]);
    const last = told.equity.length - 1;
    const below = (value) => `${two.format(Math.abs(value))} % below its high`;
    find("equity-words").textContent = last < 0 ? "" : `${two.format(told.equity[last])}, ${below(told.drawdown[last])}; at its worst `
      + `${below(Math.min(...told.drawdown))}. ${told.whole ? "From the first trade on" : "The latest trades"}; what was paid in or out counts as if it had always been so.`;
  }

  // --- the ladder

  let shown = null;
  const levels = () => shown.layers.flatMap((layer) => [layer.entry, layer.stop]).filter((value) => value != null);
  const ladder = chart(find("ladder"), "No price is known yet.", () => ({
    padding: [10, 74, 0, 0],
    axes: [times(), beside(72, (value) => plain.format(value))],
    scales: {
      x: { time: true },
      y: { range: (_, least, most) => {
        const all = [least, most, ...levels()].filter((value) => value != null);
        const low = Math.min(...all), high = Math.max(...all), room = (high - low) * 0.08 || Math.abs(high) * 0.001 || 1;
        return [low - room, high + room];
      } },
    },
    series: [{}, { stroke: css("--text"), width: 1.4, points: { show: (u) => u.data[0].length < 4, size: 5 } }],
    hooks: { draw: [(u) => rungs(u)] },
  }));

  // Each layer's entry from where it was entered to the right, and its stop below or above it: drawn through, and dashed.
  function rungs(u) {
    const pen = u.ctx, pixel = devicePixelRatio || 1, right = u.bbox.left + u.bbox.width;
    const labels = [];
    pen.save();
    pen.lineWidth = 1.4 * pixel;
    for (const layer of shown.layers) {
      const colour = css(`--layer${layer.number}`);
      const left = Math.max(u.bbox.left, Math.min(right - 24 * pixel, u.valToPos(layer.entered, "x", true)));
      pen.strokeStyle = pen.fillStyle = colour;
      for (const [price, dash, name] of [[layer.entry, [], "entry"], [layer.stop, [5 * pixel, 4 * pixel], "stop"]]) {
        if (price == null) continue;
        const y = u.valToPos(price, "y", true);
        pen.setLineDash(dash);
        pen.beginPath(); pen.moveTo(left, y); pen.lineTo(right, y); pen.stroke();
        labels.push({ y, colour, text: `${layer.number} ${name}` });
      }
    }
    pen.setLineDash([]);
    pen.font = `${11 * pixel}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    pen.textAlign = "left";
    let free = -Infinity;
    for (const { y, colour, text } of labels.sort((one, other) => one.y - other.y)) {
      free = Math.max(y, free + 12 * pixel);
      pen.fillStyle = colour;
      pen.fillText(text, right + 6 * pixel, free);
    }
    pen.restore();
  }

  const chooser = find("ladder-of");

  function names() {
    const known = [...tables.get("instruments").keys];
    if ([...chooser.options].map((option) => option.value).join() === known.join()) return;
    const chosen = chooser.value;
    chooser.replaceChildren(...known.map((name) => new Option(name)));
    if (known.includes(chosen)) chooser.value = chosen;
  }

  async function drawLadder() {
    if (!chooser.value) { shown = { layers: [], time: [] }; ladder.show(null); find("ladder-words").textContent = ""; return; }
    const told = await read(ask(`/dashboard/ladder/${encodeURIComponent(chooser.value)}`));
    if (!told || told.instrument !== chooser.value) return;
    shown = told;
    ladder.show([told.time, told.price]);
    find("ladder-words").textContent = told.layers.map((layer) => `${layer.layer}: ${layer.lots} ${layer.lots === 1 ? "lot" : "lots"} from ${plain.format(layer.entry)}, `
      + (layer.stop == null ? "no stop" : `stop ${plain.format(layer.stop)}`)).join("; ");
  }

  // What moved is drawn again, at most every few seconds.
  const later = (work) => {
    let due = false, last = 0;
    return () => {
      if (due) return;
      due = true;
      setTimeout(() => { due = false; last = Date.now(); work().catch(() => {}); }, Math.max(0, last + EVERY_MILLISECONDS - Date.now()));
    };
  };
  const equityLater = later(drawEquity), ladderLater = later(drawLadder);
  let traded = facts.get("trades").textContent;
  announce.addEventListener("drawn", ({ detail }) => {
    if (detail.has("instruments")) { names(); ladderLater(); }
    if (detail.has("facts") && facts.get("trades").textContent !== traded) { traded = facts.get("trades").textContent; equityLater(); }
  });
  announce.addEventListener("show", ({ detail }) => {
    filter.value = detail; filter.dispatchEvent(new Event("change"));
    chooser.value = detail; drawLadder().catch(() => {});
    find("h-ladder").scrollIntoView({ block: "nearest" });
  });
  chooser.addEventListener("change", () => drawLadder().catch(() => {}));
  names();
  drawLadder().catch(() => {});
  drawEquity().catch(() => {});
})();
