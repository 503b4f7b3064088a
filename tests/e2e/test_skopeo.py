"""skopeo pulls through a node: plain and TLS, directly and as a mirror, with and without login."""

from dray_e2e import certs, clients, images, proxy, registry, suite, tokens

REPO = "team/app"


class Skopeo(suite.Case):
    @classmethod
    def prepare(cls):
        cls.skopeo = clients.Skopeo(cls.stage)
        cls.authority = certs.Authority(cls.stage.dir("ca"))
        cls.image = images.small("skopeo")
        users = {"alice": ("secret", {REPO: {"pull"}}), "bob": ("secret", {})}
        cls.tokens = tokens.TokenServer(cls.stage, users)

    def set_up(self, auth=None, tls=False):
        """(proxy before a new registry that holds the image, node before the proxy)."""
        centre = registry.Registry(self.stage, auth, self.authority if tls else None)
        centre.push(REPO, "1", self.image)
        front = proxy.Proxy(self.stage, centre.url, centre.ca)
        front.registry = centre
        pair = self.authority.server(f"node-{front.port}") if tls else None
        return front, self.node(front.url, tls=pair, ca=self.authority.ca if tls else None)

    def pull_twice(self, front, node, creds=None, tls=False):
        for turn in ("first", "second"):
            at = front.mark()
            done, folder = self.skopeo.copy(f"{node.host}/{REPO}:1", creds,
                                            self.authority.ca if tls else None)
            done.must()
            self.skopeo.verify(folder, self.image)
            if turn == "second":
                self.assertEqual(front.blob_gets(since=at), [], "the second pull leaves no trace")
        self.assertEqual(len(front.fetches()), len(self.image.blobs()))

    def test_open(self):
        self.pull_twice(*self.set_up())

    def test_open_tls(self):
        self.pull_twice(*self.set_up(tls=True), tls=True)

    def test_basic_tls(self):
        front, node = self.set_up({"alice": "secret"}, tls=True)
        self.pull_twice(front, node, "alice:secret", tls=True)
        done, _ = self.skopeo.copy(f"{node.host}/{REPO}:1", "alice:wrong", self.authority.ca)
        self.assertFalse(done.ok)
        self.assertIn("unauthorized", done.err.lower())

    def test_bearer(self):
        front, node = self.set_up(self.tokens)
        self.pull_twice(front, node, "alice:secret")
        done, _ = self.skopeo.copy(f"{node.host}/{REPO}:1", "bob:secret")
        self.assertFalse(done.ok, "held, and still not bob's")

    def test_other_ca_is_refused(self):
        _, node = self.set_up(tls=True)
        stranger = certs.Authority(self.stage.dir("other-ca"))
        done, _ = self.skopeo.copy(f"{node.host}/{REPO}:1", ca=stranger.ca)
        self.assertFalse(done.ok)
        self.assertIn("certificate", done.err)

    def test_mirror(self):
        front, node = self.set_up()
        for _ in range(2):
            done, folder = self.skopeo.copy(f"registry.test/{REPO}:1", mirror=node.host)
            done.must()
            self.skopeo.verify(folder, self.image)
        self.assertEqual(len(front.fetches()), len(self.image.blobs()))

    def test_all_architectures(self):
        front, node = self.set_up()
        index = front.registry.push(REPO, "multi", images.Index(
            [images.tiny("here"), images.tiny("there", architecture="riscv64")]))
        done, folder = self.skopeo.copy(f"{node.host}/{REPO}:multi", everything=True)
        done.must()
        self.skopeo.verify_index(folder, index)


if __name__ == "__main__":
    suite.main()
