"""A tracker under attack: nothing that is said to it makes more of what the registry granted."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dray_e2e import certs, proxy, region, registry, suite, tracker, wire
from dray_e2e.node import SANITIZED
from dray_e2e.stage import free_port, wait_for
from test_tracker_away import ACCEPT
from test_tracker_redirect import ALICE, REPO, Redirecting

NOBODY = [("Authorization", wire.basic("alice", "bogus"))]
MANIFEST = f"/v2/{REPO}/manifests/1"


def late(event):
    """The registry's answer of now, sent when `event` is set."""
    def action(exchange):
        status, fields, read = exchange.upstream_answer()
        data = b"".join(iter(lambda: read(proxy.BLOCK), b""))
        event.wait(60)
        exchange.head(status, fields)
        exchange.write(data)
    return action


class Learning(Redirecting):
    def test_only_reading_a_manifest_teaches(self):
        """Registries, and proxies before them, answer OPTIONS for browsers, whoever asks."""
        self.office({"alice": "secret"}, count=1)
        digest = self.image.layer_digests[0]
        self.front.add(proxy.status(200), method="OPTIONS", path="/manifests/")
        self.assertEqual(self.ask(digest, ALICE).status, 307, "now it is known to be in there")
        self.assertEqual(self.tracker.get(MANIFEST, "OPTIONS").status, 200)
        self.assertEqual(self.ask(digest).status, 401)

    def test_two_logins_are_none(self):
        """Which of them a registry goes by is its own affair: this one takes the last."""
        self.office({"alice": "secret"}, count=1)

        def last(exchange):
            fields = exchange.record.headers
            *others, at = [i for i, (n, _) in enumerate(fields) if n.lower() == "authorization"]
            exchange.record.headers = [f for i, f in enumerate(fields) if i not in others]
            exchange.forward()
        self.front.add(last, path="/manifests/", when=lambda r: r.all("Authorization"))
        self.assertEqual(self.ask(self.image.layer_digests[0], ALICE).status, 307)
        answer = self.tracker.get(MANIFEST, headers=NOBODY + ALICE + ACCEPT)
        self.assertEqual(self.ask(self.image.layer_digests[0], NOBODY).status, 401)
        self.assertEqual(answer.status, 400)


class Names(Redirecting):
    def test_nobody_is_sent_under_the_name_that_they_know_us_by(self):
        """Go's clients send the password on to it: to a tracker's second name as to its first."""
        self.office(count=1)
        digest, host = self.image.layer_digests[0], self.region.nodes[0].host
        self.assertEqual(self.ask(digest).status, 307)
        for name in (host, "127.0.0.11"):
            answer = self.ask(digest, [("Host", name)])
            self.assertEqual((answer.status, answer.body), (200, self.image.layers[0]))
        self.assertEqual(self.ask(digest, [("Host", "other.test")]).status, 307)


class Revoking(Redirecting):
    """What the registry said before a user was revoked is no permission afterwards."""

    def held_back(self, path, what):
        """Asks for `what`; its answer is on its way while the user is revoked, and refused from then on."""
        event, got = threading.Event(), []
        self.front.add(late(event), path=path, times=1)
        at = self.front.mark()
        asking = threading.Thread(target=lambda: got.append(
            self.tracker.get(what, headers=ALICE + ACCEPT)))
        asking.start()
        wait_for(lambda: self.front.requests("GET", path, since=at), 10, "the question")
        self.assertEqual(self.tracker.command("users", "revoke", "alice")[0], 0)
        self.front.add(proxy.status(401, b"{}"))
        event.set()
        asking.join()
        return got[0]

    def test_of_a_layer(self):
        self.office({"alice": "secret"}, count=1)
        digest = self.image.layer_digests[0]
        answer = self.held_back("/blobs/", f"/v2/{REPO}/blobs/{digest}")
        self.assertEqual(answer.status, 401)
        self.assertEqual(self.ask(digest, ALICE).status, 401)

    def test_of_a_manifest(self):
        self.office({"alice": "secret"}, count=1)
        self.assertEqual(self.held_back("/manifests/", MANIFEST).status, 200)
        self.assertEqual(self.ask(self.image.layer_digests[0], ALICE).status, 401)


