"""Errors that answer "what do I do now?".

::

    FntxError
    ├── Retryable                the same call may work later; nothing was done
    │   ├── Unavailable          a store, the broker or a worker is out of reach
    │   │   └── Unseen           when something was only looked at
    │   ├── Busy                 a row stayed locked longer than we wait
    │   ├── TooMuch              an agent reports more than is taken now
    │   └── OutcomeUnknown       sent, not answered in time: ask again under the same command id
    ├── Rejected                 refused for a reason; the same call will be refused again
    │   ├── InvalidArgument      one field is wrong; names it and the fix
    │   ├── NotFound             no such session, template, account, ...
    │   ├── IllegalTransition    the state table has no such row
    │   ├── VersionConflict      `expected_version` was not what the row holds
    │   │   └── TemplateConflict what a template holds
    │   ├── PreconditionFailed   legal, but not now
    │   ├── CommandConflict      this command id was used with other arguments
    │   ├── StaleEpoch           the writer was superseded; it must rejoin
    │   ├── NotJoined            an agent that has not joined, or that Redis has forgotten; it must join
    │   ├── Superseded           another process joined as the same agent; only the newest may speak
    │   ├── SessionClosed        the session is over: nobody joins it any more
    │   ├── FellBehind           events were let go of before this agent read them; it must join again
    │   ├── OrderRefused         the order gate said no
    │   ├── TooLarge             more than this process takes into memory at once
    │   ├── Shredded             the session's key was destroyed on purpose: nothing of it can be read again
    │   ├── NotConfirmed         it took two people, and the second said no, or nothing in time
    │   ├── Unauthenticated      no token, or one that cannot be verified
    │   └── Forbidden            verified, but not allowed
    ├── NeedsSecond              allowed, but this takes two people: it waits for the second
    └── Fatal                    a person has to look
        ├── IntegrityError       bytes that do not match their checksum, or a broken chain
        └── StackError           the embedded stack cannot run like this

Facts are positional, so that an error survives Celery's JSON result backend and `to_dict`/`from_dict`.
"""

import re
from typing import Any, ClassVar

_BY_ITSELF = frozenset({"finalization_complete", "exception"})
# A fact that comes from elsewhere may bring a full stop of its own.
_DOUBLED_STOP = re.compile(r"(?<=[^\s.])\.\.(?=\s|$)")
_VERBS = {
    "health_check_failed": "suspend",
    "finalization_complete": "close",
    "exception": "fail",
    "create_checkpoint": "checkpoint",
    "prune_checkpoints": "prune",
    "accept_differences": "accept",
    "request_approval": "ask for approval in",
    "decide_approval": "decide an approval of",
    "order": "order by hand in",
    "answer": "answer for an order of",
    "acknowledge_event": "acknowledge an event of",
}


def verb(trigger: Any) -> str:
    """Return what one asks for to get `trigger`, the name of a trigger or of a task: `suspend`, `pause`."""
    name = str(trigger).rsplit(".", 1)[-1]
    return _VERBS.get(name, name.removesuffix("_session"))


