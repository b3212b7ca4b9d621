"use strict";
// What pages of days share: `page.chart` draws one, and `page.data` is what the page was given.
const page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
  const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");
  const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
  const label = (value) => (value == null ? "" : short.format(value));

  // A chart: made anew when the colours change, as wide as its place.
  function chart(id, values, series, options = {}) {
    const place = document.getElementById(id).querySelector(".plot");
    const height = () => (innerWidth < 520 ? 170 : 220);
    let drawn;
    function draw() {
      if (drawn) drawn.destroy();
      const axis = (more) => ({
        stroke: colour("--muted"), font: "12px system-ui, sans-serif",
        grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--line"), width: 1, size: 4 }, ...more,
      });
      drawn = new uPlot({
        width: place.clientWidth, height: height(), tzDate: utc, legend: { show: false }, padding: [8, 30, 0, 0],
        cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
        axes: [axis({ space: 86, size: 30, values: (_, times) => times.map(day) }),
          axis({ size: 62, values: (_, ticks) => ticks.map(options.label || label) })],
        scales: { x: { time: true } },
        series: [{}, series()],
      }, [data.time, values], place);
    }
    draw();
    new ResizeObserver(() => drawn.setSize({ width: place.clientWidth, height: height() })).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  return { chart, colour, data };
})();
