"""A token server that docker-registry trusts (distribution's token authentication specification).

Users have passwords and, per repository, a set of actions; "*" stands for every repository. Nobody
without a password gets what `anonymous` names. Tokens are RS256 JWTs, signed by the openssl tool
under a certificate that the registry has as its rootcertbundle.
"""

import base64
import hmac
import json
import os
import subprocess
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SERVICE = "dray-test-registry"
ISSUER = "dray-test-issuer"


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """`users`: {name: (password, {repository: {"pull", ...}})}."""

    def __init__(self, stage, users, anonymous=None, lifetime=300):
        self.users = users
        self.anonymous = anonymous or {}
        self.lifetime = lifetime
        self.asked = []  # (path with query, user or None) of each request
        self._lock = threading.Lock()
        folder = stage.dir("tokens")
        self.cert = os.path.join(folder, "cert.pem")
        self._key = os.path.join(folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
                        "-keyout", self._key, "-out", self.cert, "-subj", "/CN=tokens"],
                       check=True, capture_output=True)
        der = subprocess.run(["openssl", "x509", "-in", self.cert, "-outform", "DER"], check=True,
                             capture_output=True).stdout
        self._x5c = base64.b64encode(der).decode()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.realm = f"http://127.0.0.1:{self.port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True,
                                        kwargs={"poll_interval": 0.05})
        self._thread.start()
        stage.defer(self.close)

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def mint(self, access, subject="", lifetime=None):
        """A token for {repository: actions}."""
        now = int(time.time())
        head = _b64(json.dumps({"typ": "JWT", "alg": "RS256", "x5c": [self._x5c]}).encode())
        claims = _b64(json.dumps({
            "iss": ISSUER, "aud": SERVICE, "sub": subject, "iat": now, "nbf": now - 10,
            "exp": now + (lifetime or self.lifetime), "jti": uuid.uuid4().hex,
            "access": [{"type": "repository", "name": name, "actions": sorted(actions)}
                       for name, actions in access.items()],
        }).encode())
        text = f"{head}.{claims}"
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self._key],
                                   input=text.encode(), check=True, capture_output=True).stdout
        return f"{text}.{_b64(signature)}"

    def bearer(self, repository, actions=("pull",), user="", lifetime=None):
        """An Authorization value, whatever the user's rights: for pushing, and for forged cases."""
        return "Bearer " + self.mint({repository: set(actions)}, user, lifetime)

    def allowed(self, user, repository):
        rights = self.users[user][1] if user else self.anonymous
        return rights.get(repository, rights.get("*", set()))

    def _identify(self, user, password):
        """(known?, user); no user at all is anonymous."""
        if user is None:
            return True, None
        if user in self.users and hmac.compare_digest(self.users[user][0], password):
            return True, user
        return False, user

    def answer(self, user, password, scopes):
        """(status, JSON) of a request for a token."""
        known, user = self._identify(user, password)
        if not known:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong name or password"}]}
        access = {}
        for scope in " ".join(scopes).split():
            kind, name, actions = scope.split(":", 2)
            granted = set(actions.split(",")) & self.allowed(user, name)
            if kind == "repository" and granted:
                access[name] = granted
        token = self.mint(access, user or "")
        return 200, {"token": token, "access_token": token, "expires_in": self.lifetime,
                     "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}

    def _handler(self):
        tokens = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _login(self):
                value = self.headers.get("Authorization", "")
                if not value.startswith("Basic "):
                    return None, None
                user, _, password = base64.b64decode(value[6:]).decode().partition(":")
                return user, password

            def _reply(self, user, password, scopes):
                with tokens._lock:
                    tokens.asked.append((self.path, user))
                status, answer = tokens.answer(user, password, scopes)
                body = json.dumps(answer).encode()
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Basic realm="tokens"')
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):  # docker, skopeo
                query = parse_qs(urlsplit(self.path).query)
                self._reply(*self._login(), query.get("scope", []))

            def do_POST(self):  # containerd: grant_type=password
                length = int(self.headers.get("Content-Length", 0))
                form = parse_qs(self.rfile.read(length).decode())
                user, password = self._login()
                if "username" in form:
                    user, password = form["username"][0], form.get("password", [""])[0]
                self._reply(user, password, form.get("scope", []))

        return Handler
