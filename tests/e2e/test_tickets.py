"""Layers for who shows a tracker's ticket: what counts, what is refused and how, what is read through the
tracker, and what the tracker is told."""

import os
import signal
import sys
import threading
import time

from dray_e2e import images, proxy, standin, suite, wire
from dray_e2e.racks import audit, fetched
from dray_e2e.readers import Reader
from dray_e2e.region import Region, alive, hup
from dray_e2e.stage import wait_for
from dray_e2e.standin import USER, Standin, ticket_keys

REPO = "team/app"
MIB = 1 << 20
SECRET = "Basic bm9ib2R5OnNob3VsZCBzZWUgdGhpcw=="


class TicketCase(suite.Case):
    """Two nodes without credentials, before a registry that knows nothing of the test's layers."""

    @classmethod
    def prepare(cls):
        cls.upstream = proxy.Proxy(cls.stage)
        cls.key, cls.public = ticket_keys(cls.stage, "ticket")
        cls.pub_file = cls.stage.file("tracker.pub", cls.public)
        cls.region = Region(cls, cls.upstream.url, tracker_key=cls.pub_file)
        cls.a, cls.b = cls.region.start(2)
        cls.tracker = Standin(cls.stage, cls.region, cls.key)
        for node in (cls.a, cls.b):
            wait_for(lambda n=node: "tracker" in alive(n), 20, "the tracker in the region")
        cls.tickets = []

    def setUp(self):
        self.tracker.script("serve")

    @classmethod
    def tearDownClass(cls):
        """Neither tickets nor an Authorization were ever written down."""
        for node in cls.nodes:
            log = node.log()
            for secret in [SECRET, *cls.tickets]:
                if secret[:40] in log or secret[-40:] in log:
                    raise AssertionError(f"{node.config['name']} logged {secret[:20]}...")

    def layer(self, size=64 * 1024, salt="", at_tracker=True):
        data = images.random_bytes(size, self.id() + salt)
        digest = images.digest_of(data)
        if at_tracker:
            self.tracker.holds(data, digest)
        return data, digest

    def held_layer(self, node, size=64 * 1024, salt=""):
        """That the node has already, by way of another ticket."""
        data, digest = self.layer(size, salt)
        got = self.get(node, digest, self.ticket(node, digest, size=size))
        self.assertEqual((got.status, got.body == data), (200, True))
        wait_for(lambda: node.held(digest), 10, "the commit")
        return data, digest

    def ticket(self, node, digest, **more):
        text = self.tracker.ticket(node, digest, more.pop("repository", REPO), **more)
        self.tickets.append(text)
        return text

    @staticmethod
    def path(digest, ticket, repository=REPO):
        return f"/v2/{repository}/blobs/{digest}?ticket={ticket}"

    def get(self, node, digest, ticket, headers=(), method="GET"):
        """As a client that forwards its password where it should not."""
        return node.get(self.path(digest, ticket), method,
                        [("Authorization", SECRET), *headers])


