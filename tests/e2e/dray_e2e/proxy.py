"""A recording reverse proxy that stands between a node and its registry, and misbehaves on order.

Every request is recorded: method, path, Range, all headers, status, bytes of body sent, times. A rule
(add()) takes the next matching requests over with an action; without one the request is forwarded.
serve() answers a path from memory, with Range support: then the proxy is a fake upstream, of things
that a real registry would not hold.

An action is a function of an Exchange. The ready-made ones are below: cut, corrupt, lie, delay, gate,
pace, silence, keep, redirect, status, flood, refuse. Actions compose through `head()` and `body()`.
"""

import http.client
import re
import socket
import ssl
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

BLOCK = 65536
_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection"}


class Record:
    """What was seen of one request."""

    def __init__(self, method, target, headers):
        parts = urlsplit(target)
        self.method, self.target, self.path, self.query = method, target, parts.path, parts.query
        self.headers = headers
        self.range = self.header("range")
        self.started = time.monotonic()
        self.ended = None
        self.status = None
        self.sent = 0  # body bytes handed to the socket
        self.complete = False

    def header(self, name):
        values = self.all(name)
        return values[0] if values else None

    def all(self, name):
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def __repr__(self):
        extra = f" [{self.range}]" if self.range else ""
        return f"{self.method} {self.target}{extra} -> {self.status}, {self.sent} bytes"


class Pace:
    """A rate shared by everything that goes through it: a thin long line."""

    def __init__(self, bytes_per_s):
        self.rate = bytes_per_s
        self._lock = threading.Lock()
        self._due = 0.0

    def take(self, count):
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now) + count / self.rate
            wait = self._due - now
        if wait > 0:
            time.sleep(wait)


class Rule:
    def __init__(self, action, method, path, times, when):
        self.action, self.method, self.path = action, method, re.compile(path)
        self.left, self.when, self.hits = times, when, 0

    def takes(self, record):
        if self.left == 0 or (self.method and record.method != self.method):
            return False
        if not self.path.search(record.path) or (self.when and not self.when(record)):
            return False
        self.hits += 1
        self.left -= 1  # from None on there is no end: see add()
        return True


class Exchange:
    """One request in the hands of an action."""

    def __init__(self, proxy, handler, record, body):
        self.proxy, self.handler, self.record, self.request_body = proxy, handler, record, body
        self.upstream = None

    def upstream_answer(self):
        """Asks the real upstream, or the memory: (status, headers, reader)."""
        if self.record.path in self.proxy.content:
            return self.proxy.from_memory(self.record)
        host, port, context = self.proxy.target
        make = http.client.HTTPSConnection if context else http.client.HTTPConnection
        extra = {"context": context} if context else {}
        self.upstream = make(host, port, timeout=60, **extra)
        self.upstream.putrequest(self.record.method, self.record.target, skip_host=True,
                                 skip_accept_encoding=True)
        for name, value in self.record.headers:
            if name.lower() not in _HOP:
                self.upstream.putheader(name, value)
        self.upstream.putheader("Connection", "close")
        self.upstream.endheaders(self.request_body or None)
        answer = self.upstream.getresponse()
        headers = [(n, v) for n, v in answer.getheaders() if n.lower() not in _HOP]
        return answer.status, headers, answer.read1

    def head(self, status, headers):
        """Sends the answer's head; a body that does not state its length goes until close."""
        self.record.status = status
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Unknown')}"]
        lines += [f"{n}: {v}" for n, v in headers]
        if not any(n.lower() == "content-length" for n, _ in headers):
            lines.append("Connection: close")
            self.handler.close_connection = True
        self.handler.connection.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    def write(self, data):
        if self.proxy.pace:
            self.proxy.pace.take(len(data))
        self.handler.connection.sendall(data)
        self.record.sent += len(data)

    def body(self, read, change=None):
        """Copies a body; `change(offset, data)` may alter, cut (return None) or wait."""
        offset = 0
        while self.record.method != "HEAD":
            data = read(BLOCK)
            if not data:
                break
            changed = data if change is None else change(offset, data)
            if changed is None:
                return
            self.write(changed)
            offset += len(data)
        self.record.complete = True

    def forward(self, change=None, headers=None):
        """The real answer, its body through `change`, its headers through `headers(list)`."""
        status, fields, read = self.upstream_answer()
        self.head(status, headers(fields) if headers else fields)
        self.body(read, change)

    def answer(self, status, headers=(), body=b""):
        """An answer of our own."""
        fields = list(headers) + [("Content-Length", str(len(body)))]
        self.head(status, fields)
        if self.record.method != "HEAD":
            self.write(body)
        self.record.complete = True

    def finish(self, reset=False):
        """Ends the connection: FIN in order, or RST."""
        self.handler.close_connection = True
        if reset:
            self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                               struct.pack("ii", 1, 0))
            self.handler.connection.close()

    def done(self):
        if self.upstream:
            self.upstream.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address, handler, context):
        self.context = context
        self.open = set()
        super().__init__(address, handler)

    def get_request(self):
        sock, peer = super().get_request()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open.add(sock)
        return sock, peer

    def finish_request(self, request, client_address):
        if self.context:  # in the connection's own thread: a slow handshake stops nobody
            self.open.discard(request)
            request = self.context.wrap_socket(request, server_side=True)
            self.open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self.open.discard(request)
            if self.context:
                self.shutdown_request(request)

    def handle_error(self, request, client_address):
        pass  # a client that left is no error here


