"""redirects.py - what the tracker costs: redirect decisions per second, and the time added to manifests.

The registry is nginx with a few files: it allows, and is not what is measured. The region is dray-crowd:
a thousand members of the mesh in one process, which gossip and hold layers, and serve none.
"""

import hashlib
import http.client
import json
import os
import random
import statistics
import subprocess
import time

import measure
import servers
from servers import BenchError, MANIFEST_TYPE

NODES = 1000
NETWORKS = 480  # of users, 24 bits each
REPOSITORIES = 48
CONNECTIONS = 32


class Files(servers.NginxStatic):
    """A registry's answers as files of nginx: `/v2/` and manifests. It lets everybody in, also to the
    few layers whose permission fell out of the tracker's table."""

    name = "registry of files"
    ready_path = "/v2/"

    def __init__(self, site):
        super().__init__(site)
        self.locations = f"""location = /v2/ {{ default_type application/json; return 200 "{{}}"; }}
        location ~ /blobs/ {{ return 200 "x"; }}
        location ~ /manifests/ {{
            default_type "{MANIFEST_TYPE}";
            add_header Docker-Distribution-Api-Version "registry/2.0";
        }}"""

    def push(self, repository, layers):
        """A manifest over (digest, size) layers; returns its path."""
        body = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1500,
                       "digest": layers[0][0]},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                        "size": size, "digest": digest} for digest, size in layers]}).encode()
        path = f"/v2/{repository}/manifests/sha256:{hashlib.sha256(body).hexdigest()}"
        with open(self.place(path), "wb") as f:
            f.write(body)
        return path


class NginxReturn(servers.NginxStatic):
    """nginx, `return 307`: no decision at all."""

    name = "nginx return 307"

    def http(self):
        return super().http().replace("server {", """server {
        location /v2/ {
            add_header Cache-Control no-store;
            return 307 https://node-0000.caches.example.net$request_uri;
        }""").replace("worker_processes auto", "worker_processes 1")

    def command(self):
        command = super().command()
        path = os.path.join(self.dir, "nginx.conf")
        with open(path) as f:
            text = f.read().replace("worker_processes auto", "worker_processes 1")
        with open(path, "w") as f:
            f.write(text)
        return command


