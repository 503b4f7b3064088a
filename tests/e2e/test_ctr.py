"""containerd pulls through a node by hosts.toml, with ?ns=: plain and TLS, with and without login."""

from dray_e2e import certs, clients, images, proxy, registry, suite, tokens

REPO = "team/app"
NAMES = ("one.example.org", "two.example.org")


class Ctr(suite.Case):
    @classmethod
    def prepare(cls):
        cls.containerd = clients.Containerd(cls.stage)
        cls.authority = certs.Authority(cls.stage.dir("ca"))
        cls.image = images.small("ctr")
        users = {"alice": ("secret", {REPO: {"pull"}}), "bob": ("secret", {})}
        cls.tokens = tokens.TokenServer(cls.stage, users)

    def set_up(self, auth=None, tls=False):
        """A node for two registries' names; the second is the one with the image."""
        centre = registry.Registry(self.stage, auth, self.authority if tls else None)
        centre.push(REPO, "1", self.image)
        front = proxy.Proxy(self.stage, centre.url, centre.ca)
        empty = proxy.Proxy(self.stage)
        pair = self.authority.server(f"node-{front.port}") if tls else None
        node = self.node([{"name": NAMES[0], "url": empty.url},
                          {"name": NAMES[1], "url": front.url}],
                         tls=pair, ca=self.authority.ca if tls else None)
        return front, node, self.containerd.hosts(NAMES[1], node.url, node.ca)

    def pull_twice(self, front, hosts, user=None):
        name = f"{NAMES[1]}/{REPO}:1"
        for turn in ("first", "second"):
            at = front.mark()
            self.containerd.pull(name, hosts, user).must()
            self.containerd.verify(self.image)
            self.containerd.forget(name)
            if turn == "second":
                self.assertEqual(front.blob_gets(since=at), [], "the second pull leaves no trace")
        self.assertEqual(len(front.fetches()), len(self.image.blobs()))

    def test_open(self):
        front, _, hosts = self.set_up()
        self.pull_twice(front, hosts)

    def test_open_tls(self):
        front, _, hosts = self.set_up(tls=True)
        self.pull_twice(front, hosts)

    def test_basic_tls(self):
        front, _, hosts = self.set_up({"alice": "secret"}, tls=True)
        self.pull_twice(front, hosts, "alice:secret")
        self.assertFalse(self.containerd.pull(f"{NAMES[1]}/{REPO}:1", hosts, "alice:wrong").ok)

    def test_bearer(self):
        front, _, hosts = self.set_up(self.tokens)
        self.pull_twice(front, hosts, "alice:secret")
        self.assertFalse(self.containerd.pull(f"{NAMES[1]}/{REPO}:1", hosts, "bob:secret").ok)

    def test_other_ca_is_refused(self):
        _, node, _ = self.set_up(tls=True)
        stranger = certs.Authority(self.stage.dir("other-ca"))
        hosts = self.containerd.hosts(NAMES[1], node.url, stranger.ca)
        done = self.containerd.pull(f"{NAMES[1]}/{REPO}:1", hosts)
        self.assertFalse(done.ok)
        self.assertIn("certificate", done.err)

    def test_broken_upstream_is_no_broken_pull(self):
        """The line breaks in the middle of a layer; containerd never knows."""
        front, _, hosts = self.set_up()
        rule = front.add(proxy.cut(1 << 20), path=self.image.layer_digests[2], times=1)
        self.pull_once(hosts)
        self.assertEqual(rule.hits, 1)

    def pull_once(self, hosts):
        name = f"{NAMES[1]}/{REPO}:1"
        self.containerd.pull(name, hosts).must()
        self.containerd.verify(self.image)
        self.containerd.forget(name)


if __name__ == "__main__":
    suite.main()
