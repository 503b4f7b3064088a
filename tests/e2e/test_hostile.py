"""Bad input at the front door: a clear error, nothing upstream, no harm to anyone else."""

import os
import re
import socket
import threading
import time

from dray_e2e import images, proxy, suite, tracker, wire
from dray_e2e.stage import wait_for

REPO = "team/app"
GET = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n"

# Sent as they are; each must be answered 4xx or 5xx (or 431 and the like), then closed.
MALFORMED = [
    ("no method", b"\r\n\r\n /v2/ HTTP/1.1\r\n\r\n"),
    ("garbage", b"\x00\x01\x02\x03\xff\xfe garbage\r\n\r\n"),
    ("TLS to a plain port", bytes.fromhex("16030100c8010000c40303") + bytes(200)),
    ("HTTP/0.9", b"GET /v2/\r\n\r\n"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("HTTP/3.0", b"GET /v2/ HTTP/3.0\r\nHost: x\r\n\r\n"),
    ("no Host", b"GET /v2/ HTTP/1.1\r\n\r\n"),
    ("two Hosts", GET + b"Host: y\r\n\r\n"),
    ("folded header", GET + b"X-A: b\r\n c\r\n\r\n"),
    ("space before the colon", GET + b"X-A : b\r\n\r\n"),
    ("empty header name", GET + b": b\r\n\r\n"),
    ("NUL in a header", GET + b"X-A: a\x00b\r\n\r\n"),
    ("bare LF", b"GET /v2/ HTTP/1.1\nHost: x\n\n"),
    ("bare CR in a header", GET + b"X-A: a\rb\r\n\r\n"),
    ("long target", b"GET /v2/" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("long header", GET + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n"),
    ("header flood", GET + b"".join(b"X-%d: y\r\n" % i for i in range(5000)) + b"\r\n"),
    ("length and chunked", GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", GET + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    ("length with a sign", GET + b"Content-Length: +5\r\n\r\nhello"),
    ("length as hex", GET + b"Content-Length: 0x5\r\n\r\nhello"),
    ("length overflow", GET + b"Content-Length: 99999999999999999999\r\n\r\nhello"),
    ("chunked twice", GET + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("unknown coding", GET + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked not last", GET + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("bad chunk size", b"POST" + GET[3:] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
    ("CONNECT", b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n"),
    ("TRACE", b"TRACE /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("absolute form elsewhere", b"GET http://127.0.0.1:1/v2/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n"),
    ("escaped NUL", b"GET /v2/a%00b/tags/list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    ("bad escape", b"GET /v2/a%zz/tags/list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
]


class Hostile(suite.Case):
    @classmethod
    def prepare(cls):
        cls.upstream = proxy.Proxy(cls.stage)
        cls.server = cls.node(cls.upstream.url)
        cls.data = images.random_bytes(200_000, "hostile")
        cls.digest = images.digest_of(cls.data)
        cls.upstream.serve_blob(REPO, cls.data, cls.digest)

    passed_on = ()  # of MALFORMED: what is the registry's to judge
    streamed = ()  # and what is there before its end is known to be malformed

    def check_well(self):
        got = self.server.blob(REPO, self.digest)
        self.assertEqual((got.status, got.body), (200, self.data))

    def test_malformed(self):
        for name, data in MALFORMED:
            if name in self.streamed:
                continue
            with self.subTest(name):
                at = self.upstream.mark()
                got, ended = wire.raw(self.server.url, data, timeout=15)
                self.assertEqual(ended, "fin", got[:200])
                if got:  # what is no HTTP at all may be closed without a word
                    self.assertRegex(got[:16], rb"^HTTP/1\.[01] [45]\d\d ", got[:200])
                    answers = re.findall(rb"HTTP/1\.[01] \d{3} ", got)
                    self.assertEqual(len(answers), 1, "one answer, then the end")
                if name not in self.passed_on:  # what a test before this one asked for may end late
                    seen = [r for r in self.upstream.requests(since=at) if self.digest not in str(r)]
                    self.assertEqual(seen, [])
        self.check_well()

    def test_smuggling(self):
        """What follows a request whose length is in doubt is never taken for a request."""
        inner = b"GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: x\r\n\r\n"
        for name, head in (
                ("CL.TE", b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                ("TE.CL", b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n"),
                ("TE.TE", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x%d\r\n\r\n0\r\n\r\n"),
                ("tab", b"Transfer-Encoding:\tchunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n"),
                ("vertical tab", b"Transfer-Encoding: \x0bchunked\r\nX: %d\r\n\r\n0\r\n\r\n"),
                ("chunk extension", b"Transfer-Encoding: chunked\r\nX: %d\r\n\r\n0;\n\r\n\r\n")):
            with self.subTest(name):
                at = self.upstream.mark()
                wire.raw(self.server.url, GET + head % 6 + inner, timeout=15)
                self.assertEqual(self.upstream.requests(path="smuggled", since=at), [])
        self.check_well()

    def test_body_on_get(self):
        """It is read and ignored, or refused; the next request is understood either way."""
        for body in (b"Content-Length: 5\r\n\r\nhello",
                     b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"):
            got, ended = wire.raw(self.server.url, GET + body +
                                  b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertEqual(ended, "fin")
            self.assertRegex(got, rb"^HTTP/1\.1 (200|4\d\d) ")
            self.assertLessEqual(got.count(b"HTTP/1.1 "), 2)
        got = self.server.get("/v2/", headers=[("Content-Length", "10000000")], body=bytes(1 << 20),
                              timeout=15)
        self.assertIn(got.status, (200, 400, 413))
        self.check_well()

    def test_pipelined(self):
        path = f"/v2/{REPO}/blobs/{self.digest}".encode()
        self.check_well()
        one = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n"
        got, ended = wire.raw(self.server.url, (one + b"\r\n") * 3 + one + b"Connection: close\r\n\r\n")
        self.assertEqual(ended, "fin")
        self.assertEqual(got.count(b"HTTP/1.1 200 "), 4)
        self.assertEqual(got.count(self.data), 4)

    def test_byte_by_byte(self):
        """A slow but honest client is served."""
        sock = wire.connect(self.server.url, timeout=15)
        self.addCleanup(sock.close)
        request = (f"GET /v2/{REPO}/blobs/{self.digest} HTTP/1.1\r\nHost: x\r\n"
                   "Connection: close\r\n\r\n").encode()
        for i in range(len(request)):
            sock.sendall(request[i:i + 1])
            time.sleep(0.002)
        reply = wire.Reply(sock, "GET", time.monotonic())
        self.assertEqual((reply.status, reply.read_all()), (200, self.data))

    def test_slow_heads_are_let_go(self):
        """Many connections that never finish their request end, and hinder nobody meanwhile."""
        socks = [wire.connect(self.server.url, timeout=40) for _ in range(200)]
        for sock in socks:
            self.addCleanup(sock.close)
            sock.sendall(GET)
        self.check_well()

        def drip():
            for _ in range(6):
                time.sleep(1)
                for sock in socks[:50]:
                    try:
                        sock.sendall(b"X-A: b\r\n")
                    except OSError:
                        pass
        dripper = threading.Thread(target=drip)
        dripper.start()
        for sock in (socks[0], socks[199]):
            try:
                while sock.recv(4096):
                    pass
            except ConnectionResetError:
                pass  # what dripped on after the end was answered so
        dripper.join()
        self.check_well()

    def test_readers_that_take_nothing(self):
        """Their memory is bounded: the kernel's buffers, and not the blob."""
        big = images.random_bytes(64 << 20, "big")
        digest = images.digest_of(big)
        self.upstream.serve_blob(REPO, big, digest)
        self.assertEqual(len(self.server.blob(REPO, digest).body), len(big))
        before = self.server.rss()
        replies = [self.server.open(f"/v2/{REPO}/blobs/{digest}") for _ in range(50)]
        for reply in replies:
            self.addCleanup(reply.close)
        time.sleep(0.5)
        self.check_well()
        self.assertLess(self.server.rss() - before, 128 << 20)

    def test_leaving_in_all_ways(self):
        """200 clients vanish at every stage; nothing of them stays."""
        path = f"/v2/{REPO}/blobs/{self.digest}"
        self.check_well()
        for i in range(200):
            sock = wire.connect(self.server.url)
            if i % 4 == 1:
                sock.sendall(b"GET " + path.encode()[:i])
            elif i % 4 == 2:
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            elif i % 4 == 3:
                sock.shutdown(socket.SHUT_WR)
            if i % 3 == 0:
                wire.reset(sock)
            sock.close()
        self.check_well()
        wait_for(lambda: self.descriptors() < 100, 15, "descriptors to be given back")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.server.process.pid}/fd"))

    def test_half_closed(self):
        """A client that has said all it has to say is still answered."""
        sock = wire.connect(self.server.url, timeout=15)
        self.addCleanup(sock.close)
        sock.sendall(f"GET /v2/{REPO}/blobs/{self.digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        sock.shutdown(socket.SHUT_WR)
        reply = wire.Reply(sock, "GET", time.monotonic())
        self.assertEqual((reply.status, reply.read_all()), (200, self.data))

    def test_hostile_authorization(self):
        """It is passed on or refused, and ends in no log."""
        for value in ("Bearer " + "a" * 14_000, "Basic " + "=" * 500, "\x7f\x80\xff", "a\tb", ""):
            got = self.server.blob(REPO, self.digest, [("Authorization", value)])
            self.assertIn(got.status, (200, 400, 401, 431))
        self.assertNotIn("aaaaaaaaaaaaaaaa", self.server.log())
        self.check_well()


class HostileToTheTracker(Hostile):
    """The same at the registry's own URL, where most of it is passed on as it comes."""

    passed_on = ("escaped NUL", "bad escape")
    streamed = ("bad chunk size",)
    test_half_closed = None  # it counts as having left

    @classmethod
    def prepare(cls):
        cls.upstream = proxy.Proxy(cls.stage)
        cls.server = tracker.Tracker(cls.stage, cls.upstream.url)
        cls.nodes.append(cls.server)
        cls.data = images.random_bytes(200_000, "hostile")
        cls.digest = images.digest_of(cls.data)
        cls.upstream.serve_blob(REPO, cls.data, cls.digest)


if __name__ == "__main__":
    suite.main()
