"""The route of a URL, for people: decided without a connection, fast enough to ask at each key."""

from __future__ import annotations

from garrison.egress.endpoint import Purpose, Target
from garrison.egress.errors import EgressError
from garrison.egress.pac import PAC, PacFiles
from garrison.egress.route import Explanation, choose_route
from garrison.egress.settings import ProxySettings

NOT_FETCHED = "the PAC file was not fetched yet: it is when the first connection needs it"


def explain(
    url: str, settings: ProxySettings, purpose: Purpose, files: PacFiles = PAC
) -> Explanation:
    """The route `url` would take, and why; opens nothing.

    A PAC file that was fetched before is evaluated, which may take a second if it loops: call it
    in a thread where that matters.

    Raises BadUrlError.
    """
    target = Target.parse(url)
    choice = choose_route(target, settings, purpose)
    if not choice.ask_pac:
        return Explanation(url, choice, purpose)
    try:
        found = files.known(settings.more, target)
    except EgressError as error:
        return Explanation(url, choice, purpose, note=f"{error.message}. {error.hint}")
    if found is None:
        return Explanation(url, choice, purpose, note=NOT_FETCHED)
    decided = choose_route(target, settings, purpose, found.answer)
    return Explanation(url, decided, purpose, note=found.note)
