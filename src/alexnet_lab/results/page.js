"use strict";
// Curves, filters and games of plots/report.html. The page is readable without this file.
const { charts, changeable } = JSON.parse(document.getElementById("data").textContent);
const live = document.getElementById("live");
const say = (words) => { live.textContent = words; };

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}
function drawn(name, attributes = {}, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
const swatch = (colour) => element("i", { class: "swatch", style: `background:${colour}` });
const digits = (value) => value === null ? "–" : String(Number(value.toPrecision(4)));
const known = (rows, i) => rows.map((row) => row[i]).filter((value) => value !== null);
function middle(chart, rows, i) {  // the mean of seeds, the median of timed steps
  const values = known(rows, i).sort((a, b) => a - b), n = values.length;
  if (!n) return null;
  return chart.middle === "median" ? (values[(n - 1) >> 1] + values[n >> 1]) / 2 : values.reduce((a, b) => a + b) / n;
}

// --- one chart ---

function ticks(low, high, log) {
  if (log) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const digit of high / low > 1000 ? [1] : [1, 2, 5]) found.push(digit * 10 ** power);
    const inside = found.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
    if (inside.length > 1) return inside;
  }
  const rough = (high - low) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((s) => s >= rough);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high + 1e-9; n++) found.push(n * step);
  return found;
}

