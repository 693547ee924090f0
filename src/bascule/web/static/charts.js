// Puts a plot with a cursor in the place of each chart that the server drew.
(() => {
  "use strict";
  if (typeof uPlot === "undefined") return;
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const live = new Set();

  const text = (value, unit) => {
    if (value === null || value === undefined) return "–";
    const shown = unit === "%" ? value * 100 : value;
    return `${Number(shown.toPrecision(4)).toLocaleString("en")}${unit ? ` ${unit}` : ""}`;
  };

  const moment = (seconds) => new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19);

  const two = (number) => String(number).padStart(2, "0");
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const times = (u, splits, at, space, step) => splits.map((seconds) => {
    const date = new Date(seconds * 1000);
    if (step >= 300 * 86400) return String(date.getUTCFullYear());
    if (step >= 86400) return `${date.getUTCDate()} ${months[date.getUTCMonth()]}`;
    const clock = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
    return step < 60 ? `${clock}:${two(date.getUTCSeconds())}` : clock;
  });

  const marks = (found) => ({
    hooks: {
      draw: [(u) => {
        const { ctx } = u;
        const { left, top, width, height } = u.bbox;
        const ratio = devicePixelRatio;
        ctx.save();
        ctx.font = `${11 * ratio}px system-ui`;
        ctx.setLineDash([4 * ratio, 3 * ratio]);
        ctx.lineWidth = ratio;
        // Words keep a rim of the ground's colour, so that a line behind them does not cross them out.
        const write = (words, x, y) => {
          ctx.save();
          ctx.setLineDash([]);
          ctx.lineWidth = 3 * ratio;
          ctx.strokeStyle = style("--surface");
          ctx.strokeText(words, x, y);
          ctx.fillText(words, x, y);
          ctx.restore();
        };
        const rows = [[], [], [], []];
        const heights = [];
        for (const mark of found) {
          const colour = style(mark.tone === "bad" ? "--bad" : mark.tone === "ok" ? "--ok" : "--muted");
          ctx.strokeStyle = ctx.fillStyle = colour;
          ctx.beginPath();
          if (mark.y !== null) {
            const y = u.valToPos(mark.y, "y", true);
            if (y < top || y > top + height) continue;
            ctx.moveTo(left, y);
            ctx.lineTo(left + width, y);
            const near = heights.filter((other) => Math.abs(other - y) < 14 * ratio).length;
            heights.push(y);
            ctx.textAlign = near ? "left" : "right";
            const at = near ? left + 4 * ratio : left + width - 4 * ratio;
            if (near < 2) write(mark.label, at, y < top + 14 * ratio ? y + 12 * ratio : y - 4 * ratio);
          } else {
            const x = u.valToPos(mark.x, "x", true);
            if (x < left || x > left + width) continue;
            const late = x > left + width * 0.7;
            ctx.moveTo(x, top);
            ctx.lineTo(x, top + height);
            ctx.textAlign = late ? "right" : "left";
            const wide = ctx.measureText(mark.label).width + 8 * ratio;
            const from = late ? x - wide : x;
            const row = rows.findIndex((taken) => taken.every(([a, b]) => from + wide <= a || b <= from));
            if (row >= 0) {
              rows[row].push([from, from + wide]);
              write(mark.label, x + (late ? -4 : 4) * ratio, top + (11 + 13 * row) * ratio);
            }
          }
          ctx.stroke();
        }
        ctx.restore();
      }],
    },
  });

  const build = (figure) => {
    const source = figure.querySelector('script[type="application/json"]');
    const frame = figure.querySelector(".frame");
    if (!source || !frame || frame.closest("details:not([open])")) return;
    const said = JSON.parse(source.textContent);
    if (said.x.length < 2) return;
    const data = [said.x];
    const series = [{}];
    const bands = [];
    const names = [];
    for (const one of said.series) {
      const colour = style(`--tone${one.tone}`);
      data.push(one.y);
      names.push([series.length, one]);
      series.push({ label: one.name, stroke: colour, width: 1.6, points: { show: said.x.length <= 40, size: 4, fill: colour, width: 0 } });
      if (one.low) {
        data.push(one.high, one.low);
        series.push({ stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } });
        bands.push({ series: [series.length - 2, series.length - 1], fill: `color-mix(in srgb, ${colour} 14%, transparent)` });
      }
    }
    const readout = document.createElement("div");
    readout.className = "readout";
    const say = (u) => {
      const at = u.cursor.idx;
      readout.replaceChildren();
      if (at === null || at === undefined) return;
      const when = document.createElement("span");
      when.textContent = said.time ? moment(said.x[at]) : text(said.x[at], "");
      readout.append(when);
      for (const [place, one] of names) {
        const item = document.createElement("span");
        item.className = `tone${one.tone}`;
        item.textContent = names.length > 1 ? `${one.name} ${text(data[place][at], said.unit)}` : text(data[place][at], said.unit);
        readout.append(item);
      }
    };
    const axis = { stroke: style("--muted"), font: "11px system-ui", grid: { stroke: style("--line"), width: 1 }, ticks: { show: false } };
    const holder = document.createElement("div");
    holder.className = "live";
    holder.setAttribute("role", "img");
    holder.setAttribute("aria-label", frame.querySelector("[role=img]").getAttribute("aria-label"));
    const options = {
      width: frame.clientWidth,
      height: frame.clientHeight + 8,
      padding: [9, 28, 0, 0],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { x: { time: said.time }, y: { range: [said.y[0], said.y[said.y.length - 1]] } },
      axes: [
        { ...axis, size: 24, gap: 4, grid: { show: false }, space: said.time ? 76 : 50, values: said.time ? times : undefined },
        { ...axis, size: 44, gap: 4, splits: () => said.y, values: () => said.shown },
      ],
      series,
      bands,
      legend: { show: false },
      cursor: { y: false, points: { size: 7 } },
      plugins: [marks(said.marks)],
      hooks: { setCursor: [say] },
    };
    frame.hidden = true;
    frame.after(holder, readout);
    const plot = new uPlot(options, data, holder);
    const entry = { figure, frame, holder, readout, plot, width: holder.clientWidth };
    live.add(entry);
  };

  const clear = (entry) => {
    entry.plot.destroy();
    entry.holder.remove();
    entry.readout.remove();
    entry.frame.hidden = false;
    live.delete(entry);
  };
  const all = (root) => {
    for (const figure of root.querySelectorAll("figure.chart")) {
      if (![...live].some((entry) => entry.figure === figure)) build(figure);
    }
  };
  const again = () => {
    for (const entry of [...live]) clear(entry);
    all(document);
  };

  document.addEventListener("DOMContentLoaded", () => all(document));
  // What is folded is drawn when it is opened.
  document.addEventListener("toggle", (event) => { if (event.target.open) all(event.target); }, true);
  document.addEventListener("htmx:after:swap", () => {
    for (const entry of [...live]) if (!document.contains(entry.figure)) clear(entry);
    all(document);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if ([...live].some((entry) => entry.holder.clientWidth !== entry.width)) again();
    }, 150);
  });
  addEventListener("beforeprint", () => { for (const entry of [...live]) clear(entry); });
  addEventListener("afterprint", again);
})();
