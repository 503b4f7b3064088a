"""The tracker under test: its config, its life, its commands. The program is $DRAY_TRACKER."""

import os
import re
import subprocess

from . import wire
from .node import Node, merge, yaml
from .place import Place

PROGRAM = os.environ.get("DRAY_TRACKER", "")


class Tracker(Node):
    """Before `registry` (its URL, or the config's). Further keyword arguments are laid over the config."""

    # pylint: disable=super-init-not-called
    def __init__(self, stage, registry, tls=None, ca=None, start=True, ip="127.0.0.1", **config):
        self.stage = stage
        self.place = Place(ip)
        self.port = self.place.free_port()
        self.ca = ca
        self.scheme = "https" if tls else "http"
        self.host = self.place.at(self.port)
        self.url = f"{self.scheme}://{self.host}"
        base = {
            "name": "test-tracker", "listen": self.host, "public_url": self.url,
            "registry": {"url": registry} if isinstance(registry, str) else registry,
            "users": stage.dir("tracker"), "log": {"level": "debug"},
        }
        if tls:
            base["tls"] = {"cert": tls[0], "key": tls[1]}
        self.config = merge(base, config)
        self.store = self.config["users"]
        self.config_path = self.process = None
        self.write_config()
        if start:
            self.start()

    def write_config(self):
        self.config_path = self.stage.file(f"tracker-{self.log_name}.yaml",
                                           yaml(self.config) + "\n")

    @property
    def log_name(self):
        return re.sub(r"[^0-9a-f.]+", "-", self.host)

    def start(self, wait=True, env=None):
        self.process = self.stage.spawn(f"tracker-{self.log_name}",
                                        [PROGRAM, "--config", self.config_path], env=env,
                                        listener=self.listener)
        if wait:
            self.process.until(self.ready, timeout=30)
        return self

    def command(self, *argv, stdin=None):
        """`dray-tracker status` and the like; (exit status, stdout, stderr)."""
        done = subprocess.run([PROGRAM, *argv, "--config", self.config_path], input=stdin,
                              capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout, done.stderr

    def ask(self, path, method="GET", headers=(), body=b""):
        return wire.fetch(self.url + path, method, list(headers), body, ca=self.ca)


def run(*argv):
    done = subprocess.run([PROGRAM, *argv], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr
