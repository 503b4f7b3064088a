// What is drawn: figures as text, and SVG. Nothing here knows the tracker; names from outside only
// ever become text nodes.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, className, text) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

export function shape(name, attributes, text) {
  const e = document.createElementNS(SVG, name);
  for (const key in attributes) e.setAttribute(key, attributes[key]);
  if (text !== undefined) e.textContent = text;
  return e;
}

// --- figures ---

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

// [number, unit]: 3 digits at least, in steps of 1,000.
export function bytesParts(n) {
  let unit = 0;
  while (n >= 999.5 && unit < UNITS.length - 1) { n /= 1000; unit++; }
  const digits = unit === 0 || n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2;
  return [n.toFixed(digits), UNITS[unit]];
}

export function bytes(n) {
  return bytesParts(n).join("\u00a0");
}

export function count(n) {
  return Math.round(n).toLocaleString("en-US");
}

export function ago(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 2) return "now";
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  if (s < 86400) return Math.floor(s / 3600) + " h";
  return Math.floor(s / 86400) + " d";
}

export function took(ms) {
  return ms < 1000 ? ms + " ms" : (ms / 1000).toFixed(ms < 10000 ? 1 : 0) + " s";
}

// --- from the registry to the racks to the users ---

// A band between two places, of one thickness.
function ribbon(kind, x0, y0, x1, y1, h) {
  const mid = (x0 + x1) / 2, up = y => y - h / 2, down = y => y + h / 2;
  return shape("path", {class: "ribbon " + kind, d: `M${x0} ${up(y0)}C${mid} ${up(y0)} ${mid} ${up(y1)} ${x1} ${up(y1)}` +
    `V${down(y1)}C${mid} ${down(y1)} ${mid} ${down(y0)} ${x0} ${down(y0)}Z`});
}

// What runs along it, while something does.
function lanes(kind, x0, y0, x1, y1, h, seed) {
  const n = Math.max(1, Math.min(3, Math.floor(h / 11))), mid = (x0 + x1) / 2;
  return Array.from({length: n}, (_, i) => {
    const off = n === 1 ? 0 : h * ((i + .5) / n - .5);
    const lane = shape("path", {class: "lane " + kind,
      d: `M${x0} ${y0 + off}C${mid} ${y0 + off} ${mid} ${y1 + off} ${x1} ${y1 + off}`});
    lane.style.animationDelay = -((seed * 5 + i * 3) % 11) / 10 + "s";
    return lane;
  });
}

function registryGlyph(x, y) {
  const g = shape("g", {});
  g.append(shape("circle", {class: "post", cx: x, cy: y, r: 26}));
  for (const dy of [-8, 0, 8])
    g.append(shape("rect", {class: "glyph", x: x - 10, y: y + dy - 2.6, width: 20, height: 5.2, rx: 1.6}));
  return g;
}

function rackGlyph(x, y, r) {
  const g = shape("g", {});
  g.append(shape("rect", {class: "post", x: x - r, y: y - r, width: 2 * r, height: 2 * r, rx: 8}));
  for (const dx of [-.5, -.17, .17, .5])
    g.append(shape("rect", {class: "glyph filled", x: x + dx * r - 1.6, y: y - .5 * r, width: 3.2, height: r, rx: 1}));
  return g;
}

function userGlyph(x, y, r) {
  const g = shape("g", {}), s = r / 22;
  g.append(shape("circle", {class: "post", cx: x, cy: y, r}));
  g.append(shape("circle", {class: "glyph", cx: x, cy: y - 4.5 * s, r: 4.6 * s}));
  g.append(shape("path", {class: "glyph", d: `M${x - 8.5 * s} ${y + 10 * s}c0 ${-11 * s} ${17 * s} ${-11 * s} ${17 * s} 0`}));
  return g;
}

function caption(svg, x, y, anchor, strong, quiet) {
  svg.append(shape("text", {class: "strong", x, y, "text-anchor": anchor}, strong));
  svg.append(shape("text", {x, y: y + 17, "text-anchor": anchor}, quiet));
}

