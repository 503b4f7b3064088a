"""One fetch per miss: what many clients see of one slow, broken, lying or silent upstream.

The upstream is a fake one that waits at a gate, so that "while it still sends" is no matter of luck.
"""

import threading
import time

from dray_e2e import images, proxy, suite
from dray_e2e.node import SANITIZED
from dray_e2e.readers import Reader
from dray_e2e.stage import wait_for

REPO = "team/app"
MIB = 1 << 20


class FillCase(suite.Case):
    @classmethod
    def prepare(cls):
        cls.upstream = proxy.Proxy(cls.stage)
        cls.server = cls.node(cls.upstream.url)

    def setUp(self):
        self.upstream.clear()

    def blob(self, size=8 * MIB, salt=""):
        """A fresh blob that the upstream has: (bytes, digest, path)."""
        data = images.random_bytes(size, self.id() + salt)
        digest = images.digest_of(data)
        self.upstream.serve_blob(REPO, data, digest)
        return data, digest, f"/v2/{REPO}/blobs/{digest}"

    def gate(self, digest, after=MIB):
        """The upstream stops after so many bytes until the returned event is set."""
        event = threading.Event()
        self.upstream.add(proxy.gate(after, event), path=digest)
        self.addCleanup(event.set)
        return event

    def check_right(self, reader, digest):
        reader.finish()
        self.assertEqual((reader.status, reader.ended), (200, "full"), reader)
        self.assertEqual(reader.digest, digest)

    def check_held(self, digest, data):
        at = self.upstream.mark()
        wait_for(lambda: self.server.blob(REPO, digest).header("x-dray-source") == "store", 10,
                 "the store")
        got = self.server.blob(REPO, digest)
        self.assertEqual((got.status, got.body), (200, data))
        self.assertEqual(self.upstream.fetches(digest, at), [])


