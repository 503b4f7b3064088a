"""rows.py - the benchmarks themselves: one function for each row of the table of goals.

Each sets up its own origin and contenders, runs paired rounds (A B C A B C ...), tears everything
down, and returns a Row of raw samples with the goals they are held against. A contender that fails is
named with its error and left out of the following rounds; its goals are then not met.
"""

import dataclasses
import os
import resource
import statistics
import subprocess
import sys
import time

import measure
import redirects
import servers
from servers import BenchError, blob_path, manifest_path

MIB = 1 << 20


@dataclasses.dataclass
class Sizes:
    """How much is moved. The second set is for a smoke run, whose figures mean nothing."""

    hot_bytes: int = 512 * MIB
    hot_seconds: float = 5
    manifest_seconds: float = 4
    cold_bytes: int = 100_000_000
    clients: int = 48
    small_bytes: int = 64 * 1024
    small_blobs: int = 40
    big_blobs: int = 3
    ingest_bytes: int = 1024 * MIB
    indexed: int = 100_000
    streams: int = 500
    stream_rate: int = 64_000
    stream_seconds: float = 5
    idle_seconds: float = 2
    region: int = 1000
    layers: int = 24_000
    redirect_seconds: float = 4
    front_requests: int = 2000


FULL = Sizes()
QUICK = Sizes(hot_bytes=64 * MIB, hot_seconds=0.5, manifest_seconds=0.5, cold_bytes=10_000_000,
              small_blobs=4, big_blobs=1, ingest_bytes=64 * MIB, indexed=2_000, streams=100,
              stream_seconds=1, idle_seconds=0.5, region=50, layers=2_000, redirect_seconds=0.5,
              front_requests=200)


@dataclasses.dataclass
class Metric:
    key: str
    label: str
    unit: str


@dataclasses.dataclass
class Goal:
    """`metric` of dray, or its ratio to that of `rival`, is at most (or least) `limit`. Over rounds
    the median counts, or the worst of all where `every` is set."""

    metric: str
    rival: str | None
    sign: str  # "<=" or ">="
    limit: float
    every: bool = False


@dataclasses.dataclass
class Row:
    key: str
    title: str
    how: str
    metrics: list
    goals: list
    contenders: list = dataclasses.field(default_factory=list)
    samples: dict = dataclasses.field(default_factory=dict)
    errors: dict = dataclasses.field(default_factory=dict)


def progress(text):
    print(text, file=sys.stderr, flush=True)


def human(size):
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size % scale == 0:
            return f"{size // scale} {unit}"
    return f"{size / 1e6:g} MB"


class Run:
    """What every row needs: the site, the sizes, the number of rounds, the contenders wanted."""

    def __init__(self, site, sizes, rounds, with_dray):
        self.site, self.sizes, self.rounds, self.with_dray = site, sizes, rounds, with_dray

    def origin(self):
        return servers.Origin(self.site).start()

    def rivals(self, row, origin, *classes):
        """Makes the contenders, dray last; they are not started yet."""
        made = [c(self.site, origin) for c in classes]
        if self.with_dray:
            made.append(servers.Dray(self.site, origin))
        for c in made:
            self.enter(row, c.name)
        return made

    def enter(self, row, name):
        row.contenders.append(name)
        row.samples[name] = []

    def attempt(self, row, contender, do):
        """`do()`, or its failure noted; returns None then, and for who failed before."""
        if contender.name in row.errors:
            return None
        try:
            return do()
        except (BenchError, OSError, subprocess.SubprocessError) as e:
            row.errors[contender.name] = str(e)
            progress(f"  {contender.name}: FAILED: {e}")
            return None

    def each(self, row, contenders, do):
        for c in contenders:
            self.attempt(row, c, lambda c=c: do(c))

    def paired(self, row, contenders, sample, before_round=lambda r: None):
        for r in range(self.rounds):
            before_round(r)
            for c in contenders:
                got = self.attempt(row, c, lambda c=c: sample(c, r))
                if got is not None:
                    row.samples[c.name].append(got)
                    shown = ", ".join(f"{m.label} {got[m.key]:.4g}" for m in row.metrics
                                      if m.key in got)
                    progress(f"  round {r + 1}, {c.name}: {shown}")