// `moving`: what runs now. All bands have one scale.
export function flow(figure, totals, moving) {
  const width = Math.max(290, figure.clientWidth), narrow = width < 520, height = narrow ? 236 : 262;
  const r = narrow ? 19 : 22, y = height / 2 - 22, apart = narrow ? 62 : 70;
  const left = 28, right = width - r - 2, middle = Math.round(width * (narrow ? .47 : .5));
  const most = Math.max(totals.served, totals.wan + totals.served / 20, 1), room = 3 * (2 * r - 8);
  const wide = n => n > 0 ? Math.max(2.5, room * n / most) : 1.2;
  const svg = shape("svg", {viewBox: `0 0 ${width} ${height}`, height, role: "img"});
  svg.append(shape("title", {}, `${bytes(totals.wan)} from the registry, ${bytes(totals.served)} to users`));
  const group = kind => { const g = shape("g", {class: moving[kind] ? "busy" : ""}); svg.append(g); return g; };
  const wan = wide(totals.wan), near = wide(totals.served) / 3, peer = Math.min(r, wide(totals.peers) / 2);

  const far = group("wan"), out = group("near");
  far.append(ribbon("wan", left + 20, y, middle - r + 4, y, wan), ...lanes("wan", left + 30, y, middle - r, y, wan, 1));
  if (totals.peers > 0)
    for (const side of [-1, 1])
      far.append(shape("rect", {class: "ribbon peer", x: middle - peer / 2, y: y + (side < 0 ? -apart : 0), width: peer, height: apart}));
  for (const i of [-1, 0, 1]) {
    const from = y + i * apart, to = y + i * apart * 1.08;
    out.append(ribbon("near", middle + r - 4, from, right - r + 4, to, near), ...lanes("near", middle + r + 4, from, right - r, to, near, i + 2));
    svg.append(rackGlyph(middle, from, r), userGlyph(right, to, r));
  }
  svg.append(registryGlyph(left, y));
  const over = (a, b, half, text) => svg.append(
    shape("text", {class: "strong", x: (a + b) / 2, y: y - half / 2 - 9, "text-anchor": "middle"}, text));
  over(left + 26, middle - r, wan, bytes(totals.wan));
  svg.append(shape("text", {class: "strong inside", x: (middle + right) / 2, y: y + 5, "text-anchor": "middle"}, bytes(totals.served)));
  caption(svg, 0, y + 50, "start", "Registry", "far away");
  const base = height - 20;
  caption(svg, middle, base, "middle", "Racks", totals.peers > 0 ? bytes(totals.peers) + " between them" : "keep a copy");
  caption(svg, width, base, "end", "Users", narrow ? "near" : "served nearby");
  figure.replaceChildren(svg);
}

// --- over time ---

function frame(figure, label, minutes) {
  const width = Math.max(260, figure.clientWidth), height = 150, floor = height - 20;
  const svg = shape("svg", {viewBox: `0 0 ${width} ${height}`, height});
  for (const part of [0, .5, 1]) {
    const y = Math.round(floor - part * (floor - 18)) + .5;
    svg.append(shape("line", {class: "grid", x1: 0, x2: width, y1: y, y2: y}));
  }
  svg.append(shape("text", {x: 0, y: 12}, label));
  svg.append(shape("text", {x: 0, y: height - 4}, `${minutes} min ago`));
  svg.append(shape("text", {x: width, y: height - 4, "text-anchor": "end"}, "now"));
  figure.replaceChildren(svg);
  return {svg, width, floor, room: floor - 18};
}

// A figure that is good for the top of a scale.
export function ceiling(n) {
  if (n <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find(m => m * power >= n * .999) * power;
}

// `layers`: [{class, values}], one upon the other, bars of equal width; `top` the scale's.
export function bars(figure, layers, top, label, minutes) {
  const f = frame(figure, label, minutes), n = layers.length ? layers[0].values.length : 0;
  const step = f.width / Math.max(1, n), gap = step > 4 ? 1 : 0, under = new Array(n).fill(0);
  for (const layer of layers) {
    let d = "";
    for (let i = 0; i < n; i++) {
      if (!layer.values[i]) continue;
      const from = under[i] / top * f.room, h = Math.max(.8, layer.values[i] / top * f.room);
      d += `M${(i * step).toFixed(2)} ${(f.floor - from).toFixed(2)}v${(-h).toFixed(2)}` +
        `h${(step - gap).toFixed(2)}v${h.toFixed(2)}z`;
      under[i] += layer.values[i];
    }
    if (d) f.svg.append(shape("path", {class: layer.class, d}));
  }
}