class Proxy:
    """`target`: the registry's URL, or None for a fake upstream that knows only serve()d paths."""

    def __init__(self, stage, target=None, ca=None, tls=None, pace=None):
        self.records, self.rules, self.content = [], [], {}
        self.pace = pace
        self.released = threading.Event()  # set at close(): waiting actions end
        self._lock = threading.Lock()
        self._context = None
        self._server = None
        self.target = self._parse(target, ca) if target else None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*tls)
        self.port = 0
        self.up()
        scheme = "https" if tls else "http"
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{scheme}://{self.host}"
        stage.defer(self.close)

    @staticmethod
    def _parse(target, ca):
        parts = urlsplit(target)
        context = ssl.create_default_context(cafile=ca) if parts.scheme == "https" else None
        return parts.hostname, parts.port, context

    def up(self):
        """Listens (again, on the same port)."""
        self._server = _Server(("127.0.0.1", self.port), self._handler(), self._context)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True,
                         kwargs={"poll_interval": 0.02}).start()

    def down(self):
        """Refuses connections and cuts those that are open: the registry is away."""
        self._server.shutdown()
        self._server.server_close()
        for sock in list(self._server.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.released.set()
        self.down()

    # --- what is asked of it --------------------------------------------------------------------

    def add(self, action, method="GET", path=r"/blobs/", times=None, when=None):
        """The newest rule counts first. `times` None: without end. `when(record)` narrows."""
        rule = Rule(action, method, path, -1 if times is None else times, when)
        with self._lock:
            self.rules.insert(0, rule)
        return rule

    def clear(self):
        with self._lock:
            self.rules.clear()

    def serve(self, path, body, content_type="application/octet-stream", headers=()):
        self.content[path] = (body, [("Content-Type", content_type), *headers])

    def serve_blob(self, repository, data, digest):
        self.serve(f"/v2/{repository}/blobs/{digest}", data,
                   headers=[("Docker-Content-Digest", digest)])

    def serve_manifest(self, repository, reference, image):
        for name in (reference, image.digest):
            self.serve(f"/v2/{repository}/manifests/{name}", image.manifest, image.media_type,
                       [("Docker-Content-Digest", image.digest)])

    def requests(self, method=None, path=None, since=0):
        """Records so far, narrowed; `path` is a regular expression."""
        with self._lock:
            rows = self.records[since:]
        return [r for r in rows if (method is None or r.method == method)
                and (path is None or re.search(path, r.path))]

    def blob_gets(self, digest="", since=0):
        return self.requests("GET", "/blobs/" + re.escape(digest), since)

    def fetches(self, digest="", since=0):
        """Those that fetch a layer; a GET of its first byte alone is only a question of permission."""
        return [r for r in self.blob_gets(digest, since) if r.range != "bytes=0-0"]

    def mark(self):
        """A position for `since`."""
        with self._lock:
            return len(self.records)

    def body_bytes(self, since=0):
        return sum(r.sent for r in self.requests(since=since))

    # --- inside ---------------------------------------------------------------------------------

    def from_memory(self, record):
        body, headers = self.content[record.path]
        headers = list(headers) + [("Accept-Ranges", "bytes")]
        status = 200
        hit = re.fullmatch(r"bytes=(\d+)-(\d*)", record.range or "")
        if hit:
            first = int(hit[1])
            last = min(int(hit[2] or len(body) - 1), len(body) - 1)
            if first > last:
                return 416, headers + [("Content-Length", "0")], lambda n: b""
            headers.append(("Content-Range", f"bytes {first}-{last}/{len(body)}"))
            status, body = 206, body[first:last + 1]
        view, at = memoryview(body), [0]

        def read(count):
            at[0] += count
            return bytes(view[at[0] - count:at[0]])

        return status, headers + [("Content-Length", str(len(body)))], read

    def _action_for(self, record):
        with self._lock:
            self.records.append(record)
            for rule in self.rules:
                if rule.takes(record):
                    return rule.action
        return None

    def _default(self, exchange):
        if self.target or exchange.record.path in self.content:
            exchange.forward()
        elif exchange.record.path == "/v2/":
            exchange.answer(200, [("Content-Type", "application/json")], b"{}")
        else:
            code = "MANIFEST_UNKNOWN" if "/manifests/" in exchange.record.path else "BLOB_UNKNOWN"
            body = b'{"errors":[{"code":"%s","message":"unknown here"}]}' % code.encode()
            exchange.answer(404, [("Content-Type", "application/json")], body)

    def _handler(self):
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _any(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else b""
                record = Record(self.command, self.path, list(self.headers.items()))
                exchange = Exchange(proxy, self, record, body)
                try:
                    (proxy._action_for(record) or proxy._default)(exchange)
                except (OSError, http.client.HTTPException):
                    self.close_connection = True
                finally:
                    record.ended = time.monotonic()
                    exchange.done()

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _any

        return Handler


# --- actions --------------------------------------------------------------------------------------

def cut(after, reset=False):
    """Breaks off after so many bytes of the body; before a reset it waits until they are read, since
    a reset takes back what still lies in the reader's buffer."""
    def action(exchange):
        def change(offset, data):
            if offset + len(data) < after:
                return data
            exchange.write(data[:after - offset])
            return None
        exchange.forward(change)
        if reset:
            exchange.proxy.released.wait(0.3)
        exchange.finish(reset)
    return action


def corrupt(at):
    """Flips one bit of the byte at offset `at`."""
    def action(exchange):
        def change(offset, data):
            if offset <= at < offset + len(data):
                data = bytearray(data)
                data[at - offset] ^= 1
            return bytes(data)
        exchange.forward(change)
    return action


def lie(length):
    """States `length` as Content-Length; sends no more than that, then closes."""
    def action(exchange):
        def headers(fields):
            kept = [(n, v) for n, v in fields if n.lower() != "content-length"]
            return kept + [("Content-Length", str(length))]

        def change(offset, data):
            return data[:max(0, length - offset)]
        exchange.forward(change, headers)
        exchange.finish()
    return action


def delay(seconds, then=None):
    """Waits before it answers."""
    def action(exchange):
        exchange.proxy.released.wait(seconds)
        (then or Exchange.forward)(exchange)
    return action


def gate(after, event, timeout=60):
    """Sends `after` bytes, waits for `event`, sends the rest."""
    def action(exchange):
        def change(offset, data):
            if offset <= after < offset + len(data):
                exchange.write(data[:after - offset])
                event.wait(timeout)
                return data[after - offset:]
            return data
        exchange.forward(change)
    return action


def paced(bytes_per_s):
    """This answer alone at a rate."""
    def action(exchange):
        pace = Pace(bytes_per_s)

        def change(_, data):
            pace.take(len(data))
            return data
        exchange.forward(change)
    return action


def silence():
    """Reads the request and never answers."""
    def action(exchange):
        exchange.proxy.released.wait(600)
        exchange.finish()
    return action


def keep(way):
    """Keeps who asks until it has had enough: "silent", or a byte now and then of the "head" or of the
    "body", or only the "begin" of a body. The record is complete once the client has left."""
    begin = {"silent": b"", "head": b"HTTP/1.1 200 OK\r\nX-Slow: ",
             "body": b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n",
             "begin": b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{"}[way]

    def action(exchange):
        sock = exchange.handler.connection
        exchange.finish()
        try:
            sock.sendall(begin)
            while way in ("head", "body"):
                sock.sendall(b"x")
                time.sleep(0.1)
            while sock.recv(4096):
                pass
        except OSError:
            pass
        exchange.record.complete = True
    return action


def redirect(location, code=307):
    """`location`: a URL, or a function of the record."""
    def action(exchange):
        to = location(exchange.record) if callable(location) else location
        exchange.answer(code, [("Location", to)])
    return action


def status(code, body=b"", headers=()):
    def action(exchange):
        exchange.answer(code, [("Content-Type", "application/json"), *headers], body)
    return action


def flood(size, content_type, stated=True, headers=()):
    """A body of `size` zeros, as long as anyone reads."""
    def action(exchange):
        fields = [("Content-Type", content_type), *headers]
        if stated:
            fields.append(("Content-Length", str(size)))
        exchange.head(200, fields)
        block, left = bytes(1 << 20), size
        while left > 0 and exchange.record.method != "HEAD":
            exchange.write(block[:min(left, len(block))])
            left -= len(block)
        exchange.finish()
    return action


def refuse():
    """Resets the connection without an answer."""
    def action(exchange):
        exchange.finish(reset=True)
    return action