def _end(*things):
    for t in things:
        t.remove()


def hot_blob(run):
    s = run.sizes
    row = Row(
        "hot-blob", f"Hot {human(s.hot_bytes)} blob, 8 connections",
        f"Each round: 8 kept-alive connections read the blob for {s.hot_seconds:g} s. CPU is user and "
        "system time of all the server's processes, per 10⁹ body bytes. dray and docker-registry "
        "fetched it from the origin before; nginx has it as a file. Before the first round each one's "
        "bytes were checked against the digest.",
        [Metric("cpu_s_per_gb", "CPU s/GB", "s/GB"), Metric("gb_per_s", "throughput", "GB/s")],
        [Goal("cpu_s_per_gb", "nginx sendfile", "<=", 1.05),
         Goal("gb_per_s", "nginx sendfile", ">=", 1.0),
         Goal("gb_per_s", "docker-registry proxy", ">=", 1.3)])
    origin = run.origin()
    contenders = run.rivals(row, origin, servers.NginxStatic, servers.RegistryProxy)
    nginx = contenders[0]
    nginx.origin = None  # its file is placed, not fetched
    scratch = os.path.join(nginx.dir, "blob")
    digest = origin.push_blob(s.hot_bytes, copy_to=scratch)
    path = blob_path(digest)
    os.rename(scratch, nginx.place(path))
    run.each(row, contenders, lambda c: c.start())
    run.each(row, contenders, lambda c: measure.warm_blob(c, path, digest))
    measure.settle()

    def sample(c, _):
        got = measure.load_with_cpu(c, [path], "--connections", 8, "--seconds", s.hot_seconds)
        return {"cpu_s_per_gb": got["cpu_s"] / (got["bytes"] / 1e9),
                "gb_per_s": got["bytes_per_s"] / 1e9}

    run.paired(row, contenders, sample)
    _end(*contenders, origin)
    return row


def hot_manifest(run):
    s = run.sizes
    row = Row(
        "hot-manifest", "Hot manifest by digest, 32 connections",
        f"Each round: 32 kept-alive connections ask for {s.manifest_seconds:g} s. The decision of the "
        "centre is fresh: one request before each measurement renews it. nginx serves the same bytes "
        "and headers as a file, Varnish from memory, docker-registry what it fetched before.",
        [Metric("requests_per_s", "requests/s", "1/s"), Metric("p50_s", "latency p50", "ms"),
         Metric("p99_s", "latency p99", "ms")],
        [Goal("requests_per_s", "docker-registry proxy", ">=", 100),
         Goal("requests_per_s", "nginx sendfile", ">=", 1.0),
         Goal("requests_per_s", "Varnish", ">=", 1.0)])
    origin = run.origin()
    layers = [(origin.push_blob(1000 + i), 1000 + i) for i in range(8)]
    digest, body = origin.push_manifest(layers)
    path = manifest_path(digest)
    contenders = run.rivals(row, origin, servers.NginxStatic, servers.Varnish, servers.RegistryProxy)
    contenders[0].place_manifest(digest, body)
    run.each(row, contenders, lambda c: c.start())

    def sample(c, _):
        measure.fetch_verified(c, path, digest)
        got = measure.load(c, [path], "--connections", 32, "--seconds", s.manifest_seconds)
        return {"requests_per_s": got["requests_per_s"], "p50_s": got["latency_p50_s"],
                "p99_s": got["latency_p99_s"]}

    run.paired(row, contenders, sample)
    _end(*contenders, origin)
    return row


