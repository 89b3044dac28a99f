// All designs: sorted, filtered, saved; and what ties the page together.
const columns = () => [
  ["run", "Design", (design) => design.run], ["top1", "Top-1, %", (design) => design.top1], ["fake", "Fake-quant, %", (design) => design.fakequant_top1],
  ["cycles", "Cycles", (design) => design.cycles],
  ...axes().filter(({ key }) => !["cycles", "time"].includes(key)).map(({ key, name, of }) => [key, name[0].toUpperCase() + name.slice(1), of]),
  ...(sweep.designs.some((design) => known(area(design)?.fmax_mhz)) ? [["fmax", "Fmax, MHz", (design) => area(design)?.fmax_mhz]] : []),
  ["verified", "RTL = sim", compared],
];
const percent = (value) => value.toFixed(1);
const shownValue = (key, value, design) => {
  if (!known(value)) return "–";
  if (key === "top1") return `${percent(value)} [${percent(design.low)}, ${percent(design.high)}]`;
  return key === "fake" ? percent(value) : key === "verified" ? value : figure(value);
};

const heading = (listed) => node("tr", "", ...listed.map(([key, name], order) => {
  const button = node("button", "", name), cell = node("th", order ? "n" : "", button);
  button.type = "button";
  cell.scope = "col";
  if (key === state.sort) cell.setAttribute("aria-sort", state.up ? "ascending" : "descending");
  button.addEventListener("click", () => {
    state.up = key === state.sort ? !state.up : key !== "top1" && key !== "fake";
    state.sort = key;
    table();
    byId("table").querySelectorAll("thead button")[order].focus();
  });
  return cell;
}));

const table = () => {
  const listed = columns(), { of: cost, name } = axis(), best = front(shown(), cost);
  const [, , of] = listed.find(([key]) => key === state.sort) ?? listed[0];
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const designs = shown().filter((design) => words.every((word) => `${design.run} ${design.accelerator}`.toLowerCase().includes(word)));
  const order = (a, b) => {
    const [x, y] = [of(a), of(b)];
    if (!known(x) || !known(y)) return known(y) - known(x);
    return (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y) * (state.up ? 1 : -1);
  };
  const body = node("tbody", "", ...designs.sort(order).map((design) => {
    const cells = listed.map(([key, , value], at) => {
      if (!at) return node("td", "", mark(design.scheme), link(design.run));
      const told = shownValue(key, value(design), design);
      return node("td", told.startsWith("✗") ? "n bad" : "n", told);
    });
    const line = node("tr", best.has(design.run) ? "front" : "", ...cells);
    line.addEventListener("click", () => { location.hash = `design=${encodeURIComponent(design.run)}`; });
    return line;
  }));
  byId("table").replaceChildren(node("thead", "", heading(listed)), body);
  byId("count").textContent = `${designs.length} of ${sweep.designs.length}; bold: not beaten in ${name} and accuracy`;
};

// What was checked of all designs together, on the chosen target.
const verdict = () => {
  const parts = sweep.designs.flatMap((design) => design.parts[state.target] ?? []), seen = parts.filter((part) => known(part.verified)).length;
  const wrong = parts.filter((part) => part.mismatch).length, inexact = sweep.designs.filter((design) => !design.exact).length;
  const told = inexact ? `✗ sim differs from the reference in ${inexact} designs` : wrong ? `✗ RTL of ${wrong} parts differs`
    : seen ? `✓ RTL = sim for ${figure(seen)} of ${figure(parts.length)} parts` : "✓ sim = int64 reference";
  byId("verdict").textContent = told;
  byId("verdict").className = `pill ${inexact || wrong ? "bad" : "good"}`;
  byId("verdict").hidden = !sweep.designs.length;
};