class Valid(TicketCase):
    def test_held(self):
        data, digest = self.held_layer(self.a)
        mark = self.upstream.mark()
        got = self.get(self.a, digest, self.ticket(self.a, digest))
        self.assertEqual((got.status, got.body == data), (200, True))
        self.assertEqual(got.header("x-dray-source"), "store")
        self.assertEqual(got.header("x-dray-node"), "n1")
        self.assertEqual(got.header("docker-content-digest"), digest)
        self.assertEqual(got.header("accept-ranges"), "bytes")
        self.assertIsNone(got.header("content-encoding"))
        self.assertEqual(self.upstream.requests(since=mark), [], "no question to the registry")

        def lines():
            return [row for row in audit(self.a) if row["digest"] == digest]
        line = wait_for(lambda: len(lines()) == 2 and lines()[-1], 10, "the audit line")
        self.assertEqual((line["user"], line["source"], line["outcome"], line["bytes"]),
                         (USER, "store", "done", str(len(data))))
        self.assertGreater(self.a.metrics()['dray_tickets_total{verdict="valid"}'], 0)

    def test_a_permission_by_ticket_is_nobodys(self):
        """It opens this request, and teaches the node nothing about the user or the repository."""
        _, digest = self.held_layer(self.a)
        mark = self.upstream.mark()
        got = self.a.blob(REPO, digest, [("Authorization", SECRET)])
        self.assertEqual(got.status, 404)  # as the registry says, which was asked
        self.assertEqual(len(self.upstream.requests(since=mark)), 1)

    def test_ranges(self):
        data, digest = self.held_layer(self.a)
        ticket = self.ticket(self.a, digest)
        for text, first, last in (("bytes=5-9", 5, 9), ("bytes=100-", 100, len(data) - 1),
                                  ("bytes=-7", len(data) - 7, len(data) - 1)):
            got = self.get(self.a, digest, ticket, [("Range", text)])
            self.assertEqual((got.status, got.body), (206, data[first:last + 1]), text)
            self.assertEqual(got.header("content-range"), f"bytes {first}-{last}/{len(data)}")
        got = self.get(self.a, digest, ticket, [("Range", f"bytes={len(data)}-")])
        self.assertEqual(got.status, 416)

    def test_head(self):
        data, digest = self.held_layer(self.a)
        got = self.get(self.a, digest, self.ticket(self.a, digest), method="HEAD")
        self.assertEqual((got.status, got.length, got.body), (200, len(data), b""))
        _, cold = self.layer(777, "cold")
        got = self.get(self.a, cold, self.ticket(self.a, cold, size=777), method="HEAD")
        self.assertEqual((got.status, got.length), (200, 777))
        self.assertEqual(self.tracker.origins(cold), [], "a HEAD fetches nothing")

    def test_a_foreign_ns_is_of_no_account(self):
        data, digest = self.held_layer(self.a)
        path = self.path(digest, self.ticket(self.a, digest)) + "&ns=elsewhere.example.org"
        self.assertEqual(self.a.get(path).body, data)

    def test_expiry_while_streaming(self):
        size = 16 * MIB
        _, digest = self.held_layer(self.a, size)
        ticket = self.ticket(self.a, digest, life=(-60, -28))  # two seconds of the slack are left
        reader = Reader(self.a, self.path(digest, ticket), slow=0.02)
        wait_for(lambda: self.get(self.a, digest, ticket, method="HEAD").status == 403, 10,
                 "the end of the ticket")
        self.assertLess(reader.received, size)
        reader.hurry.set()
        reader.finish()
        self.assertEqual((reader.status, reader.ended, reader.digest), (200, "full", digest))


class Refused(TicketCase):
    def refusals(self):
        _, digest = self.held_layer(self.a)
        _, other = self.held_layer(self.a, salt="other")
        foreign, _ = ticket_keys(self.stage, f"foreign-{len(self.tickets)}")
        good = self.ticket(self.a, digest)
        return digest, {
            "expired": ["expired", self.ticket(self.a, digest, life=(-200, -31))],
            "early": ["not valid yet", self.ticket(self.a, digest, life=(40, 100))],
            "other_node": ["another node", self.ticket(self.b, digest)],
            "other_layer": ["another layer", self.ticket(self.a, other)],
            "other_repository": ["another repository",
                                 self.ticket(self.a, digest, repository="team/other")],
            "unknown_key": ["does not know", self.ticket(self.a, digest, key=foreign)],
            "forged": ["signature", good[:-1] + ("A" if good[-1] != "A" else "Q")],
            "malformed": ["no ticket", "x", "", good + "A", good + "=", good + "&ticket=" + good],
        }

    def test_each_with_its_reason(self):
        digest, all_of_them = self.refusals()
        mark = self.upstream.mark()
        for verdict, (words, *texts) in all_of_them.items():
            for text in texts:
                name = f'dray_tickets_total{{verdict="{verdict}"}}'
                before = self.a.metrics()[name]
                for method in ("GET", "HEAD"):
                    got = self.get(self.a, digest, text, method=method)
                    self.assertEqual(got.status, 403, verdict)
                    self.assertIsNone(got.header("www-authenticate"))
                got = self.get(self.a, digest, text)
                self.assertEqual(got.codes(), ["DENIED"], verdict)
                self.assertIn(words, got.json()["errors"][0]["message"])
                self.assertEqual(self.a.metrics()[name], before + 3, verdict)
        self.assertEqual(self.upstream.requests(since=mark), [])

    def test_any_altered_character(self):
        _, digest = self.held_layer(self.a)
        good = self.ticket(self.a, digest)
        for at in range(0, len(good), 7):
            bad = good[:at] + ("B" if good[at] != "B" else "C") + good[at + 1:]
            self.assertEqual(self.get(self.a, digest, bad).status, 403, f"at {at}")

    def test_a_node_that_knows_no_tracker_asks_as_ever(self):
        data, digest = self.layer(at_tracker=False)
        self.upstream.serve_blob(REPO, data, digest)
        node = self.region.add("plain", tracker_key=None)
        wait_for(lambda: "plain" in alive(self.a), 20, "the third node")
        path = self.path(digest, self.ticket(node, digest))
        mark = self.upstream.mark()
        got = node.get(path, headers=[("Authorization", SECRET)])
        self.assertEqual((got.status, got.body == data), (200, True))
        self.assertEqual({r.header("authorization") for r in self.upstream.requests(since=mark)},
                         {SECRET})
        missing = images.digest_of(b"nobody has this")
        self.assertEqual(node.get(self.path(missing, "x")).status, 404)


