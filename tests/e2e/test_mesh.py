"""The mesh as nodes carry it: joining, leaving, pausing, keys, clones, names, purges."""

import os
import random
import signal
import socket
import time

from dray_e2e import certs, images, proxy, suite, wire
from dray_e2e import region as regions
from dray_e2e.readers import Reader
from dray_e2e.region import PATIENCE_S, Region, alive, members, wait_state
from dray_e2e.stage import free_port, wait_for

REPO = "team/app"
MIB = 1 << 20


class MeshCase(suite.Case):
    @classmethod
    def prepare(cls):
        cls.upstream = proxy.Proxy(cls.stage)

    def setUp(self):
        self.upstream.clear()
        self.region = Region(self, self.upstream.url)

    def tearDown(self):
        for node in self.region.nodes:
            if node.process and node.process.running():
                node.process.signal(signal.SIGCONT)
                node.stop()

    def blob(self, size=64 * 1024, salt=""):
        data = images.random_bytes(size, self.id() + salt)
        digest = images.digest_of(data)
        self.upstream.serve_blob(REPO, data, digest)
        return data, digest

    def pull(self, node, digest):
        reader = Reader(node, f"/v2/{REPO}/blobs/{digest}").finish()
        self.assertEqual((reader.status, reader.ended, reader.digest), (200, "full", digest), reader)
        return reader

    def keep(self, node, digest):
        self.pull(node, digest)
        wait_for(lambda: node.held(digest), 10, "the commit")

    def why_not_ready(self, node):
        answer = node.get("/readyz")
        return answer.body.decode() if answer.status == 503 else ""


class Joining(MeshCase):
    def test_by_one_seed(self):
        nodes = self.region.start(4)
        for node in nodes:
            self.assertEqual(node.get("/readyz").status, 200)
            self.assertEqual(node.metrics()['dray_members{state="alive"}'], 4)
        seen = members(nodes[3])["n2"]
        self.assertEqual((seen["address"], seen["rack"], seen["region"], seen["self"]),
                         (nodes[1].host, "rack-n2", "default", False))
        wait_for(lambda: members(nodes[3])["n2"]["rtt_ms"], PATIENCE_S, "a round trip")
        code, out, err = nodes[0].command("status")
        self.assertEqual(code, 0, err)
        self.assertRegex(out, r"Region +joined, as 127\.0\.0\.11:\d+; 4 alive")
        for node in nodes:
            self.assertRegex(out, rf"{node.config['name']} .*{node.host} +alive")
        for name in ("dray_mesh_datagrams_total", "dray_mesh_bytes_total"):
            for direction in ("in", "out"):
                self.assertGreater(nodes[0].metrics()[f'{name}{{direction="{direction}"}}'], 0)

    def test_without_a_seed_that_lives_yet(self):
        seed = self.region.add("seed", start=False)
        node = self.region.add("early", seeds=[seed])  # started: ready, found alone
        self.assertEqual(node.admin("GET", "/api/v1/status").json()["mesh"]["state"], "alone")
        seed.start()
        self.region.wait_all()
        self.assertIn("joined the region", node.log())

    def test_through_any_of_several_seeds(self):
        first, dead = self.region.add("n1"), f"127.0.0.99:{free_port()}"
        second = self.region.add("n2", seeds=[dead, "no-such-host.invalid:5000", first])
        self.region.wait_all([first, second])
        second.process.until(lambda: "cannot be resolved" in second.log(), 60,
                             "says which seed it cannot find")

    def test_over_ipv6(self):
        self.region.add("six", ip="::1", seeds=["[::1]:1"])
        self.region.add("seven", ip="::1")
        third = self.region.add("eight", ip="::1")
        self.region.wait_all()
        first = self.region.nodes[0]
        self.assertTrue(first.host.startswith("[::1]:"))
        self.assertEqual(members(third)["six"]["address"], first.host)
        self.assertEqual(members(third)["six"]["public_url"], first.url)

    def test_by_name(self):
        first = self.region.add("n1", ip="127.0.0.1")
        second = self.region.add("n2", seeds=[f"localhost:{first.port}"])
        third = self.region.add("n3", advertise="localhost:0", ip="127.0.0.1", start=False)
        third.config["advertise"] = f"localhost:{third.port}"
        third.write_config()
        third.start()
        self.region.wait_all()
        self.assertEqual(members(second)["n3"]["address"], third.host)

    def test_listening_everywhere(self):
        first = self.region.add("n1")
        port = free_port("0.0.0.0")
        node = self.region.add("wide", start=False, listen=f"0.0.0.0:{port}", plain_http=True,
                               peer_plain=True, seeds=[first.host, f"127.0.0.1:{port}"])
        node.port, node.url, node.host = port, f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"
        node.start()
        self.region.wait_all()
        self.assertEqual(members(first)["wide"]["address"], f"127.0.0.1:{port}")
        self.assertIn("set `advertise`", node.log())

    def test_leaving_is_told(self):
        nodes = self.region.start(3)
        nodes[1].stop()
        for node in (nodes[0], nodes[2]):
            wait_state(node, "n2", "left", timeout=3)
        nodes[1].start()
        self.region.wait_all()

    def test_the_seed_may_be_gone(self):
        nodes = self.region.start(3)
        nodes[0].kill()
        wait_state(nodes[1], "n1", "dead")
        self.assertEqual(alive(nodes[1]), {"n2", "n3"})
        self.region.add("n4", seeds=[nodes[0], nodes[2]])
        self.region.wait_all([n for n in self.region.nodes if n is not nodes[0]])

    def test_back_while_all_its_seeds_are_gone(self):
        nodes = self.region.start(3)
        memory = os.path.join(nodes[2].store, "members")  # 8 bytes each, after the array's head
        wait_for(lambda: os.path.exists(memory) and os.path.getsize(memory) == 17, 5, "a memory")
        nodes[2].kill()
        nodes[0].kill()  # the only seed of the others
        nodes[2].start(wait=False)
        self.region.wait_all(nodes[1:])
        self.assertRegex(nodes[2].log(), r'remembered.{1,4}2')


