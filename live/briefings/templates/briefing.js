"use strict";
(() => {
  const { chart, colour, data } = page;
  if (data.time.length) {
    chart("daily", data.daily, () => ({
      stroke: colour("--accent"), fill: colour("--fill"), width: 1,
      paths: uPlot.paths.bars({ size: [0.7, 60] }), points: { show: false },
    }));
    chart("total", data.total, () => ({
      stroke: colour("--accent"), fill: colour("--fill"), width: 1.75,
      paths: uPlot.paths.stepped({ align: 1 }), points: { show: data.time.length === 1 },
    }));
  }
})();
