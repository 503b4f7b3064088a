"""Racks of one region that fetch from each other: real nodes on 127.0.0.1, one mesh key, one seed, ports
of their own; and what they say of a layer.
"""

import json
import re

from . import node as nodes
from .stage import wait_for

JOIN_S = 20   # a region of 16 on a busy machine
KNOWN_S = 15  # until everybody knows what a node got


class Region:
    """Node `i` is called rack-<i>. `case` (a suite.Case) stops them, cleanly, at its end."""

    def __init__(self, case, upstreams, count, tls=None, ca=None, start=True, **config):
        self.stage = case.stage
        self.mesh_key = self.stage.file("mesh.key", self._keygen())
        self.nodes = []
        for i in range(count):
            more = nodes.merge({"name": f"rack-{i}", "region": "test", "mesh_key": self.mesh_key},
                               config)
            if self.nodes:
                more["seeds"] = [self.nodes[0].host]
            node = case.node(upstreams, tls=tls, ca=ca, start=False, **more)
            if tls:
                node.config["tls"]["ca"] = ca
                node.write_config()
            self.nodes.append(node)
        if start:
            for node in self.nodes:
                node.start(wait=False)
            self.wait_joined()

    @staticmethod
    def _keygen():
        code, out, err = nodes.run("keygen", "mesh")
        if code:
            raise RuntimeError(f"keygen mesh: {err}")
        return out

    def __iter__(self):
        return iter(self.nodes)

    def __getitem__(self, i):
        return self.nodes[i]

    def wait_joined(self, nodes_up=None, timeout=JOIN_S):
        """Until each of these (all that run) sees all of them alive."""
        nodes_up = nodes_up or [n for n in self.nodes if n.process and n.process.running()]
        names = {n.config["name"] for n in nodes_up}
        for node in nodes_up:
            node.process.until(node.ready, timeout=timeout)
            wait_for(lambda n=node: names <= alive(n), timeout,
                     f"{node.config['name']} sees {sorted(names)}")

    def wait_known(self, digest, at, holders, timeout=KNOWN_S):
        """Until node `at` knows that these nodes hold the layer."""
        names = {n.config["name"] for n in holders}
        wait_for(lambda: names <= {h["name"] for h in why(at, digest)["holders"] if h["usable"]},
                 timeout, f"{at.config['name']} knows that {sorted(names)} hold {digest[:19]}")

    def wait_image_known(self, image, at, holders):
        for digest in image.blobs():
            self.wait_known(digest, at, holders)


def members(node):
    return json.loads(node.admin("GET", "/api/v1/members").body)["members"]


def alive(node):
    return {m["name"] for m in members(node) if m["state"] == "alive"}


def why(node, digest):
    return json.loads(node.admin("GET", f"/api/v1/blobs/{digest}").body)


def events(node, digest, kind=None):
    """The history of a layer: (event, detail), oldest first."""
    rows = [(h["event"], h["detail"]) for h in why(node, digest)["history"]]
    return [r for r in rows if kind is None or r[0] == kind]


def fetched(node, source):
    """Bytes of layers that came from "peer" or "origin"."""
    return int(node.metrics().get(f'dray_fetched_bytes_total{{from="{source}"}}', 0))


def audit(node):
    """Its audit lines: dicts of field and value."""
    rows = []
    for line in node.log().splitlines():
        if "layer served" in line:
            rows.append(dict(re.findall(r'(\w+)=("[^"]*"|\S+)', line)))
    return rows
