// Figures: of a chart { part, n, hidden, width }, its traces and layout, by kind.

function look(arch, extra) {
  return { color: arch.colour, symbol: arch.symbol, size: 7, line: { color: arch.colour, width: 1.5 }, ...extra };
}

function stroke(arch) {
  return { color: arch.colour, width: 1.5, dash: arch.dash };
}

function shown(chart, arch) {
  return chart.hidden.has(arch.name) ? "legendonly" : true;
}

function budgetTitle(part, budget) {
  if (state.convention === DATA.convention) return `${compute(budget)} FLOPs`;
  const [low, high] = spread(part, budget);
  return `${compute(budget)} asked: ${compute(low)} to ${compute(high)}`;
}

// FLOPs, by the convention chosen, of the runs of one budget
function spread(part, budget) {
  const all = part.used.filter((run) => RUNS.budget[run] === budget).map(flopsOf);
  return [Math.min(...all), Math.max(...all)];
}

function isoflop(chart) {
  const part = chart.part, traces = [], bytes = part.bytes_per_token, named = new Set();
  const titles = part.budgets.map((budget) => budgetTitle(part, budget));
  const layout = panels(chart.width, titles, "parameters", lossTitle("validation"));
  part.budgets.forEach((budget, k) => {
    const axes = { xaxis: `x${k ? k + 1 : ""}`, yaxis: `y${k ? k + 1 : ""}` };
    const heights = [], sizes = [];
    for (const arch of ARCHS) {
      const runs = part.used.filter((run) => RUNS.arch[run] === arch.name && RUNS.budget[run] === budget);
      if (!runs.length) continue;
      const meta = { arch: arch.name, budget };
      const common = { ...axes, legendgroup: arch.name, visible: shown(chart, arch), meta };
      const y = runs.map((run) => loss(RUNS.loss[run], bytes));
      if (common.visible === true) heights.push(...y);
      sizes.push(...runs.map((run) => RUNS.params[run]));
      traces.push({
        ...common, name: arch.name, showlegend: !named.has(arch.name), mode: "markers", marker: look(arch),
        x: runs.map((run) => RUNS.params[run]), y, text: runs.map(describe), hovertemplate: HOVER,
      });
      named.add(arch.name);
      const found = part.optima.find((one) => one.arch === arch.name && one.budget === budget);
      if (found && found.curve) traces.push(...minimum(found, arch, common, bytes));
    }
    Object.assign(layout[`xaxis${k ? k + 1 : ""}`], logAxis(sizes, short));
    Object.assign(layout[`yaxis${k ? k + 1 : ""}`], heights.length ? linearAxis(heights, []) : {});
  });
  return { traces, layout: withLegend(layout, chart.width, [...named]) };
}

function minimum(found, arch, common, bytes) {
  const quiet = { ...common, showlegend: false };
  const sizes = found.curve.params;
  const traces = [{
    ...quiet, mode: "lines", line: stroke(arch), hoverinfo: "skip",
    x: sizes, y: found.curve.loss.map((nats) => loss(nats, bytes)),
  }];
  if (found.status !== "optimum") return traces;
  const [value, low, high] = found.params, losses = found.loss.map((nats) => loss(nats, bytes));
  const cut = (size) => (size === null ? value : Math.min(Math.max(size, sizes[0]), sizes[sizes.length - 1]));
  traces.push({
    ...quiet, mode: "markers", marker: look(arch, { size: 12, color: "#fff" }), x: [value], y: [losses[0]],
    error_x: { ...bars([value], [cut(low)], [cut(high)]), color: arch.colour },
    error_y: { ...bars([losses[0]], [losses[1]], [losses[2]]), color: arch.colour },
    text: [`<b>${arch.name}</b>, best size at ${compute(found.budget)} FLOPs asked<br>` +
      `${low === null ? short(value) : between(found.params, short)} params<br>${lossBetween(losses)}<br>of ${found.runs} runs`],
    hovertemplate: HOVER,
  });
  return traces;
}

