// The page of a tracker: asks /api/v1/overview again and again and shows what it says.
//
// Names come from nodes and from users: they are only ever set as text. The token, if one is needed,
// lives in sessionStorage and travels in Authorization alone.

import {ago, bars, bytes, bytesParts, ceiling, count, element, flow, shape, took} from "./draw.js";

const EVERY_MS = 1500, SLOWEST_MS = 12000, DENSE = 30, BUCKETS = 180, STUCK_MS = 600000, UNSEEN_MS = 10000, PULL_MS = 30000;
const $ = id => document.getElementById(id);
const place = "dray.token";

let seen = null;       // the document as it last came
let etag = "", offset = 0, wait = EVERY_MS, timer = 0, asking = false, heard = 0, lost = "";
let chosen = null;     // [region, name] in the inspector
const yards = new Map();

// --- asking ---

function schedule(ms) {
  clearTimeout(timer);
  timer = setTimeout(ask, ms);
}

async function ask() {
  if (asking || document.hidden) return;
  asking = true;
  const token = sessionStorage.getItem(place), headers = {};
  if (token) headers.Authorization = "Bearer " + token;
  if (etag) headers["If-None-Match"] = etag;
  const stop = new AbortController(), late = setTimeout(() => stop.abort(), 8000);
  try {
    const answer = await fetch("../api/v1/overview", {headers, cache: "no-store", signal: stop.signal});
    if (answer.status === 401) { gate(token !== null); return; }
    if (answer.status === 200) take(await answer.json(), answer.headers.get("ETag"));
    else if (answer.status !== 304) throw new Error("the tracker answers " + answer.status);
    heard = Date.now();
    lost = "";
    wait = EVERY_MS;
  } catch (e) {
    lost = e.name === "AbortError" ? "no answer" : e instanceof TypeError ? "not reachable" : e.message;
    wait = Math.min(SLOWEST_MS, wait * 1.6);
  } finally {
    clearTimeout(late);
    asking = false;
  }
  beat();
  schedule(wait);
}

function take(doc, tag) {
  seen = doc;
  etag = tag || "";
  offset = doc.now - Date.now();
  $("gate").hidden = true;
  $("page").hidden = false;
  show();
}

function gate(refused) {
  sessionStorage.removeItem(place);
  etag = "";
  asking = false;
  $("page").hidden = true;
  $("gate").hidden = false;
  $("refused").textContent = refused ? "The tracker does not know that token." : "";
  pill("", "locked");
  $("token").focus();
}

$("gate").addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem(place, $("token").value);
  $("token").value = "";
  ask();
});

// --- the frame ---

function pill(kind, text) {
  $("pill").className = "pill " + kind;
  $("pill").textContent = text;
}

const now = () => Date.now() + offset;

// What changes although nothing came.
function beat() {
  if (!seen) {
    if (lost) pill("lost", lost);
    return;
  }
  const old = Date.now() - heard;
  $("page").classList.toggle("stale", lost !== "" && old > 6000);
  if (lost) pill("lost", `${lost}, last heard ${ago(old)} ago`);
  else pill("live", "live");
  const down = seen.registry.state === "down";
  $("alarm").hidden = !down && seen.ready;
  $("alarm").textContent = down
    ? `The registry ${seen.registry.url} does not answer: ${seen.registry.error || "no connection"}.`
    : seen.ready ? "" : `The tracker is not ready: ${seen.why}.`;
  showPulls();
}