class Tracker(servers.Server):
    """dray-tracker before a registry, with one region or none."""

    name = "dray"
    ready_path = "/readyz"
    program = None  # set by bench.py
    node = None

    def __init__(self, site, origin, region=True):
        super().__init__(site, origin)
        self.dir = site.folder(f"tracker-{self.port}")
        self.region = region

    def key(self, *kind):
        path = os.path.join(self.dir, f"{kind[0]}.key")
        if kind[0] == "ticket" and not os.path.exists(path):
            subprocess.run([self.node, "keygen", "ticket", path, path + ".pub"], check=True,
                           capture_output=True)
        elif not os.path.exists(path):
            out = subprocess.run([self.node, "keygen", "mesh"], check=True, capture_output=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
                f.write(out.stdout)
        return path

    def command(self):
        more = f"""regions: [{{name: bench, seeds: []}}]
mesh_key: {self.key("mesh")}
ticket_key: {self.key("ticket")}
""" if self.region else ""
        config = self.write("tracker.yaml", f"""name: bench-tracker
listen: {self.address}
public_url: http://{self.address}
registry: {{url: "http://{self.origin.address}"}}
users: {self.dir}/users
trusted_proxies: [127.0.0.0/8]
authz: {{ttl: 10m}}
log: {{level: error}}
{more}""")
        return [self.program, "--config", config]

    def admin(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            c.request("GET", path)
            return json.loads(c.getresponse().read())
        finally:
            c.close()

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            c.request("GET", path, headers={"Accept": MANIFEST_TYPE})
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()


class Crowd(servers.Server):
    """dray-crowd: NODES members of the tracker's region."""

    name = "a region"
    program = None  # set by bench.py

    def __init__(self, site, tracker, nodes, layers):
        super().__init__(site)
        self.tracker, self.nodes = tracker, nodes
        self.layers = self.write("layers", "\n".join(layers) + "\n")
        # Each layer is held by two.
        self.each = max(1, 2 * len(layers) // nodes)

    def command(self):
        return [self.program, "--key", self.tracker.key("mesh"), "--region", "bench", "--seed",
                self.tracker.address, "--port", str(self.port), "--nodes", str(self.nodes), "--layers",
                self.layers, "--each", str(self.each)]

    def _wait_ready(self):
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BenchError(f"{self.name}: ended at once: {self.log_tail()}")
            fit = sum(c["fit"] for c in self.tracker.admin("/api/v1/caches")["caches"])
            if fit == self.nodes and "ready" in self.log_tail():
                return
            time.sleep(0.5)
        raise BenchError(f"{self.name}: only {fit} of {self.nodes} nodes are known")


def made_layers(count):
    """Digests of nothing: no byte of them is ever asked for."""
    return [("sha256:" + hashlib.sha256(f"layer {i}".encode()).hexdigest(), 20_000_000 + i)
            for i in range(count)]


def user(i):
    """An address out of NETWORKS networks, as a trusted proxy names it."""
    return f"X-Forwarded-For: 10.{100 + i % NETWORKS // 240}.{i % 240}.{1 + i // NETWORKS % 250}"


class Requests:
    """Lists for dray-load: a few layers over and over, and many asked for once each."""

    def __init__(self, site, layers):
        self.dir = site.folder("lists")
        self.repositories = [(f"team/app-{i}", layers[i::REPOSITORIES])
                             for i in range(REPOSITORIES)]
        self.distinct = [(name, digest) for name, part in self.repositories for digest, _ in part]
        random.Random(1).shuffle(self.distinct)
        self.repeating = [(n, d) for n, part in self.repositories[:8] for d, _ in part[:8]]

    def write(self, server, kind, start):
        """`start`: how many distinct requests were made before."""
        path = os.path.join(self.dir, f"{kind}-{server.port}")
        with open(path, "w") as f:
            if kind == "repeating":
                for i, (name, digest) in enumerate(self.repeating):
                    f.write(f"{server.url(f'/v2/{name}/blobs/{digest}')}\t{user(i // 8)}\n")
            else:
                n = len(self.distinct)
                for k in range(n):
                    i = start + k
                    name, digest = self.distinct[i % n]
                    f.write(f"{server.url(f'/v2/{name}/blobs/{digest}')}\t{user(i + i // n * 7)}\n")
        return path


def load(server, listing, seconds):
    command = [measure.Tools.load, "--connections", str(CONNECTIONS), "--seconds", str(seconds),
               "--status", "307", "--list", listing]
    before = server.cpu_seconds()
    out = subprocess.run(command, capture_output=True, text=True, timeout=measure.RUN_TIMEOUT_S)
    if out.returncode != 0:
        raise BenchError(f"{server.name}: dray-load: {out.stderr.strip()[-400:]}")
    got = json.loads(out.stdout)
    got["cpu_s"] = server.cpu_seconds() - before
    return got


class Office:
    """Registry, tracker and region, ready; every layer's permission is fresh."""

    def __init__(self, site, nodes, count):
        layers = made_layers(count)
        self.requests = Requests(site, layers)
        self.registry = Files(site)
        self.manifests = [self.registry.push(name, part)
                          for name, part in self.requests.repositories]
        self.registry.start()
        self.tracker = Tracker(site, self.registry).start()
        self.crowd = Crowd(site, self.tracker, nodes, [d for d, _ in layers]).start()

    def permit(self):
        """Everybody has read every manifest: decisions need no word of the registry."""
        for path in self.manifests:
            status, _ = self.tracker.get(path)
            if status != 200:
                raise BenchError(f"manifest: {status}")

    def remove(self):
        for s in (self.crowd, self.tracker, self.registry):
            s.remove()


def added(direct, through, path, count):
    """(p50, p99) of what `through` adds to `direct`, over pairs asked back to back."""
    one, two = measure.Probe(direct), measure.Probe(through)
    took = {one: [], two: []}
    try:
        for _ in range(20):
            one.first_byte_s(path), two.first_byte_s(path)
        for i in range(count):
            for probe in (one, two) if i % 2 == 0 else (two, one):
                took[probe].append(probe.first_byte_s(path))
    finally:
        one.close()
        two.close()
    a, b = sorted(took[one]), sorted(took[two])

    def at(q):
        return b[int(q * len(b))] - a[int(q * len(a))]
    return at(0.5), at(0.99), statistics.median(a)
