"""What an operator sees: flags, config errors, endpoints, metrics, audit lines, signals, commands."""

import json
import os
import re
import signal
import socket
import ssl
import threading
import time

from dray_e2e import certs, images, place, proxy, registry, suite, tokens, wire
from dray_e2e import node as nodes
from dray_e2e.readers import Reader
from dray_e2e.stage import wait_for

REPO = "team/app"
SECRET = "long-enough-to-let-me-in"
MIB = 1 << 20

# What is wrong, and what the error must name besides file and line: (name, YAML, line, words).
BAD_CONFIGS = [
    ("unknown key", "upstreams:\n  - name: a\n    urll: http://127.0.0.1:1\n", 3, ["urll", "url"]),
    ("unknown top key", "listn: 127.0.0.1:5000\nupstreams: []\n", 1, ["listn", "listen"]),
    ("size with a typo", "store:\n  capacity: 10 gigs\n", 2, ["capacity"]),
    ("size lower case", "store:\n  capacity: 10k\n", 2, ["capacity"]),
    ("boolean", "plain_http: banana\n", 1, ["plain_http", "true"]),
    ("duration", "authz:\n  ttl: soon\n", 2, ["ttl"]),
    ("negative", "authz:\n  ttl: -5s\n", 2, ["ttl"]),
    ("a list for a text", "name: [a, b]\n", 1, ["name"]),
    ("a text for a list", "upstreams: hello\n", 1, ["upstreams"]),
    ("a text for a mapping", "store: /var/lib/dray\n", 1, ["store"]),
    ("listen", "listen: not-an-address\n", 1, ["listen"]),
    ("port", "listen: 127.0.0.1:99999\n", 1, ["listen"]),
    ("url", "upstreams:\n  - name: a\n    url: ftp://x\n", 3, ["url"]),
    ("url with login", "upstreams:\n  - name: a\n    url: http://u:p@x\n", 3, ["url"]),
    ("same name twice", "upstreams:\n  - {name: a, url: 'http://127.0.0.1:1'}\n"
     "  - {name: A, url: 'http://127.0.0.1:2'}\n", 3, ["name"]),
    ("network", "admin:\n  allow: [10.0.0.0/40]\n", 2, ["allow"]),
    ("level", "log:\n  level: loud\n", 2, ["level", "debug"]),
    ("missing file", "upstreams:\n  - name: a\n    url: http://127.0.0.1:1\n"
     "    credentials: /nonexistent/file\n", 4, ["credentials", "/nonexistent/file"]),
    ("certificate without key", "tls:\n  cert: /etc/hostname\n", 2, ["key"]),
    ("plain off loopback", "listen: 0.0.0.0:5000\n", 1, ["plain_http"]),
    ("syntax", "name: [unclosed\nstore: {\n", None, []),
    ("tab", "store:\n\tpath: /x\n", 2, []),
    ("key twice", "name: a\nname: b\n", 2, ["name"]),
]


