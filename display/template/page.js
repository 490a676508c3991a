// The page: its figures, the switches of all of them, the table of runs, and how they are on paper.

const CONFIG = { displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]] };
const KINDS = { isoflop, frontier, multipliers, shares, curves };
const all = (selector) => [...document.querySelectorAll(selector)];
const boxes = all("input[data-arch]");
const charts = all("figure[data-kind]").map((figure) => ({
  kind: figure.dataset.kind, part: DATA.parts[figure.dataset.part], n: Number(figure.dataset.n),
  plot: figure.querySelector(".plot"), hidden: new Set(), width: 0,
}));

function draw(chart, width = chart.plot.clientWidth) {
  chart.width = width;
  const { traces, layout } = KINDS[chart.kind](chart);
  const narrow = width < NARROW; // where a finger scrolls the page and does not zoom
  const whole = {
    font: FONT, hovermode: "closest", dragmode: narrow ? false : "zoom",
    hoverlabel: { align: "left", font: { size: 11 } }, ...layout, width,
  };
  return Plotly.react(chart.plot, traces, whole, { ...CONFIG, displayModeBar: narrow ? false : "hover" });
}

for (const chart of charts) {
  draw(chart);
  chart.plot.on("plotly_legendclick", (event) => {
    const name = event.data[event.curveNumber].meta.arch;
    if (!name) return true;
    if (!chart.hidden.delete(name)) chart.hidden.add(name);
    draw(chart);
    return false;
  });
}

// switches

function update() {
  for (const chart of charts) draw(chart);
  for (const node of all("[data-convention]")) node.hidden = node.dataset.convention !== state.convention;
  for (const node of all("[data-shows=convention]")) node.textContent = state.convention;
  document.getElementById("convention-note").textContent = conventionNote();
}

function conventionNote() {
  if (state.convention === DATA.convention) return "";
  const part = DATA.parts[0], budget = part.budgets[part.budgets.length - 1], [low, high] = spread(part, budget);
  return `By ${state.convention} those at ${compute(budget)} cost ${compute(low)} to ${compute(high)}, so that a ` +
    "curve of loss against size is no longer at one compute, and its minimum not the best size at one: marks and lines " +
    "stay where they are, and each best size is moved to what it costs. Laws, lines and multipliers, which need no " +
    "equal compute, are fitted anew, and multipliers taken at the mean FLOPs of what was one budget.";
}

function toggle(names, on) {
  for (const box of boxes) if (names.includes(box.dataset.arch)) box.checked = on;
  for (const chart of charts) {
    for (const name of names) on ? chart.hidden.delete(name) : chart.hidden.add(name);
    draw(chart);
  }
}

document.getElementById("loss").addEventListener("change", (event) => {
  state.loss = event.target.value;
  update();
});
document.getElementById("convention").addEventListener("change", (event) => {
  state.convention = event.target.value;
  update();
  if (runTable) runTable.rows().invalidate().draw(false);
});
for (const box of boxes) box.addEventListener("change", () => toggle([box.dataset.arch], box.checked));
const everything = ARCHS.map((arch) => arch.name);
document.getElementById("all").addEventListener("click", () => toggle(everything, true));
document.getElementById("none").addEventListener("click", () => toggle(everything, false));
document.getElementById("switches").reset(); // a browser may keep what a form had before the page was loaded again
update();

// the table of runs

let runTable = null;
// wide: what the window has to be for a column to be shown, by the classes of page.css
const number = (title, value, show, wide = "") => ({
  title, className: `dt-right ${wide}`,
  data: (run, type) => {
    if (value(run) === null) return type === "sort" ? Infinity : "";
    return type === "sort" || type === "type" ? value(run) : show(value(run));
  },
});
const word = (title, value, wide = "") => ({
  title, className: `dt-left ${wide}`, data: (run, type) => (type === "display" ? escaped(value(run)) : value(run)),
});
const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const bitsOf = (run) => (RUNS.loss[run] === null ? null : LOSSES.bits.of(RUNS.loss[run], bytesOf(run)));
const COLUMNS = [
  ...(DATA.parts.length > 1 ? [word("part", (run) => RUNS.part[run])] : []),
  word("architecture", (run) => RUNS.arch[run], "layout"),
  number("budget", (run) => RUNS.budget[run], compute),
  number("params", (run) => RUNS.params[run], short),
  number("seed", (run) => RUNS.seed[run], String),
  number("nats/token", (run) => RUNS.loss[run], (nats) => nats.toFixed(4)),
  word("run", (run) => RUNS.run_id[run], "from-tablet"),
  word("status", (run) => [...new Set([RUNS.status[run], RUNS.reason[run]])].filter(Boolean).join(": "), "from-tablet status"),
  number("tokens", (run) => RUNS.tokens[run], short, "from-desk"),
  word("shape", (run) => `${RUNS.n_layers[run]} × ${RUNS.d_model[run]}`, "from-desk"),
  number("lr", (run) => RUNS.lr[run], (lr) => String(digits(lr)), "from-desk"),
  number("batch", (run) => RUNS.batch_size[run], String, "from-desk"),
  number("FLOPs", flopsOf, compute, "from-desk"),
  number("seconds", (run) => RUNS.seconds[run], (seconds) => seconds.toFixed(0), "from-wide"),
  number("bits/byte", bitsOf, (bits) => bits.toFixed(4), "from-wide"),
  number("attention", (run) => RUNS.attn_share[run], (share) => share.toFixed(2), "from-wide"),
  number("repeated", (run) => RUNS.repeated_share[run], (share) => `${Math.round(100 * share)}%`, "from-wide"),
];

// by what a run is: part, budget, architecture, size and seed
function inOrder() {
  const places = (list) => Object.fromEntries(list.map((one, place) => [one.name, place]));
  const parts = places(DATA.parts), archs = places(ARCHS);
  const keys = [
    (run) => parts[RUNS.part[run]], (run) => RUNS.budget[run], (run) => archs[RUNS.arch[run]],
    (run) => RUNS.params[run], (run) => RUNS.seed[run],
  ];
  const compare = (a, b) => keys.map((key) => key(a) - key(b)).find((difference) => difference !== 0) || 0;
  return RUNS.run_id.map((_, run) => run).sort(compare);
}

async function tabulate() {
  const source = new Blob([JSON.parse(document.getElementById("datatables").textContent)], { type: "text/javascript" });
  const { default: DataTable } = await import(URL.createObjectURL(source));
  runTable = new DataTable("#runs", {
    data: inOrder(), columns: COLUMNS, order: [], autoWidth: false,
    pageLength: 25, lengthMenu: [10, 25, 100, { label: "all", value: -1 }],
    language: { search: "Search runs:", entries: { _: "runs", 1: "run" } },
  });
  document.documentElement.dataset.ready = "yes";
}
tabulate();

// other widths, and paper

let waiting = 0;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    for (const chart of charts) if (chart.width !== chart.plot.clientWidth) draw(chart);
  }, 150);
});
addEventListener("beforeprint", () => {
  for (const node of all("details:not([open])")) {
    node.open = true;
    node.dataset.shut = "";
  }
  for (const chart of charts) draw(chart, PRINTED);
  if (runTable) runTable.page.len(-1).draw();
});
addEventListener("afterprint", () => {
  for (const node of all("details[data-shut]")) {
    node.open = false;
    delete node.dataset.shut;
  }
  for (const chart of charts) draw(chart);
  if (runTable) runTable.page.len(25).draw();
});
