"""A tracker's stand-in (standin/main.c): a member of the region in its role that issues any ticket it is
told to, is read through by a script, and prints what it hears."""

import json
import os
import time

from . import node as nodes
from . import wire
from .stage import free_port, port_open, wait_for

PROGRAM = os.environ.get("DRAY_STANDIN", "")
USER = "00112233445566778899aabbccddeeff"


def ticket_keys(stage, name):
    """(secret file, public line) of a new pair."""
    secret, public = (os.path.join(stage.path, f"{name}.{end}") for end in ("key", "pub"))
    code, _, err = nodes.run("keygen", "ticket", secret, public)
    if code:
        raise RuntimeError(err)
    with open(public, encoding="ascii") as f:
        return secret, f.read()


class Standin:
    def __init__(self, stage, region, key, name="tracker", ip="127.0.0.90"):
        self.stage, self.region, self.key = stage, region, key
        self.name = name
        self.dir = stage.dir(name)
        os.mkdir(os.path.join(self.dir, "blobs"))
        self.host = f"{ip}:{free_port(ip)}"
        self.url = f"http://{self.host}"
        self.process = None
        self.start()

    def start(self):
        self.process = self.stage.spawn(self.name, [
            PROGRAM, self.dir, self.host, self.region.key_file, self.region.nodes[0].host,
            self.name])
        ip, port = self.host.rsplit(":", 1)
        self.process.until(lambda: port_open(int(port), ip))

    def script(self, text):
        """"serve", "cut BYTES", "status NUMBER"."""
        aside = os.path.join(self.dir, "script.new")
        with open(aside, "w", encoding="ascii") as f:
            f.write(text)
        os.rename(aside, os.path.join(self.dir, "script"))

    def holds(self, data, digest):
        with open(os.path.join(self.dir, "blobs", digest), "wb") as f:
            f.write(data)

    def ticket(self, node, digest, repository, life=(0, 60), **more):
        """The text of a ticket; `life`: issued and expiring so many seconds from now."""
        now = int(time.time())
        wanted = {"node": node.config["name"], "digest": digest, "repository": repository,
                  "iat": now + life[0], "exp": now + life[1], "user": USER,
                  "upstream": "docker.io", "key": self.key, **more}

        def issued():
            answer = wire.fetch(self.url + "/issue", "POST", [], json.dumps(wanted).encode())
            return answer.body.decode() if answer.status == 200 else None
        return wait_for(issued, 15, f"a ticket for {node.config['name']}")

    def revoke(self, node, user, until, count=1):
        """Tells one node; the status that it answers."""
        before = len(self.heard("revoked"))
        said = wire.fetch(self.url + "/revoke", "POST", [], json.dumps(
            {"node": node.config["name"], "user": user, "until": until,
             "count": count}).encode())
        if said.status != 200:
            raise RuntimeError(f"not told: {said.status}")
        return wait_for(lambda: self.heard("revoked")[before:], 10, "its answer")[0]["revoked"]

    def heard(self, kind, **match):
        """What it printed that has this key: dicts, oldest first."""
        rows = [json.loads(line) for line in self.process.log().splitlines()
                if line.startswith("{")]
        return [r for r in rows if kind in r and all(r.get(k) == v for k, v in match.items())]

    def origins(self, digest):
        return [r for r in self.heard("origin") if digest in r["origin"]]

    def wait_outcomes(self, digest, *events, timeout=10):
        """Until it has heard exactly these of the layer, in whatever order; their rows."""
        def rows():
            return self.heard("outcome", digest=digest)
        wait_for(lambda: len(rows()) >= len(events), timeout, f"{events} of {digest}")
        found = sorted(r["outcome"] for r in rows())
        if found != sorted(events):
            raise AssertionError(f"{found} is not {sorted(events)}")
        return rows()