class Failing(MeshCase):
    def test_a_killed_node_is_noticed_and_comes_back(self):
        nodes = self.region.start(4)
        nodes[3].kill()
        for node in nodes[:3]:
            wait_state(node, "n4", "dead")
        self.assertEqual(nodes[0].metrics()['dray_members{state="dead"}'], 1)
        nodes[3].start()
        self.region.wait_all()

    def test_moved_to_another_address_it_is_the_same_node(self):
        nodes = self.region.start(3)
        key, old = members(nodes[0])["n3"]["key"], nodes[2].host
        nodes[2].kill()
        regions.move(nodes[2], "127.0.0.77")
        nodes[2].start()
        for node in nodes[:2]:
            wait_for(lambda n=node: members(n)["n3"]["address"] == nodes[2].host, PATIENCE_S,
                     "its new address")
            wait_state(node, "n3", "alive")
            self.assertEqual(members(node)["n3"]["key"], key)
            everyone = node.admin("GET", "/api/v1/members").json()["members"]
            self.assertEqual(len(everyone), 3, everyone)
        self.assertNotEqual(old, nodes[2].host)

    def test_a_pause_accuses_nobody(self):
        nodes = self.region.start(4)
        before = len(nodes[3].log())
        nodes[3].process.signal(signal.SIGSTOP)
        time.sleep(5)
        nodes[3].process.signal(signal.SIGCONT)
        self.region.wait_all()
        time.sleep(1)
        self.assertNotIn("member is down", nodes[3].log()[before:])
        for node in nodes[:3]:  # nor do the others fall out with each other
            for line in node.log().splitlines():
                if "member is down" in line:
                    self.assertIn("name=n4", line)

    def test_a_region_restarted_as_a_whole(self):
        nodes = self.region.start(3)
        for node in nodes:
            node.kill()
        for node in nodes:
            node.start(wait=False)
        self.region.wait_all()


