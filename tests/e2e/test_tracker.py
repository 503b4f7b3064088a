"""The tracker as a transparent front: unmodified clients log in, push and pull through its URL, before
registries that are open, Basic and Bearer, plain and TLS."""

import hashlib
import json
import os
import socket
import threading

from dray_e2e import certs, clients, images, node as nodes, proxy, registry, suite, tokens, tracker, wire
from dray_e2e.stage import wait_for

REPO = "team/app"


class Front(suite.Case):
    @classmethod
    def prepare(cls):
        cls.authority = certs.Authority(cls.stage.dir("ca"))
        cls.image = images.small("front")
        users = {"alice": ("secret", {REPO: {"pull", "push"}}), "bob": ("secret", {})}
        cls.tokens = tokens.TokenServer(cls.stage, users)

    @classmethod
    def front(cls, auth=None, tls=False, push=True, **config):
        """(registry, tracker before it)."""
        centre = registry.Registry(cls.stage, auth, cls.authority if tls else None)
        if push:
            centre.push(REPO, "1", cls.image)
        central = {"url": centre.url, **({"ca": centre.ca} if tls else {})}
        pair = cls.authority.server(f"tracker-{centre.port}") if tls else None
        front = tracker.Tracker(cls.stage, central, tls=pair, ca=centre.ca, **config)
        cls.nodes.append(front)
        return centre, front