class Together(FillCase):
    def test_48_at_once(self):
        data, digest, path = self.blob()
        go = self.gate(digest)
        readers = [Reader(self.server, path) for _ in range(48)]
        wait_for(lambda: all(r.received >= MIB // 2 for r in readers), 30,
                 "all 48 to read while the upstream still sends")
        self.assertFalse(self.upstream.fetches(digest)[0].complete)
        go.set()
        for reader in readers:
            self.check_right(reader, digest)
        self.assertEqual(len(self.upstream.blob_gets(digest)), 1)
        self.check_held(digest, data)
        self.assertEqual(self.server.metrics()['dray_fetched_bytes_total{from="origin"}'],
                         len(data))

    def test_late_joiner_gets_the_beginning_too(self):
        data, digest, path = self.blob(16 * MIB)
        go = self.gate(digest, 12 * MIB)
        first = Reader(self.server, path)
        wait_for(lambda: first.received >= 11 * MIB, 20, "the first reader")
        late = Reader(self.server, path)
        wait_for(lambda: late.received >= 11 * MIB, 20, "the late reader")
        go.set()
        self.check_right(first, digest)
        self.check_right(late, digest)
        self.assertEqual(len(self.upstream.blob_gets(digest)), 1)
        self.check_held(digest, data)

    def test_first_client_leaves(self):
        data, digest, path = self.blob()
        go = self.gate(digest)
        first = Reader(self.server, path)
        wait_for(lambda: first.received >= MIB // 2, 20, "the first reader")
        others = [Reader(self.server, path) for _ in range(4)]
        wait_for(lambda: all(r.received >= MIB // 2 for r in others), 20, "the others")
        first.reply.reset()
        others[0].leave.set()
        time.sleep(0.2)
        go.set()
        for reader in others[1:]:
            self.check_right(reader, digest)
        self.assertEqual(len(self.upstream.blob_gets(digest)), 1)
        self.check_held(digest, data)

    def test_slow_client_holds_up_nobody(self):
        data, digest, path = self.blob(24 * MIB)
        slow = Reader(self.server, path, slow=5)
        wait_for(lambda: slow.received, 20, "the slow reader")
        quick = Reader(self.server, path)
        self.check_right(quick, digest)
        self.assertTrue(slow.is_alive())
        self.check_held(digest, data)
        slow.hurry.set()
        self.check_right(slow, digest)

    def test_cold_range(self):
        data, digest, path = self.blob()
        go = self.gate(digest, 4 * MIB)
        tail = Reader(self.server, path, [("Range", f"bytes={7 * MIB}-")])
        middle = Reader(self.server, path, [("Range", f"bytes={2 * MIB}-{3 * MIB - 1}")])
        middle.finish()
        self.assertEqual((middle.status, middle.ended, middle.digest),
                         (206, "full", images.digest_of(data[2 * MIB:3 * MIB])))
        go.set()
        tail.finish()
        self.assertEqual((tail.status, tail.ended, tail.digest),
                         (206, "full", images.digest_of(data[7 * MIB:])))


class Broken(FillCase):
    def test_resumed_where_it_stopped(self):
        data, digest, path = self.blob()
        self.upstream.add(proxy.cut(3 * MIB), path=digest, times=1)
        readers = [Reader(self.server, path) for _ in range(3)]
        for reader in readers:
            self.check_right(reader, digest)
        self.assertEqual([r.range for r in self.upstream.blob_gets(digest)],
                         [None, f"bytes={3 * MIB}-"])
        self.check_held(digest, data)

    def test_breaks_again_and_again(self):
        data, digest, path = self.blob()
        self.upstream.add(proxy.cut(2 * MIB), path=digest, times=3)
        self.check_right(Reader(self.server, path), digest)
        self.assertEqual([r.range for r in self.upstream.blob_gets(digest)],
                         [None] + [f"bytes={n * MIB}-" for n in (2, 4, 6)])
        self.check_held(digest, data)

    def test_reset_by_the_upstream(self):
        data, digest, path = self.blob()
        self.upstream.add(proxy.cut(3 * MIB, reset=True), path=digest, times=1)
        self.check_right(Reader(self.server, path), digest)
        starts = [int(r.range[6:-1]) for r in self.upstream.blob_gets(digest)[1:] if r.range]
        self.assertTrue(all(start <= 3 * MIB for start in starts))
        self.check_held(digest, data)

    def test_no_ranges_upstream(self):
        """Asked for the rest, it sends the whole again: that must not end up in the middle."""
        data, digest, path = self.blob()
        self.upstream.add(self.ignore_range, path=digest, when=lambda r: r.range)
        self.upstream.add(proxy.cut(3 * MIB), path=digest, times=1)
        self.check_right(Reader(self.server, path), digest)
        self.check_held(digest, data)

    @staticmethod
    def ignore_range(exchange):
        exchange.record.range = None
        exchange.forward()

    def test_gone_for_good(self):
        """A short body, ended in order; what came is not thrown away."""
        _, digest, path = self.blob()
        self.upstream.add(proxy.status(500), path=digest)
        self.upstream.add(proxy.cut(3 * MIB), path=digest, times=1)
        reader = Reader(self.server, path).finish()
        self.assertEqual((reader.status, reader.ended), (200, "fin"), reader)
        self.assertLessEqual(reader.received, 3 * MIB)
        self.upstream.clear()
        at = self.upstream.mark()
        self.check_right(Reader(self.server, path), digest)
        self.assertEqual([r.range for r in self.upstream.fetches(digest, at)],
                         [f"bytes={3 * MIB}-"])

    def test_refused_then_there_again(self):
        """A registry that is away is said to be away, and asked again later."""
        data, digest, path = self.blob(MIB)
        rule = self.upstream.add(proxy.refuse(), method=None, path=digest)
        got = self.server.get(path)
        self.assertEqual(got.status, 503)
        self.assertTrue(got.codes())
        self.assertTrue(rule.hits)
        self.upstream.clear()
        time.sleep(2.2)
        self.assertEqual(self.server.get(path).body, data)

    def test_kept_connection_that_died(self):
        """A balancer forgets idle connections, and answers the next request with a reset: the client
        does not see it."""
        for i in range(10):
            data, digest, path = self.blob(1000, str(i))
            self.server.get(f"/v2/{REPO}/tags/list")  # leaves a connection to be used again
            self.upstream.add(proxy.refuse(), path=digest, times=1)
            got = self.server.get(path)
            self.assertEqual((got.status, got.body), (200, data))

    def test_5xx_and_429(self):
        for code in (500, 502, 503, 504, 429):
            with self.subTest(code):
                data, digest, path = self.blob(MIB, str(code))
                body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}'
                self.upstream.add(proxy.status(code, body, [("Retry-After", "7")]), method=None,
                                  path=digest)
                got = self.server.get(path)
                self.assertIn(got.status, (429,) if code == 429 else (500, 502, 503, 504))
                self.assertTrue(got.codes())
                if code == 429:
                    self.assertEqual((got.body, got.header("retry-after")), (body, "7"))
                self.upstream.clear()
                wait_for(lambda p=path, d=data: self.server.get(p).body == d, 10, "recovery", 0.5)


class Wrong(FillCase):
    def check_short_then_healed(self, data, digest, path, readers=2):
        """Everyone sees a short body ended by FIN; nothing is kept; later it is right."""
        for reader in [Reader(self.server, path) for _ in range(readers)]:
            reader.finish()
            self.assertIn(reader.status, (200, 500, 502, 503), reader)
            if reader.status == 200:
                self.assertEqual(reader.ended, "fin", reader)
                self.assertLess(reader.received, reader.reply.length)
        self.assertFalse(self.server.held(digest))
        self.upstream.clear()
        wait_for(lambda: self.server.get(path).body == data, 10, "the right bytes", 0.5)
        # While the wrong bytes are still being thrown away, the right ones may not be kept.
        wait_for(lambda: self.server.get(path).header("x-dray-source") == "store", 10, "the store")
        self.check_held(digest, data)

    def test_wrong_bytes(self):
        for at in (0, 5 * MIB + 17, 8 * MIB - 1):
            with self.subTest(at):
                data, digest, path = self.blob(salt=str(at))
                self.upstream.add(proxy.corrupt(at), path=digest)
                self.check_short_then_healed(data, digest, path)

    def test_wrong_bytes_of_a_small_blob(self):
        data, digest, path = self.blob(100)
        self.upstream.add(proxy.corrupt(50), path=digest)
        self.check_short_then_healed(data, digest, path)

    def test_states_too_little(self):
        data, digest, path = self.blob()
        self.upstream.add(proxy.lie(5 * MIB), path=digest)
        self.check_short_then_healed(data, digest, path)

    def test_states_too_much(self):
        data, digest, path = self.blob()
        self.upstream.add(proxy.lie(9 * MIB), path=digest, when=lambda r: not r.range)
        self.check_short_then_healed(data, digest, path)

    def test_states_nonsense(self):
        for length in ("-5", "18446744073709551616", "9223372036854775807", "abc", "5, 6"):
            with self.subTest(length):
                data, digest, path = self.blob(MIB, length)

                def nonsense(exchange, length=length):
                    exchange.forward(headers=lambda fields: [
                        (n, length if n.lower() == "content-length" else v) for n, v in fields])
                    exchange.finish()
                self.upstream.add(nonsense, path=digest)
                reader = Reader(self.server, path).finish()
                if reader.status == 200 and reader.ended == "full":
                    self.assertEqual(reader.digest, digest)
                self.upstream.clear()
                wait_for(lambda p=path, d=data: self.server.get(p).body == d, 20, "recovery", 0.5)

    def test_no_length_stated(self):
        data, digest, path = self.blob()

        def unstated(exchange):
            exchange.forward(headers=lambda fields: [
                (n, v) for n, v in fields if n.lower() != "content-length"])
            exchange.finish()
        self.upstream.add(unstated, path=digest, when=lambda r: not r.range)
        self.check_right(Reader(self.server, path), digest)
        self.check_held(digest, data)

    def test_another_size_when_asked_for_the_rest(self):
        """Half of one blob and half of another never make a whole answer."""
        data, digest, path = self.blob()

        def other(exchange):
            body = images.random_bytes(9 * MIB, "other")[3 * MIB:]
            exchange.record.status = 206
            exchange.head(206, [("Content-Length", str(len(body))),
                                ("Content-Range", f"bytes {3 * MIB}-{9 * MIB - 1}/{9 * MIB}")])
            exchange.write(body)
        self.upstream.add(other, path=digest, when=lambda r: r.range and r.range != "bytes=0-0")
        self.upstream.add(proxy.cut(3 * MIB), path=digest, times=1)
        self.check_short_then_healed(data, digest, path, readers=1)

    def test_encoded_answer(self):
        """Nobody asked for a Content-Encoding; the bytes are what the digest names, or nothing is."""
        data, digest, path = self.blob(MIB)

        def encoded(exchange):
            exchange.forward(headers=lambda fields: fields + [("Content-Encoding", "gzip")])
        self.upstream.add(encoded, path=digest)
        reader = Reader(self.server, path).finish()
        if reader.ended == "full" and reader.status == 200:
            self.assertEqual(reader.digest, digest)
            self.assertIsNone(reader.reply.header("content-encoding"))
        self.upstream.clear()
        wait_for(lambda: self.server.get(path).body == data, 10, "recovery", 0.5)


class Documents(FillCase):
    """Manifests and lists are small; what is not is refused, in bounded memory."""

    HUGE = 5_000_000_000

    def check_bounded(self, path, content_type, stated):
        before = self.server.rss()
        self.upstream.add(proxy.flood(self.HUGE, content_type, stated), method=None,
                          path=path.split("?")[0])
        at = self.upstream.mark()
        got = self.server.get(path, headers=images.MANIFEST_ACCEPT, timeout=60)
        self.assertGreaterEqual(got.status, 500, got.body[:200])
        self.assertTrue(got.codes())
        wait_for(lambda: all(r.ended for r in self.upstream.requests(since=at)), 20,
                 "the upstream to be let go")
        self.assertLess(self.upstream.body_bytes(at), 64 * MIB)
        if not SANITIZED:
            self.assertLess(self.server.rss() - before, 48 * MIB)

    def test_huge_manifest(self):
        for stated in (True, False):
            for name in ("huge", images.digest_of(b"huge")):
                with self.subTest(f"{name} stated={stated}"):
                    self.check_bounded(f"/v2/{REPO}/manifests/{name}", images.OCI["manifest"], stated)

    def test_huge_lists(self):
        for path in ("tags/list", f"referrers/{images.digest_of(b'huge')}"):
            with self.subTest(path):
                self.check_bounded(f"/v2/{REPO}/{path}", "application/json", False)

    def test_huge_refusal(self):
        """The body of a refusal is bounded too."""
        digest = images.digest_of(b"huge refusal")

        def refusal(exchange):
            exchange.head(403, [("Content-Type", "application/json")])
            while True:
                exchange.write(bytes(MIB))
        self.upstream.add(refusal, method=None, path=digest)
        before = self.server.rss()
        got = self.server.blob(REPO, digest, timeout=60)
        self.assertGreaterEqual(got.status, 400)
        if not SANITIZED:
            self.assertLess(self.server.rss() - before, 48 * MIB)

    def test_manifest_of_another_digest(self):
        right, wrong = images.tiny("right"), images.tiny("wrong")
        path = f"/v2/{REPO}/manifests/{right.digest}"
        self.upstream.serve(path, wrong.manifest, wrong.media_type,
                            [("Docker-Content-Digest", right.digest)])
        got = self.server.get(path, headers=images.MANIFEST_ACCEPT)
        self.assertGreaterEqual(got.status, 500)
        self.assertNotEqual(got.body, wrong.manifest)
        self.upstream.serve_manifest(REPO, "right", right)
        got = self.server.get(path, headers=images.MANIFEST_ACCEPT)
        self.assertEqual((got.status, got.body), (200, right.manifest))

    def test_many_headers(self):
        digest = images.digest_of(b"many headers")

        def headers(exchange):
            exchange.answer(200, [(f"X-Junk-{i}", "y" * 1000) for i in range(2000)], b"many headers")
        self.upstream.add(headers, method=None, path=digest)
        got = self.server.blob(REPO, digest)
        self.assertGreaterEqual(got.status, 500)
        self.assertTrue(got.codes())


class Silent(FillCase):
    """Upstreams that never answer, or stop in the middle: all at once, since patience takes long."""

    def test_silence_ends(self):
        _, _, mute = self.blob(MIB, "mute")
        tag = f"/v2/{REPO}/manifests/mute"
        for path in (mute, tag):
            self.upstream.add(proxy.silence(), method=None, path=path)
        _, digest, stalled = self.blob(salt="stalled")
        never = threading.Event()
        self.addCleanup(never.set)
        self.upstream.add(proxy.gate(MIB, never, 600), path=stalled, times=1)
        readers = [Reader(self.server, path, timeout=100) for path in (mute, tag, stalled)]
        self.check_right(readers[2], digest)
        self.assertEqual([r.range for r in self.upstream.blob_gets(digest)],
                         [None, f"bytes={MIB}-"], "asked again for the rest")
        for reader in readers[:2]:
            reader.finish(100)
            self.assertIsNone(reader.error, reader)
            self.assertIn(reader.status, (502, 503, 504), reader)


if __name__ == "__main__":
    suite.main()
