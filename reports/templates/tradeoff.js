(() => {
  "use strict";
  const sweep = JSON.parse(document.getElementById("sweep").textContent);
  const byId = (id) => document.getElementById(id);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "triangle-down"];
  const state = { target: sweep.targets[0]?.name, axis: null, widths: "", filter: "", sort: "top1", up: false, run: null };

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const text = (node, value) => { node.textContent = value; return node; };
  const escaped = (value) => text(document.createElement("span"), value).innerHTML;
  const whole = (value) => (value === undefined || value === null ? "–" : Math.round(value).toLocaleString("en"));
  const colour = (scheme) => css(`--unit-${sweep.schemes.indexOf(scheme) % 7}`);
  const target = () => sweep.targets.find((one) => one.name === state.target);

  const AXES = {
    cycles: { name: "cycles per image", of: (design) => design.cycles },
    time: { name: "time per image at the accelerator's clock (ms)", of: (design) => design.cycles / design.clock_mhz / 1000 },
  };
  const axes = () => {
    const areas = (target()?.resources ?? []).map(({ key, name, unit }) => [
      key, { name: unit && unit !== "NAND2" ? `${name} (${unit})` : name, of: (design) => design.areas[state.target]?.[key] },
    ]);
    return { ...Object.fromEntries(areas), ...AXES };
  };

  const font = () => ({ family: css("--sans"), size: 13, color: css("--ink") });
  const axis = (title, more = {}) => ({
    title: { text: title, standoff: 12 }, gridcolor: css("--rule"), zerolinecolor: css("--rule"), linecolor: css("--rule"),
    tickcolor: css("--rule"), automargin: true, ...more,
  });
  const layout = (more) => ({
    font: font(), paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 60, r: 16, t: 12, b: 50 },
    hoverlabel: { font: { family: css("--sans"), size: 13 }, align: "left" }, ...more,
  });
  const draw = (id, data, more) => Plotly.react(id, data, layout(more), { displayModeBar: false, responsive: true });

  // Which of the shown designs no other one beats: cheaper or equal, and more accurate.
  const front = (designs, of) => {
    const sorted = [...designs].sort((a, b) => of(a) - of(b) || b.top1 - a.top1);
    let best = -Infinity, cost = NaN;
    const kept = new Set();
    for (const design of sorted) {
      if (design.top1 > best || (design.top1 === best && of(design) === cost)) {
        kept.add(design.run);
        [best, cost] = [design.top1, of(design)];
      }
    }
    return kept;
  };

  const shown = () => sweep.designs.filter((design) => !state.widths || design.widths === state.widths);

  const hover = (design) => {
    const area = design.areas[state.target];
    const lines = [`<b>${escaped(design.run)}</b>`,
      `integer ${design.top1.toFixed(1)} % [${design.low.toFixed(1)}, ${design.high.toFixed(1)}], n = ${design.n.toLocaleString("en")}`,
      `fake-quant ${design.fakequant_top1.toFixed(1)} %`, `${whole(design.cycles)} cycles per image, ${escaped(design.accelerator)}`];
    for (const { key, name } of target()?.resources ?? []) lines.push(`${name} ${whole(area?.[key])}`);
    if (area?.fmax_mhz) lines.push(`Fmax ${area.fmax_mhz.toFixed(0)} MHz (${escaped(area.slowest)})`);
    return lines.join("<br>");
  };

  const explorer = () => {
    const { name, of } = axes()[state.axis];
    const known = shown().filter((design) => of(design) !== undefined && of(design) !== null);
    const best = front(known, of);
    const traces = sweep.schemes.map((scheme, place) => {
      const designs = known.filter((design) => design.scheme === scheme);
      const ink = colour(scheme);
      return {
        type: "scatter", mode: "markers+text", name: escaped(scheme), x: designs.map(of), y: designs.map((design) => design.top1),
        text: designs.map((design) => (best.has(design.run) ? design.widths : "")), textposition: "top center", textfont: { size: 11 },
        customdata: designs.map((design) => design.run),
        hovertext: designs.map(hover), hoverinfo: "text",
        error_y: {
          type: "data", symmetric: false, thickness: 1, width: 3, color: css("--rule"),
          array: designs.map((design) => design.high - design.top1), arrayminus: designs.map((design) => design.top1 - design.low),
        },
        marker: {
          size: designs.map((design) => (best.has(design.run) ? 12 : 9)), symbol: designs.map((design) =>
            SYMBOLS[place % SYMBOLS.length] + (best.has(design.run) ? "" : "-open")),
          color: ink, opacity: designs.map((design) => (best.has(design.run) ? 1 : 0.45)), line: { width: 1.5, color: ink },
        },
      };
    });
    const edge = known.filter((design) => best.has(design.run)).sort((a, b) => of(a) - of(b));
    traces.unshift({
      type: "scatter", mode: "lines", name: "not beaten", x: edge.map(of), y: edge.map((design) => design.top1),
      line: { color: css("--muted"), width: 1, shape: "hv" }, hoverinfo: "skip",
    });
    const shapes = [], annotations = [];
    const baseline = (value, label, dash, low, high) => {
      if (low !== undefined) shapes.push({ type: "rect", xref: "paper", x0: 0, x1: 1, y0: low, y1: high,
        fillcolor: css("--float-band"), line: { width: 0 }, layer: "below" });
      shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, layer: "below",
        line: { color: css("--level-float"), width: 1.5, dash } });
      annotations.push({ xref: "paper", x: dash === "dash" ? 1 : 0, xanchor: dash === "dash" ? "right" : "left", y: value,
        yanchor: "bottom", showarrow: false, text: `${label} ${value.toFixed(1)} %`, font: { size: 12, color: css("--muted") } });
    };
    if (sweep.float) baseline(sweep.float.top1, "float", "dash", sweep.float.low, sweep.float.high);
    const int8 = sweep.designs.find((design) => design.int8);
    if (int8) baseline(int8.top1, "uniform INT8", "dot");
    draw("plot-designs", traces, {
      height: 480, shapes, annotations, hovermode: "closest", legend: { orientation: "h", y: -0.2 },
      xaxis: axis(name, { rangemode: "normal" }), yaxis: axis("integer top-1 (%)"),
    });
  };

  const bars = (id, rows, title, height) => {
    const units = [...new Set(rows.map((row) => row.unit))];
    const ink = (unit) => css(units.indexOf(unit) < 7 ? `--unit-${units.indexOf(unit)}` : "--unit-other");
    draw(id, [{
      type: "bar", orientation: "h", x: rows.map((row) => row.value), y: rows.map((row) => escaped(row.label)),
      marker: { color: rows.map((row) => ink(row.unit)) },
      hovertext: rows.map((row) => `${escaped(row.label)}<br>${whole(row.value)}`), hoverinfo: "text",
    }], { height, showlegend: false, xaxis: axis(title), yaxis: axis("", { autorange: "reversed" }) });
  };

  const cells = (tag, values) => values.map((value) => {
    const cell = document.createElement(tag);
    if (typeof value === "number" || value === "–") cell.className = "n";
    return text(cell, typeof value === "number" ? whole(value) : value);
  });
  const row = (tag, values) => {
    const line = document.createElement("tr");
    line.append(...cells(tag, values));
    return line;
  };

  const detail = () => {
    const design = sweep.designs.find((one) => one.run === state.run);
    byId("design").hidden = !design;
    if (!design) return;
    text(byId("design-name"), design.run);
    text(byId("design-facts"), `${design.top1.toFixed(1)} % [${design.low.toFixed(1)}, ${design.high.toFixed(1)}] of ${design.n} images, ` +
      `fake-quant ${design.fakequant_top1.toFixed(1)} %, ${whole(design.cycles)} cycles per image on ${design.accelerator}; ` +
      (design.exact ? "sim equals the int64 reference on all tensors compared." : "sim and the int64 reference DIFFER."));
    const resource = target()?.cost, parts = design.parts[state.target] ?? [];
    const name = axes()[resource]?.name ?? "";
    const sized = parts.filter((part) => part[resource] !== undefined).sort((a, b) => b[resource] * b.copies - a[resource] * a.copies);
    bars("plot-parts", sized.map((part) => ({ unit: part.unit, label: `${part.copies} × ${part.unit}${part.edge ? ", edge" : ""}`,
      value: part[resource] * part.copies })), name, 70 + 30 * sized.length);
    const blocks = new Map();
    for (const { layer, unit, cycles } of design.layers) {
      const label = layer.replace(/blocks\.\d+\./, "blocks: ");
      const kept = blocks.get(label) ?? { label, unit, value: 0 };
      blocks.set(label, { ...kept, value: kept.value + cycles });
    }
    const layers = [...blocks.values()];
    bars("plot-layers", layers, "cycles, all blocks together", 70 + 22 * layers.length);
    const sites = design.sites.map((site) => escaped(site.site));
    draw("plot-sites", [["fakequant", "--level-fakequant", "fake-quant"], ["integer", "--level-integer", "integer"]].map(([key, ink, label]) => ({
      type: "scatter", mode: "lines+markers", name: label, x: sites, y: design.sites.map((site) => site[key]),
      line: { color: css(ink), width: key === "integer" ? 1.5 : 4 }, marker: { size: 5, color: css(ink) }, hovertemplate: "%{x}<br>%{y:.1f} dB",
    })), { height: 320, xaxis: axis("", { showticklabels: sites.length < 40 }), yaxis: axis("SQNR (dB)"), legend: { orientation: "h", y: 1.12 } });
    const resources = target()?.resources ?? [];
    const head = document.createElement("thead"), body = document.createElement("tbody");
    head.append(row("th", ["unit", "parameters", "sets", "copies", ...resources.map((one) => `${one.name} each`), "Fmax (MHz)", "RTL = sim", "runs"]));
    for (const part of parts) {
      body.append(row("td", [part.unit + (part.edge ? " (edge)" : ""), part.spec, part.specs, part.copies,
        ...resources.map((one) => part[one.key] ?? "–"), part.fmax_mhz ?? "–",
        part.verified === undefined ? "not compared here" : `${whole(part.verified)} vectors`, part.failure ?? part.operations.join(", ")]));
    }
    byId("parts").replaceChildren(head, body);
    text(byId("design-config"), JSON.stringify(design.config, null, 1));
  };

  const columns = () => [
    ["run", "design", (design) => design.run], ["top1", "top-1 (%)", (design) => design.top1], ["fake", "fake-quant (%)", (design) => design.fakequant_top1],
    ["cycles", "cycles", (design) => design.cycles],
    ...(target()?.resources ?? []).map(({ key, name }) => [key, name, (design) => design.areas[state.target]?.[key]]),
    ["fmax", "Fmax (MHz)", (design) => design.areas[state.target]?.fmax_mhz],
  ];
  const table = () => {
    const listed = columns(), best = new Set(target()?.front ?? []);
    const [, , of] = listed.find(([key]) => key === state.sort) ?? listed[0];
    const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
    const designs = sweep.designs.filter((design) => words.every((word) => `${design.run} ${design.accelerator}`.toLowerCase().includes(word)));
    const order = (a, b) => {
      const [x, y] = [of(a), of(b)];
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      return (typeof x === "string" ? x.localeCompare(y) : x - y) * (state.up ? 1 : -1);
    };
    const head = document.createElement("thead"), body = document.createElement("tbody");
    const line = row("th", listed.map(([, name]) => name));
    [...line.children].forEach((cell, place) => {
      const key = listed[place][0];
      cell.scope = "col";
      cell.tabIndex = 0;
      if (place) cell.className = "n";
      if (key === state.sort) cell.setAttribute("aria-sort", state.up ? "ascending" : "descending");
      const sort = () => { state.up = key === state.sort ? !state.up : key === "run"; state.sort = key; table(); };
      cell.addEventListener("click", sort);
      cell.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    });
    head.append(line);
    for (const design of designs.sort(order)) {
      const shownValues = listed.map(([key, , value]) => {
        const found = value(design);
        if (found === undefined || found === null) return "–";
        return key === "top1" ? `${found.toFixed(1)} [${design.low.toFixed(1)}, ${design.high.toFixed(1)}]` : key === "fake" ? found.toFixed(1) : found;
      });
      const one = row("td", shownValues);
      [...one.children].slice(1).forEach((cell) => { cell.className = "n"; });
      one.classList.toggle("front", best.has(design.run));
      one.addEventListener("click", () => choose(design.run));
      body.append(one);
    }
    byId("table").replaceChildren(head, body);
    text(byId("count"), `${designs.length} of ${sweep.designs.length}; bold: not beaten in ${axes()[target()?.cost]?.name ?? "cost"} and accuracy`);
  };

  const choose = (run) => {
    state.run = run;
    detail();
    byId("design").scrollIntoView({ block: "start" });
  };
  const save = (kind) => {
    const listed = columns();
    const quoted = (value) => (/[",\n]/.test(`${value ?? ""}`) ? `"${`${value}`.replaceAll('"', '""')}"` : `${value ?? ""}`);
    const csv = [["target", ...listed.map(([key]) => key)], ...sweep.designs.map((design) => [state.target, ...listed.map(([, , of]) => of(design))])];
    const content = kind === "json" ? JSON.stringify(sweep, null, 1) : csv.map((values) => values.map(quoted).join(",")).join("\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: kind === "json" ? "application/json" : "text/csv" }));
    link.download = `tradeoff.${kind}`;
    link.click();
  };

  const fill = (select, options, chosen) => select.replaceChildren(...options.map(([value, label]) => {
    const option = text(document.createElement("option"), label);
    option.value = value;
    option.selected = value === chosen;
    return option;
  }));
  const all = () => { explorer(); table(); detail(); };
  const retarget = () => {
    const known = axes();
    if (!known[state.axis]) state.axis = target()?.cost ?? "cycles";
    fill(byId("axis"), Object.entries(known).map(([key, { name }]) => [key, name]), state.axis);
    all();
  };
  byId("target").addEventListener("change", (event) => { state.target = event.target.value; state.axis = null; retarget(); });
  byId("axis").addEventListener("change", (event) => { state.axis = event.target.value; explorer(); });
  byId("widths").addEventListener("change", (event) => { state.widths = event.target.value; explorer(); });
  byId("filter").addEventListener("input", (event) => { state.filter = event.target.value; table(); });
  document.querySelectorAll("[data-save]").forEach((button) => button.addEventListener("click", () => save(button.dataset.save)));
  fill(byId("widths"), [["", "all"], ...[...new Set(sweep.designs.map((design) => design.widths))].map((one) => [one, one])], "");
  retarget();
  byId("plot-designs").on("plotly_click", ({ points }) => { if (points[0]?.customdata) choose(points[0].customdata); });
  dark.addEventListener("change", all);
})();
