"""measure.py - one measurement: a load run, a verified fetch, a time to first byte, and statistics.

Guarantee: every helper here raises BenchError instead of returning a figure that rests on a failed or
unverified transfer.
"""

import hashlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import time

from servers import BenchError, MANIFEST_TYPE

RUN_TIMEOUT_S = 600
ACCEPT = f"Accept: {MANIFEST_TYPE}"


class Tools:
    """Where the programs are; set once by bench.py."""

    load = None
    fill = None


def load_command(server, paths, *options):
    return ([Tools.load] + [str(o) for o in options] + ["--discard", "--header", ACCEPT]
            + [server.url(p) for p in paths])


def load(server, paths, *options):
    """Runs dray-load; its JSON as a dict. Any error of any request fails it."""
    run = subprocess.run(load_command(server, paths, *options), capture_output=True, text=True,
                         timeout=RUN_TIMEOUT_S)
    if run.returncode != 0:
        raise BenchError(f"{server.name}: dray-load {' '.join(map(str, options))}: "
                         f"{run.stderr.strip()[-600:]}")
    return json.loads(run.stdout)


def load_with_cpu(server, paths, *options):
    """The same, with "cpu_s": what the server's processes used meanwhile."""
    before = server.cpu_seconds()
    out = load(server, paths, *options)
    out["cpu_s"] = server.cpu_seconds() - before
    return out


def fetch_verified(server, path, digest):
    """One GET through a plain client; the bytes must be those of `digest`."""
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        c.request("GET", path, headers={"Accept": MANIFEST_TYPE})
        r = c.getresponse()
        h, length, got = hashlib.sha256(), r.getheader("Content-Length"), 0
        while True:
            part = r.read(1 << 20)
            if not part:
                break
            h.update(part)
            got += len(part)
        if r.status != 200:
            raise BenchError(f"{server.name}: GET {path}: {r.status}")
        if str(got) != length:
            raise BenchError(f"{server.name}: GET {path}: short body, {got} of {length} bytes")
        if "sha256:" + h.hexdigest() != digest:
            raise BenchError(f"{server.name}: GET {path}: wrong bytes")
    except (OSError, http.client.HTTPException) as e:
        raise BenchError(f"{server.name}: GET {path}: {e!r}") from e
    finally:
        c.close()


def warm_blob(server, path, digest):
    """Fetches until the origin is not asked for the blob any more: from then on it is hot."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.origin is None:
            fetch_verified(server, path, digest)
            return
        mark = server.origin.log_mark()
        fetch_verified(server, path, digest)
        if server.origin.gets_since(mark, digest) == 0:
            return
    raise BenchError(f"{server.name}: still asks the origin for {path} after 60 s")


class Probe:
    """One kept-alive connection that measures the time from a request to its first body byte."""

    def __init__(self, server):
        self.server = server
        self.buffer = bytearray(1 << 16)
        self._connect()

    def _connect(self):
        self.sock = socket.create_connection(("127.0.0.1", self.server.port), timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self):
        self.sock.close()

    def first_byte_s(self, path):
        """Seconds to the first body byte; then drains the body and checks its length."""
        request = f"GET {path} HTTP/1.1\r\nHost: {self.server.address}\r\n\r\n".encode()
        start = time.perf_counter()
        self.sock.sendall(request)
        head = b""
        while True:
            n = self.sock.recv_into(self.buffer)
            now = time.perf_counter()
            if n == 0:
                raise BenchError(f"{self.server.name}: closed while answering {path}")
            head += self.buffer[:n]
            end = head.find(b"\r\n\r\n")
            if end >= 0 and len(head) > end + 4:
                break
        lines = head[:end].decode("latin-1").split("\r\n")
        fields = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
        if lines[0].split()[1] != "200" or "content-length" not in fields:
            raise BenchError(f"{self.server.name}: GET {path}: {lines[0]}, {fields}")
        left = int(fields["content-length"]) - (len(head) - end - 4)
        while left > 0:
            n = self.sock.recv_into(self.buffer, min(left, len(self.buffer)))
            if n == 0:
                raise BenchError(f"{self.server.name}: short body of {path}, {left} bytes missing")
            left -= n
        if fields.get("connection", "").lower() == "close":
            self.close()
            self._connect()
        return now - start


def sample_peak(server, command):
    """Runs a load command and watches the server's memory meanwhile: (peak bytes, load's JSON)."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = 0
    try:
        while process.poll() is None:
            peak = max(peak, server.resident_bytes())
            time.sleep(0.1)
        out, err = process.communicate()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise BenchError(f"{server.name}: dray-load: {err.strip()[-600:]}")
    return peak, json.loads(out)


def settle():
    """What earlier steps left to be written is written now, not into the next measurement."""
    os.sync()


def spread(values):
    """(median, least, greatest)."""
    return statistics.median(values), min(values), max(values)


def paired_ratio(ours, theirs):
    """The median over rounds of ours / theirs, each pair from one round; None without pairs."""
    pairs = [a / b for a, b in zip(ours, theirs) if b]
    return statistics.median(pairs) if pairs else None