function frontier(chart) {
  const part = chart.part, all = part.frontier[state.convention], bytes = part.bytes_per_token, traces = [];
  const layout = panels(chart.width, [""], `training compute (FLOPs by ${state.convention})`, lossTitle("validation"));
  const values = [], ends = [], computes = [], drawn = ARCHS.filter((one) => all[one.name]);
  const apart = 0.02 * Math.log(part.budgets[part.budgets.length - 1] / part.budgets[0]) / drawn.length;
  drawn.forEach((arch, place) => {
    const { points, line } = all[arch.name];
    const common = { legendgroup: arch.name, visible: shown(chart, arch), meta: { arch: arch.name } };
    const y = (curve, name) => curve[name].map((nats) => loss(nats, bytes));
    if (line) {
      const edge = {
        ...common, x: line.compute, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false,
      };
      if (line.low.every((low) => low !== null) && line.high.every((high) => high !== null)) {
        traces.push({ ...edge, y: y(line, "low") });
        traces.push({ ...edge, y: y(line, "high"), fill: "tonexty", fillcolor: arch.colour + "1f" });
      }
      traces.push({ ...edge, y: y(line, "value"), line: stroke(arch) });
    }
    const middle = y(points, "value"), under = y(points, "low"), over = y(points, "high");
    const sideways = Math.exp(apart * (place - (drawn.length - 1) / 2));
    traces.push({
      ...common, name: arch.name, mode: "markers", marker: look(arch), y: middle,
      x: points.compute.map((at) => at * sideways), customdata: points.compute,
      error_y: { ...bars(middle, under, over), color: arch.colour },
      text: points.compute.map((at, k) => `<b>${arch.name}</b> at its best size<br>` +
        `${compute(at)} FLOPs by ${state.convention}<br>${lossBetween([middle[k], under[k], over[k]])}`),
      hovertemplate: HOVER,
    });
    computes.push(...points.compute, ...(line ? line.compute : []));
    if (common.visible !== true) return;
    values.push(...middle, ...(line ? y(line, "value") : []));
    ends.push(...under, ...over);
  });
  Object.assign(layout.xaxis, logAxis(computes, compute));
  if (values.length) Object.assign(layout.yaxis, linearAxis(values, ends));
  return { traces, layout: withLegend(layout, chart.width, drawn.map((one) => one.name)) };
}

function multipliers(chart) {
  const rows = chart.part.multipliers[state.convention];
  const visible = ARCHS.filter((arch) => !chart.hidden.has(arch.name) && rows.some((row) => row.arch === arch.name));
  const traces = [], values = [1];
  visible.forEach((arch, place) => {
    const row = rows.find((one) => one.arch === arch.name), n = row.values.length;
    const [x, low, high] = [0, 1, 2].map((which) => row.values.map((one) => one[which]));
    const worth = (one) => (one[0] === null ? "not within four decades" :
      `${between(one, (value) => (value === null ? "open" : digits(value)))} of the FLOPs of ${row.reference}`);
    values.push(...x.filter((value) => value !== null));
    traces.push({
      name: arch.name, meta: { arch: arch.name }, mode: "markers", showlegend: false, x,
      y: x.map((_, k) => place + (n > 1 ? 0.5 * (k / (n - 1) - 0.5) : 0)),
      marker: look(arch, { opacity: 1, size: x.map((_, k) => 6 + (n > 1 ? 6 * k / (n - 1) : 3)) }),
      error_x: { ...bars(x, low, high, 1e6), color: arch.colour },
      text: row.values.map((one, k) => `<b>${arch.name}</b> at ${compute(row.compute[k])} FLOPs by ` +
        `${state.convention}<br>${worth(one)}`),
      hovertemplate: HOVER,
    });
  });
  const reference = rows.length ? rows[0].reference : "";
  const narrow = chart.width < NARROW;
  const label = (name) => (narrow && name.length > 14 ? name.replace(/([+(])(?=.)/g, "$1<br>") : name);
  const layout = {
    margin: { l: 10, r: 12, t: 20, b: 52 }, height: 90 + (narrow ? 58 : 46) * Math.max(visible.length, 1),
    xaxis: { ...logAxis(values, String, 1.5), title: { text: `FLOPs over those of ${reference}`, standoff: 6 } },
    yaxis: {
      range: [visible.length - 0.4, -0.6], tickvals: visible.map((_, k) => k),
      ticktext: visible.map((arch) => label(arch.name)), automargin: true,
      ...GRID,
    },
    shapes: [{ type: "line", x0: 1, x1: 1, y0: 0, y1: 1, yref: "paper", line: { color: "#555", dash: "dash" } }],
  };
  return { traces, layout };
}

function shares(chart) {
  const part = chart.part, family = part.families[chart.n], bytes = part.bytes_per_token;
  const traces = [], values = [], ends = [];
  const yTitle = `above the best trained (${LOSSES[state.loss].unit})`;
  const layout = panels(chart.width, [""], "attention's share of the sequence mixers", yTitle);
  const names = family.ratios.map((one) => budgetTitle(part, one.budget));
  family.ratios.forEach((one, k) => {
    const colour = part.budget_colours[part.budgets.indexOf(one.budget)];
    const above = (nats) => loss(nats, bytes) - loss(one.best_loss, bytes);
    const kept = one.archs.map((_, i) => i).filter((i) => !chart.hidden.has(one.archs[i]));
    const at = (list) => kept.map((i) => above(list[i]));
    const symbol = (name) => ARCHS.find((arch) => arch.name === name).symbol;
    const sideways = 0.008 * (k - (family.ratios.length - 1) / 2);
    const losses = (i) => [one.losses[i], one.low[i], one.high[i]].map((nats) => loss(nats, bytes));
    const common = { legendgroup: names[k], name: names[k], meta: { budget: one.budget } };
    if (one.curve) {
      traces.push({
        ...common, showlegend: false, mode: "lines", line: { color: colour, width: 1.5 }, hoverinfo: "skip",
        x: one.curve.shares, y: one.curve.loss.map(above),
      });
    }
    traces.push({
      ...common, mode: one.curve ? "markers" : "lines+markers", line: { color: colour, width: 1, dash: "dot" },
      marker: { color: colour, size: 8, symbol: kept.map((i) => symbol(one.archs[i])) },
      x: kept.map((i) => one.shares[i] + sideways), customdata: kept.map((i) => one.shares[i]), y: at(one.losses),
      error_y: { ...bars(at(one.losses), at(one.low), at(one.high)), color: colour },
      text: kept.map((i) => `<b>${one.archs[i]}</b>, ${compute(one.budget)} FLOPs asked<br>${lossBetween(losses(i))}`),
      hovertemplate: HOVER,
    });
    values.push(...at(one.losses));
    ends.push(...at(one.low), ...at(one.high));
    const [best, low, high] = one.share;
    if (best === null) return;
    const lowest = Math.min(...one.curve.loss.map(above));
    values.push(lowest);
    traces.push({
      ...common, showlegend: false, mode: "markers",
      marker: { color: colour, size: 14, symbol: "star", line: { color: "#fff", width: 1 } },
      x: [best], y: [lowest], error_x: { ...bars([best], [low], [high]), color: colour, thickness: 2 },
      text: [`best share ${between(one.share, (value) => value.toFixed(2))}<br>${compute(one.budget)} FLOPs asked`],
      hovertemplate: HOVER,
    });
  });
  Object.assign(layout.xaxis, { range: [-0.05, 1.05], tickvals: [0, 0.25, 0.5, 0.75, 1], ...GRID });
  if (values.length) Object.assign(layout.yaxis, linearAxis(values, ends));
  return { traces, layout: withLegend(layout, chart.width, names) };
}

function curves(chart) {
  const part = chart.part, traces = [], bytes = part.bytes_per_token, named = new Set();
  const budgets = part.budgets.filter((budget) => part.curves.some((one) => RUNS.budget[one.run] === budget));
  const titles = budgets.map((budget) => budgetTitle(part, budget));
  const layout = panels(chart.width, titles, `FLOPs by ${state.convention}`, lossTitle("training"));
  budgets.forEach((budget, k) => {
    const axes = { xaxis: `x${k ? k + 1 : ""}`, yaxis: `y${k ? k + 1 : ""}` };
    const heights = [], spent = [];
    for (const arch of ARCHS) {
      const one = part.curves.find((curve) => RUNS.arch[curve.run] === arch.name && RUNS.budget[curve.run] === budget);
      if (!one) continue;
      const aToken = flopsOf(one.run) / RUNS.tokens[one.run], x = one.tokens.map((tokens) => tokens * aToken);
      const y = one.loss.map((nats) => loss(nats, bytes));
      const late = one.tokens.map((tokens) => tokens >= 0.1 * RUNS.tokens[one.run]);
      if (!chart.hidden.has(arch.name)) heights.push(...y.filter((value, i) => late[i] && value !== null));
      spent.push(...x.filter((_, i) => late[i]));
      traces.push({
        ...axes, legendgroup: arch.name, name: arch.name, showlegend: !named.has(arch.name),
        visible: shown(chart, arch), mode: "lines", meta: { arch: arch.name, budget }, line: stroke(arch), x, y,
        text: one.tokens.map((tokens) => `after ${short(tokens)} tokens`),
        hovertemplate: `%{text}<br>${describe(one.run)}<extra></extra>`,
      });
      named.add(arch.name);
    }
    Object.assign(layout[`xaxis${k ? k + 1 : ""}`], logAxis(spent, compute, 1.05));
    Object.assign(layout[`yaxis${k ? k + 1 : ""}`], heights.length ? linearAxis(heights, []) : {});
  });
  return { traces, layout: withLegend(layout, chart.width, [...named]) };
}