def cold_crowd(run):
    s = run.sizes
    row = Row(
        "cold-crowd", f"{s.clients} clients at once, one cold {human(s.cold_bytes)} blob",
        "Each round has a new blob that no contender has seen. All connections stand open; then all "
        "ask at one moment. Upstream GETs are counted in the origin's access log. The first byte is "
        "the first of the body, the median is over the clients. Varnish keeps the blob in memory and "
        "verifies nothing; dray verifies it and stores it on disk. After the timed part each one's "
        "copy is checked against the digest.",
        [Metric("upstream_gets", "upstream GETs", "count"),
         Metric("ttfb_median_s", "median time to first byte", "s"),
         Metric("last_done_s", "last client done", "s")],
        [Goal("upstream_gets", None, "<=", 1, every=True),
         Goal("ttfb_median_s", "Varnish", "<=", 1.0),
         Goal("last_done_s", "Varnish", "<=", 1.0)])
    origin = run.origin()
    contenders = run.rivals(row, origin, servers.Varnish, servers.NginxCache, servers.RegistryProxy)
    run.each(row, contenders, lambda c: c.start())
    digests = []

    def sample(c, r):
        path = blob_path(digests[r])
        measure.settle()
        mark = origin.log_mark()
        got = measure.load(c, [path], "--connections", s.clients, "--once")
        gets = origin.gets_since(mark, digests[r])
        if got["requests"] != s.clients or got["bytes"] != s.clients * s.cold_bytes:
            raise BenchError(f"{c.name}: served {got}")
        measure.fetch_verified(c, path, digests[r])
        return {"upstream_gets": gets, "ttfb_median_s": got["ttfb_median_s"],
                "last_done_s": got["last_done_s"]}

    run.paired(row, contenders, sample, lambda _: digests.append(origin.push_blob(s.cold_bytes)))
    _end(*contenders, origin)
    return row


def cold_first_byte(run):
    s = run.sizes
    big = human(s.cold_bytes)
    row = Row(
        "cold-ttfb", "Cold miss: time to first byte added over asking the registry directly",
        f"Each round: {s.small_blobs} new blobs of {human(s.small_bytes)} and {s.big_blobs} of {big}. "
        "One connection to the origin, one to the contender; for each blob one request to each, "
        "back to back, which of them first alternating. A round's figure is the median of the "
        "differences.",
        [Metric("small_s", f"added, {human(s.small_bytes)}", "ms"),
         Metric("big_s", f"added, {big}", "ms"),
         Metric("direct_small_s", "direct, for scale", "ms")],
        [Goal("small_s", None, "<=", 0.002), Goal("big_s", None, "<=", 0.002)])
    origin = run.origin()
    contenders = run.rivals(row, origin, servers.Varnish, servers.NginxCache, servers.RegistryProxy)
    run.each(row, contenders, lambda c: c.start())
    small, large = [], []

    def fresh(_):
        small[:] = [origin.push_blob(s.small_bytes) for _ in range(s.small_blobs)]
        large[:] = [origin.push_blob(s.cold_bytes) for _ in range(s.big_blobs)]

    def pairs(direct, through, digests, calm):
        """[(direct, through)] in seconds."""
        out = []
        for i, digest in enumerate(digests):
            if calm:
                measure.settle()
            took = {}
            for probe in (direct, through) if i % 2 == 0 else (through, direct):
                took[probe] = probe.first_byte_s(blob_path(digest))
            out.append((took[direct], took[through]))
        return out

    def sample(c, _):
        direct, through = measure.Probe(origin), measure.Probe(c)
        try:
            direct.first_byte_s("/v2/_catalog")  # both connections have been used once
            a = pairs(direct, through, small, False)
            b = pairs(direct, through, large, True)
        finally:
            direct.close()
            through.close()
        return {"small_s": statistics.median(t - d for d, t in a),
                "big_s": statistics.median(t - d for d, t in b),
                "direct_small_s": statistics.median(d for d, _ in a)}

    run.paired(row, contenders, sample, fresh)
    _end(*contenders, origin)
    return row


class CurlThenSum:
    """What one would do by hand: curl to a file, then sha256sum of it."""

    name = "curl, then sha256sum"

    def __init__(self, site, origin):
        self.dir, self.origin = site.folder("curl"), origin

    def curl_options(self):
        return []

    def ingest_s(self, path, digest):
        target = os.path.join(self.dir, "blob")
        start = time.perf_counter()
        subprocess.run(["curl", "-sf", *self.curl_options(), "-o", target, self.origin.url(path)],
                       check=True, timeout=measure.RUN_TIMEOUT_S)
        out = subprocess.run(["sha256sum", target], check=True, capture_output=True, text=True,
                             timeout=measure.RUN_TIMEOUT_S).stdout
        took = time.perf_counter() - start
        os.unlink(target)
        if out.split()[0] != digest.removeprefix("sha256:"):
            raise BenchError(f"{self.name}: wrong bytes")
        return took


