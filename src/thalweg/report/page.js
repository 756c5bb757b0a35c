// Sorts tables; where plotly.js is on the page, puts moving pictures in the place of still ones.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const color = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  // ------------------------------------------------------------------ tables
  const number = (text) => {
    const value = Number(text.replaceAll(",", ""));
    return text === "" || Number.isNaN(value) ? null : value;
  };
  const compare = (a, b) => {
    const [x, y] = [number(a), number(b)];
    if (x !== null && y !== null) return x - y;
    if (x !== null || y !== null) return x !== null ? -1 : 1; // numbers before words
    return a.localeCompare(b);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => compare(a.cells[column].textContent, b.cells[column].textContent));
        if (down) rows.reverse();
        table.tBodies[0].replaceChildren(...rows);
      });
    });
  }

  // ---------------------------------------------------------------- pictures
  if (typeof Plotly === "undefined") return;
  const config = { responsive: true, displayModeBar: false };
  const narrow = matchMedia("(max-width: 34rem)").matches;
  const hasWebGL = (() => {
    try {
      return document.createElement("canvas").getContext("webgl") !== null;
    } catch {
      return false;
    }
  })();
  const element = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const base = () => ({
    paper_bgcolor: color("paper"),
    plot_bgcolor: color("paper"),
    font: { color: color("ink"), size: 12 },
    margin: { l: 48, r: 8, t: 8, b: 44 },
    uirevision: "kept", // a turned view stays turned
    showlegend: false,
    hovermode: "closest",
  });
  const axis = (title) => ({
    title: { text: escaped(title), font: { size: narrow ? 10 : 13 } }, gridcolor: color("faint"), zerolinecolor: color("faint"),
    color: color("ink"),
  });
  // plotly.js reads a little HTML in its texts: names are text.
  const escaped = (text) =>
    String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const short = (value) => (value === null ? "not finite" : String(Number(value.toPrecision(4))));
  const ticks = (low, high) => {
    const found = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++) {
      for (const step of [1, 2, 5]) {
        const value = step * 10 ** p;
        if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
      }
    }
    return found.length ? found : [low, high];
  };

  function stringPicture(info) {
    const high = info.high > info.threshold ? info.high : info.threshold * 1.000001;
    const scale = (value) =>
      Math.log(Math.max(value, info.threshold) / info.threshold) / Math.log(high / info.threshold);
    const all = info.models;
    const low = [0, 1, 2].map((i) => Math.min(...all.map((m) => m[i])));
    const top = [0, 1, 2].map((i) => Math.max(...all.map((m) => m[i])));
    const widest = Math.max(...top.map((t, i) => t - low[i]));
    const margin = top.map((t, i) => 0.12 * Math.max(t - low[i], 0.15 * widest));
    const range = low.map((l, i) => [l - margin[i], top[i] + margin[i]]);
    const wall = range.map(([a, b]) => a + 0.01 * (b - a)); // not in the wall, where it flickers
    const away = narrow ? 1.45 : 1.1;
    const marks = ticks(info.threshold, high);
    const colorbar = () => ({
      title: { text: escaped(info.criterion), side: "right" }, thickness: 12, len: 0.8,
      tickvals: marks.map(scale), ticktext: marks.map(short), tickfont: { color: color("ink") },
    });

    const at = (step) => {
      const there = info.stretches
        .filter((s) => s.born <= step && (s.ended === null || step < s.ended))
        .sort((a, b) => a.left - b.left);
      return {
        points: there.flatMap((s) => s.points),
        values: there.flatMap((s) => s.values),
        models: all.filter((_, i) => info.born[i] <= step),
      };
    };
    const column = (points, i) => points.map((p) => p[i]);
    const traces = (step) => {
      const now = at(step);
      const colors = now.values.map((v) => (v === null ? 0 : scale(v)));
      const hover = now.values.map((v) => `${escaped(info.criterion)}: ${short(v)}`);
      const names = now.models.map((_, i) =>
        i === 0 ? "A" : i === now.models.length - 1 ? "B" : "");
      const labels = { text: names, textposition: "top center", hoverinfo: "skip",
        mode: "markers+text", textfont: { color: color("ink"), size: 15 } };
      const path = { text: hover, hoverinfo: "text" };
      if (!hasWebGL) {
        return [
          { type: "scatter", mode: "lines+markers", x: column(now.points, 0),
            y: column(now.points, 1), line: { color: color("straight") },
            marker: { color: colors, colorscale: info.colors, cmin: 0, cmax: 1, size: 7,
              colorbar: colorbar() }, ...path },
          { type: "scatter", x: column(now.models, 0), y: column(now.models, 1),
            marker: { color: color("ink"), size: 9 }, ...labels },
        ];
      }
      const shadow = [0, 1, 2].map((i) => ({
        type: "scatter3d", mode: "lines", hoverinfo: "skip",
        line: { color: color("straight"), width: 2 },
        ...Object.fromEntries(["x", "y", "z"].map((name, j) =>
          [name, now.points.map((p) => (j === i ? wall[i] : p[j]))])),
      }));
      return [
        { type: "scatter3d", mode: "lines", x: column(now.points, 0), y: column(now.points, 1),
          z: column(now.points, 2), ...path,
          line: { width: 7, color: colors, colorscale: info.colors, cmin: 0, cmax: 1,
            showscale: true, colorbar: colorbar() } },
        ...shadow,
        { type: "scatter3d", x: column(now.models, 0), y: column(now.models, 1),
          z: column(now.models, 2), marker: { color: color("ink"), size: 4 }, ...labels },
      ];
    };
    const layout = () => {
      const [x, y, z] = info.axes.map((name, i) =>
        ({ ...axis(name), range: range[i], showbackground: false, nticks: narrow ? 4 : 7,
          tickfont: { size: narrow ? 9 : 11 } }));
      if (!hasWebGL) return { ...base(), xaxis: x, yaxis: y };
      return { ...base(), margin: { l: 0, r: 0, t: 0, b: 0 },
        scene: { xaxis: x, yaxis: y, zaxis: z, aspectmode: "cube",
          camera: { eye: { x: 1.3 * away, y: 1.4 * away, z: 0.75 * away },
            center: { x: 0, y: 0, z: -0.12 } } } };
    };

    let step = info.steps;
    const draw = (holder) => Plotly.react(holder, traces(step), layout(), config);
    const controls = (holder) => {
      if (!info.steps) return null;
      const box = element("div", { className: "controls" });
      const slider = element("input", {
        type: "range", min: 0, max: info.steps, step: 1, value: step, id: "step" });
      const label = element("label", { htmlFor: "step", textContent: "Step" });
      const shown = element("output", { htmlFor: "step", textContent: info.names[step] });
      const play = element("button", { type: "button", textContent: "Play" });
      let timer = 0;
      const go = (to) => {
        step = to;
        slider.value = String(to);
        slider.setAttribute("aria-valuetext", info.names[to]);
        shown.textContent = info.names[to];
        draw(holder);
      };
      const stop = () => {
        clearInterval(timer);
        timer = 0;
        play.textContent = "Play";
      };
      slider.addEventListener("input", () => {
        stop();
        go(Number(slider.value));
      });
      play.addEventListener("click", () => {
        if (timer) return stop();
        go(step >= info.steps ? 0 : step + 1);
        play.textContent = "Pause";
        timer = setInterval(() => {
          go(step + 1);
          if (step >= info.steps) stop();
        }, 700);
      });
      box.append(label, slider, shown, play);
      return box;
    };
    return { draw, controls };
  }

  function planePicture(info) {
    const known = info.values.flat().filter((v) => v !== null);
    const low = Math.min(...known);
    const high = Math.max(...known);
    const logarithmic = low > 0 && high > 10 * low;
    const height = (v) => (v === null || !logarithmic ? v : Math.log10(v));
    const z = info.values.map((row) => row.map(height));
    const marks = ticks(low, high);
    let relief = false;
    const colorbar = () => ({
      title: { text: escaped(info.criterion), side: "right" }, thickness: 12, len: 0.9,
      tickfont: { color: color("ink") },
      ...(logarithmic ? { tickvals: marks.map(Math.log10), ticktext: marks.map(short) } : {}),
    });
    const traces = () => {
      const text = info.values.map((row) => row.map((v) => `${escaped(info.criterion)}: ${short(v)}`));
      const values = { x: info.x, y: info.y, z, text, hoverinfo: "x+y+text",
        colorscale: "Viridis", colorbar: colorbar() };
      if (relief) return [{ type: "surface", ...values }];
      const found = [{ type: "heatmap", ...values }];
      if (info.threshold !== null && info.threshold > low && info.threshold < high) {
        const level = height(info.threshold);
        found.push({ type: "contour", x: info.x, y: info.y, z, showscale: false,
          hoverinfo: "skip", line: { color: "#ff5a3c", width: 2.5 },
          contours: { coloring: "none", start: level, end: level, size: 1 } });
      }
      for (const line of info.lines) {
        found.push({ type: "scatter", mode: line.beads ? "lines+markers" : "lines",
          x: line.at.map((p) => p[0]), y: line.at.map((p) => p[1]), text: escaped(line.name),
          hoverinfo: "text+x+y", line: { color: "#ffffff", width: 2.5 },
          marker: { color: "#ffffff", size: 7, line: { color: "#000000", width: 1 } } });
      }
      found.push({ type: "scatter", mode: "markers+text", x: info.marks.map((m) => m.at[0]),
        y: info.marks.map((m) => m.at[1]), text: info.marks.map((m) => escaped(m.name)),
        textposition: "top center", textfont: { color: "#ffffff", size: 14 }, hoverinfo: "text+x+y",
        marker: { symbol: "star", size: 13, color: "#ffffff",
          line: { color: "#000000", width: 1 } } });
      return found;
    };
    const layout = () => {
      const [x, y] = info.names.map(axis);
      if (!relief) return { ...base(), xaxis: x, yaxis: y };
      const up = { ...axis(info.criterion),
        ...(logarithmic ? { tickvals: marks.map(Math.log10), ticktext: marks.map(short) } : {}) };
      return { ...base(), margin: { l: 0, r: 0, t: 0, b: 0 },
        scene: { xaxis: x, yaxis: y, zaxis: up, aspectratio: { x: 1, y: 1, z: 0.7 } } };
    };
    const draw = (holder) => Plotly.react(holder, traces(), layout(), config);
    const controls = (holder) => {
      if (!hasWebGL) return null;
      const box = element("div", { className: "controls" });
      const button = element("button", { type: "button", textContent: "Show in space" });
      button.addEventListener("click", () => {
        relief = !relief;
        button.textContent = relief ? "Show as a map" : "Show in space";
        Plotly.purge(holder);
        draw(holder);
      });
      box.append(button);
      return box;
    };
    return { draw, controls };
  }

  const makers = { string: stringPicture, plane: planePicture };
  const drawn = [];
  for (const holder of document.querySelectorAll(".plot[data-plot]")) {
    const name = holder.dataset.plot;
    if (!(name in data) || !(name in makers)) continue;
    const still = holder.parentElement.querySelector(".still");
    const show = makers[name](data[name]);
    holder.hidden = false;
    Promise.resolve(show.draw(holder)).then(
      () => {
        still.hidden = true;
        const controls = show.controls(holder);
        if (controls) holder.after(controls);
        holder.dataset.ready = "true";
        drawn.push(() => show.draw(holder));
      },
      (error) => {
        holder.hidden = true; // the still picture stays
        console.warn(error);
      },
    );
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const again of drawn) again();
  });
})();
