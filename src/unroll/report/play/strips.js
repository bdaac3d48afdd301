// Units as colours: now a row, and below it the steps that led here, the last on top.
function unitStrips(strips, pasts) {
  const dark = matchMedia("(prefers-color-scheme: dark)"), shades = () => dark.matches
    ? {base: [15, 19, 23], up: [240, 130, 70], down: [90, 150, 240]}
    : {base: [245, 246, 248], up: [200, 80, 25], down: [30, 90, 180]};
  let first = 0, current = null;
  const all = strips.map(strip => {
    const name = (strip.gate ? "gate of " : "") + strip.name;
    const own = {
      ...strip, name, first, told: make("span"),
      now: make("canvas", {class: "now", width: strip.shown, height: 1, role: "img", "aria-label": name}),
      past: make("canvas", {class: "past", width: strip.shown, height: pasts, "aria-hidden": "true"}),
    };
    first += strip.shown;
    own.now.addEventListener("pointermove", event => {
      const unit = Math.floor(event.offsetX / own.now.clientWidth * own.shown);
      if (current && unit >= 0 && unit < own.shown)
        own.told.textContent = `unit ${unit}: ${current[own.first + unit].toPrecision(3)}`;
    });
    const cut = strip.size > strip.shown ? `, ${strip.shown} of ${strip.size} units` : "";
    own.part = make("div", {class: "strip"}, make("h3", {}, name + cut, own.told), own.now, own.past);
    return own;
  });

  function paint(own, rows) {
    const {base, up, down} = shades(), pixels = new ImageData(own.shown, pasts);
    let most = own.gate ? 1 : 1e-6;
    if (!own.gate) for (const row of rows) for (const x of row || []) most = Math.max(most, Math.abs(x));
    rows.forEach((row, r) => (row || []).forEach((x, i) => {
      // The root lets small states be seen beside large ones.
      const share = Math.min(Math.abs(x) / most, 1), size = own.gate ? share : Math.sqrt(share), to = x < 0 ? down : up, place = 4 * (r * own.shown + i);
      for (let c = 0; c < 3; c++) pixels.data[place + c] = base[c] + size * (to[c] - base[c]);
      pixels.data[place + 3] = 255;
    }));
    own.now.getContext("2d").putImageData(pixels, 0, 0);
    own.past.getContext("2d").clearRect(0, 0, own.shown, pasts);
    own.past.getContext("2d").putImageData(pixels, 0, -1);
  }
  function tell(own, row) {
    let sum = 0, top = 0;
    row.forEach((x, i) => { sum += Math.abs(x); if (Math.abs(x) > Math.abs(row[top])) top = i; });
    own.told.textContent = `mean size ${(sum / row.length).toPrecision(2)}, largest: unit ${top}, ${row[top].toPrecision(3)}`;
    own.now.setAttribute("aria-label", `${own.name}: ${own.told.textContent}`);
  }
  return {
    parts: all.length ? all.map(own => own.part) : [make("p", {class: "hint"}, "This model has no states of units to show.")],
    draw(steps) {  // what was seen after the last tokens, the last first
      current = steps[0] || null;
      for (const own of all) {
        const rows = steps.map(shown => shown ? shown.subarray(own.first, own.first + own.shown) : null);
        paint(own, rows);
        if (rows[0]) tell(own, rows[0]);
      }
    },
  };
}
