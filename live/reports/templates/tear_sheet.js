"use strict";
(() => {
  const { chart, colour, data } = page;
  const line = (name, fill) => () => ({
    stroke: colour(name), fill: fill && colour(fill), width: 1.75, points: { show: data.time.length === 1 },
  });
  const percent = { label: (value) => (value == null ? "" : `${+value.toFixed(2)} %`) };
  chart("cumulative", data.cumulative, line("--accent", "--fill"), percent);
  chart("drawdown", data.drawdown, line("--loss", "--fall"), percent);
  if (document.getElementById("rolling")) chart("rolling", data.rolling, line("--accent"));
})();
