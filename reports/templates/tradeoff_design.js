// One design: what it reaches, what its parts cost and how far they are verified, where its cycles and its noise are.
const unitColour = (units, unit) => `var(${units.indexOf(unit) < 7 ? `--unit-${units.indexOf(unit)}` : "--unit-other"})`;
const bars = (id, rows) => {
  const units = [...new Set(rows.map((row) => row.unit))], most = Math.max(...rows.map((row) => row.value)), sum = rows.reduce((total, row) => total + row.value, 0);
  byId(id).replaceChildren(...rows.flatMap((row) => {
    const bar = node("i");
    bar.style.width = `${(70 * row.value) / most}%`;
    bar.style.background = unitColour(units, row.unit);
    return [node("span", "of", row.label, ...(row.note ? [node("small", "", row.note)] : [])),
      node("span", "value", bar, `${figure(row.value)} · ${((100 * row.value) / sum).toFixed(1)} %`)];
  }));
};

const figures = (design) => {
  const found = area(design) ?? {}, parts = design.parts[state.target] ?? [];
  const told = [["integer top-1", `${design.top1.toFixed(1)} %`, `95 %: ${design.low.toFixed(1)} to ${design.high.toFixed(1)}, n = ${figure(design.n)}`],
    ["fake-quant top-1", `${design.fakequant_top1.toFixed(1)} %`, sweep.float ? `float ${sweep.float.top1.toFixed(1)} %` : ""],
    ["cycles per image", figure(design.cycles), `${figure(design.cycles / design.clock_mhz / 1000)} ms at ${design.clock_mhz} MHz`]];
  const cost = target()?.resources.find(({ key }) => key === target().cost);
  if (cost) told.push([`${cost.name} on ${state.target}`, figure(found[cost.key]),
    found.missing?.length ? `unknown: ${found.missing.join(", ")}` : known(found.dsps) && cost.key === "luts" ? `${figure(found.dsps)} DSP` : cost.unit && cost.unit !== "NAND2" ? cost.unit : ""]);
  if (known(found.area_um2) && cost?.key !== "area_um2") told.push(["area, µm²", figure(found.area_um2), "standard cells, no wires"]);
  if (known(found.fmax_mhz)) told.push(["Fmax", `${figure(found.fmax_mhz)} MHz`, `slowest: ${found.slowest}`]);
  if (known(design.weight_kib)) told.push(["weights", `${figure(design.weight_kib)} KiB`, "at their widths, without biases"]);
  if (known(found.energy)) told.push(["energy of an image", `${figure(found.energy)} pJ`, "relative, of the units measured"]);
  const note = parts.some((part) => part.mismatch) ? "see the parts below" : parts.some((part) => known(part.verified)) ? "with exactly these parameters" : "";
  if (parts.length) told.push(["RTL = sim", compared(design), note]);
  // Two rows of equal length where one would be too long.
  byId("design-figures").style.setProperty("--columns", told.length > 6 ? Math.ceil(told.length / 2) : told.length);
  byId("design-figures").replaceChildren(...told.map(([name, value, note]) =>
    node("div", "", node("dt", "", name), node("dd", "", value, node("small", "", note)))));
};

