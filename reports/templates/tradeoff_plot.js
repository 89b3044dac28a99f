// The explorer: one mark for a design, the line of those that no other one beats, the baselines.
const hover = (design) => {
  const lines = [`<b>${escaped(design.run)}</b> on ${escaped(design.accelerator)}`,
    `integer ${design.top1.toFixed(1)} % [${design.low.toFixed(1)}, ${design.high.toFixed(1)}], n = ${figure(design.n)}`,
    `fake-quant ${design.fakequant_top1.toFixed(1)} %`];
  for (const { name, of } of axes()) if (known(of(design))) lines.push(`${escaped(name)}: ${figure(of(design))}`);
  const fmax = area(design)?.fmax_mhz;
  if (fmax) lines.push(`Fmax ${fmax.toFixed(0)} MHz (${escaped(area(design).slowest)})`);
  return lines.join("<br>");
};

const whiskers = (designs, ink) => ({
  type: "data", symmetric: false, thickness: 1.2, width: 3, color: ink,
  array: designs.map((design) => design.high - design.top1), arrayminus: designs.map((design) => design.top1 - design.low),
});
const marks = (scheme, designs, of, leading) => ({
  type: "scatter", mode: "markers", name: escaped(scheme), x: designs.map(of), y: designs.map((design) => design.top1),
  customdata: designs.map((design) => design.run), hovertext: designs.map(hover), hoverinfo: "text", cliponaxis: false,
  error_y: whiskers(designs, leading ? colour(scheme) : css("--whisker")),
  marker: {
    size: leading ? 14 : 9, symbol: SYMBOLS[place(scheme)] + (leading ? "" : "-open"), color: leading ? colour(scheme) : greyed(scheme),
    line: { width: leading ? 1 : 1.5, color: leading ? css("--card") : greyed(scheme) },
  },
});

// Names of the leading designs, each at the first place around its mark that hits least: 1 for a whisker, more for a mark, most for a name.
const named = (plot, drawn, leading, of) => {
  const { xaxis, yaxis, _size: size } = plot._fullLayout;
  const at = (design) => [xaxis.d2p(of(design)), yaxis.d2p(design.top1)];
  const taken = drawn.flatMap((design) => {
    const [x, y] = at(design);
    return [[x - 8, y - 8, x + 8, y + 8, 5], [x - 2, yaxis.d2p(design.high), x + 2, yaxis.d2p(design.low), 1]];
  });
  const hit = (box) => taken.reduce((sum, [left, top, right, bottom, weight]) =>
    sum + (box[0] < right && box[2] > left && box[1] < bottom && box[3] > top ? weight : 0), 0) +
    (box[0] < 0 || box[1] < 0 || box[2] > size.w || box[3] > size.h ? 100 : 0);
  return drawn.filter((design) => leading.has(design.run)).sort((a, b) => b.top1 - a.top1).flatMap((design) => {
    const [x, y] = at(design), wide = 6.6 * design.run.length + 6, tall = 16;
    const spots = [[12, -8 - tall], [12, 8], [-12 - wide, -8 - tall], [-12 - wide, 8], [12, -tall / 2], [-12 - wide, -tall / 2], [-wide / 2, -12 - tall], [-wide / 2, 12]]
      .map(([right, down]) => [x + right, y + down, x + right + wide, y + down + tall]);
    const costs = spots.map(hit), spot = spots[costs.indexOf(Math.min(...costs))];
    if (Math.min(...costs) >= 50) return [];
    taken.push([...spot, 50]);
    return [{ x: (spot[0] + spot[2]) / 2 / size.w, y: 1 - (spot[1] + spot[3]) / 2 / size.h, xref: "paper", yref: "paper", xanchor: "center", yanchor: "middle", showarrow: false,
      text: escaped(design.run), font: { size: 12, color: css("--ink") }, bgcolor: css("--card"), borderpad: 1, opacity: 0.92 }];
  });
};

