"""Between a node and its registries: whose rights it uses, where it lets itself be led, and what holds
while the centre is away."""

import signal
import time

from dray_e2e import certs, images, proxy, registry, suite, tokens, wire
from dray_e2e.stage import wait_for

REPO = "team/app"
USERS = {
    "alice": ("alice-pw", {REPO: {"pull"}}),
    "bob": ("bob-pw", {}),
    "node": ("node-pw", {"*": {"pull"}}),
}


class Credentials(suite.Case):
    """The node's own login fetches, and never widens."""

    @classmethod
    def prepare(cls):
        cls.tokens = tokens.TokenServer(cls.stage, USERS)
        cls.registry = registry.Registry(cls.stage, cls.tokens)
        cls.front = proxy.Proxy(cls.stage, cls.registry.url)
        cls.login_file = cls.stage.file("node.cred", "node:node-pw\n")

    def server_with(self, **upstream):
        return self.node([{"name": "docker.io", "url": self.front.url,
                           "credentials": self.login_file, **upstream}])

    def login(self, user):
        headers = [("Authorization", wire.basic(user, USERS[user][0]))]
        got = wire.fetch(f"{self.tokens.realm}?service={tokens.SERVICE}&scope=repository:{REPO}:pull",
                         headers=headers)
        return [("Authorization", "Bearer " + got.json()["token"])]

    def asked_by_node(self, since):
        return [user for _, user in self.tokens.asked[since:] if user == "node"]

    def check_pull(self, server, salt):
        image = self.registry.push(REPO, "1", images.tiny(salt))
        path = f"/v2/{REPO}/blobs/{image.layer_digests[0]}"
        for headers in ([], self.login("bob")):
            want = wire.fetch(self.registry.url + path, headers=headers)
            got = server.get(path, headers=headers)
            self.assertEqual((got.status, got.body, got.header("www-authenticate")),
                             (401, want.body, want.header("www-authenticate")))
        got = server.get(path, headers=self.login("alice"))
        self.assertEqual((got.status, got.body), (200, image.layers[0]))
        for headers in ([], self.login("bob")):
            self.assertEqual(server.get(path, headers=headers).status, 401)

    def test_realm_elsewhere_gets_no_password(self):
        server = self.server_with()
        at = len(self.tokens.asked)
        self.check_pull(server, "foreign realm")
        self.assertEqual(self.asked_by_node(at), [])

    def test_realm_that_is_allowed(self):
        server = self.server_with(allow_hosts=[f"127.0.0.1:{self.tokens.port}"])
        at = len(self.tokens.asked)
        self.check_pull(server, "allowed realm")
        self.assertTrue(self.asked_by_node(at), "the node logged in by itself")
        self.assertNotIn("node-pw", server.log())

    def test_new_credentials_on_sighup(self):
        """A login that went bad is replaced without a restart."""
        path = self.stage.file("rotating.cred", "node:old-pw\n")
        server = self.node([{"name": "docker.io", "url": self.front.url, "credentials": path,
                             "allow_hosts": [f"127.0.0.1:{self.tokens.port}"]}])
        self.stage.file("rotating.cred", "node:node-pw\n")
        server.process.signal(signal.SIGHUP)
        wait_for(lambda: "reloaded" in server.log(), what="the reload")
        self.check_pull(server, "rotated")

    def test_open_credentials_file_is_refused(self):
        path = self.stage.file("open.cred", "node:node-pw\n", mode=0o644)
        node = self.node([{"name": "docker.io", "url": self.front.url, "credentials": path}],
                         start=False)
        node.start(wait=False)
        self.assertNotEqual(node.process.wait(10), 0)
        self.assertIn("open.cred", node.log())
        self.assertIn("chmod", node.log())
        self.assertNotIn("node-pw", node.log())


class Redirects(suite.Case):
    @classmethod
    def prepare(cls):
        cls.origin, cls.storage = proxy.Proxy(cls.stage), proxy.Proxy(cls.stage)
        cls.careful = cls.node([{"name": "docker.io", "url": cls.origin.url}])
        cls.allowing = cls.node([{"name": "docker.io", "url": cls.origin.url,
                                  "allow_hosts": [cls.storage.host]}])

    def setUp(self):
        self.origin.clear()
        self.storage.clear()
        self.origin.content.clear()
        self.storage.content.clear()

    def blob(self, salt):
        data = images.random_bytes(50_000, salt + self.id())
        return data, images.digest_of(data)

    def to_storage(self, record):
        return self.storage.url + record.path

    def test_storage_that_is_allowed(self):
        """As a registry before an object store does; the login stays with the registry."""
        data, digest = self.blob("allowed")
        self.storage.serve_blob(REPO, data, digest)
        self.origin.add(proxy.redirect(self.to_storage), method=None, path=digest)
        login = [("Authorization", wire.basic("alice", "alice-pw"))]
        got = self.allowing.blob(REPO, digest, login)
        self.assertEqual((got.status, got.body), (200, data))
        seen = self.storage.requests(path=digest)
        self.assertTrue(seen)
        self.assertEqual([r.header("authorization") for r in seen], [None] * len(seen))
        self.assertTrue(any(r.header("authorization") for r in self.origin.requests(path=digest)))

    def test_targets_that_are_refused(self):
        at = self.storage.mark()
        port = self.storage.port
        for target in (f"http://127.0.0.1:{port}/x", f"http://localhost:{port}/x",
                       f"http://[::1]:{port}/x", f"http://[::ffff:127.0.0.1]:{port}/x",
                       f"http://2130706433:{port}/x", "http://169.254.169.254/latest/meta-data",
                       "http://10.0.0.1/x", "http://192.168.1.1/x", "http://172.16.0.1/x",
                       "http://0.0.0.0/x", f"http://user:pw@127.0.0.1:{port}/x",
                       "file:///etc/passwd", "gopher://127.0.0.1/x", "//", ""):
            with self.subTest(target):
                _, digest = self.blob(target)
                self.origin.add(proxy.redirect(target), method=None, path=digest)
                got = self.careful.blob(REPO, digest, timeout=10)
                self.assertGreaterEqual(got.status, 500)
                self.assertTrue(got.codes())
        self.assertEqual(self.storage.requests(since=at), [], "nobody was led there")

    def test_circle(self):
        _, digest = self.blob("circle")
        self.origin.add(proxy.redirect(lambda r: r.target), method=None, path=digest)
        at = self.origin.mark()
        got = self.careful.blob(REPO, digest)
        self.assertGreaterEqual(got.status, 500)
        self.assertTrue(got.codes())
        self.assertLessEqual(len(self.origin.requests(path=digest, since=at)), 12)

    def test_long_way(self):
        """Three hops are followed, a fourth is not."""
        for hops, status in ((3, 200), (4, 502)):
            data, digest = self.blob(f"hops{hops}")

            def onward(record, hops=hops, digest=digest):
                at = int(record.query.removeprefix("hop=") or 0)
                return f"/v2/{REPO}/blobs/{digest}?hop={at + 1}"

            def last(record, hops=hops):
                return record.query == f"hop={hops}"
            self.origin.serve_blob(REPO, data, digest)
            self.origin.add(proxy.redirect(onward), method=None, path=digest,
                            when=lambda r, last=last: not last(r))
            got = self.careful.blob(REPO, digest)
            if status == 200:
                self.assertEqual((got.status, got.body), (200, data))
            else:
                self.assertGreaterEqual(got.status, 500)

    def test_a_registry_that_redirects_everything_proves_nothing(self):
        """Its 3xx for a digest of another repository is no permission."""
        data, digest = self.blob("everything")
        self.storage.serve_blob("secret/app", data, digest)
        self.origin.add(proxy.redirect(self.to_storage), method=None, path="/blobs/")
        self.assertEqual(self.allowing.blob("secret/app", digest).body, data)
        self.assertEqual(self.allowing.blob(REPO, digest).status, 404)

    def test_never_from_https_to_http(self):
        authority = certs.Authority(self.stage.dir("ca"))
        origin = proxy.Proxy(self.stage, tls=authority.server("origin"))
        node = self.node([{"name": "docker.io", "url": origin.url, "ca": authority.ca,
                           "allow_hosts": [self.storage.host]}])
        data, digest = self.blob("downgrade")
        self.storage.serve_blob(REPO, data, digest)
        origin.add(proxy.redirect(self.to_storage), method=None, path=digest)
        self.assertGreaterEqual(node.blob(REPO, digest).status, 500)
        self.assertEqual(self.storage.requests(path=digest), [])


class Tls(suite.Case):
    def test_upstream_certificate(self):
        authority = certs.Authority(self.stage.dir("ca"))
        centre = registry.Registry(self.stage, authority=authority)
        image = centre.push(REPO, "1", images.tiny("tls"))
        path = f"/v2/{REPO}/blobs/{image.layer_digests[0]}"
        node = self.node([{"name": "docker.io", "url": centre.url, "ca": authority.ca}])
        got = node.get(path)
        self.assertEqual((got.status, got.body), (200, image.layers[0]))
        stranger = certs.Authority(self.stage.dir("stranger"))
        node = self.node([{"name": "docker.io", "url": centre.url, "ca": stranger.ca}])
        got = node.get(path)
        self.assertEqual(got.status, 503)
        self.assertTrue(got.codes())


class Away(suite.Case):
    """The registry refuses connections, or answers 5xx."""

    @classmethod
    def prepare(cls):
        cls.tokens = tokens.TokenServer(cls.stage, USERS)
        cls.registry = registry.Registry(cls.stage, cls.tokens)
        cls.image = cls.registry.push(REPO, "1", images.tiny("away"))
        cls.unseen = cls.registry.push(REPO, "2", images.tiny("unseen"))

    def set_up(self, **authz):
        front = proxy.Proxy(self.stage, self.registry.url)
        node = self.node(front.url, authz={"ttl": "1s", **authz})
        return front, node, [("Authorization", self.tokens.bearer(REPO, user="alice"))]

    def warm(self, node, headers):
        for path in ("/v2/", f"/v2/{REPO}/manifests/1", f"/v2/{REPO}/manifests/{self.image.digest}",
                     *(f"/v2/{REPO}/blobs/{d}" for d in self.image.blobs())):
            got = node.get(path, headers=headers + images.MANIFEST_ACCEPT)
            self.assertEqual(got.status, 200, path)
        self.assertEqual(node.get("/v2/").status, 401)

    def check_away(self, node, path, headers):
        got = node.get(path, headers=headers)
        self.assertEqual(got.status, 503, f"{path}: {got.body[:200]}")
        self.assertTrue(got.codes())

    def test_no_grace(self):
        front, node, headers = self.set_up()
        self.warm(node, headers)
        front.down()
        time.sleep(1.2)
        for path in ("/v2/", f"/v2/{REPO}/manifests/1", f"/v2/{REPO}/manifests/{self.image.digest}",
                     f"/v2/{REPO}/blobs/{self.image.layer_digests[0]}", f"/v2/{REPO}/tags/list"):
            with self.subTest(path):
                self.check_away(node, path, headers)
        front.up()
        time.sleep(2.2)  # what failed a moment ago need not be asked at once
        self.warm(node, headers)

    def check_grace(self, node, headers):
        for path, body in ((f"/v2/{REPO}/manifests/1", self.image.manifest),
                           (f"/v2/{REPO}/manifests/{self.image.digest}", self.image.manifest),
                           (f"/v2/{REPO}/blobs/{self.image.layer_digests[0]}", self.image.layers[0])):
            with self.subTest(path):
                got = node.get(path, headers=headers + images.MANIFEST_ACCEPT)
                self.assertEqual((got.status, got.body), (200, body))
        challenge = node.get("/v2/")
        self.assertEqual(challenge.status, 401)
        self.assertIn(self.tokens.realm, challenge.header("www-authenticate"))
        other = [("Authorization", self.tokens.bearer(REPO, user="carol"))]
        for path, who in ((f"/v2/{REPO}/blobs/{self.unseen.layer_digests[0]}", headers),
                          (f"/v2/{REPO}/manifests/2", headers),
                          (f"/v2/{REPO}/blobs/{self.image.layer_digests[0]}", other),
                          (f"/v2/{REPO}/manifests/1", other)):
            with self.subTest(f"not granted: {path}"):
                self.check_away(node, path, who)

    def test_grace(self):
        front, node, headers = self.set_up(grace="60s")
        self.warm(node, headers)
        front.down()
        time.sleep(1.2)
        self.check_grace(node, headers)

    def test_grace_on_5xx(self):
        front, node, headers = self.set_up(grace="60s")
        self.warm(node, headers)
        front.add(proxy.status(502, b"bad gateway"), method=None, path="/")
        time.sleep(1.2)
        self.check_grace(node, headers)

    def test_grace_where_it_is_silent(self):
        """It takes requests and says nothing: it is not waited for again and again."""
        front, node, headers = self.set_up(grace="60s")
        self.warm(node, headers)
        front.add(proxy.silence(), method=None, path="/")
        time.sleep(1.2)
        at = front.mark()
        for _ in range(10):
            for path, body in ((f"/v2/{REPO}/manifests/1", self.image.manifest),
                               (f"/v2/{REPO}/blobs/{self.image.layer_digests[0]}",
                                self.image.layers[0])):
                got = node.get(path, headers=headers + images.MANIFEST_ACCEPT)
                self.assertEqual((got.status, got.body), (200, body))
            self.assertEqual(node.get("/v2/").status, 401)
        self.assertLess(len(front.requests(since=at)), 10, "of thirty")

    def test_grace_ends(self):
        front, node, headers = self.set_up(grace="1s")
        self.warm(node, headers)
        front.down()
        time.sleep(2.4)
        self.check_away(node, f"/v2/{REPO}/blobs/{self.image.layer_digests[0]}", headers)

    def test_a_refusal_is_not_away(self):
        """401, 403, 404 and 429 come from a registry that is there."""
        front, node, headers = self.set_up(grace="60s")
        self.warm(node, headers)
        time.sleep(1.2)
        for code in (401, 403, 404, 429):
            body = b'{"errors":[{"code":"DENIED","message":"no"}]}'
            front.clear()
            front.add(proxy.status(code, body), method=None, path="/")
            with self.subTest(code):
                for path in (f"/v2/{REPO}/blobs/{self.image.layer_digests[0]}",
                             f"/v2/{REPO}/manifests/1"):
                    got = node.get(path, headers=headers)
                    self.assertEqual((got.status, got.body), (code, body))


if __name__ == "__main__":
    suite.main()