function draw(plot, chart, quantity, state) {
  const values = chart.values[quantity], variants = Object.keys(values), last = chart.x.length - 1;
  const width = Math.max(260, plot.clientWidth), height = 270;
  const names = width > 350;
  const right = names ? 12 + 7 * Math.max(...variants.map((name) => name.length)) + 6 : 12;
  const box = { left: 52, top: 10, right: width - right, bottom: height - 36 };
  const all = Object.values(values).flat(2).filter((value) => value !== null);
  let low = Math.min(...all), high = Math.max(...all);
  const log = chart.log.includes(quantity) && low > 0 && high > low;
  if (!log) { const room = 0.04 * (high - low || Math.abs(high) || 1); low -= room; high += room; }
  const scale = (value) => log ? Math.log(value) : value;
  const y = (value) => box.bottom - (box.bottom - box.top) * (scale(value) - scale(low)) / (scale(high) - scale(low));
  const x = (i) => last ? box.left + (box.right - box.left) * i / last : (box.left + box.right) / 2;
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true" });
  for (const tick of ticks(low, high, log)) {
    svg.append(drawn("line", { class: "grid", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }),
      drawn("text", { x: box.left - 6, y: y(tick) + 4, "text-anchor": "end" }, digits(tick)));
  }
  const every = chart.x.length / Math.max(2, Math.floor((box.right - box.left) / 40));
  const step = chart.axis === "epoch" ? [1, 2, 5, 10, 20, 50, 100, 200, 500].find((s) => s >= every) : 1;
  chart.x.forEach((value, i) => {
    if (value % step === 0)
      svg.append(drawn("text", { x: x(i), y: box.bottom + 16, "text-anchor": "middle" }, value));
  });
  svg.append(drawn("text", { x: (box.left + box.right) / 2, y: height - 4, "text-anchor": "middle" }, chart.axis));
  if (quantity === "test_accuracy" && chart.threshold > low && chart.threshold < high) {
    const at = y(chart.threshold);
    svg.append(drawn("line", { class: "rule", x1: box.left, x2: box.right, y1: at, y2: at }),
      drawn("text", { x: box.right, y: at - 4, "text-anchor": "end" }, `${chart.threshold} %`));
  }
  const path = (row) => row.map((value, i) => {
    if (value === null) return "";
    const started = i && row[i - 1] !== null;
    return (started ? chart.steps.includes(quantity) ? `H${x(i)}V` : `L${x(i)},` : `M${x(i)},`) + y(value);
  }).join("");
  const ends = [];
  for (const variant of variants) {
    const rows = values[variant], colour = chart.colours[variant];
    const group = drawn("g", { "data-variant": variant });
    if (state.only && state.only !== variant) group.setAttribute("class", "faded");
    const means = chart.x.map((_, i) => middle(chart, rows, i));
    if (state.seeds) {
      for (const row of rows) group.append(drawn("path", { class: "seed", d: path(row), stroke: colour }));
    } else if (rows.length > 1 && !chart.steps.includes(quantity)) {
      const whole = chart.x.map((_, i) => i).filter((i) => means[i] !== null);
      const edge = (pick, order) => order.map((i) =>
        `${x(i)},${y(pick(...known(rows, i)))}`);
      const around = [...edge(Math.max, whole), ...edge(Math.min, [...whole].reverse())];
      group.append(drawn("polygon", { class: "band", points: around.join(" "), fill: colour }));
    }
    group.append(drawn("path", { class: "line", d: path(means), stroke: colour }));
    if (last < 12) means.forEach((value, i) => {
      if (value !== null) group.append(drawn("circle", { cx: x(i), cy: y(value), r: 3, fill: colour }));
    });
    svg.append(group);
    const end = means.findLast((value) => value !== null);
    if (end !== undefined) ends.push({ variant, colour, own: y(end), at: y(end) });
  }
  if (names) {
    ends.sort((a, b) => a.at - b.at).forEach((end, i) => { if (i) end.at = Math.max(end.at, ends[i - 1].at + 14); });
    for (const [i, end] of ends.entries()) {
      const at = Math.min(end.at, box.bottom - 14 * (ends.length - 1 - i));
      const faded = state.only && state.only !== end.variant ? " faded" : "";
      svg.append(drawn("line", { class: faded, x1: box.right, x2: box.right + 9, y1: end.own, y2: at, stroke: end.colour }),
        drawn("circle", { class: faded, cx: box.right + 9, cy: at, r: 4, fill: end.colour }),
        drawn("text", { class: `name${faded}`, x: box.right + 16, y: at + 4 }, end.variant));
    }
  }
  const rule = (i, kind) => svg.append(drawn("line", { class: kind, x1: x(i), x2: x(i), y1: box.top, y2: box.bottom }));
  if (state.stop < last) rule(state.stop, "stop");
  if (state.at !== null) rule(state.at, "rule");
  plot.replaceChildren(svg);
  plot.place = (event) => {  // which x is nearest, and which variant there
    const frame = svg.getBoundingClientRect();
    const across = (event.clientX - frame.x) * width / frame.width, down = (event.clientY - frame.y) * height / frame.height;
    const i = last ? Math.min(last, Math.max(0, Math.round((across - box.left) / (box.right - box.left) * last))) : 0;
    const near = variants.map((variant) => [variant, middle(chart, values[variant], i)]).filter(([, value]) => value !== null)
      .map(([variant, value]) => [variant, Math.abs(y(value) - down)]).sort((a, b) => a[1] - b[1])[0];
    return [i, near && near[1] < (event.pointerType === "touch" ? 12 : 40) ? near[0] : null];
  };
}

// --- an exercise: charts that act together ---