const parts = (design) => {
  const listed = design.parts[state.target] ?? [], cost = target()?.cost, resources = target()?.resources ?? [];
  const sized = listed.filter((part) => known(part[cost])).sort((a, b) => b[cost] * b.copies - a[cost] * a.copies);
  const name = resources.find(({ key }) => key === cost)?.name ?? "cost";
  byId("parts-name").textContent = `Area by unit on ${device()}: ${name}`;
  const tools = [...new Set(listed.filter((part) => part.tools).map((part) => `${part.tools}, ${part.flags}`))];
  byId("parts-tools").textContent = `Of all copies of a unit. ${tools.join("; ")}`;
  bars("plot-parts", sized.map((part) => ({ unit: part.unit, label: part.unit, note: `× ${figure(part.copies)}${part.edge ? ", edge" : ""}`, value: part[cost] * part.copies })));
  const energy = listed.some((part) => known(part.energy)), clocked = listed.some((part) => known(part.fmax_mhz)), covered = area(design)?.energy_parts;
  byId("energy-note").hidden = !energy;
  byId("energy-note").textContent = `Energy is relative: for comparing designs, not for a battery. ${covered?.length ? `In an image's sum: ${covered.join(", ")}; no other unit.` : ""}`;
  const buffers = area(design)?.buffers ?? [];
  byId("buffers-note").hidden = !buffers.length;
  byId("buffers-note").textContent = `Buffers, by their capacity and in no sum: ${buffers.map(({ name, kbit, block_rams: blocks }) =>
    `${name} ${figure(kbit)} kbit${known(blocks) ? `, at least ${figure(blocks)} block RAM` : ""}`).join("; ")}.`;
  const head = ["Unit", "Copies", ...resources.map((one) => `${one.name}${one.unit && one.unit !== "NAND2" ? `, ${one.unit}` : ""}, each`), ...(energy ? ["Energy, pJ an operation"] : []), ...(clocked ? ["Fmax, MHz"] : []), "RTL = sim", "Tools", "Runs"];
  const column = (text, at) => { const cell = node("th", at && at < head.length - 3 ? "n" : "", text); cell.scope = "col"; return cell; };
  const number = (value) => node("td", "n", figure(value));
  byId("parts").replaceChildren(node("thead", "", node("tr", "", ...head.map(column))), node("tbody", "", ...listed.map((part) => {
    const [kind, told] = status(part);
    const unit = node("td", "", part.unit + (part.edge ? " (edge)" : ""), node("br"), node("span", "spec", `${part.spec}${part.specs > 1 ? `, widest of ${part.specs}` : ""}`));
    const tools = node("td", "weak", part.failure ? "–" : part.tools || "–");
    tools.title = part.flags ?? "";
    return node("tr", "", unit, number(part.copies), ...resources.map(({ key }) => number(part[key])), ...(energy ? [number(part.energy)] : []), ...(clocked ? [number(part.fmax_mhz)] : []),
      node("td", kind, told), tools, node("td", "runs", part.failure ?? part.operations.join(", ")));
  })));
};

const layers = (design) => {
  const sums = new Map();
  for (const { layer, unit, cycles } of design.layers) {
    const label = layer.replace(/^blocks\.\d+\./, "").replace(/^layers\.\d+\.blocks\.\d+\./, "");
    const kept = sums.get(label) ?? { label, unit, note: unit, value: 0 };
    sums.set(label, { ...kept, value: kept.value + cycles });
  }
  bars("plot-layers", [...sums.values()]);
};

const sites = (design) => {
  const names = design.sites.map(({ site }) => site), blocks = new Map();
  names.forEach((name, at) => {
    const block = name.match(/^blocks\.(\d+)\./)?.[1];
    if (block) blocks.set(block, [blocks.get(block)?.[0] ?? at, at]);
  });
  const room = (byId("plot-sites").clientWidth - 70) / (names.length || 1), every = room >= 13 || !blocks.size;
  const ticks = every ? { tickvals: names.map((_, at) => at), ticktext: names.map((name) => escaped(name.replace(/^blocks\./, ""))), tickangle: -90 }
    : { tickvals: [...blocks.values()].map(([first, last]) => (first + last) / 2), ticktext: [...blocks.keys()], tickangle: 0 };
  const shapes = [...blocks.values()].filter((_, at) => at % 2 === 0).map(([first, last]) => ({ type: "rect", yref: "paper", y0: 0, y1: 1, x0: first - 0.5, x1: last + 0.5,
    fillcolor: css("--band"), line: { width: 0 }, layer: "below" }));
  draw("plot-sites", [["fakequant", "--level-fakequant", 5, 0.6, "fake-quant"], ["integer", "--level-integer", 1.5, 1, "integer"]].map(([key, ink, width, opacity, label]) => ({
    type: "scatter", mode: "lines+markers", name: label, x: names.map((_, at) => at), y: design.sites.map((site) => site[key]), text: names.map(escaped), opacity,
    line: { color: css(ink), width }, marker: { size: width + 3, color: css(ink) }, hovertemplate: `%{text}<br>${label} %{y:.1f} dB<extra></extra>`,
  })), { height: every ? 340 : 260, shapes, hovermode: "closest", margin: { l: 52, r: 10, t: 10, b: 44 },
    xaxis: plotAxis(every ? "" : "encoder block", { ...ticks, range: [-0.6, names.length - 0.4], showgrid: false }), yaxis: plotAxis("SQNR (dB)", { nticks: 6 }) });
};

const detail = () => {
  const design = sweep.designs.find((one) => one.run === state.run);
  document.body.classList.toggle("one", Boolean(design));
  if (!design) return;
  byId("design-name").replaceChildren(mark(design.scheme), design.run);
  byId("design-facts").textContent = `${design.accelerator} accelerator. ` +
    (design.exact ? "sim equals the int64 reference on all tensors compared." : "sim and the int64 reference DIFFER.");
  byId("design-facts").className = design.exact ? "" : "bad";
  figures(design);
  parts(design);
  layers(design);
  sites(design);
  byId("design-config").textContent = JSON.stringify(design.config, null, 1);
};
