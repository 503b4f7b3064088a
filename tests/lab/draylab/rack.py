"""A rack: a host with a node on it."""

import json
import signal

from dray_e2e.node import Node

PORT = 5000
GONE = ("dead", "left")


class Rack(Node):
    """`machine` is its host. `alive`: whether others should see it (we did not stop it)."""

    def __init__(self, lab, machine, tls, ca, config):
        self.lab, self.machine, self.name = lab, machine, machine.name
        self.alive = False
        super().__init__(lab.stage, lab.upstreams, tls, ca, start=False, place=_AtPort(machine),
                         **config)
        if tls:
            self.config["tls"]["ca"] = ca  # peers have theirs from the same
            self.write_config()

    # --- life ------------------------------------------------------------------------------------

    def start(self, wait=True, env=None):
        self.lab.story.tell(f"{self.name} starts")
        super().start(wait, env)
        self.alive = True
        return self

    def stop(self, timeout=40):
        """SIGTERM: it says good-bye, finishes its answers, and ends."""
        self.begin_to_stop()
        self.await_end(timeout)

    def begin_to_stop(self):
        """SIGTERM, not waiting for the end."""
        self.lab.story.tell(f"{self.name} is stopped")
        self.alive = False
        self.process.signal(signal.SIGTERM)

    def kill(self):
        """kill -9: its connections are reset by its machine, its datagrams refused."""
        self.lab.story.tell(f"{self.name} is killed")
        self.alive = False
        super().kill()

    def freeze(self):
        """SIGSTOP: its machine goes on acknowledging, nobody answers."""
        self.lab.story.tell(f"{self.name} is frozen")
        self.alive = False
        self.process.signal(signal.SIGSTOP)

    def thaw(self):
        self.lab.story.tell(f"{self.name} goes on")
        self.process.signal(signal.SIGCONT)
        self.alive = True

    # --- what it knows and did ---------------------------------------------------------------------

    def ask(self, path):
        """JSON of its API, through its Unix socket: also when its network is gone."""
        answer = self.admin("GET", path)
        if answer.status != 200:
            raise AssertionError(f"{self.name}: {path} says {answer.status} {answer.body!r}")
        return answer.json()

    def members(self):
        """{name: state} as this node sees its region."""
        return {m["name"]: m["state"] for m in self.ask("/api/v1/members")["members"]}

    def sees(self):
        """{name: state} of those it counts on: alive, or suspected and not yet given up."""
        return {name: state for name, state in self.members().items() if state not in GONE}

    def knows(self, names):
        """It takes exactly these for alive, itself included, and nobody else for anything but gone."""
        return self.sees() == {name: "alive" for name in names}

    def lost(self, name):
        """It takes that one for dead, or knows that it left."""
        return name not in self.sees()

    def holders(self, digest):
        """The names of the other nodes that hold it, as far as this one knows."""
        return {h["name"] for h in self.ask(f"/api/v1/blobs/{digest}").get("holders", [])}

    def blob_fetch(self, digest):
        """What it says of its running fetch of this layer; None: there is none."""
        try:
            return self.ask(f"/api/v1/blobs/{digest}").get("fetch")
        except (AssertionError, OSError, ValueError):
            return None

    def metrics(self):
        text = self.admin("GET", "/metrics").body.decode()
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in rows}

    def fetched(self):
        """Bytes of layers by where it fetched them: {"peer": ..., "origin": ...}."""
        return {source: self.metrics().get(f'dray_fetched_bytes_total{{from="{source}"}}', 0)
                for source in ("peer", "origin")}

    def holds(self, image):
        return all(self.held(digest) for digest in image.blobs())

    def picture(self):
        """What it says of itself, for the logs."""
        try:
            return json.dumps({"members": self.ask("/api/v1/members"),
                               "status": self.ask("/api/v1/status")}, indent=1)
        except (AssertionError, OSError, ValueError) as e:
            return f"says nothing: {e}"

    def __repr__(self):
        return self.name


class _AtPort:
    """A host as a place where every server has the same port, as on real machines."""

    def __init__(self, machine):
        self.address, self.via = machine.address, machine.via
        self.at, self.inside = machine.at, machine.inside

    @staticmethod
    def free_port():
        return PORT
