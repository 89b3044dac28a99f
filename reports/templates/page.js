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
      if (ticks === "every" && figure.notes) layout.annotations = [...layout.annotations, ...resolve(figure.notes, css, false)];
    }
    Plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
  };

  const all = () => {
    for (const [name, figure] of Object.entries(figures)) {
      const place = document.getElementById(name);
      // What is hidden has no width to draw in; it is drawn when it is chosen.
      if (place.offsetParent) draw(place, figure);
    }
  };
  all();
  document.querySelectorAll("[data-pick]").forEach((select) => {
    const choose = () => {
      document.querySelectorAll(`[data-picked="${select.dataset.pick}"]`).forEach((one) => { one.hidden = one.dataset.place !== select.value; });
      all();
    };
    select.addEventListener("input", choose);
    // A page that was reloaded keeps what was chosen.
    if (select.selectedIndex) choose();
  });
  dark.addEventListener("change", all);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) requestAnimationFrame(all);
    width = innerWidth;
  });
})();