def ingest(run):
    s = run.sizes
    row = Row(
        "ingest", f"Ingest with verification, one connection, cold {human(s.ingest_bytes)} blob",
        "Each round has a new blob. Through dray: one client reads it and throws it away, while dray "
        "writes it to its store and verifies it; the last byte waits for the digest. Against it: "
        "`curl -o file` from the origin, then `sha256sum file`. Wall time of the client commands, "
        "their start included.",
        [Metric("gb_per_s", "rate", "GB/s"), Metric("took_s", "took", "s")],
        [Goal("gb_per_s", "curl, then sha256sum", ">=", 1.0)])
    origin = run.origin()
    curl = CurlThenSum(run.site, origin)
    run.enter(row, curl.name)
    contenders = run.rivals(row, origin)
    run.each(row, contenders, lambda c: c.start())
    digests = []

    def sample(c, r):
        path = blob_path(digests[r])
        measure.settle()
        if c is curl:
            took = c.ingest_s(path, digests[r])
        else:
            start = time.perf_counter()
            measure.load(c, [path], "--connections", 1, "--once")
            took = time.perf_counter() - start
        return {"gb_per_s": s.ingest_bytes / took / 1e9, "took_s": took}

    run.paired(row, [curl] + contenders, sample,
               lambda _: digests.append(origin.push_blob(s.ingest_bytes)))
    _end(*contenders, origin)
    return row


class CurlFromNginx(CurlThenSum):
    """The same from nginx, which has the blob as a file."""

    def __init__(self, site, nginx, ca=None):
        super().__init__(site, nginx)
        self.ca = ca
        self.name = f"curl from nginx{', TLS' if ca else ''}, then sha256sum"

    def curl_options(self):
        return ["--cacert", self.ca] if self.ca else []


