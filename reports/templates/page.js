(() => {
  "use strict";
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const every = 13; // pixels a layer needs for a name of its own

  // Values under keys that name a colour are CSS variables; everything else passes unchanged.
  const resolve = (node, css, colour) => {
    if (typeof node === "string") return colour && node.startsWith("--") ? css.getPropertyValue(node).trim() : node;
    if (Array.isArray(node)) return node.map((item) => resolve(item, css, colour));
    if (node === null || typeof node !== "object") return node;
    return Object.fromEntries(
      Object.entries(node).map(([key, item]) => [key, resolve(item, css, colour || /color$/.test(key))]),
    );
  };

  const draw = (place, figure) => {
    const css = getComputedStyle(document.documentElement);
    const { data, layout } = resolve(figure, css, false);
    layout.font.family = layout.hoverlabel.font.family = css.getPropertyValue("--sans");
    if (figure.ticks) {
      const room = (place.clientWidth - 70) / figure.layers;
      const ticks = room >= every ? "every" : "blocks";
      layout.xaxis = { ...layout.xaxis, ...resolve(figure.ticks[ticks], css, false) };
      layout.height += figure.room[ticks];
    }
    Plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
  };

  const all = () => {
    for (const [name, figure] of Object.entries(figures)) draw(document.getElementById(name), figure);
  };
  all();
  dark.addEventListener("change", all);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) requestAnimationFrame(all);
    width = innerWidth;
  });
})();
