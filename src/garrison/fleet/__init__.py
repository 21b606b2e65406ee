"""Console and Defenders: identities, the channel between them and what they say on it.

No sockets here: bytes come in and go out, so that the same code runs in the gateway, in a
Defender, and in tests with any chunking.
"""

from garrison.fleet.authority import GATEWAY_NAME, Authority, IssuedServer, spki_sha256
from garrison.fleet.identity import DefenderIdentity
from garrison.fleet.join_token import JoinToken

__all__ = [
    "GATEWAY_NAME",
    "Authority",
    "DefenderIdentity",
    "IssuedServer",
    "JoinToken",
    "spki_sha256",
]