function show() {
  const host = seen.public_url.replace(/^https?:\/\//, "").replace(/\/$/, "");
  $("where").textContent = host;
  document.title = "Dray · " + host;
  const r = rates();
  showHero(r);
  showTiles(r);
  showRegions();
  showPlots(r);
  inspect();
  $("footer").textContent = `Tracker ${seen.name}, Dray ${seen.version}, before ${seen.registry.url}. ` +
    "Totals are the nodes' own, since each of them started.";
  document.body.dataset.ready = "yes";
}

// --- sums ---

// By bucket, the oldest first, and what runs lately.
function rates() {
  const last = Math.floor(now() / seen.bucket_ms), kinds = seen.redirects.length;
  const line = () => new Array(BUCKETS).fill(0);
  const r = {near: line(), wan: line(), strikes: 0, sent: seen.redirects.map(line), minute: 0};
  for (const [at, served, wan, strikes, sent] of seen.buckets) {
    const i = BUCKETS - 1 - (last - at);
    if (i < 0 || i >= BUCKETS) continue;
    r.near[i] = Math.max(0, served - wan);
    r.wan[i] = wan;
    r.strikes += strikes;
    for (let k = 0; k < kinds; k++) r.sent[k][i] = sent[k] || 0;
    if (last - at <= 12) r.minute += sent.reduce((a, b) => a + b, 0);
  }
  const lately = values => values.slice(-4).some(v => v > 0);
  r.moving = {near: lately(r.near) || lately(r.wan) || seen.totals.serving > 0, wan: lately(r.wan)};
  return r;
}

function rows(region) {
  const at = {};
  seen.columns.forEach((name, i) => { at[name] = i; });
  return region.members.map(m => {
    const one = {};
    for (const name in at) one[name] = m[at[name]];
    return one;
  });
}

const nodesOf = region => rows(region).filter(m => m.role === "node");

function health(m) {
  if (m.state === "dead") return ["bad", "dead"];
  if (m.state === "left") return ["off", "left"];
  if (m.state === "suspect") return ["warn", "doubted"];
  if (m.barred) return ["warn", "barred: it does not answer"];
  if (!m.fit) return ["warn", "not usable: its public host is the tracker's own"];
  return ["well", "well"];
}

// --- what stayed near ---

function showHero(r) {
  const t = seen.totals, [n, unit] = bytesParts(t.saved);
  $("saved").replaceChildren(n, " ", element("small", "", unit));
  const why = $("saved-why");
  if (t.served === 0) {
    why.textContent = "No layer has been delivered yet. The first pull crosses the long line; every other one is served from a rack.";
  } else {
    const share = t.wan > 0 ? t.served / t.wan : 0;
    why.replaceChildren("Users received ", element("b", "", bytes(t.served)), "; ",
      element("b", "", bytes(t.wan)), " came from the registry",
      share >= 1.05 ? `: each byte of it was delivered ${share >= 10 ? Math.round(share) : share.toFixed(1)} times.` : ".");
  }
  flow($("flow"), t, r.moving);
}

function tile(value, unit, label, kind) {
  const e = element("div", "tile " + (kind || "")), b = element("b", "", value);
  if (unit) b.append(" ", element("small", "", unit));
  e.append(b, element("span", "", label));
  return e;
}

function showTiles(r) {
  const nodes = seen.regions.flatMap(nodesOf).filter(m => m.state !== "left");
  const well = nodes.filter(m => health(m)[0] === "well").length;
  const [held, unit] = bytesParts(seen.totals.held);
  const runs = Math.max(seen.totals.serving, seen.pulls.filter(isRunning).length);
  $("tiles").replaceChildren(
    tile(count(well), "of " + count(nodes.length), "racks are well", well < nodes.length ? "warn" : ""),
    tile(count(runs), "", runs === 1 ? "layer on its way" : "layers on their way"),
    tile(count(r.minute), "", "redirects a minute"),
    tile(held, unit, `held, in ${count(seen.totals.layers)} layers`),
    tile(count(r.strikes), "", "strikes in 15 minutes", r.strikes ? "warn" : ""),
    tile(...bytesParts(seen.streamed_bytes), "passed through here"));
}

// --- regions ---

const STATES = [["c-well", "well"], ["c-warn", "doubted or barred"], ["c-bad", "dead"], ["c-off", "left"]];

function showRegions() {
  if (!$("states").childElementCount)
    for (const [kind, text] of STATES) $("states").append(element("li", kind, text));
  const wanted = new Set(seen.regions.map(r => r.name));
  for (const [name, yard] of yards)
    if (!wanted.has(name)) { yard.root.remove(); yards.delete(name); }
  for (const region of seen.regions) showRegion(region);
  let none = $("no-regions");
  if (seen.regions.length === 0 && !none) {
    none = element("p", "empty", "No region is configured, so nobody is redirected: see `regions` in tracker.yaml.");
    none.id = "no-regions";
    $("regions").append(none);
  } else if (seen.regions.length && none) {
    none.remove();
  }
  const trackers = new Map();
  for (const m of seen.regions.flatMap(rows))
    if (m.role === "tracker") trackers.set(m.name, m);
  $("trackers").replaceChildren(...[...trackers.values()].map(m =>
    element("li", m.state === "alive" ? "" : "bad", `tracker ${m.name}: ${m.state}`)));
}

function makeYard(region) {
  const root = element("section", "region"), name = element("div", "name");
  const yard = {root, facts: element("p", "facts"), grid: element("div", "yard"), boxes: new Map()};
  name.append(element("h3", "", region.name), yard.facts);
  root.append(name, yard.grid);
  $("regions").append(root);
  yards.set(region.name, yard);
  return yard;
}

const RANK = {alive: 0, suspect: 0, dead: 0, left: 1};
const byName = new Intl.Collator("en", {numeric: true});

function showRegion(region) {
  const yard = yards.get(region.name) || makeYard(region), t = region.totals;
  const nodes = nodesOf(region).sort((a, b) => RANK[a.state] - RANK[b.state] || byName.compare(a.name, b.name));
  const well = nodes.filter(m => health(m)[0] === "well").length;
  yard.facts.replaceChildren(element("b", "", count(well)), ` of ${count(nodes.length)} racks well`);
  if (t.served > 0)
    yard.facts.append(" · ", element("b", "", bytes(t.saved)), ` of ${bytes(t.served)} stayed near`);
  if (t.held > 0) yard.facts.append(" · ", element("b", "", bytes(t.held)), " held");
  if (region.unshown) yard.facts.append(` · ${count(region.unshown)} more are not shown`);
  yard.grid.classList.toggle("dense", nodes.length > DENSE);
  const wanted = new Set(), order = [];
  for (const m of nodes) {
    const key = m.name + " " + m.address;
    if (wanted.has(key)) continue;
    wanted.add(key);
    const box = yard.boxes.get(key) || makeBox(yard, key);
    fillBox(box, m, region.name);
    order.push(box.root);
  }
  for (const [key, box] of yard.boxes)
    if (!wanted.has(key)) { box.root.remove(); yard.boxes.delete(key); }
  order.forEach((e, i) => { if (yard.grid.children[i] !== e) yard.grid.insertBefore(e, yard.grid.children[i] || null); });
}

function makeBox(yard, key) {
  const root = element("button", "box"), n = element("span", "n");
  root.type = "button";
  const box = {root, name: element("span"), tail: element("span"), runs: element("i"), detail: element("span", "d"), place: element("span", "d"),
    fill: shape("rect", {class: "fill", height: 5, width: 0}), text: ""};
  const gauge = shape("svg", {preserveAspectRatio: "none", viewBox: "0 0 100 5", "aria-hidden": "true"});
  gauge.append(shape("rect", {class: "floor", height: 5, width: 100}), box.fill);
  n.append(box.name, box.tail, box.runs);
  root.append(n, box.detail, box.place, gauge);
  root.addEventListener("click", () => { chosen = chosen && chosen.box === box ? null : {box}; inspect(); });
  yard.boxes.set(key, box);
  return box;
}

function fillBox(box, m, region) {
  const [kind, word] = health(m), full = m.capacity ? Math.min(1, m.held / m.capacity) : 0;
  const text = JSON.stringify([m, kind]);
  box.node = m;
  box.region = region;
  if (text === box.text) return;
  box.text = text;
  box.root.className = `box ${kind} f-${Math.min(4, Math.floor(full * 5))}` + (m.serving ? " serving" : "") +
    (chosen && chosen.box === box ? " chosen" : "");
  box.root.title = m.name;
  const cut = m.name.length > 12 ? Array.from(m.name).length - 6 : m.name.length; /* the end tells them apart */
  box.name.textContent = Array.from(m.name).slice(0, cut).join("");
  box.tail.textContent = Array.from(m.name).slice(cut).join("");
  box.runs.textContent = m.serving ? "▸ " + m.serving : "";
  if (kind !== "well") box.detail.textContent = word;
  else if (m.held === null) box.detail.textContent = count(m.layers) + " layers";
  else box.detail.replaceChildren(bytes(m.held), element("span", "more", ` in ${count(m.layers)} layers`));
  box.place.textContent = m.rack && m.rack !== m.name ? m.rack : m.address;
  box.fill.setAttribute("width", (full * 100).toFixed(1));
}

// --- one node ---

function inspect() {
  const panel = $("inspector"), box = chosen && chosen.box;
  for (const yard of yards.values())
    for (const b of yard.boxes.values()) b.root.classList.toggle("chosen", b === box);
  if (!box || !box.root.isConnected) { chosen = null; panel.hidden = true; return; }
  const m = box.node, list = [["state", health(m)[1]], ["region", box.region], ["rack", m.rack || "–"],
    ["address", m.address], ["users reach it at", m.url || "–"], ["load", m.load + " %"],
    ["layers on their way", count(m.serving)], ["layers held", count(m.layers)]];
  if (m.held !== null)
    list.push(["held", `${bytes(m.held)} of ${bytes(m.capacity)}`], ["served to users", bytes(m.served)],
      ["from the registry", bytes(m.wan)], ["from other racks", bytes(m.peers)]);
  $("inspector-name").textContent = m.name;
  $("inspector-list").replaceChildren(...list.flatMap(([k, v]) => [element("dt", "", k), element("dd", "", v)]));
  panel.hidden = false;
}

$("inspector-close").addEventListener("click", () => { chosen = null; inspect(); });
document.addEventListener("keydown", event => { if (event.key === "Escape") { chosen = null; inspect(); } });

// --- pulls ---

const isRunning = p => p.running > 0 && now() - p.heard < STUCK_MS;

const SOURCES = {store: "held there", peer: "from another rack", origin: "from the registry, once", stream: "from the registry"};

// [colour, word] of one layer's end; the worst of a pull's layers speaks for it.
function endOf(p) {
  if (isRunning(p)) return ["c-near", "running"];
  if (p.outcome === "failed") return ["c-bad", "failed"];
  if (p.outcome === "left") return ["c-warn", "client left"];
  if (p.outcome === "streamed") return ["c-wan", "through the tracker"];
  if (p.outcome === "began") return ["c-off", "not heard of again"];
  if (p.outcome === "sent") return ["c-off", now() - p.at > UNSEEN_MS ? "never came" : "on its way there"];
  return [p.source === "origin" || p.source === "stream" ? "c-wan" : "c-near", SOURCES[p.source] || "done"];
}
const WORST = ["c-near", "c-wan", "c-off", "c-warn", "c-bad"];

// Layers of one image for one user are one pull: newest first.
function together(pulls) {
  const open = new Map(), all = [];
  for (const p of pulls) {
    const streamed = p.outcome === "streamed";
    const key = JSON.stringify([p.user, p.prefix, streamed ? "" : p.node, p.region, p.repository, streamed]);
    let g = open.get(key);
    if (!g || g.first - p.at > PULL_MS) {
      g = {newest: p, streamed, first: p.at, last: p.heard, layers: 0, bytes: 0, running: 0, end: ["c-near", ""], words: new Map()};
      open.set(key, g);
      all.push(g);
    }
    const end = endOf(p);
    g.first = Math.min(g.first, p.at);
    g.last = Math.max(g.last, p.heard);
    g.layers++;
    g.bytes += p.bytes || 0;
    g.running += isRunning(p);
    g.words.set(end[1], (g.words.get(end[1]) || 0) + 1);
    if (!g.end[1] || WORST.indexOf(end[0]) > WORST.indexOf(g.end[0])) g.end = end;
  }
  return all.sort((a, b) => (b.running > 0) - (a.running > 0) || b.newest.at - a.newest.at);
}

function pullLine(g) {
  const p = g.newest, [kind, word] = g.end, e = element("li", g.running ? "running" : kind), way = element("p", "way");
  const from = element("span", "from"), to = element("span", "to");
  from.append(element("span", "user", p.user), p.prefix ? " in " + p.prefix : "");
  to.append(element("span", g.streamed ? "arrow far" : "arrow", g.streamed ? "⇢" : "→"),
    element("b", "", g.streamed ? "the registry" : p.node), g.streamed ? "" : ` ${p.region}`);
  way.append(from, " ", to);
  const layers = g.layers === 1 ? "1 layer" : `${g.layers} layers`;
  const what = element("p", "what", `${p.repository} · ${layers}${g.running ? "" : ", " + word} · ${p.reason}`);
  e.title = [...g.words].map(([text, n]) => `${n} × ${text}`).join("\n");
  const got = g.running ? `${g.running} running` : g.bytes ? `${bytes(g.bytes)} in ${took(g.last - g.first)}` : "";
  e.append(element("span", "dot"), way, element("span", "ago", ago(now() - p.at)), what, element("span", "got", got));
  return e;
}

function showPulls() {
  const pulls = together(seen.pulls), most = innerWidth < 900 ? 8 : 12;
  $("pulls-note").textContent = seen.pulls_unshown ? `${count(seen.pulls_unshown)} more were too many to show` : "users are hashes";
  if (pulls.length === 0) {
    const e = element("li", "");
    e.append(element("span", "dot"), element("p", "way", "Nobody has asked for a layer yet."),
      element("p", "what", `Try: docker pull ${$("where").textContent}/<an image>`));
    $("pulls").replaceChildren(e);
  } else {
    $("pulls").replaceChildren(...pulls.slice(0, most).map(pullLine));
  }
}

// --- over time ---

const REASONS = {"profile: this node": 0, "profile: its region": 1, "serves this network": 2, "nearest by measured distance": 3,
  "any node": 4, "tried now and then": 5, no_node: 9, struck: 10, no_answer: 11, too_long: 11};
const WORDS = {no_node: "no node is fit: streamed", no_answer: "no node answers: streamed", struck: "nodes failed this user: streamed", too_long: "streamed: a URL too long"};
const colour = (reason, i) => "c-" + (reason in REASONS ? REASONS[reason] : 6 + i % 3);

function showPlots(r) {
  const minutes = Math.round(BUCKETS * seen.bucket_ms / 60000), per = seen.bucket_ms / 1000;
  const most = Math.max(...r.near.map((v, i) => v + r.wan[i])), top = ceiling(most / per) * per;
  bars($("bytes"), [{class: "area-wan", values: r.wan}, {class: "area-near", values: r.near}], top,
    most ? bytes(top / per) + "/s" : "", minutes);
  if (!$("bytes-legend").childElementCount)
    $("bytes-legend").append(element("li", "c-near", "from racks"), element("li", "c-wan", "from the registry"));
  $("bytes-now").textContent = bytes((r.near.at(-2) + r.wan.at(-2)) / per) + "/s";

  const sums = r.near.map((_, i) => r.sent.reduce((a, values) => a + values[i], 0));
  const high = ceiling(Math.max(...sums) / per) * per;
  bars($("reasons"), r.sent.map((values, k) => ({class: "bar " + colour(seen.redirects[k][0], k), values})), high,
    Math.max(...sums) ? `${+(high / per).toPrecision(3)}/s` : "", minutes);
  const all = seen.redirects.reduce((a, x) => a + x[1], 0);
  $("reasons-now").textContent = all ? `${count(all)} since the tracker started` : "";
  $("reasons-legend").replaceChildren(...seen.redirects.map(([reason, n], k) => {
    const e = element("li", colour(reason, k));
    e.append(element("span", "", WORDS[reason] || reason), element("b", "", count(n)));
    return e;
  }));
}

// --- going on ---

addEventListener("resize", () => { if (seen) show(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) schedule(0); });
setInterval(beat, 1000);
ask();
