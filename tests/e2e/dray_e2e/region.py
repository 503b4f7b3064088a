"""Several nodes as one region: addresses 127.0.0.x on one port number each, a key, a seed.

Each test has its own key file, so that regions of tests never meet, and waits for what it needs:
a state of members, as other members see it.
"""

import os
import shutil
import signal
import subprocess

from . import node as nodes
from .stage import wait_for

PATIENCE_S = 20 * (3 if nodes.SANITIZED else 1)


def keygen():
    """One line of a key file."""
    return subprocess.run([nodes.PROGRAM, "keygen", "mesh"], capture_output=True, text=True,
                          check=True).stdout


class Region:
    def __init__(self, case, upstream, **config):
        self.case = case
        self.stage = case.stage
        self.upstream = upstream
        self.config = config
        self.keys = [keygen()]
        self.key_file = self.stage.file(f"mesh-{id(self)}.key", self.keys[0])
        self.nodes = []

    def write_keys(self, *lines):
        self.keys = list(lines)
        self.stage.file(os.path.basename(self.key_file), "".join(lines))

    def add(self, name, seeds=(), ip=None, start=True, **config):
        """Another node; `seeds`: nodes or texts. Without, the first node is the seed."""
        ip = ip or f"127.0.0.{len(self.nodes) + 11}"
        seeds = list(seeds) or self.nodes[:1]
        config = nodes.merge({
            "name": name, "rack": f"rack-{name}", "mesh_key": self.key_file,
            "seeds": [s if isinstance(s, str) else s.host for s in seeds],
        }, nodes.merge(self.config, config))
        if not config["seeds"]:
            del config["seeds"]
        node = self.case.node(self.upstream, ip=ip, start=start, **config)
        self.nodes.append(node)
        return node

    def start(self, count, **config):
        for i in range(count):
            self.add(f"n{i + 1}", **config)
        self.wait_all()
        return self.nodes

    def wait_all(self, among=None, timeout=PATIENCE_S):
        """Everyone sees everyone alive."""
        among = among or self.nodes
        names = {n.config["name"] for n in among}
        for node in among:
            wait_for(lambda n=node: alive(n) >= names, timeout,
                     f"{names} alive as {node.config['name']} sees it")


def members(node):
    """{name: member} as `node` sees it; without an answer {}."""
    try:
        answer = node.admin("GET", "/api/v1/members")
    except OSError:
        return {}
    return {m["name"]: m for m in answer.json()["members"]}


def alive(node):
    return {name for name, m in members(node).items() if m["state"] == "alive"}


def wait_state(node, name, *states, timeout=PATIENCE_S):
    """Until `node` sees `name` in one of the states; "gone" counts as one."""
    def seen():
        m = members(node).get(name)
        return (m["state"] if m else "gone") in states
    wait_for(seen, timeout, f"{name} {'/'.join(states)} as {node.config['name']} sees it")


def copy_store(node, path):
    """A clone of its store, as a copied disk would be."""
    shutil.copytree(node.store, path, ignore=shutil.ignore_patterns("dray.sock"))
    return path


def move(node, ip):
    """Its config now says another address; it must be stopped."""
    node.port = nodes.free_port(ip)
    node.host = f"{ip}:{node.port}"
    node.url = f"{node.scheme}://{node.host}"
    node.config["listen"] = node.host
    node.write_config()


def hup(*all_nodes):
    for node in all_nodes:
        node.process.signal(signal.SIGHUP)