const csv = () => {
  const kept = state.target, lines = [];
  const quoted = (value) => (/[",\n]/.test(`${value ?? ""}`) ? `"${`${value}`.replaceAll('"', '""')}"` : `${value ?? ""}`);
  const keys = [...new Set(sweep.targets.flatMap(({ name }) => { state.target = name; return columns().map(([key]) => key); }))];
  for (const { name } of sweep.targets) {
    state.target = name;
    const found = Object.fromEntries(columns().map(([key, , of]) => [key, of]));
    for (const design of sweep.designs) lines.push([name, design.accelerator, design.low, design.high, ...keys.map((key) => found[key]?.(design))]);
  }
  state.target = kept;
  return [["target", "accelerator", "low", "high", ...keys], ...lines].map((values) => values.map(quoted).join(",")).join("\n");
};
const save = (kind) => {
  const content = kind === "json" ? JSON.stringify(sweep, null, 1) : csv(), made = document.createElement("a");
  made.href = URL.createObjectURL(new Blob([content], { type: kind === "json" ? "application/json" : "text/csv" }));
  made.download = `tradeoff.${kind}`;
  made.click();
  setTimeout(() => URL.revokeObjectURL(made.href), 1000);
};

const fill = (select, options, chosen) => select.replaceChildren(...options.map(([value, label]) => {
  const option = node("option", "", label);
  option.value = value;
  option.selected = value === chosen;
  return option;
}));
// What is not shown has no size to draw in.
const all = () => { detail(); if (!state.run) { explorer(); table(); } };
const retarget = () => {
  if (!axes().some(({ key }) => key === state.axis)) state.axis = target()?.cost ?? axes()[0].key;
  fill(byId("axis"), axes().map(({ key, name }) => [key, name]), state.axis);
  document.querySelectorAll("[data-target]").forEach((part) => { part.hidden = part.dataset.target !== state.target; });
  verdict();
  all();
};
// The address names the design, so that Back closes it and a link opens it.
const visit = () => {
  const before = state.run, asked = location.hash.startsWith("#design=") ? decodeURIComponent(location.hash.slice(8)) : null;
  state.run = sweep.designs.some((design) => design.run === asked) ? asked : null;
  all();
  if (state.run) { scrollTo({ top: 0, behavior: "instant" }); byId("design").focus({ preventScroll: true }); }
  else if (before) [...byId("table").querySelectorAll("a")].find((made) => made.textContent === before)?.focus({ preventScroll: true });
};

const start = () => {
  const choice = (id, then) => byId(id).addEventListener("input", (event) => { state[id] = event.target.value; then(); });
  const both = () => { explorer(); table(); };
  choice("target", retarget);
  choice("axis", both);
  choice("widths", both);
  choice("range", explorer);
  choice("scale", explorer);
  choice("filter", table);
  document.querySelectorAll("[data-save]").forEach((button) => button.addEventListener("click", () => save(button.dataset.save)));
  byId("schemes").replaceChildren(...sweep.schemes.map((scheme) => {
    const button = node("button", "", mark(scheme), scheme);
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => {
      if (!state.hidden.delete(scheme)) state.hidden.add(scheme);
      button.setAttribute("aria-pressed", `${!state.hidden.has(scheme)}`);
      both();
    });
    return button;
  }));
  // Where some widths break the model, the axis begins near the best: the others say nothing about a point more or less.
  const best = Math.max(...sweep.designs.map(({ top1 }) => top1)), worst = Math.min(...sweep.designs.map(({ top1 }) => top1));
  state.range = best - worst > 30 ? "25" : "";
  fill(byId("range"), [["", "all"], ["25", "best 25 points"], ["10", "best 10 points"], ["3", "best 3 points"]], state.range);
  fill(byId("widths"), [["", "all"], ...[...new Set(sweep.designs.map((design) => design.widths))].map((one) => [one, one])], "");
  state.axis = target()?.cost;
  addEventListener("hashchange", visit);
  addEventListener("keydown", (event) => { if (event.key === "Escape" && state.run) location.hash = "explorer"; });
  dark.addEventListener("change", all);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) requestAnimationFrame(all);
    width = innerWidth;
  });
  retarget();
  visit();
  byId("plot-designs").on("plotly_click", ({ points }) => { if (points[0]?.customdata) location.hash = `design=${encodeURIComponent(points[0].customdata)}`; });
};