def _children_cpu_s():
    """Of the commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _wait(what, condition, timeout_s=60):
    """Seconds until `condition()`, looked at every few milliseconds."""
    start = time.perf_counter()
    while not condition():
        if time.perf_counter() - start > timeout_s:
            raise BenchError(f"{what}: not within {timeout_s} s")
        time.sleep(0.003)
    return time.perf_counter() - start


def _peer_fetch(run, key, tls):
    s = run.sizes
    kind = "TLS" if tls else "plain HTTP"
    row = Row(
        key, f"Fetch from a peer, one connection, {kind}, {human(s.ingest_bytes)} blob",
        "Two nodes of one region on loopback. Each round has a new blob that the first holds and the "
        "second does not. A client asks the second and leaves with the first byte; measured is the time "
        "from its request until the second node has all of it, written and verified. Against it: "
        "`curl -o file` from nginx, which has the blob as a file in the page cache, then `sha256sum "
        "file`. CPU is that of both ends: of both nodes; of nginx, curl and sha256sum.",
        [Metric("gb_per_s", "rate", "GB/s"), Metric("took_s", "took", "s"),
         Metric("cpu_s_per_gb", "CPU s/GB", "s/GB")], [])
    origin = run.origin()
    nginx = (servers.NginxTls if tls else servers.NginxStatic)(run.site)
    curl = CurlFromNginx(run.site, nginx, run.site.certificate()[2] if tls else None)
    row.goals = [Goal("gb_per_s", curl.name, ">=", 0.9)]
    run.enter(row, curl.name)
    racks = []
    if run.with_dray:
        holder = servers.Rack(run.site, origin, tls=tls)
        racks = [holder, servers.Rack(run.site, origin, holder, tls)]
        run.enter(row, "dray")
    nginx.start()
    for rack in racks:
        run.attempt(row, rack, rack.start)
    digests = []

    def fresh(_):
        scratch = os.path.join(run.site.folder("blob"), "blob")
        digests.append(origin.push_blob(s.ingest_bytes, copy_to=scratch))
        os.rename(scratch, nginx.place(blob_path(digests[-1])))

    def events(rack, digest):
        return {e["event"] for e in rack.admin(f"/api/v1/blobs/{digest}")["history"]}

    def sample(c, r):
        path, digest = blob_path(digests[r]), digests[r]
        if c is curl:
            measure.settle()
            before = nginx.cpu_seconds() + _children_cpu_s()
            took = c.ingest_s(path, digest)
            cpu = nginx.cpu_seconds() + _children_cpu_s() - before
            os.unlink(nginx.place(path))
        else:
            racks[0].ask_and_leave(path)
            _wait("the first node holds it", lambda: racks[0].admin(
                f"/api/v1/blobs/{digest}")["held"])
            _wait("the second node knows", lambda: any(h["usable"] for h in racks[1].admin(
                f"/api/v1/blobs/{digest}")["holders"]))
            measure.settle()
            before = sum(rack.cpu_seconds() for rack in racks)
            start = time.perf_counter()
            racks[1].ask_and_leave(path)
            _wait("the fetch", lambda: "fetched" in events(racks[1], digest))
            took = time.perf_counter() - start
            cpu = sum(rack.cpu_seconds() for rack in racks) - before
            if "registry" in events(racks[1], digest):
                raise BenchError("the registry was asked")
        return {"gb_per_s": s.ingest_bytes / took / 1e9, "took_s": took,
                "cpu_s_per_gb": cpu / (s.ingest_bytes / 1e9)}

    run.paired(row, [curl] + racks[1:], sample, fresh)
    _end(*racks, nginx, origin)
    return row


def peer_fetch(run):
    return _peer_fetch(run, "peer-fetch", False)


def peer_fetch_tls(run):
    return _peer_fetch(run, "peer-fetch-tls", True)


def memory(run):
    s = run.sizes
    row = Row(
        "memory", f"Resident memory: idle with {s.indexed:,} blobs indexed, and with {s.streams} streams",
        f"VmRSS. Each round starts the server anew, waits {s.idle_seconds:g} s and reads `idle`. Then "
        f"{s.streams} connections read one hot {human(s.hot_bytes)} blob at {s.stream_rate // 1000} kB/s "
        f"each for {s.stream_seconds:g} s, all from its start, then each from a position of its own; "
        "the peak counts, sampled ten times a second. dray does all this with "
        f"{s.indexed:,} more blobs in its store; nginx and docker-registry, shown for scale, hold only "
        "the one.",
        [Metric("idle_bytes", "idle", "MiB"), Metric("streams_bytes", "streams, one position", "MiB"),
         Metric("spread_bytes", "streams, distinct positions", "MiB")],
        [Goal("idle_bytes", None, "<=", 32 * MIB), Goal("streams_bytes", None, "<=", 96 * MIB),
         Goal("spread_bytes", None, "<=", 96 * MIB)])
    origin = run.origin()
    contenders = run.rivals(row, origin, servers.NginxStatic, servers.RegistryProxy)
    nginx = contenders[0]
    nginx.origin = None
    scratch = os.path.join(nginx.dir, "blob")
    digest = origin.push_blob(s.hot_bytes, copy_to=scratch)
    path = blob_path(digest)
    os.rename(scratch, nginx.place(path))
    for c in contenders:
        if isinstance(c, servers.Dray):
            run.attempt(row, c, lambda c=c: _fill(c, s.indexed))

    def sample(c, _):
        c.restart()
        time.sleep(s.idle_seconds)
        idle = c.resident_bytes()
        measure.warm_blob(c, path, digest)
        slow = ("--connections", s.streams, "--seconds", s.stream_seconds, "--rate", s.stream_rate)
        peaks = []
        for more in ((), ("--range-step", s.hot_bytes // s.streams)):
            peak, got = measure.sample_peak(c, measure.load_command(c, [path], *slow, *more))
            if got["unfinished"] != s.streams:
                raise BenchError(f"{c.name}: {got['unfinished']} of {s.streams} streams were open")
            peaks.append(peak)
        return {"idle_bytes": idle, "streams_bytes": peaks[0], "spread_bytes": peaks[1]}

    run.paired(row, contenders, sample)
    _end(*contenders, origin)
    return row


def _fill(dray, count):
    progress(f"  filling a store with {count:,} blobs")
    out = subprocess.run([measure.Tools.fill, os.path.join(dray.dir, "store"), str(count)],
                         capture_output=True, text=True, timeout=measure.RUN_TIMEOUT_S)
    if out.returncode != 0 or int(out.stdout) != count:
        raise BenchError(f"dray-fill-store: code {out.returncode}: {out.stdout}{out.stderr.strip()}")


def redirect_speed(run):
    s = run.sizes
    row = Row(
        "redirects", f"Redirect decisions, plain HTTP, {redirects.CONNECTIONS} connections, "
        f"{s.region:,} nodes in the mesh",
        f"A real dray-tracker before a registry of files, and a region of {s.region:,} members that all "
        "run in one other process (`tests/bench/crowd.c`): sealed datagrams, talks, `/healthz` and "
        "inventories are the real ones to the tracker, each layer is held by two; among themselves they "
        f"probe and gossip at a tenth of the usual rate. {s.layers:,} layers of {redirects.REPOSITORIES} "
        "repositories, whose permission is fresh (their manifests were relayed before), so that no "
        f"decision asks the registry. Each round, {s.redirect_seconds:g} s each: *repeating*, 64 layers "
        "over and over for 8 users; *distinct*, no request like another: each next one is of another "
        f"layer and from another address out of {redirects.NETWORKS} networks, so that each is a choice "
        "among the region and a new signature. The tracker has one thread, so these are of one core; the "
        "other core of the machine has client and region. nginx (one worker) answers the same requests "
        "with `return 307` and decides nothing.",
        [Metric("repeating", "repeating", "1/s"), Metric("distinct", "distinct", "1/s"),
         Metric("repeating_cpu", "repeating, per CPU second", "1/s"),
         Metric("distinct_cpu", "distinct, per CPU second", "1/s"),
         Metric("p99_s", "distinct, latency p99", "ms")],
        [Goal("repeating", None, ">=", 30_000), Goal("distinct", None, ">=", 12_000)])
    nginx = redirects.NginxReturn(run.site).start()
    run.enter(row, nginx.name)
    contenders, office, made = [nginx], None, [0]
    if run.with_dray:
        office = redirects.Office(run.site, s.region, s.layers)
        contenders.append(office.tracker)
        run.enter(row, office.tracker.name)
    requests = office.requests if office else redirects.Requests(
        run.site, redirects.made_layers(s.layers))

    def sample(c, _):
        if c is not nginx:
            office.permit()
        a = redirects.load(c, requests.write(c, "repeating", 0), s.redirect_seconds)
        b = redirects.load(c, requests.write(c, "distinct", made[0]), s.redirect_seconds)
        made[0] += b["requests"]
        return {"repeating": a["requests_per_s"], "distinct": b["requests_per_s"],
                "repeating_cpu": a["requests"] / a["cpu_s"], "distinct_cpu": b["requests"] / b["cpu_s"],
                "p99_s": b["latency_p99_s"]}

    run.paired(row, contenders, sample)
    _end(*([office] if office else []), nginx)
    return row


def manifest_front(run):
    s = run.sizes
    row = Row(
        "manifest-front", "Manifests through the tracker: added time",
        f"A kept connection to docker-registry, another to dray-tracker before it; {s.front_requests} GETs "
        "of one manifest by digest on each, one after the other, which of them first alternating. Shown "
        "is the difference of the two distributions at p50 and p99.",
        [Metric("p50_s", "added at p50", "ms"), Metric("p99_s", "added at p99", "ms"),
         Metric("direct_s", "the registry itself, p50, for scale", "ms")],
        [Goal("p50_s", None, "<=", 0.0005), Goal("p99_s", None, "<=", 0.003)])
    origin = run.origin()
    layers = [(origin.push_blob(1000 + i), 1000 + i) for i in range(8)]
    path = manifest_path(origin.push_manifest(layers)[0])
    front = redirects.Tracker(run.site, origin, region=False)
    run.enter(row, front.name)
    run.attempt(row, front, front.start)

    def sample(c, _):
        p50, p99, direct = redirects.added(origin, c, path, s.front_requests)
        return {"p50_s": p50, "p99_s": p99, "direct_s": direct}

    run.paired(row, [front], sample)
    _end(front, origin)
    return row


ROWS = {"hot-blob": hot_blob, "hot-manifest": hot_manifest, "cold-crowd": cold_crowd,
        "cold-ttfb": cold_first_byte, "ingest": ingest, "peer-fetch": peer_fetch,
        "peer-fetch-tls": peer_fetch_tls, "memory": memory, "redirects": redirect_speed,
        "manifest-front": manifest_front}