function explore(box) {
  const chart = charts[box.dataset.exercise], last = chart.x.length - 1;
  const variants = Object.keys(chart.colours).filter((name) => name in chart.values[chart.first[0]]);
  const state = { only: null, seeds: false, at: null, stop: last };
  const redraws = [];
  const refresh = () => {
    for (const redraw of redraws) redraw();
    for (const button of chips) button.setAttribute("aria-pressed", String(button.dataset.variant === state.only));
    back.hidden = !state.only;
  };
  const isolate = (variant) => {
    state.only = state.only === variant ? null : variant;
    refresh();
    say(state.only ? `Only ${state.only} is shown, in all charts of this exercise. Press “Show all” or Escape to undo.`
      : "All variants are shown.");
  };
  const chips = variants.map((variant) => element("button", { type: "button", "aria-pressed": "false", "data-variant": variant,
    onclick: () => isolate(variant) }, swatch(chart.colours[variant]), variant));
  const back = element("button", { type: "button", class: "show-all", hidden: true, onclick: () => {
    const was = chips.find((chip) => chip.dataset.variant === state.only);
    isolate(null);
    was?.focus();
  } }, "Show all");
  const seeds = element("label", {}, element("input", { type: "checkbox", onchange: (event) => {
    state.seeds = event.target.checked; refresh();
  } }), ` Show each ${chart.each} instead of the band from lowest to highest`);
  const grid = element("div", { class: "charts" });
  for (const first of chart.first) grid.append(figure(first));
  box.append(element("div", { class: "variants", role: "group", "aria-label": "Show one variant alone" }, ...chips, back), grid, seeds);
  if (chart.axis === "epoch" && last && chart.values.test_accuracy && chart.ranks) box.append(stopAt());
  if (chart.draw) box.append(beTheText());
  box.addEventListener("keydown", (event) => { if (event.key === "Escape" && state.only) isolate(state.only); });

  function told(rows, i) {  // some seeds may have diverged by then
    const left = known(rows, i).length, some = left && left < rows.length ? ` (${left} of ${rows.length})` : "";
    return digits(middle(chart, rows, i)) + some;
  }

  function figure(first) {
    const select = element("select", { "aria-label": "Quantity" });
    for (const [name, label] of Object.entries(chart.labels))
      select.append(element("option", { value: name, selected: name === first }, label));
    const plot = element("div", { class: "plot", tabindex: "0", role: "slider", "aria-valuemin": 0, "aria-valuemax": last });
    const readout = element("p", { class: "readout" });
    const redraw = () => {
      draw(plot, chart, select.value, state);
      const i = state.at ?? state.stop, shown = variants.filter((name) => !state.only || name === state.only);
      readout.replaceChildren(element("span", {}, `${chart.axis.split(" (")[0]} ${chart.x[i]}:`), ...shown.flatMap((name) =>
        [" ", element("span", {}, swatch(chart.colours[name]), `${name} ${told(chart.values[select.value][name] ?? [], i)}`)]));
      plot.setAttribute("aria-label", `${chart.labels[select.value]} by ${chart.axis}`);
      plot.setAttribute("aria-valuenow", i);
      plot.setAttribute("aria-valuetext", readout.textContent);
    };
    const move = (i) => { if (i !== state.at) { state.at = i; for (const other of redraws) other(); } };
    // A tap has no move, and its leave says nothing. With a mouse, a redraw on its press would swallow the click.
    const touched = (event) => event.pointerType === "touch";
    plot.addEventListener("pointermove", (event) => move(plot.place(event)[0]));
    plot.addEventListener("pointerdown", (event) => { if (touched(event)) move(plot.place(event)[0]); });
    plot.addEventListener("pointerleave", (event) => { if (!touched(event)) move(null); });
    plot.addEventListener("click", (event) => { const [, variant] = plot.place(event); if (variant) isolate(variant); });
    plot.addEventListener("keydown", (event) => {
      const at = state.at ?? state.stop;
      const to = { ArrowLeft: Math.max(0, at - 1), ArrowRight: Math.min(last, at + 1), Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      move(to);
      say(readout.textContent);
    });
    select.addEventListener("change", redraw);
    redraws.push(redraw);
    new ResizeObserver(redraw).observe(plot);
    return element("figure", {}, select, plot, readout);
  }

  function ranked(values, list) {
    const order = Object.entries(values).filter(([, value]) => value !== null).sort((a, b) => b[1] - a[1]);
    const low = Math.min(...order.map(([, value]) => value)), high = Math.max(...order.map(([, value]) => value));
    list.replaceChildren(...order.map(([name, value]) => element("li", { "data-variant": name }, element("span", {}, name),
      element("span", { class: "bar", style: `background:${chart.colours[name]};width:${15 + 85 * (value - low) / (high - low || 1)}%` }),
      element("span", {}, value.toFixed(2)))));
    return order.map(([name]) => name);
  }

  function stopAt() {
    const list = element("ol", { class: "ranking" }), told = element("output");
    const slider = element("input", { type: "range", min: 0, max: last, value: last, "aria-label": "Stop at epoch" });
    const rank = () => {
      state.stop = Number(slider.value);
      const at = Object.fromEntries(variants.map((name) => [name, middle(chart, chart.values.test_accuracy[name], state.stop)]));
      told.textContent = chart.x[state.stop];
      slider.setAttribute("aria-valuetext", `epoch ${chart.x[state.stop]}`);
      return ranked(at, list);
    };
    slider.addEventListener("input", () => { state.at = null; rank(); refresh(); });
    slider.addEventListener("change", () => say(`After epoch ${told.textContent}: ${rank().join(", ")}.`));
    rank();
    return element("div", { class: "game stop-at" }, element("h4", {}, "Stop at epoch ", told), slider, list,
      element("small", {}, "Mean test accuracy (%) of all seeds after that epoch; the bars start at the lowest."));
  }

  function beTheText() {
    const { order, values, share } = chart.draw;
    const list = element("ol", { class: "ranking" }), told = element("p", { class: "told" });
    let times = 0, alike = 0;
    const button = element("button", { type: "button", onclick: () => {
      const run = Object.fromEntries(order.map((name) => [name, values[name][Math.floor(Math.random() * values[name].length)]]));
      const found = ranked(run, list), same = order.every((name, i) => !i || run[order[i - 1]] > run[name]);
      times++;
      alike += same;
      told.textContent = `${same ? "The text’s order." : `Another order than the text’s (${order.join(", ")}).`} ` +
        `So far ${alike} of ${times}; of all draws ${(100 * share).toFixed(1)} %.`;
      say(`${found.join(", ")}. ${told.textContent}`);
    } }, "Draw one run of each");
    return element("div", { class: "game be-the-text" }, element("h4", {}, "Be the course text"),
      element("p", {}, "It trained every variant once. Draw one of our seeds for each, and rank them."), button, list, told);
  }
  refresh();
}

// --- the wall of claims ---

function wall(tools) {
  const tiles = [...document.querySelectorAll(".wall .tile")], grid = document.querySelector(".wall");
  const chosen = { verdict: "", exercise: "", sort: "text" };
  const count = element("p", { class: "shown" });
  const apply = (announce = true) => {
    let shown = 0;
    for (const tile of tiles) {
      tile.hidden = ["verdict", "exercise"].some((key) => chosen[key] && tile.dataset[key] !== chosen[key]);
      shown += !tile.hidden;
    }
    const key = { text: (t) => tiles.indexOf(t), verdict: (t) => order.indexOf(t.dataset.verdict),
      off: (t) => -(t.dataset.off ?? -1) }[chosen.sort];
    grid.append(...[...tiles].sort((a, b) => key(a) - key(b)));
    count.textContent = `${shown} of ${tiles.length} claims`;
    if (announce) say(count.textContent);
  };
  const exercises = [...new Set(tiles.map((tile) => tile.dataset.exercise))];
  const order = [...document.querySelectorAll(".counts [data-verdict]")].map((item) => item.dataset.verdict);
  const select = (label, key, options) => {
    const made = element("select", { "data-choose": key, onchange: () => { chosen[key] = made.value; apply(); } });
    for (const [value, text] of options) made.append(element("option", { value }, text));
    return element("label", { class: key === "exercise" ? "" : "tells" }, `${label} `, made);
  };
  tools.append(
    select("Verdict", "verdict", [["", "all"], ...order.map((kind) => [kind, kind])]),
    select("Exercise", "exercise", [["", "all"], ...exercises.map((kind) => [kind, kind])]),
    select("Sort by", "sort", [["text", "place in the text"], ["verdict", "verdict"], ["off", "how far off"]]), count);
  for (const link of document.querySelectorAll("[data-filter]")) link.addEventListener("click", () => {
    chosen.exercise = tools.querySelector("[data-choose=exercise]").value = link.dataset.filter;
    chosen.verdict = tools.querySelector("[data-choose=verdict]").value = "";
    apply();
  });
  apply(false);
}

// --- what if ---

function copyable(code) {
  const button = element("button", { type: "button", onclick: async () => {
    let done = true;
    try { await navigator.clipboard.writeText(code.textContent); } catch {
      getSelection().selectAllChildren(code);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Selected";
    say(`${button.textContent}.`);
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } }, "Copy");
  code.after(" ", button);
}

function whatIf(box) {
  const option = (name) => element("option", { value: name }, name);
  const exercise = element("select", { id: "wi-exercise" }, ...Object.keys(changeable).map(option));
  const key = element("select", { id: "wi-key" }), value = element("input", { id: "wi-value", autocomplete: "off" });
  const code = element("code", { id: "wi-command" }), fault = element("p", { class: "soft", role: "alert" });
  const now = () => changeable[exercise.value][key.value];
  const write = () => {
    const given = value.value.trim(), is = now();
    const number = typeof is === "number" && given && !Number.isFinite(Number(given));
    const inside = given.slice(1, -1).split(",").map((part) => part.trim());
    const numbers = Array.isArray(is) && is.length && is.every((each) => typeof each === "number");
    const list = Array.isArray(is) && given && (!/^\[.*\]$/.test(given)
      || numbers && !inside.every((part) => part && Number.isFinite(Number(part))));
    const switched = typeof is === "boolean" && given && !/^(true|false)$/.test(given);
    fault.textContent = switched ? "Write true or false." : number ? "A number is expected here." : list ? "A list is expected, such as [0,1,2]."
      : /['"\n]/.test(given) ? "Leave out quotes." : "";
    code.textContent = fault.textContent ? "" : `dvc exp run -S '${exercise.value}.${key.value}=${
      given || JSON.stringify(is)}' compare@${exercise.value}`;
  };
  const keys = () => {
    const names = Object.keys(changeable[exercise.value]);
    key.replaceChildren(...names.map(option));
    key.value = names.find((name) => name === "train.lr") ?? names[0];
    fresh();
  };
  const fresh = () => { value.value = ""; value.placeholder = `now ${JSON.stringify(now())}`; write(); };
  exercise.addEventListener("change", keys);
  key.addEventListener("change", fresh);
  value.addEventListener("input", write);
  box.append(element("label", {}, "Exercise ", exercise), element("label", {}, "Parameter ", key),
    element("label", {}, "Value ", value), fault, code, element("p", {}, "Then ", element("code", {}, "dvc metrics diff"),
      " shows what moved, and ", element("code", {}, "make review BASE=HEAD"), " whether beyond chance."));
  copyable(code);
  keys();
}

for (const box of document.querySelectorAll(".explore")) explore(box);
for (const tools of document.querySelectorAll(".wall-tools")) wall(tools);
for (const code of document.querySelectorAll("code.copy")) copyable(code);
for (const box of document.querySelectorAll(".what-if-box")) whatIf(box);
for (const pictures of document.querySelectorAll("details.pictures")) pictures.open = false;
document.getElementById("class-mode").addEventListener("change", (event) => {
  document.body.classList.toggle("guessing", event.target.checked);
  for (const shown of document.querySelectorAll(".guess [open], .tile[open]")) shown.open = false;
  for (const made of document.querySelectorAll(".tells select")) {  // an order or a choice that tells
    made.selectedIndex = 0;
    made.dispatchEvent(new Event("change"));
  }
  say(event.target.checked ? "Answers and verdicts are hidden until you guess or turn a tile." : "Answers are shown.");
});
for (const link of document.querySelectorAll(".fold a")) link.addEventListener("click", () => { link.closest("details").open = false; });
