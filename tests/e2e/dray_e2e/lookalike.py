"""Stands in for a tracker before its page: the real files of tracker/ui/, and an overview that the
test makes up, of any size and with any names.
"""

import hashlib
import json
import os
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "tracker", "ui")
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
COLUMNS = ["name", "rack", "state", "role", "address", "load", "barred", "fit", "layers", "held",
           "capacity", "serving", "served", "wan", "peers", "url"]
REASONS = ["profile: this node", "profile: its region", "serves this network",
           "nearest by measured distance", "any node", "no_node", "struck"]
BUCKET_MS = 5000
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
          "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


def totals(served=0, wan=0, peers=0, held=0, capacity=0, layers=0, serving=0):
    return {"store": max(0, served - wan), "peer": 0, "origin": min(served, wan), "stream": 0,
            "served": served, "wan": wan, "peers": peers, "saved": max(0, served - wan),
            "held": held, "capacity": capacity, "layers": layers, "serving": serving}


def member(name, rack="", state="alive", role="node", serving=0, held=None, served=0, wan=0,
           peers=0, barred=0, layers=0):
    at = f"10.{sum(map(ord, name)) % 200}.{len(name)}.{hash(name) % 250}:5000"
    return [name, rack, state, role, at, 12, barred, int(state == "alive" and not barred), layers,
            held, None if held is None else 500 * 10**9, serving, served, wan, peers,
            f"https://{name}.example.net"]


def empty(regions=()):
    return {"now": 0, "version": "0.1.0", "name": "tracker-1", "ready": True, "why": "",
            "public_url": "https://dray.example.org",
            "registry": {"url": "https://registry.internal:5000", "state": "ok", "error": ""},
            "streamed_bytes": 0, "uploaded_bytes": 0, "through_bytes": 0, "strikes": 0,
            "redirects": [], "bucket_ms": BUCKET_MS, "buckets": [], "totals": totals(),
            "columns": COLUMNS, "pulls_unshown": 0, "pulls": [],
            "regions": [{"name": r, "totals": totals(), "members": [], "unshown": 0}
                        for r in regions]}


def add(a, b):
    return {k: a[k] + b[k] for k in a}


def busy(sizes, seed=1, dead=()):
    """Regions of so many nodes each, after a busy quarter of an hour."""
    r = random.Random(seed)
    doc = empty(sizes)
    for region in doc["regions"]:
        name = region["name"]
        for i in range(sizes[name]):
            held = r.randrange(20, 480) * 10**9
            served = r.randrange(1, 40) * 10**11
            m = member(f"{name.split('-')[0]}-rack-{i + 1}", f"floor {i // 12 + 1}",
                       serving=r.choice([0, 0, 0, 1, 4]), held=held, served=served,
                       wan=served // r.randrange(18, 60), peers=served // 9,
                       layers=held // 38000000)
            if m[0] in dead:
                m[2], m[7], m[11] = "dead", 0, 0
            region["members"].append(m)
            region["totals"] = add(region["totals"], totals(
                m[12], m[13], m[14], m[9], m[10], m[8], m[11]))
        region["members"].append(member("tracker-2", role="tracker"))
        doc["totals"] = add(doc["totals"], region["totals"])
    doc["streamed_bytes"] = 31 * 10**9
    doc["strikes"] = 3
    weights = [300, 2400, 700, 260, 40, 6, 2]
    doc["redirects"] = [[reason, w * 117] for reason, w in zip(REASONS, weights)]
    doc["shape"] = [(r.random(), [r.random() for _ in REASONS]) for _ in range(180)]
    doc["weights"] = weights
    everyone = [(g["name"], m) for g in doc["regions"] for m in g["members"] if m[3] == "node"]
    outcomes = ["done"] * 14 + ["began"] * 5 + ["left", "failed", "sent"]
    for i in range(30):
        region, m = r.choice(everyone)
        outcome = r.choice(outcomes)
        size = int(10 ** r.uniform(5.5, 9.2))
        pull = {"at": -i * r.randrange(700, 2400), "heard": 0, "user": f"{r.getrandbits(32):08x}",
                "prefix": f"10.{r.randrange(20, 60)}.{r.randrange(250)}.0/24", "node": m[0],
                "region": region, "repository": r.choice(
                    ["website/ui", "ml/train-cuda12", "team/platform/service-mesh-sidecar-proxy",
                     "library/debian", "data/spark"]),
                "reason": r.choices(REASONS[:5], weights[:5])[0],
                "times": r.choice([1, 1, 1, 4]),
                "running": int(outcome == "began"), "outcome": outcome, "size": size}
        source = r.choice(["store"] * 6 + ["peer", "origin"])
        for layer in range(r.choice([1, 3, 5, 8])):
            one = {**pull, "digest": f"sha256:{r.getrandbits(256):064x}", "at": pull["at"] - 40 * layer}
            if layer and outcome != "streamed":
                one.update(outcome="done", running=0)
            if one["outcome"] in ("done", "left", "failed"):
                one.update(bytes=size, ms=max(3, size // 90000), source=source,
                           heard=one["at"] + max(3, size // 90000))
            doc["pulls"].append(one)
    doc["pulls"] = doc["pulls"][:96]
    return doc


def at_now(doc):
    """The document as if everything in it had just happened."""
    now = int(time.time() * 1000)
    doc = {**doc, "now": now}
    doc["pulls"] = [{**p, "at": now + p["at"], "heard": now + p["heard"]} for p in doc["pulls"]]
    last = now // BUCKET_MS
    if "shape" in doc:
        shape, weights = doc.pop("shape"), doc.pop("weights")
        doc["buckets"] = [
            [last - 179 + i, int((3 + 2 * a) * 10**9), int((3 + 2 * a) * 10**9 / (12 + 20 * b[0])),
             int(i % 60 == 59), [int(w / 5 * (.6 + x)) for w, x in zip(weights, b)]]
            for i, (a, b) in enumerate(shape)]
    return doc


class Lookalike:
    """`doc`: what /api/v1/overview says; None: nothing comes. `token`: needed, if any."""

    def __init__(self, doc, token=None):
        self.doc, self.token = doc, token
        self.asked, self.same = [], 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status, kind, body, **more):
                self.send_response(status)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(body)),
                                    "Content-Security-Policy": POLICY, **more}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                outer.asked.append((self.path, self.headers.get("Authorization")))
                if self.path == "/api/v1/overview":
                    self.overview()
                    return
                name = self.path.removeprefix("/ui/") or "index.html"
                path = os.path.join(FILES, os.path.basename(name))
                if not os.path.exists(path):
                    self.answer(404, "text/plain", b"")
                    return
                with open(path, "rb") as f:
                    self.answer(200, TYPES[name.rsplit(".", 1)[-1]], f.read())

            def overview(self):
                if outer.token and self.headers.get("Authorization") != f"Bearer {outer.token}":
                    self.answer(401, "application/json", b"{}")
                elif outer.doc is None:
                    self.answer(503, "application/json", b"{}")
                else:
                    etag = '"%s"' % hashlib.sha256(json.dumps(outer.doc).encode()).hexdigest()
                    if self.headers.get("If-None-Match") == etag:
                        outer.same += 1
                        self.answer(304, "application/json", b"", ETag=etag)
                    else:
                        self.answer(200, "application/json",
                                    json.dumps(at_now(outer.doc)).encode(), ETag=etag)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/ui/" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