class Program(suite.Case):
    def check_config(self, text, mode=0o600):
        path = self.stage.file("check.yaml", text, mode)
        return path, nodes.run("--config", path, "--check-config")

    def test_help_and_version(self):
        code, out, _ = nodes.run("--help")
        self.assertEqual(code, 0)
        for word in ("--config", "--check-config", "--version", "status", "why", "purge"):
            self.assertIn(word, out)
        code, out, _ = nodes.run("--version")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^dray-node \d+\.\d+\.\d+, wire version \d+\n$")

    def test_unknown_flag(self):
        code, _, err = nodes.run("--lissten", "127.0.0.1:1")
        self.assertNotEqual(code, 0)
        self.assertIn("--lissten", err)
        code, _, err = nodes.run("statsu")
        self.assertNotEqual(code, 0)
        self.assertIn("statsu", err)

    def test_good_config(self):
        store = self.stage.dir("good-store")
        _, (code, out, err) = self.check_config(
            f"listen: 127.0.0.1:5000\nstore: {{path: {store}, capacity: 10GiB}}\n"
            "upstreams:\n  - {name: docker.io, url: 'https://registry-1.docker.io'}\n")
        self.assertEqual(code, 0, err)
        self.assertIn("docker.io", out + err)

    def test_bad_configs(self):
        good = "upstreams:\n  - {name: docker.io, url: 'http://127.0.0.1:1'}\n"
        for name, text, line, words in BAD_CONFIGS:
            with self.subTest(name):
                whole = text if "upstreams" in text else text + good
                path, (code, out, err) = self.check_config(whole)
                said = out + err
                self.assertNotEqual(code, 0, said)
                self.assertIn(f"{path}:{line}" if line else path, said)
                for word in words:
                    self.assertIn(word, said)
                self.assertLess(len(said), 2000)

    def test_files_that_are_no_config(self):
        for path in ("/nonexistent.yaml", "/tmp", "/dev/null",
                     self.stage.file("zeros", bytes(1000)),
                     self.stage.file("big.yaml", "# comment\n" * 100_000)):
            with self.subTest(path):
                code, out, err = nodes.run("--config", path, "--check-config")
                self.assertNotEqual(code, 0)
                self.assertIn(path, out + err)

    def test_flags_override(self):
        upstream = proxy.Proxy(self.stage)
        node = self.node(upstream.url, start=False)
        node.process = self.stage.spawn("flags", [
            nodes.PROGRAM, "--config", node.config_path, "--name", "by-flag"])
        node.process.until(node.ready)
        digest = images.digest_of(b"flag")
        upstream.serve_blob(REPO, b"flag", digest)
        self.assertEqual(node.blob(REPO, digest).header("x-dray-node"), "by-flag")

    def test_address_in_use(self):
        node = self.node(proxy.Proxy(self.stage).url)
        other = nodes.Node(self.stage, "http://127.0.0.1:1", start=False, listen=node.host)
        other.start(wait=False)
        self.assertNotEqual(other.process.wait(15), 0)
        self.assertIn(node.host, other.log())


