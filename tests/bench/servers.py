"""servers.py - the processes of a benchmark: an origin registry, and what may stand in front of it.

Why: every contender has to be started, warmed, asked and stopped in the same way, from a folder of its
own under one temporary directory, on a free port of 127.0.0.1.

Guarantee: whatever ends the run (success, an error, Ctrl-C, SIGTERM) stops every process started here
and removes the directory. If the run itself is killed outright, the kernel sends its children SIGTERM,
and the next run removes the directory.

A contender is one of the classes below: start(), stop(), url(path), and the pids whose CPU and memory
are counted. What it is configured to do stands in its class, in full, so that a reader can judge
whether the comparison is fair.
"""

import ctypes
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

REPO = "team/app"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CHUNK = 1 << 20
PR_SET_PDEATHSIG = 1
TICKS = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None)


class BenchError(Exception):
    """Something of the machinery or of a contender failed; the text says what."""


def blob_path(digest):
    return f"/v2/{REPO}/blobs/{digest}"


def manifest_path(digest):
    return f"/v2/{REPO}/manifests/{digest}"


def _free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _process_tree(pid):
    """`pid` and its descendants, as they are now."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as f:
                    parents[int(entry)] = int(f.read().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
    tree = [pid]
    for p in tree:
        tree.extend(child for child, parent in parents.items() if parent == p)
    return tree


def _own_folder(base):
    return tempfile.mkdtemp(prefix=f"dray-bench-{os.getpid()}-", dir=base)


def _remove_orphans(base):
    """What a run left behind that was killed outright."""
    for entry in os.listdir(base) if os.path.isdir(base) else []:
        found = re.match(r"dray-bench-(\d+)-", entry)
        if found and not os.path.exists(f"/proc/{found.group(1)}"):
            shutil.rmtree(os.path.join(base, entry), ignore_errors=True)


class Site:
    """The temporary directory and everything that runs in it. Use as a context manager."""

    def __init__(self, base):
        for place in (base, "/dev/shm"):
            _remove_orphans(place)
        self.root = _own_folder(base)
        os.chmod(self.root, 0o755)  # workers that drop privileges look in
        self.servers = []
        self.removed = []  # directories elsewhere, to be removed as well

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        # Nothing cuts the cleaning up short.
        kept = {n: signal.signal(n, signal.SIG_IGN)
                for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        for s in reversed(self.servers):
            try:
                s.stop()
            except OSError as e:
                print(f"bench: {s.name}: {e}", file=sys.stderr)
        for d in [self.root] + self.removed:
            shutil.rmtree(d, ignore_errors=True)
        for number, handler in kept.items():
            signal.signal(number, handler)

    def certificate(self):
        """(certificate, key, CA) for 127.0.0.1: ECDSA, made once. It is its own CA."""
        cert, key = os.path.join(self.root, "tls.crt"), os.path.join(self.root, "tls.key")
        if not os.path.exists(cert):
            done = subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=bench",
                 "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                capture_output=True, text=True)
            if done.returncode != 0:
                raise BenchError(f"openssl: {done.stderr.strip()[-300:]}")
            os.chmod(key, 0o600)
        return cert, key, cert

    def folder(self, name):
        """A fresh, empty folder for `name`."""
        path = os.path.join(self.root, name)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        return path


class Server:
    """One contender or the origin: a process tree on one port."""

    name = "server"
    package = None
    ready_path = "/v2/"
    ready_any = False  # any HTTP status means it is up

    def __init__(self, site, origin=None):
        self.site, self.origin = site, origin
        self.dir = site.folder(re.sub(r"\W+", "-", type(self).__name__.lower()))
        self.port = _free_port()
        self.process = None
        self.address = f"127.0.0.1:{self.port}"
        site.servers.append(self)

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def command(self):
        raise NotImplementedError

    def start(self):
        assert self.process is None
        command = self.command()
        self.log_path = os.path.join(self.dir, "out.log")
        with open(self.log_path, "ab") as log:
            try:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir,
                    preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM))
            except OSError as e:
                raise BenchError(f"{self.name}: cannot start {command[0]}: {e}") from e
        self._wait_ready()
        return self

    def _wait_ready(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BenchError(f"{self.name}: ended at once, code {self.process.returncode}: "
                                 f"{self.log_tail()}")
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                c.request("GET", self.ready_path)
                status = c.getresponse().status
                c.close()
                if status == 200 or self.ready_any:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        raise BenchError(f"{self.name}: not ready after 30 s: {self.log_tail()}")

    def stop(self):
        if self.process is None:
            return
        pids = _process_tree(self.process.pid)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in pids[1:]:  # workers of a killed master
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process = None

    def restart(self):
        self.stop()
        self.start()

    def remove(self):
        """Stops it and frees its disk."""
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def log_tail(self):
        try:
            with open(self.log_path, errors="replace") as f:
                return f.read()[-600:].strip() or "(it said nothing)"
        except OSError:
            return "(no log)"

    def url(self, path):
        return f"http://{self.address}{path}"

    def cpu_seconds(self):
        """User and system time of all its processes and threads so far."""
        total = 0
        for pid in _process_tree(self.process.pid):
            try:
                with open(f"/proc/{pid}/stat") as f:
                    fields = f.read().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
            except OSError:
                continue
        return total / TICKS

    def resident_bytes(self):
        """VmRSS, summed over its processes (pages they share count in each)."""
        total = 0
        for pid in _process_tree(self.process.pid):
            try:
                with open(f"/proc/{pid}/status") as f:
                    found = re.search(r"^VmRSS:\s+(\d+) kB", f.read(), re.M)
                total += int(found.group(1)) * 1024 if found else 0
            except OSError:
                continue
        return total


class Origin(Server):
    """docker-registry on a folder, with an access log: the registry that everyone stands in front of."""

    name = "origin"
    package = "docker-registry"

    def command(self):
        config = self.write("config.yml", f"""version: 0.1
