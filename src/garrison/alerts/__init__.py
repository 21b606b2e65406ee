"""Who is told: which findings become an alert, how it reads in Slack, and how it is sent.

`rules` and `render` are pure. `deliver` sends one message through an egress client and says
whether to try again; remembering it is the caller's work.
"""

from garrison.alerts.deliver import Outcome, Rejected, Retry, Sent, next_attempt, send_slack
from garrison.alerts.render import slack_message, slack_test_message
from garrison.alerts.rules import Alert, AlertImage, alert_for
from garrison.alerts.webhook import check_webhook

__all__ = [
    "Alert",
    "AlertImage",
    "Outcome",
    "Rejected",
    "Retry",
    "Sent",
    "alert_for",
    "check_webhook",
    "next_attempt",
    "send_slack",
    "slack_message",
    "slack_test_message",
]