class Revoked(TicketCase):
    OTHER = "ff" * 16

    def test_one_users_tickets_end_at_once(self):
        data, digest = self.held_layer(self.a)
        mine = self.ticket(self.a, digest)
        others = self.ticket(self.a, digest, user=self.OTHER)
        now = int(time.time())
        self.assertEqual(self.tracker.revoke(self.a, USER, now), 204)
        got = self.get(self.a, digest, mine)
        self.assertEqual((got.status, got.codes()), (403, ["DENIED"]))
        self.assertIn("revoked", got.json()["errors"][0]["message"])
        self.assertEqual(self.get(self.a, digest, others).body, data)
        self.assertEqual(self.a.metrics()['dray_tickets_total{verdict="revoked"}'], 1)
        # An older revocation takes nothing back, and one from the future reaches no further than
        # clocks may differ.
        self.assertEqual(self.tracker.revoke(self.a, USER, now - 100), 204)
        self.assertEqual(self.get(self.a, digest, mine).status, 403)
        later = self.ticket(self.a, digest, life=(1, 61))
        self.assertEqual(self.get(self.a, digest, later).body, data)
        self.assertEqual(self.tracker.revoke(self.a, self.OTHER, 1 << 60), 204)
        self.assertEqual(self.get(self.a, digest, others).status, 403)

    def test_trackers_alone_may_say_so(self):
        for headers in ((), [("Dray-Peer", "x" * 200)]):
            got = self.a.get("/mesh/v1/revocations", "POST", headers, body=b"\x92\x01\x90")
            self.assertEqual(got.status, 403)
        self.assertEqual(self.a.get("/mesh/v1/revocations").status, 405)


class RevokedTooOften(TicketCase):
    def test_a_tracker_that_revokes_without_end(self):
        """The rest has to wait; what was told before still counts, and so does what comes later."""
        data, digest = self.held_layer(self.a)
        user = "ee" * 16
        mine = self.ticket(self.a, digest, user=user)
        now = int(time.time())
        self.assertEqual(self.tracker.revoke(self.a, user, now), 204)
        answers = []
        for i in range(30):  # 256 others each time, of which it may tell eight in a second
            answers.append(self.tracker.revoke(self.a, f"0000{i:02x}" + "00" * 13, now, 256))
            if answers[-1] == 503:
                break
        self.assertEqual((answers[0], answers[-1]), (204, 503))
        self.assertGreater(
            self.a.metrics()['dray_dropped_total{reason="revocation_put_off"}'], 0)
        self.assertEqual(self.get(self.a, digest, mine).status, 403)
        wait_for(lambda: self.tracker.revoke(self.a, USER, now - 1) == 204, 60, "its turn")