class Keys(MeshCase):
    def test_a_wrong_key_is_refused_and_counted(self):
        first = self.region.add("n1")
        other = Region(self, self.upstream.url)
        stranger = other.add("stranger", seeds=[first], ip="127.0.0.31")
        counted = 'dray_dropped_total{reason="mesh_key"}'
        wait_for(lambda: first.metrics()[counted] > 0, PATIENCE_S, "datagrams under another key")
        self.assertEqual(alive(first), {"n1"})
        self.assertEqual(alive(stranger), {"stranger"})
        other.write_keys(*self.region.keys)  # and with the right one it joins, while it runs
        regions.hup(stranger)
        wait_for(lambda: alive(first) == {"n1", "stranger"}, PATIENCE_S, "the stranger let in")

    def rotate(self, nodes, *lines):
        self.region.write_keys(*lines)
        for node in nodes:
            regions.hup(node)
            time.sleep(0.3)

    def test_rotation_under_load(self):
        nodes = self.region.start(3)
        old, new = self.region.keys[0], regions.keygen()
        _, digest = self.blob(2 * MIB)
        readers = [Reader(n, f"/v2/{REPO}/blobs/{digest}", slow=20) for n in nodes]
        steps = ([old, new], [new, old], [new])
        for i, lines in enumerate(steps):
            self.rotate(nodes, *lines)
            names = [line.split(":")[0] for line in lines]
            ring = nodes[0].admin("GET", "/api/v1/status").json()["mesh"]["keys"]
            self.assertEqual([key["name"] for key in ring], names)
            ids = [key["id"] for key in ring]
            for node in nodes:  # everyone knows who holds what, before the next step
                wait_for(lambda n=node: all(m["keys"] == ids for m in members(n).values()),
                         PATIENCE_S, f"step {i}")
            _, out, _ = nodes[0].command("status")
            for name in ("n1", "n2", "n3"):
                self.assertRegex(out, rf"{name} .* {' '.join(names)} ")
            _, purged = self.blob(4096, f"step {i}")
            self.keep(nodes[1], purged)
            nodes[2].command("purge", purged)
            wait_for(lambda d=purged: not nodes[1].held(d), PATIENCE_S, "a purge in each step")
        for reader in readers:
            reader.hurry.set()
            reader.finish()
            self.assertEqual((reader.ended, reader.digest), ("full", digest), reader)
        for node in nodes:
            self.assertNotIn("member is down", node.log())
            self.assertEqual(node.metrics().get('dray_dropped_total{reason="mesh_key"}', 0), 0)

    def test_a_bad_key_file_changes_nothing(self):
        nodes = self.region.start(2)
        self.region.write_keys("rubbish\n")
        regions.hup(nodes[0])
        wait_for(lambda: "the old mesh keys stay" in nodes[0].log(), 5, "a word in the log")
        time.sleep(2)
        self.assertEqual(alive(nodes[1]), {"n1", "n2"})

    def test_noise_is_dropped_and_counted(self):
        node = self.region.add("n1")
        noise = random.Random(7)
        target = (node.host.split(":")[0], node.port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for length in (0, 1, 44, 45, 46, 200, 1200, 1201, 9000):
                s.sendto(noise.randbytes(length), target)
            for _ in range(300):
                s.sendto(noise.randbytes(noise.randrange(1300)), target)
        wait_for(lambda: node.metrics()['dray_mesh_datagrams_total{direction="in"}'] >= 300, 10,
                 "the noise")
        dropped = {k: v for k, v in node.metrics().items() if 'reason="mesh_' in k}
        self.assertGreaterEqual(sum(dropped.values()), 300, dropped)
        for path, method, body, status in (
                ("/mesh/v1/talk", "GET", b"", 405), ("/mesh/v1/talk", "POST", b"", 403),
                ("/mesh/v1/talk", "POST", noise.randbytes(100), 403),
                ("/mesh/v1/talk", "POST", noise.randbytes(4 * MIB), 403),
                ("/api/v1/purge", "POST", noise.randbytes(65537), 413)):
            self.assertEqual(node.get(path, method, body=body).status, status, (path, len(body)))
        head = f"POST /mesh/v1/talk HTTP/1.1\r\nHost: h\r\nContent-Length: {4 * MIB + 1}\r\n\r\n"
        self.assertIn(b" 413 ", wire.raw(node.url, head.encode())[0])
        self.assertEqual(node.admin("POST", "/mesh/v1/talk", b"x").status, 403)
        self.assertEqual(alive(node), {"n1"})


class Identity(MeshCase):
    def test_a_clone_is_refused_loudly(self):
        nodes = self.region.start(2)
        store = regions.copy_store(nodes[1], os.path.join(self.stage.path, f"clone-{self.id()}"))
        clone = self.region.add("n2-clone", start=False, ip="127.0.0.41", store={"path": store})
        clone.start(wait=False)
        for node in (nodes[1], clone):
            wait_for(lambda n=node: "its store was copied" in n.log(), PATIENCE_S, "a word of it")
            wait_for(lambda n=node: "node.key" in self.why_not_ready(n), 5, "not ready")
            _, out, _ = node.command("status")
            self.assertIn("Region  refused", out)
            self.assertIn("its store was copied", out)
            self.assertIn("restart the one that keeps the key", node.log())
        self.assertEqual(nodes[0].get("/readyz").status, 200)
        clone.stop()  # and with a key of its own it is welcome
        for name in ("node.key", "epochs"):
            os.remove(os.path.join(store, name))
        clone.start(wait=False)
        wait_for(lambda: "n2-clone" in alive(nodes[0]), PATIENCE_S, "the former clone")
        wait_for(lambda: clone.get("/readyz").status == 200, PATIENCE_S, "it to be ready")
        nodes[1].stop()  # as it was told: the clone, which started later, had its place
        nodes[1].start(wait=False)
        wait_for(lambda: alive(nodes[0]) == {"n1", "n2", "n2-clone"}, PATIENCE_S, "the original")
        wait_for(lambda: nodes[1].get("/readyz").status == 200, PATIENCE_S, "it to be ready")

    def test_a_name_has_one_node(self):
        nodes = self.region.start(2)
        twin = self.region.add("n2", start=False, ip="127.0.0.42", seeds=[nodes[0]])
        twin.start(wait=False)
        # Of two that come at about the same time the key decides, so that all decide alike.
        said = "the name n2 belongs to another living node"
        refused = wait_for(lambda: [n for n in (nodes[1], twin) if said in n.log()], PATIENCE_S,
                           "a word of it")
        self.assertEqual(len(refused), 1)
        loser, winner = refused[0], nodes[1] if refused[0] is twin else twin
        self.assertIn("the name n2", self.why_not_ready(loser))
        wait_for(lambda: winner.ready(), PATIENCE_S, "the other to be ready")
        wait_for(lambda: members(nodes[0]).get("n2", {}).get("address") == winner.host,
                 PATIENCE_S, "the name to be the winner's")
        winner.kill()  # the name is free again once its owner is dead
        wait_for(lambda: members(nodes[0]).get("n2", {}).get("address") == loser.host, 60,
                 "the name to be the loser's")

    def test_another_region_stays_apart(self):
        first = self.region.add("n1")
        other = self.region.add("n2", seeds=[first], region="elsewhere", start=False)
        other.start(wait=False)
        wait_for(lambda: "of another region" in other.log(), PATIENCE_S, "a word of it")
        self.assertEqual((alive(first), alive(other)), ({"n1"}, {"n2"}))


class Holding(MeshCase):
    def test_what_is_held_is_known(self):
        nodes = self.region.start(3)
        _, digest = self.blob()
        self.keep(nodes[0], digest)
        for node in nodes[1:]:
            wait_for(lambda n=node: members(n)["n1"]["layers"] == 1, PATIENCE_S, "one layer")
        nodes[0].kill()
        nodes[0].start()
        self.region.wait_all()
        for node in nodes[1:]:
            wait_for(lambda n=node: members(n)["n1"]["layers"] == 1, PATIENCE_S, "still one")
        nodes[0].command("purge", digest)
        for node in nodes[1:]:
            wait_for(lambda n=node: members(n)["n1"]["layers"] == 0, PATIENCE_S, "none")


class Purging(MeshCase):
    def kept_out(self, node, digest):
        return node.admin("GET", f"/api/v1/blobs/{digest}").json()["purged_until"]

    def test_everywhere_also_where_a_node_was_away(self):
        nodes = self.region.start(3)
        data, digest = self.blob()
        for node in nodes:
            self.keep(node, digest)
        nodes[2].kill()
        code, out, err = nodes[0].command("purge", digest)
        self.assertEqual(code, 0, err)
        self.assertIn("removed, 64.0 KiB; kept out of the region until", out)
        self.assertFalse(nodes[0].held(digest))
        wait_for(lambda: not nodes[1].held(digest), 5, "the purge at another node")
        nodes[2].start()
        wait_for(lambda: not nodes[2].held(digest), PATIENCE_S, "the purge where nobody was")
        for node in nodes:  # pulls pass through, and nothing stays
            self.assertEqual(self.pull(node, digest).received, len(data))
            time.sleep(0.3)
            self.assertFalse(node.held(digest))
        _, out, _ = nodes[1].command("why", digest)
        self.assertIn("kept out until", out)

    def test_across_restarts_of_all(self):
        nodes = self.region.start(2)
        _, digest = self.blob()
        nodes[0].command("purge", digest)
        wait_for(lambda: self.kept_out(nodes[1], digest), 5, "the purge")
        for node in nodes:
            node.kill()
        for node in nodes:
            node.start(wait=False)
        self.region.wait_all()
        for node in nodes:
            self.pull(node, digest)
        late = self.region.add("n3")  # hears of it from those who remember
        self.region.wait_all()
        wait_for(lambda: self.kept_out(late, digest), PATIENCE_S, "the purge at a joiner")
        time.sleep(0.3)
        self.assertFalse(any(n.held(digest) for n in nodes))

    def test_it_lapses_and_is_lifted(self):
        nodes = self.region.start(2)
        _, digest = self.blob()
        self.keep(nodes[1], digest)
        self.assertEqual(nodes[0].command("purge", "--for", "8s", digest)[0], 0)
        wait_for(lambda: not nodes[1].held(digest), 5, "the purge")
        wait_for(lambda: not self.kept_out(nodes[1], digest), 10, "its end")
        self.keep(nodes[1], digest)
        nodes[0].command("purge", digest)
        wait_for(lambda: not nodes[1].held(digest), 5, "the purge")
        self.assertEqual(nodes[1].command("purge", "--for", "0", digest)[0], 0)
        wait_for(lambda: not self.kept_out(nodes[0], digest), 5, "the end of it")
        self.keep(nodes[0], digest)
        self.keep(nodes[1], digest)

    def test_while_it_is_being_fetched(self):
        nodes = self.region.start(2)
        _, digest = self.blob(4 * MIB)
        slow = Reader(nodes[1], f"/v2/{REPO}/blobs/{digest}", slow=30)
        wait_for(lambda: slow.received, 10, "the reader")
        nodes[0].command("purge", digest)
        wait_for(lambda: self.kept_out(nodes[1], digest), 5, "the purge")
        slow.hurry.set()
        slow.finish()
        self.assertEqual((slow.ended, slow.digest), ("full", digest), slow)
        time.sleep(0.5)
        self.assertFalse(nodes[1].held(digest))

    def test_alone(self):
        node = self.node(self.upstream.url)
        _, digest = self.blob()
        self.keep(node, digest)
        code, out, _ = node.command("purge", digest)
        self.assertEqual(code, 0)
        self.assertIn("kept out of this node until", out)
        node.kill()
        node.start()
        self.pull(node, digest)
        time.sleep(0.3)
        self.assertFalse(node.held(digest))
        node.command("purge", "--for=0", digest)
        self.keep(node, digest)
        for body in (b'{"digest": "%s", "for_s": -1}', b'{"digest": "%s", "for_s": "1"}',
                     b'{"digest": "%s", "for_s": 40000000}', b'{"digest": "%s", "for_s": 1.5}'):
            answer = node.admin("POST", "/api/v1/purge", body.replace(b"%s", digest.encode()))
            self.assertEqual(answer.status, 405, answer.body)
        self.assertTrue(node.held(digest))


class Tls(MeshCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.authority = certs.Authority(cls.stage.dir("ca"))
        cls.other = certs.Authority(cls.stage.dir("other-ca"), "Another CA")

    def add(self, name, authority, trusted, **config):
        node = self.region.add(name, start=False, tls=authority.server(f"{name}-{self.id()}"),
                               ca=authority.ca, **config)
        node.config["tls"]["ca"] = trusted.ca
        node.write_config()
        node.url = f"https://127.0.0.1:{node.port}"  # never asked: the certificates lack its address
        return node

    def test_peers_by_their_own_ca_whatever_their_name(self):
        # The certificates name 127.0.0.1 and localhost; the nodes stand elsewhere.
        first = self.add("n1", self.authority, self.authority)
        second = self.add("n2", self.authority, self.authority)
        for node in (first, second):
            node.start(wait=False)
        self.region.wait_all()
        talks = 'dray_mesh_talks_total{direction="%s"}'
        wait_for(lambda: self.count(first, talks % "in") + self.count(second, talks % "in") > 0,
                 PATIENCE_S, "a talk over TLS")

    def count(self, node, name):
        text = node.admin("GET", "/metrics").body.decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith(name + " "))

    def test_a_peer_of_another_ca_is_not_talked_to(self):
        first = self.add("n1", self.authority, self.authority)
        second = self.add("n2", self.other, self.authority)
        for node in (first, second):
            node.start(wait=False)
            wait_for(lambda n=node: os.path.exists(n.socket), PATIENCE_S, "its socket")
        wait_for(lambda: self.count(first, "dray_mesh_talks_failed_total") +
                 self.count(second, "dray_mesh_talks_failed_total") > 0, PATIENCE_S,
                 "a talk that fails")

    def test_plain_peers_beside_users_over_tls(self):
        first = self.add("n1", self.authority, self.authority, peer_plain=True)
        second = self.add("n2", self.authority, self.authority, peer_plain=True)
        for node in (first, second):
            node.start(wait=False)
        self.region.wait_all()
        plain = f"http://{first.host}"
        self.assertEqual(wire.fetch(plain + "/v2/").status, 400)
        self.assertEqual(wire.fetch(plain + "/api/v1/status").status, 400)
        self.assertEqual(wire.fetch(plain + "/mesh/v1/talk", "POST", body=b"x").status, 403)


if __name__ == "__main__":
    suite.main()