class Running(suite.Case):
    @classmethod
    def prepare(cls):
        cls.upstream = proxy.Proxy(cls.stage)
        cls.server = cls.node(cls.upstream.url)

    def blob(self, size=MIB):
        data = images.random_bytes(size, self.id())
        digest = images.digest_of(data)
        self.upstream.serve_blob(REPO, data, digest)
        return data, digest

    def test_health(self):
        for path in ("/healthz", "/readyz"):
            self.assertEqual(self.server.get(path).status, 200)
            self.assertEqual(self.server.get(path, "HEAD").status, 200)
        self.assertEqual(self.server.get("/nothing/here").status, 404)

    def test_metrics(self):
        data, digest = self.blob()
        server = self.node(self.upstream.url)  # whose figures nobody else moves
        before = server.metrics()
        server.blob(REPO, digest)
        wait_for(lambda: server.metric("dray_store_blobs") > before["dray_store_blobs"], 10,
                 "the store")
        server.blob(REPO, digest)
        after = before

        def grown(prefix, *words):
            return sum(v - before.get(k, 0) for k, v in after.items()
                       if k.startswith(prefix) and all(w in k for w in words))

        def counted():  # what a sender thread sent is counted a moment after it arrived
            nonlocal after
            after = server.metrics()
            return grown("dray_served_bytes_total", 'source="store"') > 0
        wait_for(counted, 5, "the bytes are counted")
        self.assertEqual(grown("dray_served_bytes_total", 'source="store"'), len(data))
        self.assertEqual(grown("dray_served_bytes_total", 'source="origin"'), len(data))
        self.assertEqual(grown("dray_fetched_bytes_total", 'from="origin"'), len(data))
        self.assertEqual(grown("dray_http_requests_total", 'route="blob"', 'code="200"'), 2)
        self.assertEqual(grown("dray_store_blobs"), 1)
        self.assertGreaterEqual(grown("dray_store_bytes"), len(data))
        self.assertGreater(grown("dray_authz_total"), 0)
        for name in ("dray_evicted_bytes_total", "dray_loop_lag_seconds", "dray_dropped_total"):
            self.assertTrue(any(k.startswith(name) for k in after), name)
        text = server.get("/metrics")
        self.assertTrue(text.header("content-type").startswith("text/plain"))
        self.assertIn("# TYPE dray_served_bytes_total counter", text.body.decode())

    def test_audit_line(self):
        data, digest = self.blob()
        got = self.server.blob(REPO, digest, [("Authorization", wire.basic("alice", "sesame"))])
        self.assertEqual(got.status, 200)
        line = wait_for(lambda: next((x for x in self.server.log().splitlines()
                                      if "audit" in x and digest in x), None), 5, "the audit line")
        for word in (REPO, str(len(data)), "origin", "user="):
            self.assertIn(word, line)
        user = re.search(r"user=(\S+)", line)[1]
        self.assertRegex(user, r"^[0-9a-f]{16}$")
        self.server.blob(REPO, digest)
        wait_for(lambda: "user=anonymous" in self.server.log(), 5, "the anonymous line")
        self.assertNotIn("sesame", self.server.log())
        self.assertNotIn(wire.basic("alice", "sesame")[6:], self.server.log())

    def test_audit_tells_who_left(self):
        data, digest = self.blob(16 * MIB)
        self.server.blob(REPO, digest)
        reader = Reader(self.server, f"/v2/{REPO}/blobs/{digest}", slow=30)
        wait_for(lambda: reader.received, 10, "some bytes")
        reader.reply.reset()
        reader.leave.set()
        reader.hurry.set()

        def lines():
            return [x for x in self.server.log().splitlines() if "audit" in x and digest in x]
        wait_for(lambda: len(lines()) == 2, 10, "two audit lines")
        self.assertNotEqual(re.search(r"outcome=(\S+)", lines()[0])[1],
                            re.search(r"outcome=(\S+)", lines()[1])[1])

    def test_commands(self):
        data, digest = self.blob()
        self.server.blob(REPO, digest)
        code, out, err = self.server.command("status")
        self.assertEqual(code, 0, err)
        self.assertIn("docker.io", out)
        self.assertNotIn("\033", out, "no colours into a pipe")
        code, out, err = self.server.command("status", "--json")
        self.assertEqual(code, 0, err)
        json.loads(out)
        code, out, err = self.server.command("why", digest)
        self.assertEqual(code, 0, err)
        self.assertIn(REPO, out)
        code, out, err = self.server.command("purge", digest)
        self.assertEqual(code, 0, err)
        self.assertFalse(self.server.held(digest))
        code, out, err = self.server.command("purge", digest)
        self.assertEqual(code, 0, out + err)
        self.assertIn("not held here; kept out of this node until", out)
        for wrong in ("sha256:short", "nonsense", ""):
            self.assertNotEqual(self.server.command("why", wrong)[0], 0)
        self.assertEqual(self.server.blob(REPO, digest).body, data)

    def test_progress_in_status(self):
        _, digest = self.blob(4 * MIB)
        go = threading.Event()
        self.addCleanup(go.set)
        self.upstream.add(proxy.gate(MIB, go), path=digest)
        reader = Reader(self.server, f"/v2/{REPO}/blobs/{digest}")
        wait_for(lambda: reader.received, 10, "some bytes")
        code, out, err = self.server.command("status")
        self.assertEqual(code, 0, err)
        self.assertIn(digest[7:19], out)
        go.set()
        reader.finish()

    def test_command_without_a_node(self):
        node = nodes.Node(self.stage, "http://127.0.0.1:1", start=False)
        code, out, err = node.command("status")
        self.assertEqual(code, 1)
        self.assertIn(node.socket, out + err)


