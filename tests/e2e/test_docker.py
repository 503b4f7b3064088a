"""docker pulls through a node: as docker.io's mirror, and as a registry named by host and port.

Docker never checks certificates of 127.0.0.0/8, but does those of ::1: the mirror with TLS listens
there.
"""

from dray_e2e import certs, clients, images, proxy, registry, suite, tokens
from dray_e2e.stage import free_port

REPO = "team/app"


class Docker(suite.Case):
    @classmethod
    def prepare(cls):
        cls.authority = certs.Authority(cls.stage.dir("ca"))
        cls.image = images.small("docker")
        users = {"alice": ("secret", {REPO: {"pull"}}), "bob": ("secret", {})}
        cls.tokens = tokens.TokenServer(cls.stage, users)
        cls.hub = registry.Registry(cls.stage)
        cls.hub.push("library/demo", "1", cls.image)
        cls.hub_front = proxy.Proxy(cls.stage, cls.hub.url)
        cls.mirror = cls.node([{"name": "docker.io", "url": cls.hub_front.url}])
        cls.containerd = clients.Containerd(cls.stage)
        cls.docker = clients.Docker(cls.stage, cls.containerd, mirror=cls.mirror.url)

    def set_up(self, auth=None, tls=False):
        centre = registry.Registry(self.stage, auth)
        centre.push(REPO, "1", self.image)
        front = proxy.Proxy(self.stage, centre.url)
        pair = self.authority.server(f"node-{front.port}") if tls else None
        return front, self.node(front.url, tls=pair, ca=self.authority.ca if tls else None)

    def pull_twice(self, front, name, docker=None):
        docker = docker or self.docker
        for turn in ("first", "second"):
            at = front.mark()
            docker.pull(name).must()
            docker.verify(name, self.image)
            docker.forget(name)
            if turn == "second":
                self.assertEqual(front.blob_gets(since=at), [], "the second pull leaves no trace")
        self.assertEqual(len(front.fetches()), len(self.image.blobs()))

    def test_mirror(self):
        self.pull_twice(self.hub_front, "demo:1")

    def test_mirror_tls(self):
        front = proxy.Proxy(self.stage, self.hub.url)
        port = free_port("::1")
        node = self.node([{"name": "docker.io", "url": front.url}], tls=self.authority.server("v6"),
                         ca=self.authority.ca, listen=f"[::1]:{port}", start=False)
        node.url, node.host = f"https://[::1]:{port}", f"[::1]:{port}"
        node.start()
        trusting = clients.Docker(self.stage, self.containerd, node.url, self.authority.ca)
        self.pull_twice(front, "demo:1", trusting)
        trusting.process.stop()
        at = front.mark()
        doubting = clients.Docker(self.stage, self.containerd, node.url)
        self.assertFalse(doubting.pull("demo:1").ok, "a CA that docker does not know")
        doubting.process.stop()
        self.assertEqual(front.mark(), at)

    def test_registry(self):
        front, node = self.set_up()
        self.pull_twice(front, f"{node.host}/{REPO}:1")

    def test_registry_tls(self):
        front, node = self.set_up(tls=True)
        self.pull_twice(front, f"{node.host}/{REPO}:1")

    def test_basic(self):
        front, node = self.set_up({"alice": "secret"}, tls=True)
        self.assertFalse(self.docker.login(node.host, "alice", "wrong").ok)
        self.assertFalse(self.docker.pull(f"{node.host}/{REPO}:1").ok)
        self.docker.login(node.host, "alice", "secret").must()
        self.pull_twice(front, f"{node.host}/{REPO}:1")

    def test_bearer(self):
        front, node = self.set_up(self.tokens)
        self.docker.login(node.host, "alice", "secret").must()
        self.pull_twice(front, f"{node.host}/{REPO}:1")
        self.docker.login(node.host, "bob", "secret").must()
        self.assertFalse(self.docker.pull(f"{node.host}/{REPO}:1").ok, "held, and still not bob's")

    def test_by_digest(self):
        front, node = self.set_up()
        name = f"{node.host}/{REPO}@{self.image.digest}"
        self.docker.pull(name).must()
        self.docker.verify(name, self.image)
        self.docker.forget(name)
        at = front.mark()
        self.docker.pull(name).must()
        self.assertEqual([r for r in front.requests("GET", since=at) if r.path != "/v2/"], [])
        self.docker.forget(name)


if __name__ == "__main__":
    suite.main()
