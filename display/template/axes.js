// The data that the page holds (analysis/page.py), its numbers in words, and axes for figures of them.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs;
const ARCHS = DATA.archs;
const LOSSES = {
  nats: { name: "loss", unit: "nats per token", of: (nats) => nats },
  perplexity: { name: "perplexity", unit: "per token", of: (nats) => Math.exp(nats) },
  bits: { name: "loss", unit: "bits per byte", of: (nats, bytes) => nats / Math.LN2 / bytes },
};
const state = { loss: "nats", convention: DATA.convention };
const GRID = { zeroline: false, gridcolor: "#e6e6e6" };
const HOVER = "%{text}<extra></extra>";
const FONT = { family: "system-ui, sans-serif", size: 12, color: "#222" };
const NARROW = 600, LEAST = 300, PRINTED = 680; // pixels: of a figure, of a panel beside its legend, on paper

// numbers as the rest of the page has them

const digits = (value, n = 3) => Number(value.toPrecision(n));
const compute = (flops) => digits(flops).toExponential().replace("e+", "e");

function short(value) {
  for (const [size, unit] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return digits(value / size) + unit;
  }
  return String(digits(value));
}

function loss(nats, bytes) {
  return nats === null ? null : LOSSES[state.loss].of(nats, bytes);
}

const lossTitle = (kind) => `${kind} ${LOSSES[state.loss].name} (${LOSSES[state.loss].unit})`;
const between = ([value, low, high], words) => `${words(value)} [${words(low)}, ${words(high)}]`;
const lossBetween = (losses) => {
  return `${LOSSES[state.loss].name} ${between(losses, (value) => value.toFixed(3))} ${LOSSES[state.loss].unit}`;
};
const bytesOf = (run) => RUNS.bytes_per_token[run];
const flopsOf = (run) => RUNS.flops[state.convention][run];

function describe(run) {
  const nats = RUNS.loss[run], bytes = bytesOf(run);
  const measured = nats === null ? ["no loss"] : [
    `${nats.toFixed(3)} nats`, `perplexity ${digits(Math.exp(nats))}`,
    `${LOSSES.bits.of(nats, bytes).toFixed(3)} bits per byte`,
  ];
  return [
    `<b>${RUNS.arch[run]}</b>`,
    `${RUNS.n_layers[run]} layers × ${RUNS.d_model[run]}, ${short(RUNS.params[run])} params, ` +
      `${short(RUNS.tokens[run])} tokens`,
    `lr ${digits(RUNS.lr[run])}, batch ${RUNS.batch_size[run]} sequences, seed ${RUNS.seed[run]}`,
    measured.join(", "),
    `${compute(flopsOf(run))} FLOPs by ${state.convention}, ${compute(RUNS.budget[run])} asked`,
    `run ${RUNS.run_id[run]}`,
  ].join("<br>");
}

// axes

// ticks of a decade, for axes of up to so many
const STEPS = [
  [0.4, [1, 1.2, 1.4, 1.6, 1.8, 2, 2.3, 2.6, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9]],
  [0.8, [1, 1.5, 2, 3, 5, 7]],
  [1.6, [1, 2, 5]],
  [3, [1, 3]],
  [Infinity, [1]],
];

function logAxis(values, format, pad = 1.12) {
  const shown = values.filter((value) => value > 0 && isFinite(value));
  const low = Math.min(...shown) / pad, high = Math.max(...shown) * pad;
  const decades = Math.log10(high / low);
  const [, steps] = STEPS.find(([most]) => decades <= most);
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const step of steps) {
      const tick = digits(step * 10 ** power, 6);
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return {
    type: "log", range: [Math.log10(low), Math.log10(high)], tickvals: ticks, ticktext: ticks.map(format), tickangle: 0,
    ...GRID,
  };
}

// about values, with as much of their intervals as leaves the values half of it
function linearAxis(values, ends) {
  const real = (list) => list.filter((value) => value !== null && isFinite(value));
  const low = Math.min(...real(values)), high = Math.max(...real(values));
  const room = Math.max(high - low, 0.02 * Math.abs(high)) / 2;
  const bottom = Math.max(low - room, Math.min(low, ...real(ends)));
  const top = Math.min(high + room, Math.max(high, ...real(ends)));
  const margin = 0.06 * (top - bottom || room);
  return { range: [bottom - margin, top + margin], nticks: 8, ...GRID };
}

const bars = (values, low, high, far = 0) => ({
  type: "data", symmetric: false, thickness: 1, width: 3,
  array: values.map((value, k) => (value === null ? 0 : high[k] === null ? far * value : Math.max(high[k] - value, 0))),
  arrayminus: values.map((value, k) => (value === null ? 0 : low[k] === null ? value : Math.max(value - low[k], 0))),
});

// panels in rows that fit the width; axes 1, 2, ... from left to right and down

function panels(width, titles, xTitle, yTitle) {
  const left = 62, right = 16, top = titles[0] ? 34 : 10, gapX = 58, gapY = 84;
  const tall = width === PRINTED ? 230 : titles.length > 1 ? 270 : 330; // on paper two figures a page
  const columns = width < NARROW ? 1 : Math.min(titles.length, width < 900 ? 2 : 3);
  const rows = Math.ceil(titles.length / columns);
  const beside = width - left - right - legendWidth >= columns * LEAST;
  const inner = width - left - right - (beside ? legendWidth : 0);
  const wide = (inner - gapX * (columns - 1)) / columns, high = rows * tall + (rows - 1) * gapY;
  const margin = { l: left, r: right, t: top, b: 52 };
  const layout = { margin, height: high + top + 52, annotations: [], meta: { beside } };
  titles.forEach((heading, k) => {
    const column = k % columns, row = Math.floor(k / columns), name = k ? k + 1 : "";
    const from = column * (wide + gapX) / inner, to = from + wide / inner;
    const ceiling = 1 - row * (tall + gapY) / high;
    const title = { text: xTitle, standoff: 6 };
    layout[`xaxis${name}`] = { domain: [from, Math.min(to, 1)], anchor: `y${name}`, title };
    layout[`yaxis${name}`] = { domain: [Math.max(ceiling - tall / high, 0), ceiling], anchor: `x${name}` };
    if (column === 0) layout[`yaxis${name}`].title = { text: yTitle, standoff: 8 };
    layout.annotations.push({
      text: `<b>${heading}</b>`, x: (from + to) / 2, y: ceiling, xref: "paper", yref: "paper", xanchor: "center",
      yanchor: "bottom", showarrow: false, font: { size: 12 },
    });
  });
  return layout;
}

const longest = Math.max(...ARCHS.map((arch) => arch.name.length));
const legendWidth = 6 * longest + 60;

// right of the axes, or below them where that would leave them little room
function withLegend(layout, width, names) {
  const style = { font: { size: 11 }, itemdoubleclick: false, tracegroupgap: 0 };
  if (layout.meta.beside) {
    const legend = { ...style, x: 1.01, xanchor: "left", y: 1, yanchor: "top" };
    return { ...layout, height: Math.max(layout.height, 20 * names.length + 50), legend };
  }
  const each = 6 * Math.max(...names.map((name) => name.length)) + 50;
  const rows = Math.ceil(names.length / Math.max(1, Math.floor((width - 78) / each)));
  const inner = layout.height - layout.margin.t - layout.margin.b;
  const legend = { ...style, orientation: "h", x: 0, xanchor: "left", y: -56 / inner, yanchor: "top" };
  return { ...layout, height: layout.height + 20 * rows + 10, legend };
}
