// Data, state and what the other parts of the page share.
const sweep = JSON.parse(document.getElementById("sweep").textContent);
const byId = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "x", "star"];
// The same marks for legends and tables, in a box of 14 by 14.
const PATHS = {
  circle: "M7 1a6 6 0 1 0 0 12a6 6 0 1 0 0-12z", square: "M2 2h10v10H2z", diamond: "M7 0l7 7-7 7-7-7z",
  "triangle-up": "M7 1l7 12H0z", "triangle-down": "M7 13l7-12H0z", cross: "M5 1h4v4h4v4H9v4H5V9H1V5h4z",
  x: "M3 0l4 4 4-4 3 3-4 4 4 4-3 3-4-4-4 4-3-3 4-4-4-4z", star: "M7 0l2 5h5l-4 3.3L11.500 14 7 10.500 2.500 14 4 8.300 0 5h5z",
};
const state = {
  target: sweep.targets[0]?.name, axis: null, widths: "", range: "", scale: "linear", hidden: new Set(), filter: "", sort: "top1", up: false, run: null,
};

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const known = (value) => value !== undefined && value !== null;
const node = (tag, name, ...children) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...children);
  return made;
};
const escaped = (value) => node("span", "", `${value}`).innerHTML;
const link = (run) => {
  const made = node("a", "", run);
  made.href = `#design=${encodeURIComponent(run)}`;
  return made;
};
// Whole from 100 on, three figures below, a dash for what is not known: never 0 for it.
const figure = (value) => {
  if (!known(value)) return "–";
  return Math.abs(value) >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : `${+value.toPrecision(3)}`;
};

const place = (scheme) => sweep.schemes.indexOf(scheme) % SYMBOLS.length;
const colour = (scheme) => css(`--scheme-${place(scheme)}`);
// Most of the way to grey: beaten, and still told apart.
const greyed = (scheme) => {
  const [ink, grey] = [colour(scheme), css("--beaten")].map((hex) => [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16)));
  return `rgb(${ink.map((part, at) => Math.round(0.4 * part + 0.6 * grey[at])).join(", ")})`;
};
const mark = (scheme) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("class", "mark");
  svg.setAttribute("viewBox", "0 0 14 14");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", PATHS[SYMBOLS[place(scheme)]]);
  path.setAttribute("fill", `var(--scheme-${place(scheme)})`);
  svg.append(path);
  return svg;
};

const target = () => sweep.targets.find((one) => one.name === state.target);
const device = () => byId("target").selectedOptions[0]?.textContent ?? "";
const area = (design) => design.areas[state.target];
// What a design may be measured by; only what some design of the sweep knows is offered.
const axes = () => {
  const offered = (target()?.resources ?? []).map(({ key, name, unit }) => ({
    key, name: unit && unit !== "NAND2" ? `${name}, ${unit}` : name, of: (design) => area(design)?.[key], title: `${name}${unit && unit !== "NAND2" ? ` (${unit})` : ""} on ${device()}`,
  }));
  offered.push(
    { key: "energy", name: "energy, pJ, relative", of: (design) => area(design)?.energy, title: "energy of an image (pJ, relative) of the units measured" },
    { key: "weight_kib", name: "weights, KiB", of: (design) => design.weight_kib, title: "weights (KiB)" },
    { key: "cycles", name: "cycles per image", of: (design) => design.cycles, title: "cycles per image" },
    { key: "time", name: "time per image, ms", of: (design) => design.cycles / design.clock_mhz / 1000, title: "time per image at the accelerator’s clock (ms)" },
  );
  return offered.filter(({ of }) => sweep.designs.some((design) => known(of(design))));
};
const axis = () => axes().find(({ key }) => key === state.axis) ?? axes()[0];
const shown = () => sweep.designs.filter((design) => !state.hidden.has(design.scheme) && (!state.widths || design.widths === state.widths));

// Which designs no other one beats: cheaper or equal, and more accurate.
const front = (designs, of) => {
  const sorted = designs.filter((design) => known(of(design))).sort((a, b) => of(a) - of(b) || b.top1 - a.top1);
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

// How far one part's RTL was compared with the simulator: it differs, or agrees with these parameters, or its unit with others, or nobody looked.
const status = (part) => {
  if (part.mismatch) return ["bad", `✗ differs: ${part.mismatch}`];
  if (known(part.verified)) return ["known", `✓ ${figure(part.verified)} vectors`];
  if (known(part.verified_unit)) return ["weak", `other parameters: ${figure(part.verified_unit)} vectors`];
  return ["weak", "not compared"];
};
const compared = (design) => {
  const parts = design.parts[state.target] ?? [];
  const differing = parts.filter((part) => part.mismatch).length;
  if (differing) return `✗ ${differing} differ`;
  if (!parts.some((part) => known(part.verified) || known(part.verified_unit))) return "not compared";
  return `${parts.filter((part) => known(part.verified)).length} of ${parts.length} parts`;
};

const plotAxis = (title, more = {}) => ({
  title: { text: title, standoff: 12, font: { size: 13, color: css("--ink") } }, gridcolor: css("--rule"), zeroline: false, linecolor: css("--rule"),
  tickcolor: css("--rule"), tickfont: { size: 12, color: css("--muted") }, automargin: true, fixedrange: true, ...more,
});
const draw = (id, data, more) => Plotly.react(id, data, {
  font: { family: css("--sans"), size: 13, color: css("--ink") }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, dragmode: false,
  hoverlabel: { bgcolor: css("--card"), bordercolor: css("--rule"), font: { family: css("--sans"), size: 13, color: css("--ink") }, align: "left" }, ...more,
}, { displayModeBar: false, responsive: true });