const baselines = (low, high) => {
  const int8 = sweep.designs.find((design) => design.int8);
  const lines = [];
  if (sweep.float) lines.push({ ...sweep.float, name: "float", dash: "dash" });
  if (int8) lines.push({ top1: int8.top1, name: "uniform INT8", dash: "dot" });
  const drawn = lines.filter(({ top1 }) => top1 >= low && top1 <= high).sort((a, b) => b.top1 - a.top1);
  const shapes = drawn.map(({ top1, dash }) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: top1, y1: top1, layer: "below",
    line: { color: css("--level-float"), width: 1.5, dash } }));
  const band = drawn.find((line) => known(line.low));
  if (band) shapes.unshift({ type: "rect", xref: "paper", x0: 0, x1: 1, y0: Math.max(low, band.low), y1: Math.min(high, band.high), layer: "below",
    fillcolor: css("--float-band"), line: { width: 0 } });
  // In the margin, the higher one above its line and the lower one below, so that equal ones do not meet.
  const annotations = drawn.map(({ top1, name }, order) => ({ xref: "paper", x: 1, xshift: 6, xanchor: "left", align: "left", y: top1, showarrow: false,
    yanchor: drawn.length > 1 ? ["bottom", "top"][order] : "middle", text: `${name.replace(" ", "<br>")}<br>${top1.toFixed(1)} %`, font: { size: 12, color: css("--muted") } }));
  return { shapes, annotations };
};

const explorer = () => {
  const { title, of, key } = axis(), all = shown().filter((design) => known(of(design))), leading = front(all, of);
  const best = Math.max(...all.map((design) => design.top1)), least = state.range ? best - Number(state.range) : -Infinity;
  const drawn = all.filter((design) => design.top1 >= least);
  const ends = [...drawn, ...(sweep.float ? [sweep.float] : [])];
  const low = state.range ? least : Math.max(0, Math.min(...ends.map((one) => one.low))), high = Math.min(100, Math.max(...ends.map((one) => one.high)));
  const pad = 0.04 * (high - low || 1), span = [Math.max(0, low - pad), Math.min(100 + pad, high + pad)];
  const groups = [false, true].flatMap((is) => sweep.schemes.map((scheme) => [scheme, drawn.filter((one) => one.scheme === scheme && leading.has(one.run) === is), is]));
  const edge = drawn.filter((design) => leading.has(design.run)).sort((a, b) => of(a) - of(b));
  const data = [
    { type: "scatter", mode: "lines", x: edge.map(of), y: edge.map((design) => design.top1), line: { color: css("--muted"), width: 1.2, shape: "hv" }, hoverinfo: "skip" },
    ...groups.filter(([, designs]) => designs.length).map(([scheme, designs, is]) => marks(scheme, designs, of, is)),
  ];
  const { shapes, annotations } = baselines(...span), narrow = innerWidth < 640;
  const whole = drawn.length && drawn.every((design) => of(design) >= 1000);
  draw("plot-designs", data, {
    height: narrow ? 380 : 430, shapes, annotations, hovermode: "closest", margin: { l: narrow ? 44 : 60, r: narrow ? 58 : 76, t: 14, b: 50 },
    xaxis: plotAxis(title, { type: state.scale, rangemode: "tozero", nticks: narrow ? 5 : 10, ...(whole ? { tickformat: "~s" } : {}) }),
    yaxis: plotAxis("integer top-1 (%)", { range: span }),
  }).then((plot) => { if (drawn.length) Plotly.relayout(plot, { annotations: [...annotations, ...named(plot, drawn, leading, of)] }); });
  const missing = shown().length - all.length, below = all.length - drawn.length;
  byId("reading").textContent = "Up is better, left is cheaper. Filled marks on the line: no other design shown is both cheaper and more accurate; grey ones are beaten. " +
    "Bars are 95 % intervals. Dashed: the float model with its interval; dotted: uniform W8/A8, what most hardware has. A click opens a design." +
    (missing ? ` Not drawn: ${missing} of which this cost is not known.` : "") + (below ? ` Below the axis: ${below}.` : "");
  byId("plot-designs").dataset.axis = key;
};
