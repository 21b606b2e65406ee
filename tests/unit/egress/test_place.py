"""Where a stranger's word may lead: never to a metadata service, hardly ever inside."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garrison.egress import Led, ProxySettings, Target, choose_route
from garrison.egress.errors import LedAstrayError
from garrison.egress.place import Place, place_named, place_of
from garrison.egress.plan import Address, Connect, Resolve, calls_for, open_call
from garrison.egress.route import limits_of
from garrison.egress.trace import Trace


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("8.8.8.8", "public"),
        ("2600::1", "public"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("fec0::1", "private"),
        ("198.18.0.1", "private"),
        ("127.0.0.1", "loopback"),
        ("127.9.9.9", "loopback"),
        ("::1", "loopback"),
        ("[::1]", "loopback"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("169.254.169.254", "metadata"),
        ("169.254.170.2", "metadata"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("0.0.0.0", "nowhere"),
        ("::", "nowhere"),
        ("224.0.0.1", "nowhere"),
        ("ff02::1", "nowhere"),
        # The same in other clothes.
        ("::ffff:169.254.169.254", "metadata"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("64:ff9b::a9fe:a9fe", "metadata"),
        ("64:ff9b::8.8.8.8", "public"),
        ("2002:a9fe:a9fe::1", "metadata"),
        ("2002:0a00:0001::", "private"),
        ("example.test", None),
    ],
)
def test_places(host: str, place: Place | None) -> None:
    assert place_named(host) == place


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("public", {"public"}),
        ("private", {"public", "private"}),
        ("loopback", {"public", "private", "loopback"}),
        ("link-local", {"public", "private", "link-local"}),
        ("metadata", {"public"}),
        ("nowhere", {"public"}),
    ],
)
def test_where_each_may_lead(origin: Place, may: set[str]) -> None:
    places: tuple[Any, ...] = ("public", "private", "loopback", "link-local", "metadata", "nowhere")
    assert {one for one in places if Led("r.test", origin).permits(one)} == may


def test_one_good_address_is_enough_and_the_others_are_left() -> None:
    led = Led("r.test", "public")
    assert led.refused(["10.0.0.1", "8.8.8.8"]) is None
    assert led.refused(["10.0.0.1", "127.0.0.1"]) == "loopback"


@given(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address))
def test_an_address_inside_another_is_itself(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    translated = ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + int(address))
    assert place_of(mapped) == place_of(translated) == place_of(address)


def settings(**rule: Any) -> ProxySettings:
    return ProxySettings.build(more={"rules": [{"name": "r", **rule}]})


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"use": "direct", "purposes": ["registry"], "destinations": ["s3.test"]}, "private"),
        ({"use": "direct", "destinations": ["s3.test"]}, "public"),
        ({"use": "direct", "purposes": ["registry"]}, "public"),
        ({"use": "direct", "purposes": ["intel"], "destinations": ["s3.test"]}, "public"),
        ({"use": "default", "purposes": ["registry"], "destinations": ["s3.test"]}, "public"),
    ],
)
def test_a_rule_can_vouch_for_a_private_address(rule: dict[str, Any], place: Place) -> None:
    target = Target.parse("https://s3.test/x")
    led = limits_of(Led("r.test", "public"), target, settings(**rule), "registry")
    assert led == Led("r.test", place)
    assert not Led("r.test", "private").permits("metadata")


@pytest.mark.parametrize("vouched", [False, True])
def test_the_check_comes_between_resolving_and_connecting(vouched: bool) -> None:
    rule = {"use": "direct", "purposes": ["registry"], "destinations": ["s3.test"]}
    way = settings(**rule) if vouched else ProxySettings()
    target = Target.parse("https://s3.test/x")
    led = limits_of(Led("r.test", "public"), target, way, "registry")
    choice = choose_route(target, way, "registry")
    (call,) = calls_for(target, choice, way, led=led)
    plan = open_call(call, Trace(lambda: 0.0))
    assert isinstance(next(plan), Resolve)
    inside = (Address(socket.AF_INET, ("10.0.0.1", 443)),)
    if not vouched:
        with pytest.raises(LedAstrayError):
            plan.send(inside)
        return
    assert plan.send(inside) == Connect(inside)


def test_only_what_may_be_called_is() -> None:
    target = Target.parse("https://s3.test/x")
    choice = choose_route(target, ProxySettings(), "registry")
    (call,) = calls_for(target, choice, ProxySettings(), led=Led("r.test", "public"))
    plan = open_call(call, Trace(lambda: 0.0))
    next(plan)
    outside = Address(socket.AF_INET, ("8.8.8.8", 443))
    both = (Address(socket.AF_INET, ("10.0.0.1", 443)), outside)
    assert plan.send(both) == Connect((outside,))


def test_a_name_we_resolve_for_a_proxy_leads_it_to_no_metadata() -> None:
    """`socks5://` leaves names to us."""
    way = ProxySettings.build(http_proxy="socks5://p.test:1")
    target = Target.parse("https://s3.test/x")
    choice = choose_route(target, way, "registry")
    (call,) = calls_for(target, choice, way, led=Led("r.test", "public"))
    plan: Any = open_call(call, Trace(lambda: 0.0))
    at = (Address(socket.AF_INET, ("10.0.0.1", 1)),)
    metadata = (Address(socket.AF_INET, ("169.254.169.254", 443)),)
    operation = next(plan)
    with pytest.raises(LedAstrayError):
        for _ in range(10):
            if isinstance(operation, Resolve):
                operation = plan.send(at if operation.endpoint.host == "p.test" else metadata)
            elif isinstance(operation, Connect):
                operation = plan.send(at[0])
            else:
                operation = plan.send(b"")