class FntxError(Exception):
    """Base of all errors of this package; carries named facts, a sentence and a family."""

    family: ClassVar[str] = "fatal"
    facts: ClassVar[tuple[str, ...]] = ("detail",)
    sentence: ClassVar[str] = "{detail}"
    exit_code: ClassVar[int] = 1

    def __init__(self, *values: Any) -> None:
        """Take the facts in the order of `facts`; raises TypeError when their number differs."""
        if len(values) != len(self.facts):
            msg = f"{type(self).__name__} takes {len(self.facts)} facts {self.facts}, got {len(values)}"
            raise TypeError(msg)
        super().__init__(*values)

    def __str__(self) -> str:
        """Build the sentence from the facts."""
        return _DOUBLED_STOP.sub(".", self.sentence.format(**self.told()))

    def told(self) -> dict[str, Any]:
        """Return the facts by name as people read them: `pause` for pause_session or fntx.sessions.pause."""
        facts = self.named()
        return facts | {"trigger": verb(facts["trigger"])} if "trigger" in facts else facts

    def named(self) -> dict[str, Any]:
        """Return the facts by name."""
        return dict(zip(self.facts, self.args, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: error, family, facts, message."""
        return {
            "error": type(self).__name__,
            "family": self.family,
            "facts": {key: _plain(value) for key, value in self.named().items()},
            "message": str(self),
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "FntxError":
        """Rebuild an error from `to_dict`; an unknown class becomes a plain FntxError with the same sentence."""
        cls = ERRORS.get(data.get("error", ""))
        facts = data.get("facts", {})
        if cls is None or set(cls.facts) != set(facts):
            return FntxError(data.get("message", "unknown error"))
        return cls(*(facts[name] for name in cls.facts))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)


class Retryable(FntxError):
    """The same call may work later."""

    family = "retryable"
    exit_code = 5


class Rejected(FntxError):
    """Refused for a reason that will not go away by itself."""

    family = "rejected"
    exit_code = 3


class NeedsSecond(FntxError):
    """What is asked takes two people; nothing was done, and the second one's consent does it."""

    family = "waiting"
    facts = ("action", "asked_by", "needed", "command_id", "expires_at")
    sentence = (
        "{action} takes two people, and {asked_by} is the first: it waits as {command_id} until {expires_at}. "
        "Have somebody else with the role {needed} run `fntx confirmations confirm {command_id}`."
    )
    exit_code = 7


class Fatal(FntxError):
    """A person has to look."""

    family = "fatal"
    exit_code = 1


class Unavailable(Retryable):
    """A store, the broker or a worker is out of reach; nothing was done."""

    facts = ("what", "detail", "fix")
    sentence = "{what} is out of reach: {detail}. Nothing was changed. {fix}"


class Unseen(Unavailable):
    """A store was out of reach for a look: it says nothing of what was sent before, which may be done meanwhile."""

    sentence = "{what} is out of reach: {detail}. Nothing new can be seen. {fix}"


def way_out(detail: str, usual: str) -> str:
    """Return what to do about a store that is out of reach: `usual`, unless its words tell of its disk, or of TLS."""
    told = detail.lower()
    if "no space left" in told:
        return "Free space on its disk, it goes on by itself then; `fntx doctor` says how much there is."
    if "[ssl" in told or "[x509" in told or "certificate" in told:
        return (
            "Check the certificate of that server, FNTX_REDIS_CA_FILE or FNTX_DATABASE_CA_FILE, and "
            "the name in its address; see `fntx doctor`."
        )
    return usual


class Busy(Retryable):
    """A row stayed locked longer than `db_lock_timeout_ms`; nothing was done."""

    facts = ("what", "waited_ms")
    sentence = "{what} was busy for {waited_ms} ms; nothing was changed. Try again."


class OutcomeUnknown(Retryable):
    """A command was sent, but no outcome came before the deadline."""

    facts = ("command_id", "trigger", "waited_s")
    sentence = (
        "outcome of {trigger} unknown after {waited_s} s: it may still happen. "
        "Ask again with the same command id {command_id}; asking twice acts once."
    )


class TooMuch(Retryable):
    """An agent reports faster than it may, or more than waits already; nothing was written."""

    facts = ("session_id", "agent", "detail")
    sentence = "{agent} reports more than session {session_id} takes now: {detail}. Report again in a moment."


class InvalidArgument(Rejected):
    """One field is wrong: names it, says what is wrong and how to put it right."""

    facts = ("field", "problem", "fix")
    sentence = "{field}: {problem}. {fix}"
    exit_code = 2


class NotFound(Rejected):
    """There is no such thing."""

    facts = ("kind", "name", "fix")
    sentence = "there is no {kind} {name!r}. {fix}"
    exit_code = 4


class IllegalTransition(Rejected):
    """The state table has no row for this trigger in this status."""

    facts = ("session_id", "trigger", "status", "set_by", "reason", "allowed")
    sentence = (
        "cannot {trigger}: session {session_id} is {status}, set by {set_by} ({reason}). Possible now: {allowed}."
    )

    def told(self) -> dict[str, Any]:
        """Return the facts as people read them: of what is possible now, only what somebody may ask for."""
        asked = [one for one in str(self.named()["allowed"]).split(", ") if one not in _BY_ITSELF]
        return super().told() | {"allowed": ", ".join(map(verb, asked)) or "nothing, it ends by itself"}


class VersionConflict(Rejected):
    """The session moved on since the caller looked."""

    facts = ("session_id", "expected_version", "version", "set_by")
    sentence = (
        "session {session_id} is at version {version} (last changed by {set_by}), not at the expected "
        "{expected_version}. Look again, then decide."
    )


class TemplateConflict(VersionConflict):
    """The template moved on since the caller looked."""

    facts = ("template_name", "expected_version", "version", "set_by")
    sentence = (
        "template {template_name!r} is at version {version} (last changed by {set_by}), not at the expected "
        "{expected_version}. Look again, then decide."
    )


class PreconditionFailed(Rejected):
    """The transition is legal, but something it needs does not hold.

    condition: what it needs, for programs; detail: how things are instead, for people.
    """

    facts = ("session_id", "trigger", "condition", "detail", "fix")
    sentence = "cannot {trigger} session {session_id}: {detail}. {fix}"


class CommandConflict(Rejected):
    """This command id already stands for other arguments."""

    facts = ("command_id", "first_trigger")
    sentence = (
        "command id {command_id} was already used for {first_trigger} with other arguments. "
        "Use a new id for a new command."
    )


class StaleEpoch(Rejected):
    """The writer's epoch was superseded by a start or a recovery."""

    facts = ("session_id", "epoch", "current_epoch")
    sentence = "session {session_id} is at epoch {current_epoch}, yours is {epoch}: rejoin the session."


class NotJoined(Rejected):
    """An agent that has not joined the session, or whose joining Redis has lost; nothing was written."""

    facts = ("session_id", "agent", "detail")
    sentence = "{agent} has not joined session {session_id}: {detail}. Join it, then report again."


class SessionClosed(Rejected):
    """The session is over; nothing was written."""

    facts = ("session_id",)
    sentence = "session {session_id} is closed for good: it takes no agents and no credentials. See `fntx ls`."


class Superseded(Rejected):
    """Another process joined as the same agent later; nothing was written."""

    facts = ("session_id", "agent")
    sentence = (
        "{agent} of session {session_id} has joined again elsewhere, and only the newest may speak. End this process; "
        "if it is the right one, end the other and join again."
    )


class FellBehind(Rejected):
    """Events were let go of before this agent acknowledged them."""

    facts = ("session_id", "agent", "position", "oldest")
    sentence = (
        "{agent} has acknowledged the events of session {session_id} up to {position}, the oldest kept is {oldest}: "
        "join again, which says how things are now."
    )


class OrderRefused(Rejected):
    """The order gate refused an intent; nothing was sent."""

    facts = ("session_id", "client_order_id", "rule", "detail")
    sentence = "order {client_order_id} of session {session_id} refused by {rule}: {detail}"


class TooLarge(Rejected):
    """More than one process takes into memory at once; nothing was changed."""

    facts = ("what", "size_bytes", "limit_bytes", "setting")
    sentence = (
        "{what} has {size_bytes} bytes or more; at most {limit_bytes} are taken into memory at once. Nothing was "
        "changed. Raise {setting} where there is memory for three times as much."
    )


class Shredded(Rejected):
    """The session's data key was destroyed on purpose: no copy of its state can be read again, in any tier."""

    facts = ("session_id", "shredded_at")
    sentence = "session {session_id} was shredded at {shredded_at}: nothing of its state can be read or kept any more."


class NotConfirmed(Rejected):
    """It took two people, and the second one said no, or nothing in time; nothing was done."""

    facts = ("action", "command_id", "detail")
    sentence = "{action} was not done: {detail}. Ask anew, under another command id than {command_id}, where it stands."


class Unauthenticated(Rejected):
    """No token, or one that cannot be verified."""

    facts = ("detail", "fix")
    sentence = "not authenticated: {detail}. {fix}"


class Forbidden(Rejected):
    """A verified caller whose role or scope does not allow this."""

    facts = ("actor", "roles", "action", "needed")
    sentence = "{actor} (roles {roles}) may not {action}: that needs {needed}."


class IntegrityError(Fatal):
    """Bytes that do not match their checksum, or a broken chain."""

    facts = ("what", "detail")
    sentence = "{what} failed its integrity check: {detail}"


class StackError(Fatal):
    """The embedded stack cannot run like this."""

    facts = ("problem", "fix")
    sentence = "{problem}. {fix}"
    exit_code = 5


def _tree(cls: type[FntxError]) -> dict[str, type[FntxError]]:
    found = {cls.__name__: cls}
    for child in cls.__subclasses__():
        found |= _tree(child)
    return found


ERRORS: dict[str, type[FntxError]] = _tree(FntxError)