log: {{level: error, accesslog: {{disabled: false}}}}
storage:
  filesystem: {{rootdirectory: {self.dir}/data, maxthreads: 1000}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: "{self.address}", secret: bench}}
""")
        return ["docker-registry", "serve", config]

    def _call(self, c, method, path, body=None, headers=None, expect=()):
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        text = r.read()
        if r.status not in expect:
            raise BenchError(f"origin: {method} {path}: {r.status} {text[:200]!r}")
        return r

    def push_blob(self, size, copy_to=None):
        """Pushes a blob of `size` fresh bytes, as a client does: POST, PATCH, PUT. Returns its digest;
        `copy_to` gets the bytes too."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        r = self._call(c, "POST", f"/v2/{REPO}/blobs/uploads/", expect=(202,))
        location = r.getheader("Location").replace(f"http://{self.address}", "")
        digest, copy = hashlib.sha256(), open(copy_to, "wb") if copy_to else None
        base = os.urandom(CHUNK)

        def chunks():
            left = size
            while left:
                part = (os.urandom(32) + base)[:min(left, CHUNK)]
                digest.update(part)
                if copy:
                    copy.write(part)
                left -= len(part)
                yield part

        r = self._call(c, "PATCH", location, chunks(), {
            "Content-Type": "application/octet-stream", "Content-Length": str(size)}, expect=(202,))
        if copy:
            copy.close()
        location = r.getheader("Location").replace(f"http://{self.address}", "")
        name = "sha256:" + digest.hexdigest()
        self._call(c, "PUT", f"{location}&digest={name}", b"", expect=(201,))
        c.close()
        return name

    def push_manifest(self, layers):
        """A manifest over (digest, size) layers, with a config of its own. Returns digest and bytes."""
        config = self.push_blob(1500)
        rows = ",\n".join(
            f'      {{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", '
            f'"size": {size}, "digest": "{digest}"}}' for digest, size in layers)
        body = (f'{{\n   "schemaVersion": 2,\n   "mediaType": "{MANIFEST_TYPE}",\n   "config": '
                f'{{"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1500, '
                f'"digest": "{config}"}},\n   "layers": [\n{rows}\n   ]\n}}').encode()
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        self._call(c, "PUT", manifest_path(digest), body, {"Content-Type": MANIFEST_TYPE}, expect=(201,))
        c.close()
        return digest, body

    def log_mark(self):
        return os.path.getsize(self.log_path)

    def gets_since(self, mark, digest):
        """GETs of `digest` answered since `mark`. A line is written when its answer ends, so this waits
        until the log has been still for a while."""
        last, still = -1, 0
        while still < 4:
            size = os.path.getsize(self.log_path)
            still = still + 1 if size == last else 0
            last = size
            time.sleep(0.1)
        with open(self.log_path, errors="replace") as f:
            f.seek(mark)
            return len(re.findall(rf'"GET /v2/\S*/{re.escape(digest)}[ ?]', f.read()))


