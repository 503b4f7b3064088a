"""A client of the OCI distribution API as image tools are: keeps its login, follows redirects with
GET and HEAD, and takes its login to no other host."""

import base64
import http.client
import json
import ssl
from urllib.parse import urljoin, urlsplit

REDIRECTS_MAX = 5


class Answer:
    def __init__(self, url, status, headers, body):
        self.url, self.status, self.headers, self.body = url, status, headers, body

    def header(self, name):
        """The first of that name, or None."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    def codes(self):
        """The codes of an error body; none if it is not one."""
        try:
            return [e["code"] for e in json.loads(self.body)["errors"]]
        except (ValueError, KeyError, TypeError):
            return []


class Client:
    """`url`: a registry, or what stands for one. `user`: "name:password", or None."""

    def __init__(self, url, user=None, ca=None, timeout=60):
        self.url = url.rstrip("/")
        self.login = user and "Basic " + base64.b64encode(user.encode()).decode()
        self.context = ssl.create_default_context(cafile=ca)
        self.timeout = timeout
        self.statuses = []  # of all answers, redirects left out

    def ask(self, method, where, headers=(), body=None):
        """`where`: a path, or a URL that an answer told. `headers` may repeat a name; a `body` that is
        no bytes is sent in chunks."""
        url = urljoin(self.url + "/", where)
        for _ in range(REDIRECTS_MAX):
            answer = self._once(method, url, headers, body)
            place = answer.header("location")
            if not 301 <= answer.status <= 308 or not place or method not in ("GET", "HEAD"):
                self.statuses.append(answer.status)
                return answer
            url = urljoin(url, place)
        raise OSError(f"more than {REDIRECTS_MAX} redirects from {where}")

    def _once(self, method, url, headers, body):
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        make = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        extra = {"context": self.context} if secure else {}
        line = make(parts.netloc, timeout=self.timeout, **extra)
        try:
            line.putrequest(method, parts.path + ("?" + parts.query if parts.query else ""),
                            skip_accept_encoding=True)
            if self.login and parts.netloc == urlsplit(self.url).netloc:
                line.putheader("Authorization", self.login)
            for name, value in headers:
                line.putheader(name, value)
            chunked = body is not None and not isinstance(body, bytes)
            if chunked:
                line.putheader("Transfer-Encoding", "chunked")
            elif body is not None or method in ("POST", "PUT", "PATCH"):
                line.putheader("Content-Length", str(len(body or b"")))
            line.endheaders(body, encode_chunked=chunked)
            got = line.getresponse()
            return Answer(url, got.status, got.getheaders(), got.read())
        finally:
            line.close()
