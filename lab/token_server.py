"""A registry's token server: the other half of Docker Hub's token dance.

Answers `GET /token?service=…&scope=repository:NAME:pull` with a signed token that
docker-registry accepts. Anonymous callers get what is public, others what they may.
Source: distribution's docs/spec/auth/token.md and jwt.md.
"""

import argparse
import base64
import fnmatch
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from lab.authority import Authority, KeyPair
from lab.network import Network
from lab.web import Handler, Server, Service, arguments, serve

ISSUER = "Garrison lab"
LIFETIME = 300
"""Seconds a token is good for, as at Docker Hub."""


class TokenServer(Service):
    """The token server of one registry.

    users: names and passwords; they may pull everything, and `pushers` may push.
    public: patterns of repositories that anybody may pull.
    """

    module: ClassVar[str] = "token_server"
    host: ClassVar[str] = "auth.registry.test"

    def __init__(
        self,
        net: Network,
        authority: Authority,
        *,
        users: Mapping[str, str],
        pushers: Sequence[str] = (),
        public: Sequence[str] = ("*",),
        host: str | None = None,
        port: int = 443,
    ) -> None:
        super().__init__(net, authority, host=host, port=port)
        self.users, self.pushers, self.public = dict(users), list(pushers), list(public)
        # docker-registry trusts the signer's certificate itself: `rootcertbundle`.
        self.signer: KeyPair = authority.issue("token-signer.test")

    @property
    def realm(self) -> str:
        return f"{self.url}/token"

    def arguments(self) -> Sequence[str]:
        rules = self.folder / "rules.json"
        rules.write_text(
            json.dumps({"users": self.users, "pushers": self.pushers, "public": self.public})
        )
        return [
            f"--rules={rules}",
            f"--signer-certificate={self.signer.certificate}",
            f"--signer-key={self.signer.key}",
        ]


class _Server(Server):
    def __init__(self, handler: type[Handler], given: argparse.Namespace) -> None:
        super().__init__(handler, given)
        rules = json.loads(given.rules.read_text())
        self.users: dict[str, str] = rules["users"]
        self.pushers: list[str] = rules["pushers"]
        self.public: list[str] = rules["public"]
        certificate = x509.load_pem_x509_certificate(given.signer_certificate.read_bytes())
        self.certificate = certificate.public_bytes(serialization.Encoding.DER)
        key = serialization.load_pem_private_key(given.signer_key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key = key

    def granted(self, user: str | None, scope: str) -> dict[str, Any]:
        """What of `scope` the caller gets: perhaps no action at all, which is no error."""
        kind, name, actions = scope.split(":", 1)[0], *scope.split(":", 1)[1].rsplit(":", 1)
        allowed: set[str] = set()
        if user or any(fnmatch.fnmatch(name, pattern) for pattern in self.public):
            allowed.add("pull")
        if user in self.pushers:
            allowed |= {"push", "delete"}
        wanted = [action for action in actions.split(",") if action in allowed]
        return {"type": kind, "name": name, "actions": wanted}

    def token(self, user: str | None, service: str, access: list[dict[str, Any]]) -> str:
        now = int(time.time())
        chain = [base64.b64encode(self.certificate).decode()]
        header = {"typ": "JWT", "alg": "ES256", "x5c": chain}
        claims = {
            "iss": ISSUER,
            "sub": user or "",
            "aud": service,
            "exp": now + LIFETIME,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        signed = f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(claims).encode())}"
        # JWS wants the two numbers side by side: RFC 7518 section 3.4.
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class _Handler(Handler):
    server: _Server

    def respond(self) -> None:
        self.read_body()
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if self.command != "GET" or parts.path != "/token" or "service" not in query:
            self._json(404, {"errors": [{"code": "UNSUPPORTED"}]})
            return
        known, user = self._caller()
        if not known:
            challenge = {"WWW-Authenticate": f'Basic realm="{ISSUER}"'}
            error = {"code": "UNAUTHORIZED", "message": "incorrect username or password"}
            self._json(401, {"errors": [error]}, challenge)
            return
        scopes = [scope for each in query.get("scope", []) for scope in each.split(" ")]
        access = [self.server.granted(user, scope) for scope in scopes if scope.count(":") >= 2]
        token = self.server.token(user, query["service"][0], access)
        issued = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        both = {"token": token, "access_token": token}
        self._json(200, {**both, "expires_in": LIFETIME, "issued_at": issued})

    def _caller(self) -> tuple[bool, str | None]:
        given = self.headers.get("Authorization")
        if given is None:
            return True, None
        try:
            user, _, password = (
                base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
            )
        except ValueError:
            return False, None
        return self.server.users.get(user) == password, user

    def _json(self, status: int, value: object, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.reply(status, body, headers, content_type="application/json")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


if __name__ == "__main__":
    parser = arguments()
    parser.add_argument("--rules", type=Path, required=True)
    parser.add_argument("--signer-certificate", type=Path, required=True)
    parser.add_argument("--signer-key", type=Path, required=True)
    serve(_Handler, parser.parse_args(), _Server)