class NginxStatic(Server):
    """nginx, files by sendfile: what one would write by hand if the blobs already lay there."""

    name = "nginx sendfile"
    package = "nginx-light"
    ready_any = True
    locations = ""

    def http(self):
        return f"""    server {{
        listen {self.address};
        root {self.dir}/files;
        {self.locations}
    }}"""

    def command(self):
        os.makedirs(f"{self.dir}/files", exist_ok=True)
        config = self.write("nginx.conf", f"""user root;
worker_processes auto;
worker_rlimit_nofile 65536;
daemon off;
pid {self.dir}/nginx.pid;
error_log {self.dir}/error.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    open_file_cache max=1000 inactive=3600s;
    default_type application/octet-stream;
    client_body_temp_path {self.dir}/body;
    proxy_temp_path {self.dir}/proxy;
{self.http()}
}}
""")
        return ["nginx", "-c", config, "-e", f"{self.dir}/error.log", "-p", self.dir]

    def place(self, path):
        """Where the file of a URL path has to be put; its folder exists."""
        target = f"{self.dir}/files{path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        return target

    def place_manifest(self, digest, body):
        """Before start(): the manifest as a file, and the headers that a registry would add."""
        with open(self.place(manifest_path(digest)), "wb") as f:
            f.write(body)
        self.locations = f"""location ~ /manifests/ {{
            default_type "{MANIFEST_TYPE}";
            add_header Docker-Content-Digest "{digest}";
            add_header Docker-Distribution-Api-Version "registry/2.0";
        }}"""


class NginxTls(NginxStatic):
    """The same over TLS, with the certificate that dray's nodes have."""

    name = "nginx, TLS"

    def http(self):
        cert, key, _ = self.site.certificate()
        return super().http().replace(f"listen {self.address};", f"""listen {self.address} ssl;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;""")

    def url(self, path):
        return f"https://{self.address}{path}"


class NginxCache(NginxStatic):
    """nginx, proxy_cache on disk; one request fills, the others wait for it (proxy_cache_lock)."""

    name = "nginx proxy_cache"

    def http(self):
        return f"""    proxy_cache_path {self.dir}/cache levels=1:2 keys_zone=blobs:16m max_size=50g
        inactive=1h use_temp_path=off;
    upstream origin {{ server {self.origin.address}; keepalive 64; }}
    server {{
        listen {self.address};
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache blobs;
            proxy_cache_valid 200 1h;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 60s;
            proxy_cache_lock_age 60s;
        }}
    }}"""