class Admin(suite.Case):
    def test_token(self):
        """Without an allowed address the token is needed; registry traffic is not concerned."""
        path = self.stage.file("admin.token", SECRET + "\n")
        node = self.node(proxy.Proxy(self.stage).url, admin={"token": path, "allow": ["10.9.8.0/24"]})
        for url in ("/metrics", f"/api/v1/blobs/{images.digest_of(b'')}"):
            for headers in ([], [("Authorization", "Bearer wrong")],
                            [("Authorization", wire.basic("admin", SECRET))],
                            [("Authorization", "Bearer ")], [("Authorization", "Bearer long-enough-to-let-me-in2")]):
                with self.subTest(f"{url} {headers}"):
                    self.assertIn(node.get(url, headers=headers).status, (401, 403))
            got = node.get(url, headers=[("Authorization", "Bearer " + SECRET)])
            self.assertNotIn(got.status, (401, 403))
        self.assertIn(node.get("/api/v1/purge", "POST", body=b"{}").status, (401, 403))
        self.assertEqual(node.get("/healthz").status, 200)
        self.assertEqual(node.get("/v2/").status, 200)
        self.assertEqual(node.command("status")[0], 0, "the socket needs none")
        self.assertNotIn(SECRET, node.log())

    def test_token_is_read_again(self):
        path = self.stage.file("new.token", SECRET + "\n")
        node = self.node(proxy.Proxy(self.stage).url, admin={"token": path, "allow": ["10.9.8.0/24"]})

        def status(token):
            return node.get("/metrics", headers=[("Authorization", "Bearer " + token)]).status
        for text in ("short", "two words of it, long enough", SECRET + "2\n\n"):
            told = node.log().count("the old admin token stays")
            self.stage.file("new.token", text + "\n")
            node.process.signal(signal.SIGHUP)
            wait_for(lambda: node.log().count("the old admin token stays") > told, 5, "a refusal")
            self.assertEqual(status(SECRET), 200, text)
            self.assertIn(status(text.strip()), (401, 403))
        self.stage.file("new.token", SECRET + "3\n")
        node.process.signal(signal.SIGHUP)
        wait_for(lambda: status(SECRET + "3") == 200, 5, "the new token")
        self.assertIn(status(SECRET), (401, 403))

    def test_forwarded_for_is_not_believed(self):
        node = self.node(proxy.Proxy(self.stage).url, admin={"allow": ["10.9.8.0/24"]})
        got = node.get("/metrics", headers=[("X-Forwarded-For", "10.9.8.7"),
                                            ("Forwarded", "for=10.9.8.7")])
        self.assertIn(got.status, (401, 403))

    def test_json_log(self):
        upstream = proxy.Proxy(self.stage)
        node = self.node(upstream.url, log={"format": "json"})
        digest = images.digest_of(b"json")
        upstream.serve_blob(REPO, b"json", digest)
        self.assertEqual(node.blob(REPO, digest).status, 200)
        # Line breaks, quotes and control characters from outside must not make lines of their own.
        node.get("/v2/%0a%22%1b[31m/blobs/x\"y")
        node.stop()
        rows = [json.loads(line) for line in node.log().splitlines()]
        self.assertTrue(any(digest in json.dumps(row) for row in rows))
        node.process = None


