"""A private CA and server certificates under it, all ECDSA P-256, made by the openssl tool."""

import os
import subprocess

_SERVER = """[server]
subjectAltName = DNS:localhost,DNS:registry.test,IP:127.0.0.1,IP:::1{more}
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth
"""


def _openssl(*argv):
    subprocess.run(["openssl", *argv], check=True, capture_output=True)


class Authority:
    """`ca` is the path of its certificate; server() makes certificates it vouches for."""

    def __init__(self, folder, name="Dray test CA"):
        self.folder = folder
        self.key = os.path.join(folder, "ca.key")
        self.ca = os.path.join(folder, "ca.pem")
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", self.key, "-out", self.ca, "-subj", f"/CN={name}", "-days", "30",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def server(self, name="server", addresses=()):
        """Paths of a new certificate and its key, for 127.0.0.1, ::1, localhost and `addresses`."""
        base = os.path.join(self.folder, name)
        with open(base + ".ext", "w", encoding="utf-8") as f:
            f.write(_SERVER.format(more="".join(f",IP:{a}" for a in addresses)))
        _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", base + ".key", "-out", base + ".csr", "-subj", "/CN=localhost")
        _openssl("x509", "-req", "-in", base + ".csr", "-CA", self.ca, "-CAkey", self.key,
                 "-CAcreateserial", "-out", base + ".pem", "-days", "30",
                 "-extfile", base + ".ext", "-extensions", "server")
        os.chmod(base + ".key", 0o600)
        return base + ".pem", base + ".key"