class Protocol(Front):
    def test_push_and_pull_by_hand(self):
        centre, front = self.front(push=False)
        through = registry.Registry.__new__(registry.Registry)
        through.__dict__.update(centre.__dict__, url=front.url)
        through.push(REPO, "1", self.image)
        self.assertEqual(front.get(f"/v2/{REPO}/manifests/1",
                                   headers=images.MANIFEST_ACCEPT).body, self.image.manifest)
        for digest, data in self.image.blobs().items():
            self.assertEqual(front.blob(REPO, digest).body, data)
            part = front.blob(REPO, digest, headers=[("Range", "bytes=10-99")])
            self.assertEqual((part.status, part.body), (206, data[10:100]))
            head = front.get(f"/v2/{REPO}/blobs/{digest}", "HEAD")
            self.assertEqual((head.status, head.header("content-length")), (200, str(len(data))))
        self.assertEqual(json.loads(front.get(f"/v2/{REPO}/tags/list").body)["tags"], ["1"])
        gone = front.get(f"/v2/{REPO}/manifests/{self.image.digest}", "DELETE")
        self.assertEqual(gone.status, 202)
        self.assertEqual(front.get(f"/v2/{REPO}/manifests/1").status, 404)

    def test_locations_lead_back(self):
        _, front = self.front()
        begun = front.ask(f"/v2/{REPO}/blobs/uploads/", "POST")
        self.assertEqual(begun.status, 202)
        self.assertTrue(begun.header("location").startswith(front.url + "/v2/"),
                        begun.header("location"))
        page = front.get(f"/v2/_catalog?n=1")
        self.assertEqual(page.status, 200)

    def test_claims_of_clients_do_not_count(self):
        _, front = self.front()
        lies = [("Forwarded", "host=evil.test;proto=https"), ("X-Forwarded-Host", "evil.test"),
                ("X-Forwarded-Proto", "https")]
        begun = front.ask(f"/v2/{REPO}/blobs/uploads/", "POST", lies)
        self.assertTrue(begun.header("location").startswith(front.url + "/v2/"),
                        begun.header("location"))

    def test_a_trusted_proxy_is_believed(self):
        _, front = self.front(trusted_proxies=["127.0.0.0/8"])
        told = [("X-Forwarded-Host", "dray.test"), ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-For", "192.0.2.7")]
        begun = front.ask(f"/v2/{REPO}/blobs/uploads/", "POST", told)
        self.assertTrue(begun.header("location").startswith("https://dray.test/v2/"),
                        begun.header("location"))

    def test_dots_go_nowhere(self):
        _, front = self.front()
        for path in ("/v2/../debug", "/v2/%2e%2e/debug", "/v2/a/./b"):
            self.assertEqual(front.get(path).status, 400, path)

    def test_refusals_are_the_registrys_own(self):
        centre, front = self.front({"alice": "secret"})
        for path in ("/v2/", f"/v2/{REPO}/manifests/1"):
            here, there = front.get(path), wire.fetch(centre.url + path, "GET", [])
            self.assertEqual((here.status, here.body), (there.status, there.body))
            self.assertEqual(here.header("www-authenticate"), there.header("www-authenticate"))
        right = front.get("/v2/", headers=[("Authorization", wire.basic("alice", "secret"))])
        self.assertEqual(right.status, 200)

    def test_an_absent_registry_is_said(self):
        centre, front = self.front()
        centre.stop()
        answer = front.get("/v2/")
        self.assertEqual(answer.status, 503)
        self.assertEqual(json.loads(answer.body)["errors"][0]["code"], "UNAVAILABLE")
        self.assertEqual(front.get("/healthz").status, 200)

    def test_a_large_upload_streams(self):
        centre, front = self.front(push=False)
        before, size = front.rss(), 192 << 20
        piece = os.urandom(1 << 20)
        digest = hashlib.sha256()
        begun = front.ask(f"/v2/{REPO}/blobs/uploads/", "POST")
        path = begun.header("location").removeprefix(front.url)
        most = 0
        sock = socket.create_connection(("127.0.0.1", front.port))
        sock.sendall(f"PATCH {path} HTTP/1.1\r\nHost: {front.host}\r\nTransfer-Encoding: chunked\r\n"
                     "Content-Type: application/octet-stream\r\n\r\n".encode())
        for _ in range(size >> 20):
            digest.update(piece)
            sock.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            most = max(most, front.rss())
        sock.sendall(b"0\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096)
        sock.close()
        self.assertTrue(head.startswith(b"HTTP/1.1 202"), head[:200])
        bound = (32 << 20) * (8 if nodes.SANITIZED else 1)  # what is freed stays a while there
        self.assertLess(most - before, bound)
        place = [l for l in head.decode().split("\r\n") if l.lower().startswith("location: ")][0][10:]
        done = front.ask(place.removeprefix(front.url) + f"&digest=sha256:{digest.hexdigest()}", "PUT")
        self.assertEqual(done.status, 201, done.body)
        got = front.open(f"/v2/{REPO}/blobs/sha256:{digest.hexdigest()}")
        read, again = 0, hashlib.sha256()
        while True:
            data = got.read(1 << 20)
            if not data:
                break
            again.update(data)
            read += len(data)
        self.assertEqual((read, again.hexdigest()), (size, digest.hexdigest()))
        self.assertLess(front.rss() - before, bound)

    def test_a_slow_pusher_and_one_that_leaves(self):
        _, front = self.front(push=False)
        begun = front.ask(f"/v2/{REPO}/blobs/uploads/", "POST")
        path = begun.header("location").removeprefix(front.url)
        sock = socket.create_connection(("127.0.0.1", front.port))
        sock.sendall(f"PATCH {path} HTTP/1.1\r\nHost: {front.host}\r\nContent-Length: 40\r\n"
                     "\r\n".encode())
        for i in range(4):
            sock.sendall(b"0123456789")
            threading.Event().wait(0.2)
        self.assertTrue(sock.recv(4096).startswith(b"HTTP/1.1 202"))
        sock.close()
        again = front.ask(f"/v2/{REPO}/blobs/uploads/", "POST").header("location")
        sock = socket.create_connection(("127.0.0.1", front.port))
        sock.sendall(f"PATCH {again.removeprefix(front.url)} HTTP/1.1\r\nHost: {front.host}\r\n"
                     "Content-Length: 400\r\n\r\n0123456789".encode())
        threading.Event().wait(0.3)
        sock.close()
        self.assertEqual(front.get("/v2/").status, 200)

    def test_slow_pushers_stand_in_nobodys_way(self):
        """Each holds a connection to a registry that reads a body before it judges who sends it:
        more of them than there may be connections."""
        centre = proxy.Proxy(self.stage)
        centre.serve("/v2/", b"{}")
        front = tracker.Tracker(self.stage, centre.url)
        self.nodes.append(front)
        socks = []
        for _ in range(420):
            sock = socket.create_connection(("127.0.0.1", front.port))
            self.addCleanup(sock.close)
            sock.sendall(f"PATCH /v2/{REPO}/blobs/uploads/1 HTTP/1.1\r\nHost: {front.host}\r\n"
                         "Content-Length: 400\r\n\r\n0".encode())
            socks.append(sock)
        self.assertEqual(front.get("/v2/", timeout=100).status, 200)
        self.assertNotIn("does not answer", front.log())
        refused = 0
        for sock in socks:
            sock.setblocking(False)
            try:
                refused += sock.recv(4096).startswith(b"HTTP/1.1 429 ")
            except BlockingIOError:
                pass
        self.assertGreater(refused, 0)
        self.assertLess(refused, 300)
        for sock in socks:
            sock.close()

        def pushes():
            answer = front.ask(f"/v2/{REPO}/blobs/uploads/2", "PUT", body=b"x" * 10)
            return answer.status != 429
        wait_for(pushes, 30, "room for another")

    def test_imports_that_are_wrong(self):
        _, front = self.front(push=False)
        cases = [(b"", "expected"), (b"[]", "no object"), (b"[" * 100_000, "depth"),
                 (b'{"users":{"a":"x","a":"y"}}', "duplicate"), (b'{"a":"\xff"}', "decode"),
                 (b'{"a":1e999999}', "overflow"), (b'{"users":{"a":5}}', "a: the name of a cache is no text"),
                 (b'{"users":{"a/../b":"x"}}', "no name of a user"),
                 (b'{"users":{"\\u001b[31m":5}}', "?[31m: "),
                 (b'{"teams":{"t":5}}', "t: the cache of a team is no text"),
                 (b'{"teams":{"t":{"cache":"x","members":7}}}', "t: the members of a team are no list"),
                 (b'{"teams":{"t":{"members":[[]]}}}', "t: the name of a member is no text")]
        for text, words in cases:
            with self.subTest(text[:40]):
                code, _, err = front.command("users", "import", self.stage.file("import.json", text))
                self.assertNotEqual(code, 0)
                self.assertIn(words, err)
                self.assertNotIn("\x1b", err)
        self.assertEqual(front.get("/healthz").status, 200)

    def test_status_and_metrics(self):
        _, front = self.front()
        front.get("/v2/")
        code, out, _ = front.command("status")
        self.assertEqual(code, 0)
        self.assertEqual(json.loads(out)["registry"]["state"], "ok")
        self.assertGreaterEqual(front.metric("dray_http_requests_total"), 1)
        self.assertEqual(tracker.run("--version")[0], 0)
        self.assertIn("registry.url", tracker.run("--help")[1])
        code, _, err = tracker.run("--check-config", "--public_url", "http://a.test")
        self.assertEqual(code, 1)
        self.assertIn("registry.url", err)


class Skopeo(Front):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.skopeo = clients.Skopeo(cls.stage)

    def through(self, front, creds=None, ca=None):
        done, folder = self.skopeo.copy(f"{front.host}/{REPO}:1", creds, ca)
        done.must()
        self.skopeo.verify(folder, self.image)
        argv = [self.skopeo.program, "--insecure-policy", "copy", "--quiet"]
        argv += ["--dest-creds", creds] if creds else []
        argv += ["--dest-cert-dir", self.cert_dir(ca)] if ca else ["--dest-tls-verify=false"]
        clients.execute(argv + [f"dir:{folder}", f"docker://{front.host}/{REPO}:2"],
                        self.skopeo.env).must()
        done, folder = self.skopeo.copy(f"{front.host}/{REPO}:2", creds, ca)
        done.must()
        self.skopeo.verify(folder, self.image)

    def cert_dir(self, ca):
        folder = self.stage.dir("push-ca")
        with open(ca, "rb") as f:
            self.stage.file(os.path.join(os.path.basename(folder), "ca.crt"), f.read())
        return folder

    def test_open(self):
        self.through(self.front()[1])

    def test_open_tls(self):
        self.through(self.front(tls=True)[1], ca=self.authority.ca)

    def test_basic(self):
        self.through(self.front({"alice": "secret"})[1], "alice:secret")

    def test_basic_tls(self):
        _, front = self.front({"alice": "secret"}, tls=True)
        self.through(front, "alice:secret", self.authority.ca)
        done, _ = self.skopeo.copy(f"{front.host}/{REPO}:1", "alice:wrong", self.authority.ca)
        self.assertFalse(done.ok)

    def test_bearer(self):
        _, front = self.front(self.tokens)
        self.through(front, "alice:secret")
        done, _ = self.skopeo.copy(f"{front.host}/{REPO}:1", "bob:secret")
        self.assertFalse(done.ok)


class Realm(Front):
    """The token service stands at the registry's own host: clients reach it through the tracker."""

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.own = tokens.TokenServer(cls.stage, {"alice": ("secret", {REPO: {"pull", "push"}})})
        cls.host = proxy.Proxy(cls.stage)
        cls.own.realm = cls.host.url + "/auth/token"
        centre = registry.Registry(cls.stage, cls.own)
        centre.push(REPO, "1", cls.image)
        cls.host.target = proxy.Proxy._parse(centre.url, None)
        for method in ("GET", "POST"):
            cls.host.add(cls.to_tokens, method, r"^/auth/token")
        cls.tracker = tracker.Tracker(cls.stage, cls.host.url)
        cls.nodes.append(cls.tracker)

    @classmethod
    def to_tokens(cls, exchange):
        asked = exchange.record
        real = f"http://127.0.0.1:{cls.own.port}{asked.target}"
        keep = [(n, v) for n, v in asked.headers
                if n.lower() in ("authorization", "content-type")]
        got = wire.fetch(real, asked.method, keep, exchange.request_body or b"")
        exchange.answer(got.status, [("Content-Type", "application/json")], got.body)

    def test_the_realm_is_ours(self):
        challenge = self.tracker.get("/v2/").header("www-authenticate")
        self.assertIn(f'realm="{self.tracker.url}/auth/token"', challenge)
        self.assertEqual(self.tracker.get("/auth/other").status, 404)

    def test_skopeo(self):
        skopeo, before = clients.Skopeo(self.stage), len(self.own.asked)
        done, folder = skopeo.copy(f"{self.tracker.host}/{REPO}:1", "alice:secret")
        done.must()
        skopeo.verify(folder, self.image)
        self.assertGreater(len(self.own.asked), before)
        self.assertFalse(skopeo.copy(f"{self.tracker.host}/{REPO}:1", "alice:wrong")[0].ok)

    def test_ctr(self):
        containerd = clients.Containerd(self.stage)
        name = f"{self.tracker.host}/{REPO}:1"
        containerd.ctr("images", "pull", "--plain-http", "--snapshotter", "native", "--user",
                       "alice:secret", name).must()
        containerd.verify(self.image)


class Ctr(Front):
    def test_pull_and_push(self):
        containerd = clients.Containerd(self.stage)
        for auth, user in ((None, None), ({"alice": "secret"}, "alice:secret"),
                           (self.tokens, "alice:secret")):
            _, front = self.front(auth)
            name = f"{front.host}/{REPO}:1"
            login = ["--user", user] if user else []
            containerd.ctr("images", "pull", "--plain-http", "--snapshotter", "native", *login,
                           name).must()
            containerd.verify(self.image)
            other = f"{front.host}/{REPO}:2"
            containerd.ctr("images", "tag", name, other).must()
            containerd.ctr("images", "push", "--plain-http", *login, other).must()
            containerd.ctr("images", "rm", other).must()
            containerd.forget(name)


class Docker(Front):
    def test_login_pull_push(self):
        containerd = clients.Containerd(self.stage)
        docker = clients.Docker(self.stage, containerd)
        for auth, tls in ((None, False), ({"alice": "secret"}, True), (self.tokens, False)):
            centre, front = self.front(auth, tls=tls)
            name = f"{front.host}/{REPO}:1"
            if auth:
                self.assertFalse(docker.login(front.host, "alice", "wrong").ok)
                docker.login(front.host, "alice", "secret").must()
            docker.pull(name).must()
            docker.verify(name, self.image)
            other = f"{front.host}/{REPO}:2"
            docker.docker("tag", name, other).must()
            docker.docker("push", other).must()
            self.assertIn("2", centre.tags(REPO))
            docker.forget(name)


if __name__ == "__main__":
    suite.main()
