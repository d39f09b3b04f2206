// Draws charts with Observable Plot in place of the static plots. The pointer and the arrow keys show the figures of a
// point or bar; a click or Enter opens its sentences. Printers and browsers without scripts have the static plots.
"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const STYLES = {
    mentions: { colour: "var(--muted)", symbol: "circle", dash: null, verb: "mention" },
    praise: { colour: "var(--praise)", symbol: "circle", dash: null, verb: "praise" },
    blame: { colour: "var(--blame)", symbol: "square", dash: "4 2", verb: "blame" },
  };
  const POLARITIES = { mentions: "", praise: "positive", blame: "negative" };
  const MIN_COLUMN = 250, PANEL = 128, TITLE = 22, AXIS = 40, LETTER = 7;
  const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
  const number = (value) => value.toLocaleString("en");
  const stars = (value) => (value === 0 ? "0" : `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`);
  const TIP = { lineHeight: 1.3, lineWidth: 40 };
  const day = (text) => new Date(text + "T00:00:00Z");

  function query(filters) {
    return String(new URLSearchParams(Object.entries(filters).filter(([, value]) => value)));
  }
  // Each chart has its points in the order of the arrow keys, a text and a filter for each, and a function that draws.
  function timeChart({ panels, points }) {
    const series = group(points);
    const highest = Math.max(...points.map((point) => (point.measure === "mentions" ? point.high : 1)));
    const top = [0.1, 0.2, 0.5, 1].find((limit) => limit >= highest) ?? 1;
    const all = points.every((point) => point.measure === "mentions");
    return {
      points,
      text: ({ category, measure, name, n, total, share, low, high }) =>
        `${category}, ${name}: ${percent(share)} ${STYLES[measure].verb} it\n${number(n)} of ${number(total)} reviews` +
        `${all ? "" : " that mention it"}\n95\u00a0%: ${percent(low)} to ${percent(high)}`,
      filter: (point) => query({ category: point.category, polarity: POLARITIES[point.measure], from: point.from, to: point.to }),
      draw(width) {
        const columns = Math.min(panels.length, width >= 2 * MIN_COLUMN ? 2 : 1), rows = Math.ceil(panels.length / columns);
        const place = new Map(panels.map((name, n) => [name, { column: n % columns, row: Math.floor(n / columns) }]));
        const facet = { fx: (point) => place.get(point.category ?? point).column, fy: (point) => place.get(point.category ?? point).row };
        const at = { ...facet, x: (point) => day(point.from) };
        const lines = series.flatMap((values) => {
          const { colour, dash, symbol } = STYLES[values[0].measure];
          return [
            Plot.areaY(values, { ...at, y1: "low", y2: "high", fill: colour, fillOpacity: 0.16 }),
            Plot.lineY(values, { ...at, y: "share", stroke: colour, strokeDasharray: dash, strokeWidth: 1.5 }),
            Plot.dot(values, { ...at, y: "share", fill: colour, symbol, r: 2 }),
          ];
        });
        return {
          width, height: rows * (PANEL + TITLE) + AXIS, marginTop: TITLE, marginBottom: AXIS, marginLeft: 48, marginRight: 12,
          fx: { axis: null, padding: 0.12 }, fy: { axis: null, padding: 0.2 },
          x: { type: "utc", label: null, ticks: 3 },
          y: { domain: [0, top], ticks: [0, top / 2, top], tickFormat: percent, label: null, grid: true },
          marks: [
            ...lines,
            Plot.text(panels, { ...facet, text: (name) => name, frameAnchor: "top-left", dy: -TITLE + 8, fontWeight: 600 }),
            Plot.dot(points, Plot.pointer({ ...at, y: "share", r: 5, stroke: "var(--ink)", strokeWidth: 1.5 })),
            Plot.tip(points, Plot.pointer({ ...TIP, ...at, y: "share", title: this.text })),
          ],
        };
      },
      position: (plot, point, options) => {
        const columns = Math.min(panels.length, options.width >= 2 * MIN_COLUMN ? 2 : 1), n = panels.indexOf(point.category);
        const facet = (name, value) => plot.scale(name)?.apply(value);
        return [
          plot.scale("x").apply(day(point.from)) + facet("fx", n % columns) - options.marginLeft,
          plot.scale("y").apply(point.share) + facet("fy", Math.floor(n / columns)) - options.marginTop,
        ];
      },
    };
  }
  function impactChart(drivers) {
    const label = (driver) => `${driver.category} ${driver.polarity === "positive" ? "praised" : "blamed"}`;
    const end = (driver) => (driver.impact < 0 ? Math.min(driver.low, driver.impact) : Math.max(driver.high, driver.impact));
    return {
      points: drivers,
      text: (driver) =>
        `${label(driver)}: ${stars(driver.impact)} stars on the mean\n95\u00a0%: ${stars(driver.low)} to ${stars(driver.high)}\n` +
        `${stars(driver.effect)} stars in ${percent(driver.share)} of reviews (${number(driver.reviews)})`,
      filter: (driver) => query({ category: driver.category, polarity: driver.polarity }),
      draw(width) {
        const longest = Math.max(...drivers.map((driver) => label(driver).length));
        const ends = [0, ...drivers.flatMap((driver) => [driver.low, driver.high])];
        const room = 0.25 * (Math.max(...ends) - Math.min(...ends));
        const domain = [Math.min(...ends) - (Math.min(...ends) < 0 ? room : 0), Math.max(...ends) + (Math.max(...ends) > 0 ? room : 0)];
        const value = (side) => ({ y: label, x: end, text: (driver) => stars(driver.impact), textAnchor: side, dx: side === "start" ? 4 : -4 });
        return {
          width, height: 28 + 26 * drivers.length, marginTop: 4, marginBottom: 24, marginRight: 24,
          marginLeft: Math.min(LETTER * longest + 8, width / 2.2),
          x: { domain, ticks: 4, tickFormat: stars, label: null, grid: true },
          y: { domain: drivers.map(label), label: null, tickSize: 0 },
          marks: [
            Plot.barX(drivers, { y: label, x: "impact", insetTop: 1, insetBottom: 1, fill: (d) => (d.impact < 0 ? "var(--blame)" : "var(--praise)") }),
            Plot.ruleY(drivers, { y: label, x1: "low", x2: "high", stroke: "var(--ink)", strokeWidth: 1.2 }),
            Plot.ruleX([0], { stroke: "var(--ink)" }),
            Plot.text(drivers.filter((driver) => driver.impact < 0), value("end")),
            Plot.text(drivers.filter((driver) => driver.impact >= 0), value("start")),
            Plot.tip(drivers, Plot.pointerY({ ...TIP, y: label, x: "impact", title: this.text })),
          ],
        };
      },
      position: (plot, driver) => [plot.scale("x").apply(driver.impact), plot.scale("y").apply(label(driver)) + plot.scale("y").bandwidth / 2],
    };
  }
  function group(points) {
    const groups = new Map();
    for (const point of points) {
      const key = point.category + point.measure;
      groups.set(key, [...(groups.get(key) ?? []), point]);
    }
    return [...groups.values()];
  }

  function show(box, chart) {
    let plot = null, options = null, current = 0, drawnWidth = 0, isPointed = false;
    function select(index) {
      current = index;
      box.setAttribute("aria-valuenow", String(index));
      box.setAttribute("aria-valuetext", chart.text(chart.points[index]).replaceAll("\n", "; "));
    }
    function point(index) {
      select(index);
      const [x, y] = chart.position(plot, chart.points[index], options), area = plot.getBoundingClientRect();
      plot.dispatchEvent(new PointerEvent("pointermove", { clientX: area.left + x, clientY: area.top + y, pointerType: "mouse" }));
    }
    const open = (datum) => document.dispatchEvent(new CustomEvent("sentences", { detail: chart.filter(datum) }));
    function draw(width) {
      drawnWidth = width;
      options = { ...chart.draw(width), style: { fontSize: "12px", fontFamily: "inherit", background: "none" } };
      plot = Plot.plot(options);
      plot.setAttribute("aria-hidden", "true");
      plot.addEventListener("input", () => {
        // Of points at one position Plot takes the first; the keys must not go back to it.
        if (plot.value && isPointed) select(chart.points.indexOf(plot.value));
      });
      box.replaceChildren(plot);
    }
    box.addEventListener("pointermove", (event) => { isPointed = event.isTrusted; }, true);
    // A press of the button would keep the tooltip of one point open.
    box.addEventListener("pointerdown", (event) => event.stopPropagation(), true);
    box.addEventListener("click", () => plot.value && open(plot.value));
    box.addEventListener("blur", () => plot.dispatchEvent(new PointerEvent("pointerleave", { pointerType: "mouse" })));
    box.addEventListener("keydown", (event) => {
      const last = chart.points.length - 1;
      const targets = { ArrowRight: current + 1, ArrowUp: current + 1, ArrowLeft: current - 1, ArrowDown: current - 1, Home: 0, End: last };
      if (event.key === "Enter") open(chart.points[current]);
      else if (event.key in targets) point(Math.max(0, Math.min(last, targets[event.key])));
      else return;
      event.preventDefault();
    });
    box.setAttribute("aria-valuemin", "0");
    box.setAttribute("aria-valuemax", String(chart.points.length - 1));
    select(0);
    box.hidden = false;
    box.parentElement.classList.add("drawn");
    draw(box.clientWidth);
    new ResizeObserver(() => {
      if (box.clientWidth && box.clientWidth !== drawnWidth) draw(box.clientWidth);
    }).observe(box);
  }
  for (const box of document.querySelectorAll("[data-chart]")) {
    const figures = charts[box.dataset.chart];
    show(box, box.dataset.chart === "impact" ? impactChart(figures) : timeChart(figures));
  }
})();