class Varnish(Server):
    """varnishd, 2 GB in memory, streaming (its default). Keeps nothing on disk, verifies nothing."""

    name = "Varnish"
    package = "varnish"

    def command(self):
        # Its log is a shared-memory file, here on tmpfs. No jail: dropping privileges would also drop
        # the wish to end with us.
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else self.dir
        self.work = _own_folder(base)
        os.chmod(self.work, 0o755)
        self.site.removed.append(self.work)
        vcl = self.write("bench.vcl", f"""vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{self.origin.port}"; }}
sub vcl_backend_response {{ set beresp.ttl = 1h; }}
""")
        return ["varnishd", "-F", "-n", self.work, "-a", self.address, "-f", vcl, "-s", "malloc,2G",
                "-T", "none", "-j", "none"]

    def stop(self):
        super().stop()
        if getattr(self, "work", None):
            shutil.rmtree(self.work, ignore_errors=True)


class RegistryProxy(Server):
    """docker-registry as pull-through cache (proxy.remoteurl), on disk."""

    name = "docker-registry proxy"
    package = "docker-registry"

    def command(self):
        config = self.write("config.yml", f"""version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {self.dir}/data, maxthreads: 1000}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: "{self.address}", secret: bench}}
proxy: {{remoteurl: "http://{self.origin.address}"}}
""")
        return ["docker-registry", "serve", config]


class Dray(Server):
    """dray-node: verifies, stores on disk, asks the origin who may pull."""

    name = "dray"
    ready_path = "/readyz"
    node = None  # path of the program, set once by bench.py

    def command(self):
        config = self.write("node.yaml", f"""name: bench
listen: {self.address}
store: {{path: {self.dir}/store, capacity: 40GiB}}
upstreams:
  - {{name: registry.bench, url: "http://{self.origin.address}"}}
log: {{level: error}}
""")
        return [self.node, "--config", config]


class Rack(Dray):
    """dray-node as one of two racks of a region, over plain HTTP or TLS (its listener and its peers)."""

    def __init__(self, site, origin, seed=None, tls=False):
        super().__init__(site, origin)
        self.dir = site.folder(f"rack-{self.port}")
        self.seed, self.tls = seed, tls

    def _mesh_key(self):
        path = os.path.join(self.site.root, "mesh.key")
        if not os.path.exists(path):
            out = subprocess.run([self.node, "keygen", "mesh"], check=True, capture_output=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
                f.write(out.stdout)
        return path

    def command(self):
        more = ""
        if self.tls:
            cert, key, ca = self.site.certificate()
            more = f"tls: {{cert: {cert}, key: {key}, ca: {ca}}}\n"
        if self.seed:
            more += f'seeds: ["{self.seed.address}"]\n'
        config = self.write("node.yaml", f"""name: rack-{self.port}
region: bench
listen: {self.address}
mesh_key: {self._mesh_key()}
store: {{path: {self.dir}/store, capacity: 40GiB}}
upstreams:
  - {{name: registry.bench, url: "http://{self.origin.address}"}}
log: {{level: error}}
{more}""")
        return [self.node, "--config", config]

    def _wait_ready(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BenchError(f"{self.name}: ended at once: {self.log_tail()}")
            try:
                if self.admin("/readyz", raw=True).startswith(b"ready"):
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise BenchError(f"{self.name}: not ready after 30 s: {self.log_tail()}")

    def admin(self, path, raw=False):
        """GET through its Unix socket: the body, read as JSON."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(f"{self.dir}/store/dray.sock")
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while part := s.recv(65536):
                answer += part
        body = answer.partition(b"\r\n\r\n")[2]
        return body if raw else json.loads(body)

    def ask_and_leave(self, path):
        """A GET whose client leaves with the first byte: the fetch goes on without it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as plain:
            s = plain
            if self.tls:
                context = ssl.create_default_context(cafile=self.site.certificate()[2])
                s = context.wrap_socket(plain, server_hostname="127.0.0.1")
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: {self.address}\r\n\r\n".encode())
            head = s.recv(4096)
            if b" 200 " not in head.split(b"\r\n")[0]:
                raise BenchError(f"{self.name}: {head[:200]!r}")