class Crowds(suite.Case):
    def test_slow_layers_keep_nobody_from_the_registry(self):
        """Without nodes all layers pass through; some take long, or whoever reads them does."""
        centre = proxy.Proxy(self.stage)
        front = tracker.Tracker(self.stage, centre.url)
        self.nodes.append(front)
        centre.add(proxy.keep("begin"))
        path = f"/v2/{REPO}/blobs/sha256:" + "0" * 64
        crowd = [wire.open_reply(front.url + path, "GET", []) for _ in range(400)]
        self.assertEqual({r.status for r in crowd}, {200})
        self.assertEqual(front.get("/v2/").status, 200)
        for one in crowd:
            one.close()


    def test_manifests_that_are_not_read_to_their_end(self):
        """They are kept whole to be learnt from; whoever pushed a large one could fill the memory."""
        size, crowd = 4 << 20, 60
        centre = proxy.Proxy(self.stage)
        front = tracker.Tracker(self.stage, centre.url, authz={"grace": "1h"})
        self.nodes.append(front)
        kind = "application/vnd.oci.image.manifest.v1+json"
        head = b'{"schemaVersion": 2, "mediaType": "%s", "layers": [], "x": "' % kind.encode()
        centre.serve(MANIFEST, head + b"x" * (size - len(head) - 2) + b'"}', kind)
        before = front.rss()
        replies = [wire.open_reply(front.url + MANIFEST, "GET", ACCEPT) for _ in range(crowd)]
        for one in replies:
            self.assertEqual(one.status, 200)
            one.read_exactly(size // 2)
        if not SANITIZED:
            self.assertLess(front.rss() - before, crowd * (size // 2))
        for one in replies:
            self.assertEqual(len(one.read_all()), size // 2)


class Dripping(BaseHTTPRequestHandler):
    """A node's port for peers in hostile hands: no answer of it ever ends but those that keep it in."""

    protocol_version = "HTTP/1.1"
    orders = 0

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/healthz":
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.drip()

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        Dripping.orders += self.path == "/mesh/v1/prefetch"
        self.drip()

    def drip(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x")
                time.sleep(0.5)
        except OSError:
            pass


class Members(Redirecting):
    def evil(self, ip="127.0.0.99"):
        """A node that lives in the mesh, and whose HTTP is Dripping."""
        port = free_port(ip)
        server = ThreadingHTTPServer((ip, port), Dripping)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.stage.defer(server.shutdown)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind((ip, port))
        self.stage.defer(datagrams.close)
        node = self.region.add("evil", advertise=f"{ip}:{port}")

        def relay():
            while True:
                try:
                    datagrams.sendto(datagrams.recv(65536), (node.place.address, node.port))
                except OSError:
                    return
        threading.Thread(target=relay, daemon=True).start()
        self.caches(2)

    def manifest(self, user):
        self.tracker.get(MANIFEST, headers=[("Authorization", wire.basic(user, "x")), *ACCEPT])

    def test_who_never_ends_an_answer_ends_no_prefetching(self):
        self.office(count=1)
        self.evil()
        crowd = [f"u{i}" for i in range(80)]  # more than may be told at a time
        for cache, members in (("evil", crowd), ("n1", ["another"])):
            self.assertEqual(self.tracker.ask(f"/api/v1/teams/{cache}", "PUT", [], json.dumps(
                {"cache": cache, "members": members}).encode()).status, 200)
        for user in crowd:
            self.manifest(user)
        wait_for(lambda: Dripping.orders >= 8, 10, "its orders")

        def ordered():
            return self.tracker.metrics()['dray_prefetches_total{outcome="ordered"}']
        before = ordered()
        self.manifest("another")
        self.assertEqual(ordered(), before + 1)


class PlainPeers(Redirecting):
    """Users over TLS, peers without (peer_plain), at one port."""

    def test_only_peers_speak_plain(self):
        authority = certs.Authority(self.stage.dir("ca"))
        self.centre = registry.Registry(self.stage)
        self.centre.push(REPO, "1", self.image)
        self.front = proxy.Proxy(self.stage, self.centre.url)
        self.ticket_keys()
        self.region = region.Region(self, [{"name": "centre", "url": self.front.url}],
                                    region="asia-office", tracker_key=self.pub, peer_plain=True)
        node = self.region.add("n1", tls=authority.server("n1", ["127.0.0.11"]), ca=authority.ca)
        self.tracker = tracker.Tracker(
            self.stage, self.front.url, tls=authority.server("tracker"), ca=authority.ca,
            mesh_key=self.region.key_file, ticket_key=self.key, peer_plain=True,
            regions=[{"name": "asia-office", "seeds": [node.host]}])
        self.nodes.append(self.tracker)
        self.caches(1)
        for daemon in (node, self.tracker):
            for path in ("/v2/", MANIFEST, "/api/v1/status", "/metrics", "/ui/", "/readyz"):
                self.assertEqual(wire.fetch(f"http://{daemon.host}{path}").status, 400, path)
            self.assertEqual(wire.fetch(f"http://{daemon.host}/healthz").status, 200)
            talk = wire.fetch(f"http://{daemon.host}/mesh/v1/talk", "POST", body=b"x")
            self.assertEqual(talk.status, 403)
        digest = self.image.layer_digests[0]
        answer = self.ask(digest)
        self.assertEqual(answer.status, 307, "the node answers the tracker")
        got = wire.fetch(answer.header("location"), ca=authority.ca)
        self.assertEqual((got.status, got.body), (200, self.image.layers[0]))


class Operators(Redirecting):
    def test_no_page_of_another_site_gives_orders(self):
        """A browser at an address of admin.allow sends them for whatever page it shows; it says for which."""
        self.office(count=1)
        node = self.region.nodes[0]
        purge = b'{"digest": "%s"}' % self.image.layer_digests[0].encode()
        orders = ((self.tracker, "/api/v1/users/alice/revoke", b""), (node, "/api/v1/purge", purge))
        for daemon, path, body in orders:
            def order(*origin):
                return wire.fetch(daemon.url + path, "POST", [("Origin", o) for o in origin], body)
            host = daemon.url.split("://")[1]
            for origin in ("https://evil.test", "null", "", f"http://{host}.evil.test", f"http://x{host}",
                           "http://" + host.split(":")[0]):
                self.assertEqual(order(origin).status, 401, origin)
            for origin in ((), (f"http://{host}",), (f"https://{host}",)):
                self.assertEqual(order(*origin).status, 200, origin)

    def test_of_two_orders_for_a_team_one_counts(self):
        self.office(count=1)
        path, orders = "/api/v1/teams/web", (["a", "b"], ["b", "c"])
        for _ in range(15):
            both = [threading.Thread(target=self.tracker.ask, args=(
                path, "PUT", [], json.dumps({"members": m}).encode())) for m in orders]
            for one in both:
                one.start()
            for one in both:
                one.join()
            self.assertIn(sorted(self.tracker.get(path).json()["members"]), orders)

    def test_names_that_are_no_text(self):
        """A login's name may be Latin-1: it can be revoked, too."""
        self.office(count=1)
        for path, name in (("%ff", "?"), ("a%c3%28", "a?("), ("%c3%a9", "\u00e9")):
            path = "/api/v1/users/" + path
            answer = self.tracker.ask(path, "PUT", [], b'{"cache": "n1"}')
            self.assertEqual((answer.status, answer.json()["user"]), (200, name))
            self.assertEqual(self.tracker.get("/api/v1/users").json(), {name: "n1"})
            self.assertEqual(self.tracker.ask(path + "/revoke", "POST").json()["revoked"], True)
            self.assertEqual(self.tracker.ask(path, "DELETE").json(), {"user": name})
        self.assertEqual(self.tracker.ask("/api/v1/teams/t/members/%ff", "PUT").status, 200)
        self.assertEqual(self.tracker.get("/api/v1/teams/t").json()["members"], ["?"])
        self.assertEqual(self.tracker.get("/api/v1/why?user=%ff").json()["user"], "?")
        for query in ("user=" + "a" * 300, "user=%", "address=%ff", "digest=%ff"):
            self.assertEqual(self.tracker.get("/api/v1/why?" + query).status, 400, query)


if __name__ == "__main__":
    suite.main()
