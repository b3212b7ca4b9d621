"use strict";
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const [NUMBER, INSTRUMENT, LAYER, SIGN, LOTS, ENTERED, ENTRY, LEFT, EXIT, NET] = Array(10).keys();
  const find = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const two = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
  const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 8 });
  const signed = (value) => (value > 0 ? "+" : "") + two.format(value);
  const minute = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");
  // A time on the axis, as exact as the ticks are apart.
  function when(seconds, every) {
    const text = new Date(seconds * 1000).toISOString();
    if (every >= 364 * 86400) return text.slice(0, 4);
    if (every >= 28 * 86400) return text.slice(0, 7);
    if (every >= 86400) return text.slice(0, 10);
    return every >= 60 ? text.slice(5, 16).replace("T", " ") : text.slice(11, 19);
  }
  const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");
  const layerColour = (layer) => colour(`--layer${((parseInt(layer.split("_").pop(), 10) || 1) - 1) % 6 + 1}`);

  // --- a chart: made anew when the colours change, stepped through by mouse or keys

  function chart(id, height, make) {
    const plot = find(id).querySelector(".plot");
    const tip = find(id).querySelector(".tip");
    const ring = document.createElement("div");
    ring.className = "ring";
    let made, drawn, at = -1;

    const hide = () => { at = -1; tip.hidden = ring.hidden = true; };

    function show(index) {
      at = index;
      const point = made.points[index];
      const left = drawn.valToPos(point.x, "x"), top = drawn.valToPos(point.y, "y");
      ring.hidden = tip.hidden = false;
      ring.style.left = `${left}px`;
      ring.style.top = `${top}px`;
      const text = made.tell(point.of);
      if (tip.textContent !== text) tip.textContent = text;
      const box = drawn.over;
      const x = box.offsetLeft + left, y = box.offsetTop + top;
      const before = x + tip.offsetWidth + 16 > plot.clientWidth;
      tip.style.left = `${Math.max(0, before ? x - tip.offsetWidth - 14 : x + 14)}px`;
      tip.style.top = `${Math.max(0, Math.min(y - tip.offsetHeight / 2, plot.clientHeight - tip.offsetHeight))}px`;
    }

    // The nearest point: along time for a curve, on the plane for marks.
    function nearest(left, top) {
      const from = drawn.posToVal(left - 40, "x"), to = drawn.posToVal(left + 40, "x");
      let found = -1, least = made.curve ? Infinity : 30 * 30;
      made.points.forEach((point, index) => {
        if (!made.curve && (point.x < from || point.x > to)) return;
        const away = (drawn.valToPos(point.x, "x") - left) ** 2
          + (made.curve ? 0 : (drawn.valToPos(point.y, "y") - top) ** 2);
        if (away <= least) { least = away; found = index; }
      });
      return found;
    }

    function follow() {
      if (!plot.matches(":hover")) return;
      const { left, top } = drawn.cursor;
      const index = left >= 0 && made.points.length ? nearest(left, top) : -1;
      if (index < 0) hide(); else show(index);
    }

    // Show `width` seconds around `middle`, never beyond the data.
    function look(middle, width) {
      const times = drawn.data[0], first = times[0], last = times[times.length - 1];
      const min = Math.max(first, Math.min(middle - width / 2, last - width));
      drawn.setScale("x", { min, max: Math.min(last, min + width) });
    }

    function zoom(factor) {
      const { min, max } = drawn.scales.x, kept = at;
      look(kept >= 0 ? made.points[kept].x : (min + max) / 2, (max - min) * factor);
      if (kept >= 0) requestAnimationFrame(() => show(kept));
    }

    function step(event) {
      const last = made.points.length - 1;
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key in steps && last >= 0) {
        const { min, max } = drawn.scales.x;
        const begin = at >= 0 || steps[event.key] < 0 ? at : made.points.findIndex((point) => point.x >= min) - 1;
        const next = Math.max(0, Math.min(last, begin + steps[event.key]));
        const x = made.points[next].x;
        if (x < min || x > max) look(x, max - min);
        requestAnimationFrame(() => show(next));
      } else if (last < 0) return;
      else if (event.key === "+" || event.key === "=") zoom(0.5);
      else if (event.key === "-") zoom(2);
      else if (event.key === "0") drawn.setData(drawn.data);
      else if (event.key === "Escape") hide();
      else return;
      event.preventDefault();
    }

    function draw() {
      const window = drawn ? { ...drawn.scales.x } : null;
      if (drawn) drawn.destroy();
      hide();
      made = make();
      const axis = (more) => ({
        stroke: colour("--muted"), font: "12px system-ui, sans-serif",
        grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--line"), width: 1, size: 4 }, ...more,
      });
      drawn = new uPlot({
        width: plot.clientWidth, height: height(), tzDate: utc, legend: { show: false },
        padding: [8, 30, 0, 0],
        cursor: { y: false, points: { show: false }, drag: { x: true, y: false }, ...made.cursor },
        axes: [axis({ space: 86, size: 30, values: (_, times, __, ___, every) => times.map((time) => when(time, every)) }), axis({ size: 62, values: (_, values) => values.map(made.label) })],
        scales: { x: { time: true }, y: made.y },
        series: made.series,
        hooks: { setCursor: [follow], draw: made.draw ? [made.draw] : [], setScale: [() => { if (tip) hide(); }] },
      }, made.data, plot);
      drawn.over.append(ring);
      plot.classList.toggle("empty", !made.points.length);
      if (window && window.min != null && made.points.length) drawn.setScale("x", { min: window.min, max: window.max });
      return drawn;
    }

    draw();
    plot.addEventListener("keydown", step);
    plot.addEventListener("focusout", hide);
    plot.addEventListener("mouseleave", hide);
    new ResizeObserver(() => drawn.setSize({ width: plot.clientWidth, height: height() })).observe(plot);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    return { draw, plot: () => drawn };
  }

  const tall = () => (innerWidth < 520 ? 240 : 320);
  const low = () => (innerWidth < 520 ? 130 : 160);
  const label = (value) => (value == null ? "" : short.format(value));
  // The number of one digit at or next to a value: 4.8 million becomes 4 or 5 million.
  function leading(value, round) {
    const unit = 10 ** Math.floor(Math.log10(value));
    return round(value / unit) * unit;
  }
  // Some room on both sides, so that no mark is cut at the edge.
  function roomy(times, values) {
    if (!times.length) return [times, values];
    const first = times[0], last = times[times.length - 1], room = Math.max(60, (last - first) * 0.012);
    return [[first - room, ...times, last + room], [null, ...values, null]];
  }
  const stepped = uPlot.paths.stepped({ align: 1 });
  const marks = (x, y) => x.map((time, of) => ({ x: time, y: y[of], of }));

  // --- equity and drawdown

  const equity = DATA.equity;
  const tellEquity = (of) => `${minute(equity.time[of])}\nEquity ${two.format(equity.equity[of])}\n`
    + `Drawdown ${two.format(-equity.drawdown[of])} (${two.format(-equity.percent[of])} %)`;
  const sync = { sync: { key: "equity", setSeries: false } };

  const equityChart = chart("equity", tall, () => ({
    curve: true, tell: tellEquity, label, cursor: sync, points: marks(equity.time, equity.equity),
    data: [equity.time, equity.equity],
    y: find("log").checked ? { distr: 3, range: (_, least, most) => [leading(least, Math.floor), leading(most, Math.ceil)] } : {},
    series: [{}, { stroke: colour("--accent"), width: 1.75, paths: stepped, points: { show: false },
      fill: find("log").checked ? undefined : colour("--fill") }],
  }));
  const drawdownChart = chart("drawdown", low, () => {
    const inPercent = find("percent").checked;
    const values = inPercent ? equity.percent : equity.drawdown;
    return {
      curve: true, tell: tellEquity, cursor: sync, points: marks(equity.time, values), data: [equity.time, values],
      label: (value) => (value == null ? "" : label(value) + (inPercent ? " %" : "")),
      y: { range: (_, least) => [least < 0 ? least * 1.05 : -1, 0] },
      series: [{}, { stroke: colour("--loss"), width: 1.25, paths: stepped, points: { show: false }, fill: colour("--fall") }],
    };
  });
  find("log").disabled = equity.equity.some((value) => value <= 0);
  find("log").addEventListener("change", equityChart.draw);
  find("percent").addEventListener("change", drawdownChart.draw);

  // --- trades

  const tellTrade = (trade) => [
    trade[NUMBER] === null ? `${trade[INSTRUMENT]} ${trade[LAYER]}, still open` : `#${trade[NUMBER]} ${trade[INSTRUMENT]} ${trade[LAYER]}`,
    `${plain.format(trade[LOTS])} lots, ${signed(trade[NET])}`,
    `${minute(trade[ENTERED])} at ${plain.format(trade[ENTRY])}`,
    `${minute(trade[LEFT])} at ${plain.format(trade[EXIT])}`,
  ].join("\n");

  function disc(pen, x, y, size) {
    pen.beginPath();
    pen.arc(x, y, size, 0, 2 * Math.PI);
    pen.fill();
  }

  function cross(pen, x, y, size) {
    pen.beginPath();
    pen.moveTo(x - size, y - size); pen.lineTo(x + size, y + size);
    pen.moveTo(x - size, y + size); pen.lineTo(x + size, y - size);
    pen.stroke();
  }

  function triangle(pen, x, y, size) {
    pen.beginPath();
    pen.moveTo(x, y - size); pen.lineTo(x + size, y + Math.abs(size)); pen.lineTo(x - size, y + Math.abs(size));
    pen.fill();
  }

  // Draw inside the plot's own box, in its pixels.
  function inside(u, work) {
    const pen = u.ctx, box = u.bbox;
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top, box.width, box.height);
    pen.clip();
    work(pen, devicePixelRatio || 1, (time) => u.valToPos(time, "x", true), (value) => u.valToPos(value, "y", true));
    pen.restore();
  }

  const byExit = [...DATA.trades].sort((one, other) => one[LEFT] - other[LEFT]);
  const before = new Map(DATA.trades.map((trade, index) => [trade, equity.equity[index]]));
  const share = (trade) => (before.get(trade) > 0 ? trade[NET] / before.get(trade) * 100 : 0);
  const height = (trade) => (find("share").checked ? share(trade) : trade[NET]);
  const scatterChart = chart("scatter", tall, () => ({
    tell: (trade) => `${tellTrade(trade)}\n${signed(share(trade))} % of equity`, y: {}, cursor: { x: false },
    label: (value) => (value == null ? "" : label(value) + (find("share").checked ? " %" : "")),
    points: byExit.map((trade) => ({ x: trade[LEFT], y: height(trade), of: trade })),
    data: roomy(byExit.map((trade) => trade[LEFT]), byExit.map(height)),
    series: [{}, { paths: () => null, points: { show: false } }],
    draw: (u) => inside(u, (pen, pixel, across, down) => {
      const gain = colour("--gain"), loss = colour("--loss");
      pen.lineWidth = 1.4 * pixel;
      pen.strokeStyle = colour("--muted");
      pen.beginPath(); pen.moveTo(u.bbox.left, down(0)); pen.lineTo(u.bbox.left + u.bbox.width, down(0)); pen.stroke();
      pen.globalAlpha = 0.8;
      for (const trade of byExit) {
        const x = across(trade[LEFT]), y = down(height(trade));
        pen.fillStyle = gain; pen.strokeStyle = loss;
        if (trade[NET] < 0) cross(pen, x, y, 2.8 * pixel); else disc(pen, x, y, 3 * pixel);
      }
    }),
  }));
  find("share").addEventListener("change", scatterChart.draw);

  // --- layers on price

  const everything = [...DATA.trades, ...DATA.open];
  const instruments = [...new Set(everything.map((trade) => trade[INSTRUMENT]))].sort();
  const layers = [...new Set(everything.map((trade) => trade[LAYER]))].sort();
  const without = new Set();
  const chosen = () => everything.filter((trade) => trade[INSTRUMENT] === find("instrument").value && !without.has(trade[LAYER]));

  for (const name of instruments) find("instrument").append(new Option(name));
  for (const layer of layers) {
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
    const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
    const paint = () => { swatch.style.background = layerColour(layer); };
    paint();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    const words = document.createElement("label");
    words.append(box, swatch, layer.replace("_", " "));
    find("legend").append(words);
    box.addEventListener("change", () => { if (box.checked) without.delete(layer); else without.add(layer); layersChart.draw(); });
  }

  const layersChart = chart("layers", () => tall() + 80, () => {
    const trades = chosen();
    const points = trades.flatMap((trade) => [
      { x: trade[ENTERED], y: trade[ENTRY], of: trade },
      { x: trade[LEFT], y: trade[EXIT], of: trade },
    ]).sort((one, other) => one.x - other.x);
    return {
      points, tell: tellTrade, y: {}, cursor: { x: false },
      label: (value) => (value == null ? "" : plain.format(value)),
      data: roomy(points.map((point) => point.x), points.map((point) => point.y)),
      series: [{}, { paths: () => null, points: { show: false } }],
      draw: (u) => inside(u, (pen, pixel, across, down) => {
        const { min, max } = u.scales.x;
        const seen = trades.filter((trade) => trade[LEFT] >= min && trade[ENTERED] <= max);
        const size = (seen.length > 250 ? 2 : 3.8) * pixel;
        const colours = Object.fromEntries(layers.map((layer) => [layer, layerColour(layer)]));
        pen.lineWidth = (seen.length > 250 ? 1 : 1.6) * pixel;
        for (const trade of seen) {
          const x0 = across(trade[ENTERED]), y0 = down(trade[ENTRY]), x1 = across(trade[LEFT]), y1 = down(trade[EXIT]);
          pen.strokeStyle = pen.fillStyle = colours[trade[LAYER]];
          pen.setLineDash(trade[NUMBER] === null ? [5 * pixel, 4 * pixel] : []);
          pen.beginPath(); pen.moveTo(x0, y0); pen.lineTo(x1, y1); pen.stroke();
          triangle(pen, x0, y0, size * trade[SIGN]);
          if (trade[NUMBER] !== null) disc(pen, x1, y1, size * 0.85);
        }
      }),
    };
  });

  function showYear() {
    const year = Number(find("year").value), plot = layersChart.plot();
    if (year) plot.setScale("x", { min: Date.UTC(year, 0, 1) / 1000, max: Date.UTC(year + 1, 0, 1) / 1000 });
    else plot.setData(plot.data);
  }
  find("year").addEventListener("change", showYear);
  find("instrument").addEventListener("change", () => { layersChart.draw(); showYear(); });

  // --- the table of trades

  const table = find("trade-table"), body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, text: row.textContent.toLowerCase(), cells: [...row.cells].map((cell) => cell.textContent) }));
  const number = (text) => { const value = parseFloat(text.replace(/[,+]/g, "")); return Number.isNaN(value) ? -Infinity : value; };

  function sortBy(head, column) {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const numeric = head.dataset.kind === "number";
    const compare = numeric
      ? (one, other) => number(one.cells[column]) - number(other.cells[column])
      : (one, other) => (one.cells[column] < other.cells[column] ? -1 : one.cells[column] > other.cells[column] ? 1 : 0);
    rows.sort((one, other) => (down ? -1 : 1) * compare(one, other) || 0);
    body.append(...rows.map(({ row }) => row));
  }
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: head.textContent });
    head.replaceChildren(button);
    button.addEventListener("click", () => sortBy(head, column));
  });
  find("search").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, text } of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    find("count").textContent = `${plain.format(shown)} of ${plain.format(rows.length)} closed trades`;
  });

  for (const tools of document.querySelectorAll(".tools")) tools.hidden = false;
})();