class Signals(suite.Case):
    @classmethod
    def prepare(cls):
        cls.upstream = proxy.Proxy(cls.stage)

    def streaming(self):
        """(node, reader, digest, event that lets the upstream go on)."""
        node = self.node(self.upstream.url)
        data = images.random_bytes(4 * MIB, self.id())
        digest = images.digest_of(data)
        self.upstream.serve_blob(REPO, data, digest)
        go = threading.Event()
        self.addCleanup(go.set)
        self.upstream.add(proxy.gate(MIB, go), path=digest)
        reader = Reader(node, f"/v2/{REPO}/blobs/{digest}")
        wait_for(lambda: reader.received >= MIB // 2, 10, "the stream")
        return node, reader, digest, go

    def test_sigterm_drains(self):
        node, reader, digest, go = self.streaming()
        node.process.signal(signal.SIGTERM)

        def refused():
            try:
                socket.create_connection(("127.0.0.1", node.port), timeout=1).close()
                return False
            except OSError:
                return True
        wait_for(refused, 10, "the listener to close")
        self.assertTrue(node.process.running())
        go.set()
        reader.finish()
        self.assertEqual((reader.ended, reader.digest), ("full", digest), reader)
        self.assertEqual(node.process.wait(15), 0)
        node.start()
        at = self.upstream.mark()
        self.assertEqual(images.digest_of(node.blob(REPO, digest).body), digest)
        self.assertLessEqual(self.upstream.body_bytes(at), 1, "asked for permission, not fetched")

    def test_second_sigterm_stops(self):
        node, reader, digest, _ = self.streaming()
        node.process.signal(signal.SIGTERM)
        time.sleep(0.3)
        self.assertTrue(node.process.running())
        node.process.signal(signal.SIGTERM)
        node.process.wait(10)
        reader.finish()
        self.assertNotEqual(reader.ended, "full")
        node.check_log()

    def test_idle_node_ends_at_once(self):
        node = self.node(self.upstream.url)
        sock = wire.connect(node.url)
        self.addCleanup(sock.close)
        wire.send(sock, "GET", "/healthz").read_all()  # kept alive, idle
        node.stop()
        self.assertNotIn("are cut", node.log(), "nobody was waited for")

    def certificate(self, node, authority):
        context = ssl.create_default_context(cafile=authority.ca)
        with socket.create_connection(("127.0.0.1", node.port), timeout=5) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as sock:
                return sock.getpeercert()["serialNumber"]

    def test_sighup_reads_certificates(self):
        authority = certs.Authority(self.stage.dir("ca"))
        pair = authority.server("live")
        node = self.node(self.upstream.url, tls=pair, ca=authority.ca)
        first = self.certificate(node, authority)
        old = wire.connect(node.url, node.ca)
        self.addCleanup(old.close)
        wire.send(old, "GET", "/healthz").read_all()
        authority.server("live")  # the same files, a new certificate
        self.assertEqual(self.certificate(node, authority), first)
        node.process.signal(signal.SIGHUP)
        wait_for(lambda: self.certificate(node, authority) != first, 5, "the new certificate")
        self.assertEqual(wire.send(old, "GET", "/healthz").status, 200, "old connections live on")
        second = self.certificate(node, authority)
        with open(pair[0], "w", encoding="ascii") as f:
            f.write("no certificate at all\n")
        node.process.signal(signal.SIGHUP)
        wait_for(lambda: pair[0] in node.log(), 5, "a word about the bad certificate")
        self.assertEqual(self.certificate(node, authority), second, "what worked stays")

    def test_readiness_is_notified(self):
        """As systemd is told: READY=1 when ready, STOPPING=1 at the end."""
        path = f"{self.stage.path}/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
            inbox.bind(path)
            inbox.settimeout(10)
            node = self.node(self.upstream.url, start=False)
            node.start(env={**os.environ, "NOTIFY_SOCKET": path})
            self.assertIn(b"READY=1", inbox.recv(4096))
            node.stop()
            said = b""
            while b"STOPPING=1" not in said:
                said += inbox.recv(4096)


    def test_without_standard_streams(self):
        """Nobody left it one: no file of its own takes their place, and the log's lines."""
        node = self.node(self.upstream.url, start=False)
        node.place = place.Place()
        node.place.via = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
        node.start()
        for fd in range(3):
            self.assertEqual(os.readlink(f"/proc/{node.process.pid}/fd/{fd}"), "/dev/null")
        data = images.random_bytes(MIB, self.id())
        digest = images.digest_of(data)
        self.upstream.serve_blob(REPO, data, digest)
        self.assertEqual(images.digest_of(node.blob(REPO, digest).body), digest)
        node.stop()


class Login(suite.Case):
    def test_user_label_is_the_same_for_all_tokens_of_a_user(self):
        """The audit names the token's subject, so that lines of one user can be matched."""
        server = tokens.TokenServer(self.stage, {})
        centre = registry.Registry(self.stage, server)
        image = centre.push(REPO, "1", images.tiny("audit"))
        node = self.node(centre.url)
        for lifetime in (300, 301):
            for user in ("alice", "bob"):
                headers = [("Authorization", server.bearer(REPO, user=user, lifetime=lifetime))]
                self.assertEqual(node.blob(REPO, image.layer_digests[0], headers).status, 200)

        def labels():
            return re.findall(r"audit.*user=(\S+)", node.log())
        wait_for(lambda: len(labels()) == 4, 5, "four audit lines")
        a, b, c, d = labels()
        self.assertEqual((a, b), (c, d))
        self.assertNotEqual(a, b)


if __name__ == "__main__":
    suite.main()
