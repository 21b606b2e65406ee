"""Set-up, sign-in, sessions, CSRF and API tokens."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from garrison.console import accounts
from garrison.console.accounts import SetupLinkError, SignInError
from garrison.console.problems import InvalidFieldsError, NotFoundError, TooManyAttemptsError
from garrison.console.state import AppState
from garrison.secret import Secret
from tests.unit.console.harness import NOW, PASSWORD, Client, later, signed_in, token_for


def link_token(state: AppState) -> str:
    link = accounts.new_setup_link(state, NOW)
    assert link is not None
    assert link.startswith(f"{state.settings.console_url}/setup?token=")
    return link.partition("token=")[2]


async def set_up(state: AppState, name: str = "ada") -> accounts.SignedIn:
    token = link_token(state)
    return await accounts.complete_setup(state, token, name, Secret(PASSWORD), now=NOW)


async def test_the_set_up_link_works_once(state: AppState) -> None:
    token = link_token(state)
    assert not accounts.is_set_up(state)

    done = await accounts.complete_setup(state, token, " ada ", Secret(PASSWORD), now=NOW)

    assert done.session.user == "ada"
    assert done.session.role == "admin"
    assert accounts.is_set_up(state)
    assert accounts.new_setup_link(state, NOW) is None
    with pytest.raises(SetupLinkError):
        await accounts.complete_setup(state, token, "eve", Secret(PASSWORD), now=NOW)


async def test_two_at_once_make_one_administrator(state: AppState) -> None:
    token = link_token(state)
    results = await asyncio.gather(
        *(
            accounts.complete_setup(state, token, name, Secret(PASSWORD), now=NOW)
            for name in ("ada", "eve")
        ),
        return_exceptions=True,
    )

    assert sorted(type(r).__name__ for r in results) == ["SetupLinkError", "SignedIn"]
    assert len(accounts.users(state)) == 1


async def test_a_new_link_replaces_the_old(state: AppState) -> None:
    old, new = link_token(state), link_token(state)

    assert not accounts.setup_link_valid(state, old, NOW)
    assert accounts.setup_link_valid(state, new, NOW)
    with pytest.raises(SetupLinkError):
        await accounts.complete_setup(state, old, "ada", Secret(PASSWORD), now=NOW)


@pytest.mark.parametrize(
    ("name", "password", "fields"),
    [
        ("", "short", ["name", "password"]),
        ("a/b", PASSWORD, ["name"]),
        ("x" * 65, PASSWORD, ["name"]),
        ("ada", "elevenchars", ["password"]),
        ("ada", "x" * 257, ["password"]),
        ("administrator", "administrator", ["password"]),
    ],
)
async def test_bad_accounts_spend_no_link(
    state: AppState, name: str, password: str, fields: list[str]
) -> None:
    token = link_token(state)

    with pytest.raises(InvalidFieldsError) as error:
        await accounts.complete_setup(state, token, name, Secret(password), now=NOW)

    assert [p.field for p in error.value.problems] == fields
    assert accounts.setup_link_valid(state, token, NOW)


def test_a_password_file_sets_up_without_a_browser(state: AppState) -> None:
    assert accounts.ensure_admin(state, Secret(PASSWORD), NOW)
    assert not accounts.ensure_admin(state, Secret("another password"), NOW)
    assert [u.name for u in accounts.users(state)] == ["admin"]


async def test_sign_in_and_out(state: AppState) -> None:
    await set_up(state)

    done = await accounts.sign_in(state, "ADA", Secret(PASSWORD), address="10.0.0.1", now=NOW)
    found = accounts.session(state, done.cookie, later(60))

    assert found is not None
    assert found.csrf == done.session.csrf
    accounts.sign_out(state, found)
    assert accounts.session(state, done.cookie, later(60)) is None


async def test_a_session_ends_when_it_is_not_used(state: AppState) -> None:
    done = await set_up(state)
    half = accounts.SESSION_SECONDS / 2

    assert accounts.session(state, done.cookie, later(half)) is not None
    assert accounts.session(state, done.cookie, later(half * 2.5)) is not None
    assert accounts.session(state, done.cookie, later(half * 6)) is None


async def test_wrong_name_and_wrong_password_read_the_same(state: AppState) -> None:
    await set_up(state)
    messages = set()
    for name, password in (("ada", "wrong"), ("nobody", PASSWORD), ("ada", "x" * 10_000)):
        with pytest.raises(SignInError) as error:
            await accounts.sign_in(state, name, Secret(password), address="10.0.0.1", now=NOW)
        messages.add(error.value.message)

    assert len(messages) == 1


async def test_guessing_is_slowed_by_name_and_address(state: AppState) -> None:
    await set_up(state)

    async def attempt(address: str, password: str = "wrong") -> None:
        await accounts.sign_in(state, "ada", Secret(password), address=address, now=NOW)

    # All at once: each is counted before its password is looked at.
    results = await asyncio.gather(
        *(attempt("10.0.0.1") for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(r, SignInError) for r in results) == state.throttle.free
    with pytest.raises(TooManyAttemptsError) as error:
        await attempt("10.0.0.1", PASSWORD)
    assert int(error.value.headers["Retry-After"]) > 0

    await attempt("10.0.0.2", PASSWORD)


async def test_a_whole_ipv6_network_counts_as_one(state: AppState) -> None:
    await set_up(state)
    for number in range(state.throttle.free):
        with pytest.raises(SignInError):
            await accounts.sign_in(
                state, "ada", Secret("wrong"), address=f"2001:db8::{number}", now=NOW
            )
    with pytest.raises(TooManyAttemptsError):
        await accounts.sign_in(state, "ada", Secret(PASSWORD), address="2001:db8::ff", now=NOW)


async def test_a_reset_ends_every_session(state: AppState) -> None:
    done = await set_up(state)

    await accounts.reset_password(state, "ada", Secret("another password"), actor="x", now=NOW)

    assert accounts.session(state, done.cookie, NOW) is None
    with pytest.raises(SignInError):
        await accounts.sign_in(state, "ada", Secret(PASSWORD), address="a", now=NOW)
    await accounts.sign_in(state, "ada", Secret("another password"), address="b", now=NOW)
    with pytest.raises(NotFoundError):
        await accounts.reset_password(state, "eve", Secret(PASSWORD), actor="x", now=NOW)


def test_api_tokens_end(state: AppState) -> None:
    made = accounts.create_token(
        state, "ci", "ci", expires_at=NOW + timedelta(days=1), actor="ada", now=NOW
    )
    secret = made.secret.reveal()

    caller = accounts.authenticate_token(state, secret, NOW)
    assert caller == accounts.Caller("ci", "ci")
    assert accounts.authenticate_token(state, secret, NOW + timedelta(days=2)) is None
    assert accounts.authenticate_token(state, secret + "x", NOW) is None
    assert accounts.authenticate_token(state, secret.removeprefix("grt_"), NOW) is None

    accounts.revoke_token(state, made.row.id, actor="ada", now=NOW)
    assert accounts.authenticate_token(state, secret, NOW) is None
    with pytest.raises(NotFoundError):
        accounts.revoke_token(state, made.row.id, actor="ada", now=NOW)


async def test_tokens_over_the_api(client: Client) -> None:
    created = await client.call(
        "POST", "/api/v1/tokens", {"name": "ci", "role": "ci", "expires_in": 3600}
    )
    assert created.status == 201
    secret = created.json["token"]

    listed = await client.call("GET", "/api/v1/tokens")
    assert secret not in listed.text
    assert {item["name"] for item in listed.json["items"]} == {"ci", "test admin"}

    other = Client(client.state, secret)
    assert (await other.call("GET", "/api/v1/images")).status == 200
    gone = await client.call("DELETE", f"/api/v1/tokens/{created.json['id']}")
    assert gone.status == 204
    assert (await other.call("GET", "/api/v1/images")).status == 401


# --- pages: cookies and CSRF ------------------------------------------------------------------


def cookie_of(done: accounts.SignedIn) -> dict[str, str]:
    return {"cookie": f"garrison_session={done.cookie}", "accept": "text/html"}


async def test_pages_send_strangers_to_sign_in(state: AppState) -> None:
    client = Client(state)
    fresh = await client.call("GET", "/images?sort=scanned")
    assert (fresh.status, fresh.headers["location"]) == (303, "/setup")

    await signed_in(state)
    plain = await client.call("GET", "/images?sort=scanned")
    htmx = await client.call("GET", "/images", headers={"hx-request": "true"})

    assert (plain.status, plain.headers["location"]) == (
        303,
        "/sign-in?next=/images%3Fsort%3Dscanned",
    )
    assert (htmx.status, htmx.headers["hx-redirect"]) == (401, "/sign-in?next=/images")


async def test_a_bearer_token_opens_no_page_and_a_cookie_no_api(state: AppState) -> None:
    done = await signed_in(state)
    with_cookie = await Client(state).call("GET", "/api/v1/images", headers=cookie_of(done))
    with_token = await Client(state, token_for(state, "admin")).call("GET", "/images")

    assert with_cookie.status == 401
    assert with_token.status == 303


@pytest.mark.parametrize(
    ("headers", "token", "allowed"),
    [
        ({"sec-fetch-site": "same-origin"}, True, True),
        ({"sec-fetch-site": "same-origin"}, False, False),
        ({"sec-fetch-site": "cross-site"}, True, False),
        ({"sec-fetch-site": "same-site"}, True, False),
        ({"origin": "http://127.0.0.1:8083"}, True, True),
        ({"origin": "http://evil.test"}, True, False),
        ({"origin": "null"}, True, False),
        ({}, True, True),
        ({}, False, False),
    ],
)
async def test_forms_come_from_our_own_pages(
    state: AppState, headers: dict[str, str], token: bool, allowed: bool
) -> None:
    done = await signed_in(state)
    form = {"csrf_token": done.session.csrf} if token else {}

    answer = await Client(state).call(
        "POST", "/sign-out", form=form, headers={**cookie_of(done), **headers}
    )

    assert (answer.status != 403) == allowed
    assert (accounts.session(state, done.cookie, datetime.now(UTC)) is None) == allowed
