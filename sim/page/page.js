/* The page of one run: it reads the data that stands above it and draws; nothing is fetched.
 *
 * data: { version, again, end_s, bound_s, summary, offices: [[nodes, 0, name]],
 *   states: [[t, node, state]]                             0 down, 1 up, 2 paused, 3 cut off
 *   fetches: [[from, to, node, source, bytes, worked]]     source -1: the registry
 *   gained: [[t, node, bytes so far]], layers: [[t, took, source]], pulls: [[t, took]]
 *   trackers, regions: members behind the nodes: of each tracker one for each region
 *   series: [name], seconds: [[t, value of each series]]
 *   faults: [[from, to, kind]], log: [[t, t, text]], notes: [[0, 0, text]] }; times in seconds */
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = id => document.getElementById(id);
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let ink = {};
  const readInk = () => {
    for (const k of ["paper", "card", "ink", "quiet", "line", "store", "peer", "wan", "bad", "warn", "fill"])
      ink[k] = css("--" + k);
  };
  readInk();

  const s = data.summary, end = Math.max(data.end_s, 1e-9);
  let now = end;

  /* --- numbers for people ------------------------------------------------------------------- */
  const has = v => v !== null && v !== undefined;
  const digits = v => Math.abs(v) >= 100 ? 0 : Math.abs(v) >= 10 ? 1 : 2;
  const num = v => Number(v).toLocaleString("en", { maximumFractionDigits: digits(v) });
  const scaled = (v, units, base) => {
    let i = 0;
    while (Math.abs(v) >= base && i < units.length - 1) { v /= base; i++; }
    return num(v) + " " + units[i];
  };
  const bytes = v => scaled(v, ["B", "kB", "MB", "GB", "TB"], 1000);
  const rate = v => bytes(v) + "/s";
  const seconds = v => v >= 7200 ? num(v / 3600) + " h" : v >= 120 ? num(v / 60) + " min" : num(v) + " s";
  const percent = v => num(v * 100) + " %";
  const clock = t => {
    if (end < 600) return t.toFixed(1) + " s";
    const h = Math.floor(t / 3600), m = Math.floor(t / 60) % 60, sec = Math.floor(t % 60);
    const two = n => String(n).padStart(2, "0");
    return (h ? h + ":" : "") + two(m) + ":" + two(sec);
  };

  /* --- heading and tiles -------------------------------------------------------------------- */
  document.title = s.scenario + " · dray-sim";
  $("scenario").textContent = s.scenario;
  $("run").textContent = `${num(s.nodes)} nodes, seed ${s.seed}, ${seconds(s.virtual_s)} of virtual time`;
  const broken = s.invariants_broken;
  $("verdict").textContent = broken.length ? `Broken: ${broken.join(", ")}` : "Every invariant held.";
  $("verdict").className = broken.length ? "broken" : "good";
  const tiles = [
    ["makespan ÷ bound", s.makespan_ratio, num],
    ["last one done", s.makespan_s, seconds],
    ["copies from the registry", s.origin_copies, num],
    ["copies over each office's line", s.office_copies, num],
    ["served from a store", s.hit_ratio, percent],
    ["misses filled by peers", s.peer_hit_ratio, percent],
    ["served by the user's own office, warm", s.own_office_ratio, percent],
    ["round trips estimated within, median", s.rtt_error_p50, percent],
    ["crash known, p50", s.detect_p50_ms, v => seconds(v / 1000)],
    ["crash known, p99", s.detect_p99_ms, v => seconds(v / 1000)],
    ["new layer known, p50", s.converge_p50_ms, v => seconds(v / 1000)],
    ["new layer known, p99", s.converge_p99_ms, v => seconds(v / 1000)],
    ["taken for dead, wrongly", s.false_dead, num],
    ["mesh, per node", s.mesh_bytes_per_node_s, rate],
  ];
  for (const [label, value, format] of tiles) {
    if (!has(value)) continue;
    const tile = document.createElement("div");
    tile.className = "tile";
    const b = document.createElement("b"), span = document.createElement("span");
    b.textContent = format(value);
    span.textContent = label;
    tile.append(b, span);
    $("tiles").append(tile);
  }
  $("footer").textContent =
    `dray-sim ${data.version || ""} · ${num(s.events)} events in ${seconds(s.wall_s)} ` +
    `(${num(s.events_per_s)} a second) · state hash ${s.state_hash} · ` +
    `again: ${data.again}`;

  /* --- canvases ----------------------------------------------------------------------------- */
  const sheet = canvas => {
    const scale = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(box.width * scale));
    canvas.height = Math.max(1, Math.round(box.height * scale));
    const c = canvas.getContext("2d");
    c.setTransform(scale, 0, 0, scale, 0, 0);
    c.clearRect(0, 0, box.width, box.height);
    c.font = "12px system-ui, sans-serif";
    return { c, w: box.width, h: box.height };
  };

  /* Where each node stands: offices as discs around the registry's roof, racks as their nodes. */
  const GOLDEN = Math.PI * (3 - Math.sqrt(5));
  let total = 0;
  const members = data.offices.map(o => Array.from({ length: o[0] }, () => total++));
  const place = (w, h) => {
    const k = members.length, columns = Math.ceil(Math.sqrt(k * Math.max(1, w / (h - 90))));
    const rows = Math.ceil(k / columns), cw = w / columns, ch = (h - 80) / rows;
    const spots = new Array(total), discs = [];
    members.forEach((list, o) => {
      const row = Math.floor(o / columns), inRow = Math.min(columns, k - row * columns);
      const x = w / 2 + ((o % columns) - (inRow - 1) / 2) * cw, y = 76 + row * ch + ch / 2;
      const radius = Math.min(cw, ch - 18) / 2 - 8;
      discs.push({ x, y, radius });
      list.forEach((node, j) => {
        const r = radius * 0.94 * Math.sqrt((j + 0.5) / list.length), a = j * GOLDEN;
        spots[node] = { x: x + r * Math.cos(a), y: y + r * Math.sin(a) };
      });
    });
    const dot = Math.max(1.2, Math.min(7, discs[0].radius / Math.sqrt(Math.max(...members.map(m => m.length), 1)) * 0.62));
    return { spots, discs, dot, registry: { x: w / 2, y: 30 } };
  };

  /* Events in order of time, each with a pointer that follows the slider. */
  const byTime = list => list.slice().sort((a, b) => a[0] - b[0]);
  const states = byTime(data.states), gained = byTime(data.gained), fetches = byTime(data.fetches);
  const most = gained.reduce((m, g) => Math.max(m, g[2]), 0);
  const longest = fetches.reduce((m, f) => Math.max(m, f[1] - f[0]), 0);
  const first = (list, t) => { /* index of the first entry later than t */
    let lo = 0, hi = list.length;
    while (lo < hi) { const mid = (lo + hi) >> 1; if (list[mid][0] <= t) lo = mid + 1; else hi = mid; }
    return lo;
  };
  const at = (list, t, start) => {
    const value = new Array(total + data.trackers * data.regions).fill(start);
    for (let i = 0, n = first(list, t); i < n; i++) value[list[i][1]] = list[i][2];
    return value;
  };
  const running = t => {
    const out = [];
    for (let i = first(fetches, t) - 1; i >= 0 && fetches[i][0] >= t - longest; i--)
      if (fetches[i][1] > t) out.push(fetches[i]);
    return out;
  };

  const drawRegion = () => {
    const { c, w, h } = sheet($("region")), map = place(w, h);
    const state = at(states, now, 1), live = running(now);
    const share = at(gained, now, 0).map(v => most ? v / most : 0);
    c.textAlign = "center";
    map.discs.forEach((d, o) => {
      c.beginPath();
      c.arc(d.x, d.y, d.radius + 5, 0, 7);
      c.fillStyle = ink.paper; c.fill();
      c.strokeStyle = ink.line; c.stroke();
      c.fillStyle = ink.quiet;
      c.fillText(data.offices[o][2], d.x, d.y + d.radius + 20);
    });
    c.lineWidth = 1;
    const drawn = live.length > 1500 ? live.filter((f, i) => f[3] < 0 || i % Math.ceil(live.length / 1500) === 0) : live;
    c.globalAlpha = drawn.length > 400 ? 0.25 : 0.6;
    for (const f of drawn) {
      const to = map.spots[f[2]], from = f[3] < 0 ? map.registry : map.spots[f[3]];
      if (!to || !from) continue;
      c.beginPath();
      c.strokeStyle = f[3] < 0 ? ink.wan : ink.peer;
      c.lineWidth = f[3] < 0 ? 2 : 1;
      c.moveTo(from.x, from.y);
      c.quadraticCurveTo((from.x + to.x) / 2 + (to.y - from.y) * 0.12, (from.y + to.y) / 2 - (to.x - from.x) * 0.12, to.x, to.y);
      c.stroke();
    }
    c.globalAlpha = 1;
    const busy = new Set(live.map(f => f[2]));
    map.spots.forEach((p, i) => {
      c.beginPath();
      c.arc(p.x, p.y, map.dot, 0, 7);
      if (state[i] === 0) { c.fillStyle = ink.bad; c.globalAlpha = 0.8; }
      else if (state[i] === 2) { c.fillStyle = ink.warn; }
      else if (state[i] === 3) { c.fillStyle = ink.quiet; }
      else { c.fillStyle = share[i] > 0 ? ink.store : ink.line; c.globalAlpha = share[i] > 0 ? 0.35 + 0.65 * share[i] : 1; }
      c.fill();
      c.globalAlpha = 1;
      if (busy.has(i) && map.dot > 2) { c.strokeStyle = ink.peer; c.lineWidth = 1.2; c.stroke(); }
    });
    const r = map.registry;
    c.fillStyle = ink.card; c.strokeStyle = ink.wan; c.lineWidth = 2;
    c.beginPath(); c.roundRect(r.x - 46, r.y - 15, 92, 30, 8); c.fill(); c.stroke();
    c.fillStyle = ink.ink; c.fillText("registry", r.x, r.y + 4);
    for (let i = 0; i < data.trackers; i++) {
      const x = r.x + 66 + i * 92, is = state[total + i * data.regions];
      c.strokeStyle = is === 0 ? ink.bad : is === 2 ? ink.warn : ink.store;
      c.fillStyle = ink.card;
      c.beginPath(); c.roundRect(x, r.y - 12, 80, 24, 8); c.fill(); c.stroke();
      c.fillStyle = is === 1 ? ink.ink : ink.quiet;
      c.fillText(`tracker ${i + 1}`, x + 40, r.y + 4);
    }
    return { live, state };
  };
  const legend = (color, text, cls) => {
    const span = document.createElement("span"), i = document.createElement("i");
    i.style.background = `var(--${color})`;
    if (cls) i.className = cls;
    span.append(i, text);
    $("legend").append(span);
  };
  legend("line", "has fetched nothing");
  legend("store", "has fetched (paler: less than others)");
  legend("bad", "down");
  legend("warn", "paused");
  legend("quiet", "cut off");
  legend("peer", "from a peer", "link");
  legend("wan", "across the WAN", "link");

  /* --- plots -------------------------------------------------------------------------------- */
  const nice = v => {
    const p = Math.pow(10, Math.floor(Math.log10(v || 1))), m = v / p;
    return (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10) * p;
  };
  const frame = (p, xs, ys) => {
    const { c, w, h } = sheet(p.canvas), box = { l: 64, r: w - 12, t: 10, b: h - 24 };
    c.strokeStyle = ink.line; c.fillStyle = ink.quiet; c.lineWidth = 1;
    const stepY = nice((ys.max - ys.min) / 4 || 1);
    const px = x => box.l + (x - xs.min) / ((xs.max - xs.min) || 1) * (box.r - box.l);
    const py = y => box.b - (y - ys.min) / ((ys.max - ys.min) || 1) * (box.b - box.t);
    c.textAlign = "right";
    for (let y = Math.ceil(ys.min / stepY) * stepY; y <= ys.max + stepY / 1e6; y += stepY) {
      c.beginPath(); c.moveTo(box.l, py(y)); c.lineTo(box.r, py(y)); c.stroke();
      c.fillText(p.formatY(y), box.l - 8, py(y) + 4);
    }
    c.textAlign = "center";
    const stepX = nice((xs.max - xs.min) / 5 || 1);
    for (let x = Math.ceil(xs.min / stepX) * stepX; x <= xs.max + stepX / 1e6; x += stepX)
      c.fillText(p.formatX(x), Math.min(px(x), box.r - 14), box.b + 17);
    return { c, box, px, py };
  };
  const plots = [];
  const addPlot = p => {
    const div = document.createElement("div"), h2 = document.createElement("h2"), hint = document.createElement("p");
    div.className = "plot";
    h2.textContent = p.title;
    p.canvas = document.createElement("canvas");
    for (const line of p.lines) {
      const i = document.createElement("i");
      i.style.background = `var(--${line.color})`;
      hint.append(i, line.label);
    }
    div.append(h2, hint, p.canvas);
    $("plots").append(div);
    plots.push(p);
  };
  const column = key => data.series.indexOf(key) + 1;
  const seriesPlot = (title, formatY, lines, opt = {}) => {
    const list = data.seconds;
    if (!list.length || !lines.some(l => list.some(row => row[column(l.key)] > 0))) return;
    addPlot({
      title, lines, formatY, formatX: clock,
      draw(p) {
        let max = opt.max || 0;
        for (const l of lines) for (const row of list) max = Math.max(max, row[column(l.key)]);
        const f = frame(p, { min: 0, max: end }, { min: 0, max: max * (opt.max ? 1 : 1.06) || 1 });
        for (const l of lines) {
          f.c.beginPath();
          f.c.strokeStyle = ink[l.color];
          f.c.lineWidth = 1.8;
          for (const row of list) f.c.lineTo(f.px(Math.min(row[0], end)), f.py(row[column(l.key)]));
          f.c.stroke();
        }
        f.c.strokeStyle = ink.ink; f.c.globalAlpha = 0.5; f.c.lineWidth = 1;
        f.c.beginPath(); f.c.moveTo(f.px(now), f.box.t); f.c.lineTo(f.px(now), f.box.b); f.c.stroke();
        f.c.globalAlpha = 1;
      },
    });
  };
  /* Shares of a list of times that are done by then, a curve for each; with the bound, if any. */
  const donePlot = (title, curves, bound) => {
    curves = curves.filter(c => c.list.length);
    if (!curves.length) return;
    const lines = curves.map(c => ({ ...c, list: c.list.slice().sort((a, b) => a - b) }));
    if (bound) lines.push({ label: "the bound", color: "bad", list: [] });
    const longest = Math.max(bound || 0, ...lines.map(l => l.list.length ? l.list[l.list.length - 1] : 0));
    addPlot({
      title, lines, formatY: percent, formatX: seconds,
      draw(p) {
        const f = frame(p, { min: 0, max: longest * 1.03 || 1 }, { min: 0, max: 1 });
        for (const l of lines) {
          f.c.beginPath();
          f.c.strokeStyle = ink[l.color];
          f.c.lineWidth = 2;
          f.c.moveTo(f.px(0), f.py(0));
          l.list.forEach((v, i) => f.c.lineTo(f.px(v), f.py((i + 1) / l.list.length)));
          f.c.stroke();
        }
        if (!bound) return;
        f.c.setLineDash([5, 4]); f.c.strokeStyle = ink.bad; f.c.beginPath();
        f.c.moveTo(f.px(bound), f.box.t); f.c.lineTo(f.px(bound), f.box.b); f.c.stroke(); f.c.setLineDash([]);
      },
    });
  };
  const layersFrom = k => data.layers.filter(l => l[2] === k).map(l => l[1]);
  donePlot("How long a pull took: share that was done by then",
    [{ label: "pulls", color: "ink", list: data.pulls.map(p => p[1]) }], data.bound_s);
  donePlot("How long a missing layer took", [
    { label: "from peers", color: "peer", list: layersFrom(1) },
    { label: "from the registry", color: "wan", list: layersFrom(2) }]);
  seriesPlot("Bytes that nodes fetch", rate, [
    { key: "peer_bps", label: "from peers", color: "peer" },
    { key: "wan_bps", label: "from the registry", color: "wan" }]);
  seriesPlot("Answered without the registry, so far", percent, [
    { key: "hit_ratio", label: "requests, from the store", color: "store" },
    { key: "peer_ratio", label: "fetched bytes, from peers", color: "peer" }], { max: 1 });
  seriesPlot("Layers that users got from a node of their own office, so far", percent, [
    { key: "own_ratio", label: "of all that came by a tracker's redirect", color: "store" }], { max: 1 });
  seriesPlot("Mesh traffic, sent per node", rate, [{ key: "mesh_bps", label: "mean", color: "peer" }]);
  seriesPlot("Membership: how many each node believes alive", num, [
    { key: "up", label: "are up", color: "ink" },
    { key: "alive_least", label: "least", color: "warn" }, { key: "alive_most", label: "most", color: "bad" },
    { key: "alive_mean", label: "mean", color: "store" }]);

  /* --- faults, log, the moment -------------------------------------------------------------- */
  const drawLane = () => {
    const { c, w, h } = sheet($("lane"));
    const px = t => t / end * (w - 2) + 1;
    c.fillStyle = ink.paper; c.fillRect(0, 8, w, 22);
    for (const [from, to, kind] of data.faults) {
      c.fillStyle = /pause|slow|lossy|clog|weather|clock/.test(kind) ? ink.warn
        : /partition|cut|hears|heard/.test(kind) ? ink.quiet : /registry/.test(kind) ? ink.wan : ink.bad;
      c.globalAlpha = 0.75;
      c.fillRect(px(from), 8, Math.max(2, px(Math.min(to, end)) - px(from)), 22);
    }
    c.globalAlpha = 1;
    c.fillStyle = ink.quiet; c.textAlign = "left";
    c.fillText(data.faults.length ? "faults" : "no faults in this run", 2, 44);
    c.fillStyle = ink.ink; c.fillRect(px(now) - 1, 4, 2, 30);
  };
  const log = byTime(data.log);
  const items = log.map(([t, , text]) => {
    const li = document.createElement("li"), time = document.createElement("time");
    time.textContent = clock(t);
    li.append(time, text);
    li.onclick = () => seek(t);
    $("log").append(li);
    return li;
  });
  if (!items.length) $("log").textContent = "Nothing out of the ordinary.";
  const show = (label, value) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = label; dd.textContent = value;
    $("now").append(dt, dd);
  };
  const value = key => {
    const row = data.seconds[Math.max(0, first(data.seconds, now) - 1)];
    return row ? row[column(key)] : null;
  };
  const drawNow = ({ live, state }) => {
    $("now").replaceChildren();
    const count = k => state.filter((x, i) => x === k && i < total).length;
    show("nodes up", num(count(1)));
    for (const [k, label] of [[0, "down"], [2, "paused"], [3, "cut off"]]) if (count(k)) show(label, num(count(k)));
    show("transfers from peers", num(live.filter(f => f[3] >= 0).length));
    show("transfers from the registry", num(live.filter(f => f[3] < 0).length));
    for (const [key, label, format] of [["peer_bps", "between peers", rate], ["wan_bps", "across the WAN", rate],
      ["mesh_bps", "mesh, per node", rate], ["alive_mean", "believed alive, mean", num]])
      if (has(value(key))) show(label, format(value(key)));
    const past = first(log, now);
    items.forEach((li, i) => { li.className = i >= past ? "future" : i === past - 1 ? "latest" : ""; });
    if (past > 0 && !$("log").matches(":hover"))
      $("log").scrollTop = items[past - 1].offsetTop - $("log").offsetTop - 120;
  };

  const draw = () => {
    drawNow(drawRegion());
    drawLane();
    plots.forEach(p => p.draw(p));
    $("clock").textContent = clock(now);
    $("slider").value = Math.round(now / end * 1000);
  };
  let timer = 0, last = 0;
  const seek = t => { now = Math.min(end, Math.max(0, t)); draw(); };
  const stop = () => { cancelAnimationFrame(timer); timer = 0; $("play").textContent = "▶"; };
  const speeds = [1, 10, 60, 600].concat(Math.max(1, Math.round(end / 20))).sort((a, b) => a - b);
  for (const v of [...new Set(speeds)]) {
    const o = document.createElement("option");
    o.value = v; o.textContent = v + " ×";
    o.selected = v === Math.max(1, Math.round(end / 20));
    $("speed").append(o);
  }
  const step = wall => {
    seek(now + (wall - last) / 1000 * Number($("speed").value));
    last = wall;
    if (now >= end) stop(); else timer = requestAnimationFrame(step);
  };
  $("play").onclick = () => {
    if (timer) { stop(); return; }
    if (now >= end) now = 0;
    $("play").textContent = "❚❚";
    last = performance.now();
    timer = requestAnimationFrame(step);
  };
  $("slider").oninput = e => { stop(); seek(e.target.value / 1000 * end); };
  document.onkeydown = e => {
    if (e.target.tagName === "INPUT" || e.target.tagName === "SELECT") return;
    if (e.key === " ") { e.preventDefault(); $("play").click(); }
    if (e.key === "ArrowRight") seek(now + end / 100);
    if (e.key === "ArrowLeft") seek(now - end / 100);
  };
  for (const [, , note] of data.notes) {
    const p = document.createElement("p");
    p.textContent = note;
    $("notes").append(p);
  }
  window.onresize = draw;
  matchMedia("(prefers-color-scheme: dark)").onchange = () => { readInk(); draw(); };

  /* The page opens at its most telling moment: when most is on its way, else at the end. */
  let best = end, busiest = 0;
  for (let i = 0; i <= 200; i++) {
    const t = end * i / 200, n = running(t).length;
    if (n > busiest) { busiest = n; best = t; }
  }
  const wanted = new URLSearchParams(location.search).get("t");
  seek(wanted !== null ? Number(wanted) : best);
  document.documentElement.dataset.ready = "yes";
})();