class ReadThrough(TicketCase):
    def test_once_for_the_region(self):
        data, digest = self.layer(3 * MIB + 11)
        mark, before = self.upstream.mark(), fetched(self.b, "peer")
        got = self.get(self.a, digest, self.ticket(self.a, digest, size=len(data)))
        self.assertEqual((got.status, got.body == data), (200, True))
        self.assertEqual(got.header("x-dray-source"), "origin")
        wait_for(lambda: self.a.held(digest), 10, "the commit")

        def is_known():
            why = self.b.admin("GET", f"/api/v1/blobs/{digest}").json()
            return [h for h in why["holders"] if h["usable"]]
        wait_for(is_known, 15, "who holds it")
        got = self.get(self.b, digest, self.ticket(self.b, digest, size=len(data)))
        self.assertEqual((got.status, got.body == data), (200, True))
        self.assertEqual(got.header("x-dray-source"), "peer")
        self.assertEqual(fetched(self.b, "peer") - before, len(data))
        rows = self.tracker.origins(digest)
        self.assertEqual(len(rows), 1)
        self.assertFalse(rows[0]["authorization"], "the client's password stays where it came")
        self.assertEqual(self.upstream.requests(since=mark), [])

    def test_parallel(self):
        """Eight ranges of one layer at once, as containerd asks, two of them left half way."""
        data, digest = self.layer(8 * MIB)
        ticket = self.ticket(self.a, digest, size=len(data))
        got = {}

        def part(i):
            reply = self.a.open(self.path(digest, ticket), [("Range", f"bytes={i * MIB}-")])
            got[i] = (reply.status, reply.read_exactly(MIB if i % 4 else MIB // 2))
            reply.close()
        threads = [threading.Thread(target=part, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        for i in range(8):
            count = MIB if i % 4 else MIB // 2
            self.assertEqual(got[i], (206, data[i * MIB:i * MIB + count]), i)
        self.assertEqual(len(self.tracker.origins(digest)), 1)
        wait_for(lambda: len(self.tracker.heard("outcome", digest=digest)) == 16, 10, "outcomes")
        self.assertEqual(self.tracker.heard("outcome", digest=digest, outcome="failed"), [])

    def test_size_not_known(self):
        data, digest = self.layer(MIB)
        got = self.get(self.a, digest, self.ticket(self.a, digest))
        self.assertEqual((got.status, got.body == data, got.length), (200, True, len(data)))

    def test_broken_off_goes_on_by_range(self):
        data, digest = self.layer(4 * MIB)
        self.tracker.script(f"cut {3 * MIB}")
        got = self.get(self.a, digest, self.ticket(self.a, digest, size=len(data)))
        self.assertEqual((got.status, got.body == data), (200, True))
        self.assertEqual([r["range"] for r in self.tracker.origins(digest)],
                         ["", f"bytes={3 * MIB}-"])

    def test_refusals_do_not_reach_the_client(self):
        """Whatever the tracker says: not here, not now, and never a question for a password."""
        for status in (401, 403, 404, 429, 500, 503):
            _, digest = self.layer(salt=str(status))
            self.tracker.script(f"status {status}")
            got = self.get(self.a, digest, self.ticket(self.a, digest))
            self.assertEqual((got.status, got.codes()), (503, ["UNAVAILABLE"]), status)
            self.assertIsNotNone(got.header("retry-after"))
            self.assertIsNone(got.header("www-authenticate"))
            rows = self.tracker.wait_outcomes(digest, "began", "failed")
            self.assertEqual(rows[-1]["bytes"], 0)

    def test_what_cannot_be_had_is_a_short_answer_where_the_size_is_known(self):
        """Clients go back to where they came from, which some do not upon a 503."""
        for status in (401, 403, 404):
            data, digest = self.layer(salt=str(status))
            self.tracker.script(f"status {status}")
            reader = Reader(self.a, self.path(digest, self.ticket(self.a, digest, size=len(data))))
            reader.finish()
            self.assertEqual((reader.status, reader.received, reader.ended), (200, 0, "fin"), status)
            self.tracker.wait_outcomes(digest, "began", "failed")
        self.tracker.script("serve")
        got = self.get(self.a, digest, self.ticket(self.a, digest, size=len(data)))
        self.assertEqual((got.status, got.body == data), (200, True))

    def test_nobody_waits_for_ever(self):
        """The registry says "later" again and again: the client is let go, and may be better off elsewhere."""
        data, digest = self.layer()
        self.tracker.script("status 429")
        reader = Reader(self.a, self.path(digest, self.ticket(self.a, digest, size=len(data))),
                        timeout=180)
        reader.finish(180)
        self.assertEqual((reader.status, reader.received, reader.ended), (200, 0, "fin"))
        self.tracker.wait_outcomes(digest, "began", "failed")

    def test_a_ticket_that_lies_about_the_size(self):
        for size in (49_999, 50_001, 1):
            data, digest = self.layer(50_000, salt=str(size))
            reader = Reader(self.a, self.path(digest, self.ticket(self.a, digest, size=size)))
            reader.finish()
            self.assertEqual(reader.ended, "fin" if reader.status == 200 else "full", reader)
            self.assertNotEqual(reader.digest, digest)
            got = self.get(self.a, digest, self.ticket(self.a, digest, size=len(data)))
            self.assertEqual((got.status, got.body == data), (200, True))

    def test_what_fails_half_way_is_a_short_answer(self):
        data, digest = self.layer(4 * MIB)
        self.tracker.script("cut 1000000")
        ticket = self.ticket(self.a, digest, size=len(data))
        reader = Reader(self.a, self.path(digest, ticket), slow=0.05)
        wait_for(lambda: reader.received > 0, 10, "the first bytes")
        self.tracker.script("status 403")
        reader.hurry.set()
        reader.finish()
        if reader.ended == "full":  # it was quicker than the script
            self.skipTest("the whole layer had come already")
        self.assertEqual((reader.status, reader.ended), (200, "fin"), reader)
        self.tracker.wait_outcomes(digest, "began", "failed")
        self.tracker.script("serve")
        got = self.get(self.a, digest, self.ticket(self.a, digest, size=len(data)))
        self.assertEqual((got.status, got.body == data), (200, True))

    def test_the_tracker_away(self):
        data, digest = self.held_layer(self.a)
        _, cold = self.layer(salt="cold")
        held_ticket, cold_ticket = self.ticket(self.a, digest), self.ticket(self.a, cold)
        self.tracker.process.signal(signal.SIGSTOP)
        try:
            got = self.get(self.a, digest, held_ticket)
            self.assertEqual((got.status, got.body == data), (200, True))
        finally:
            self.tracker.process.signal(signal.SIGCONT)
        self.tracker.process.kill()
        try:
            got = self.get(self.a, cold, cold_ticket)
            self.assertEqual((got.status, got.codes()), (503, ["UNAVAILABLE"]))
            got = self.get(self.a, digest, held_ticket)
            self.assertEqual((got.status, got.body == data), (200, True))
        finally:
            self.tracker.start()
            wait_for(lambda: "tracker" in alive(self.a), 30, "the tracker again")


class Told(TicketCase):
    def test_done_and_left(self):
        size = 24 * MIB
        _, digest = self.held_layer(self.a, size)
        self.tracker.wait_outcomes(digest, "began", "done")
        ticket = self.ticket(self.a, digest)
        reply = self.a.open(self.path(digest, ticket))
        reply.read_exactly(100000)
        reply.reset()
        rows = self.tracker.wait_outcomes(digest, "began", "done", "began", "left")
        by_event = {r["outcome"]: r for r in rows}
        self.assertEqual(by_event["done"]["bytes"], size)
        self.assertLess(by_event["left"]["bytes"], size)
        self.assertGreaterEqual(by_event["left"]["bytes"], 100000)
        self.assertEqual({r["user"] for r in rows}, {USER})

    def test_round_trips_of_networks(self):
        _, digest = self.held_layer(self.a)
        rows = wait_for(lambda: self.tracker.heard("network", network="127.0.0.0:0"), 15, "round trips")
        self.assertTrue(all(0 < r["rtt_us"] < 1000000 and r["samples"] > 0 for r in rows), rows)
        self.assertGreater(self.a.metrics()['dray_outcome_reports_total{result="sent"}'], 0, digest)

    def test_a_refused_ticket_is_nobodys_outcome(self):
        _, digest = self.layer()
        self.get(self.a, digest, self.ticket(self.b, digest))
        _, later = self.held_layer(self.a, salt="later")
        self.tracker.wait_outcomes(later, "began", "done")
        self.assertEqual(self.tracker.heard("outcome", digest=digest), [])


class Rotation(TicketCase):
    def write(self, text):
        """As an operator does; the node has read it when it says so."""
        self.stage.file("tracker.pub", text)
        said = self.a.log().count("reload")
        hup(self.a)
        wait_for(lambda: self.a.log().count("reload") > said, 10, "the reload")

    def test_keys_are_exchanged_step_by_step(self):
        data, digest = self.held_layer(self.a)
        new_key, new_public = ticket_keys(self.stage, "new")
        old = self.ticket(self.a, digest)
        new = self.ticket(self.a, digest, key=new_key)
        self.assertEqual([self.get(self.a, digest, t).status for t in (old, new)], [200, 403])
        self.write(self.public + new_public)
        self.assertEqual([self.get(self.a, digest, t).status for t in (old, new)], [200, 200])
        self.write(new_public)
        self.assertEqual([self.get(self.a, digest, t).status for t in (old, new)], [403, 200])
        self.write("no key at all\n")
        self.assertIn("the old tracker keys stay", self.a.log())
        got = self.get(self.a, digest, new)
        self.assertEqual((got.status, got.body == data), (200, True))


if __name__ == "__main__":
    if not os.access(standin.PROGRAM, os.X_OK):
        print(f"DRAY_STANDIN={standin.PROGRAM!r} is no program", file=sys.stderr)
        sys.exit(1)
    suite.main()
