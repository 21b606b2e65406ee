"""What can go wrong between a Defender and its Console, besides the network."""

from __future__ import annotations

from garrison.errors import GarrisonError, InvalidSettingError


class FleetError(GarrisonError):
    """The two sides do not agree on who they are or what they say."""

    code = "fleet.error"


class InvalidJoinTokenError(InvalidSettingError):
    """Text that is not a join token. The text itself is never part of the message."""

    code = "fleet.join_token_invalid"

    def __init__(self, message: str, hint: str) -> None:
        super().__init__("join_token", message, hint)


class IdentityUnreadableError(FleetError):
    """The identity's files exist but cannot be used."""

    code = "fleet.identity_unreadable"

    @property
    def hint(self) -> str:
        return (
            "Restore the directory from a backup, or remove it and start with a join token: "
            "the Defender then enrols as a new one."
        )


class ProtocolError(FleetError):
    """The peer sent what no Garrison sends: something else answers at this address."""

    code = "fleet.protocol"

    @property
    def hint(self) -> str:
        return (
            "Check that the Console address is the one of its gateway (port 8084 unless set), "
            "and that nothing between changes WebSocket traffic."
        )


class MessageTooLargeError(ProtocolError):
    """A message is longer than this side accepts."""

    code = "fleet.message_too_large"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"message of {size} bytes, at most {limit} are accepted")
        self.size, self.limit = size, limit

    @property
    def hint(self) -> str:
        return ""


class ChannelClosedError(FleetError):
    """The inner connection ended: orderly, or cut inside a message."""

    code = "fleet.closed"


class NotOurConsoleError(FleetError):
    """What answered has no certificate of the Console that this Defender belongs to."""

    code = "fleet.console_not_trusted"

    @property
    def hint(self) -> str:
        return (
            "Something between answers in the Console's place, or the Console was set up anew "
            "without its data. In the second case create a join token there, set it on this "
            "Defender (GARRISON_JOIN_TOKEN_FILE), and it enrols again."
        )


class PinMismatchError(NotOurConsoleError):
    """What answered does not hold the authority that the join token names; nothing was sent."""

    code = "fleet.console_not_in_join_token"

    @property
    def hint(self) -> str:
        return (
            "The join token was made by another Console, or something between answers in its "
            "place. Nothing of the token was sent. Create a join token on this Console."
        )


class IdentityRefusedError(FleetError):
    """The Console's TLS did not accept our certificate.

    reason: OpenSSL's word for it, for example `certificate expired`.
    """

    code = "fleet.identity_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the Console refused this Defender's certificate: {reason}")
        self.reason = reason

    @property
    def hint(self) -> str:
        if "expired" in self.reason:
            return (
                "The Defender was off for longer than its certificate lives, or a clock is wrong. "
                "Set a join token and it enrols again."
            )
        return "Create a join token on this Console, set it on the Defender, and it enrols again."


class RefusedError(FleetError):
    """The Console said no, and why; `code` is the Console's.

    retry_after: seconds before the next attempt is welcome, or None.
    """

    def __init__(
        self, code: str, message: str, hint: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]
        self._hint = hint
        self.retry_after = retry_after

    @property
    def hint(self) -> str:
        return self._hint


class SessionLostError(FleetError):
    """Nothing was heard from the other side for too long."""

    code = "fleet.session_lost"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing was heard from the other side for {seconds:.0f} s")
        self.seconds = seconds

    @property
    def hint(self) -> str:
        return "A proxy or firewall between may have forgotten the idle connection."
