"""The daemon under test: its config, its life, its metrics, its commands.

The program is $DRAY_NODE. stop() insists on a clean end: exit status 0 and not a word from a
sanitizer; a test that kills the node says so with kill().
"""

import json
import os
import re
import signal
import socket
import subprocess

from . import wire
from .place import LOOPBACK

PROGRAM = os.environ.get("DRAY_NODE", "")
SANITIZED = os.environ.get("DRAY_SANITIZED") == "1"
_ALARM = re.compile(r"ERROR: \w+Sanitizer|runtime error:|Assertion `|assertion failed", re.I)


def yaml(value, indent=0):
    """Block style, so that errors have lines to name. Scalars are written as they are."""
    pad, lines = "  " * indent, []
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, (dict, list)) and inner:
                lines.append(f"{pad}{key}:")
                lines.append(yaml(inner, indent + 1))
            elif isinstance(inner, list):
                lines.append(f"{pad}{key}: []")
            else:
                lines.append(f"{pad}{key}: {_scalar(inner)}")
    else:
        for inner in value:
            if isinstance(inner, dict):
                lines.append(f"{pad}- {yaml(inner, indent + 1).lstrip()}")
            else:
                lines.append(f"{pad}- {_scalar(inner)}")
    return "\n".join(lines)


def _scalar(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, str) else str(value)


def merge(base, over):
    """`over` laid over `base`, dict by dict; None takes a key away."""
    out = dict(base)
    for key, value in over.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merge(out[key], value)
        else:
            out[key] = value
    return out


class Node:
    """`upstreams`: a URL, or the config's list. Further keyword arguments are laid over the config."""

    def __init__(self, stage, upstreams, tls=None, ca=None, start=True, place=LOOPBACK, **config):
        self.stage = stage
        self.place = place
        self.program = PROGRAM
        self.port = place.free_port()
        self.ca = ca
        self.scheme = "https" if tls else "http"
        self.host = place.at(self.port)
        self.url = f"{self.scheme}://{self.host}"
        if isinstance(upstreams, str):
            upstreams = [{"name": "docker.io", "url": upstreams}]
        base = {
            "name": "test-node", "listen": self.host,
            "store": {"path": stage.dir("store"), "capacity": "1GiB"},
            "upstreams": upstreams, "log": {"level": "debug"},
        }
        if tls:
            base["tls"] = {"cert": tls[0], "key": tls[1]}
        self.config = merge(base, config)
        self.store = self.config["store"]["path"]
        self.config_path = None
        self.process = None
        self.write_config()
        if start:
            self.start()

    listener = None  # held for it while it does not run

    def hold(self):
        """From the next start on its listening socket outlives it, as systemd's do."""
        host, port = self.host.rsplit(":", 1)
        self.listener = socket.create_server((host, int(port)), backlog=1024)
        self.stage.defer(self.listener.close)

    def write_config(self):
        self.config_path = self.stage.file(f"{self.label}.yaml", yaml(self.config) + "\n")

    @property
    def label(self):
        """What its files are called in the stage's folder."""
        where = re.sub(r"[^0-9a-f.]+", "-", self.host)
        return f"{self.config['name'].removeprefix('test-')}-{where}"

    @property
    def socket(self):
        return self.config.get("admin", {}).get("socket") or os.path.join(self.store, "dray.sock")

    def start(self, wait=True, env=None):
        argv = [*self.place.via, self.program, "--config", self.config_path]
        self.process = self.stage.spawn(self.label, argv, env=env, listener=self.listener)
        if wait:
            self.process.until(self.ready, timeout=30)
        return self

    def ready(self):
        try:
            return self.get("/readyz", timeout=5).status == 200
        except OSError:
            return False

    def stop(self, timeout=20):
        """SIGTERM; the end must be a clean one."""
        self.process.signal(signal.SIGTERM)
        self.await_end(timeout)

    def await_end(self, timeout=20):
        """Once it was told to stop. Another SIGTERM would make it stop at once."""
        code = self.process.wait(timeout)
        self.check_log()
        if code != 0:
            raise AssertionError(f"dray-node ended with {code}:\n{self.process.tail()}")

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.check_log()

    def check_log(self):
        hit = _ALARM.search(self.log())
        if hit:
            at = self.log().find(hit.group(0))
            raise AssertionError(f"dray-node reported:\n{self.log()[at:at + 4000]}")

    def log(self):
        return self.process.log()

    def rss(self):
        """Resident bytes now."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read())[1]) * 1024

    # --- asking it ------------------------------------------------------------------------------

    def get(self, path, method="GET", headers=(), **more):
        with self.place.inside():
            return wire.fetch(self.url + path, method, headers, ca=self.ca, **more)

    def open(self, path, headers=(), **more):
        with self.place.inside():
            return wire.open_reply(self.url + path, "GET", headers, ca=self.ca, **more)

    def blob(self, repository, digest, headers=(), **more):
        return self.get(f"/v2/{repository}/blobs/{digest}", headers=headers, **more)

    def metrics(self):
        """{name{labels}: value} of /metrics."""
        text = self.get("/metrics").body.decode()
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in rows}

    def metric(self, name):
        """The sum over the labels; 0 when there is none."""
        return sum(v for k, v in self.metrics().items() if k == name or k.startswith(name + "{"))

    def admin(self, method, path, body=b""):
        """Through the Unix socket."""
        sock = wire.connect_unix(self.socket)
        try:
            reply = wire.send(sock, method, path, [("Connection", "close")], body)
            return wire.Answer(reply, reply.read_all(), 0)
        finally:
            sock.close()

    def command(self, *argv):
        """`dray-node status` and the like; (exit status, stdout, stderr)."""
        done = subprocess.run([PROGRAM, argv[0], "--config", self.config_path, *argv[1:]],
                              capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout, done.stderr

    # --- looking at its disk --------------------------------------------------------------------

    def blob_path(self, digest):
        algorithm, value = digest.split(":")
        return os.path.join(self.store, "blobs", algorithm, value[:2], value)

    def partial_path(self, digest):
        return os.path.join(self.store, "ingest", digest.replace(":", "-"))

    def held(self, digest):
        return os.path.exists(self.blob_path(digest))

    def disk_bytes(self):
        """Bytes of blobs and partials; a file seen twice on its way counts once."""
        seen = {}
        for room in ("ingest", "blobs"):
            for here, _, names in os.walk(os.path.join(self.store, room)):
                for name in names:
                    try:
                        info = os.stat(os.path.join(here, name))
                    except FileNotFoundError:
                        continue
                    seen[info.st_ino] = info.st_size
        return sum(seen.values())


def run(*argv, timeout=30, env=None):
    """The program on its own: (exit status, stdout, stderr)."""
    done = subprocess.run([PROGRAM, *argv], capture_output=True, text=True, timeout=timeout,
                          env=env, check=False)
    return done.returncode, done.stdout, done.stderr
