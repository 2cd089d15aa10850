"""docs/settings.md from Settings: `python -m fntx_sessions.settings_doc [--check] [FILE]`."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from fntx_sessions.generated_page import DOCS, write_or_check
from fntx_sessions.settings import Settings

PAGE = DOCS / "settings.md"
PREFIX = "FNTX_"
_COMMAND = "python -m fntx_sessions.settings_doc"
# The end of a name is its unit; the longer endings come first.
_UNITS = {
    "_bytes_per_s": "bytes a second", "_per_s": "a second",
    "_ms": "milliseconds", "_s": "seconds", "_bytes": "bytes", "_minutes": "minutes",
    "_usd": "dollars", "_fraction": "0-1", "_share": "0-1",
}  # fmt: skip
# What the default is where it is made when it is asked for.
_MADE = {"home": "the platform's user data folder, `fntx`"}
# Group -> setting -> meaning. A setting that is missing here, or here alone, fails --check.
GROUPS: dict[str, dict[str, str]] = {
    "Where things are": {
        "home": "data folder: stores, keys, logs, sockets",
        "database_url": "a Postgres that somebody else runs, `postgresql+psycopg2://...`; unset: `fntx up` starts one",
        "database_ca_file": (
            "certificates that Postgres is verified by, host name included (`sslmode=verify-full`); unset: what the "
            "address asks for"
        ),
        "redis_ca_file": "certificates that a Redis at `rediss://` is verified by; unset: those this machine trusts",
        "redis_url": "a Redis or Valkey that somebody else runs, `redis://...`; unset: `fntx up` starts one",
        "cold_url": "the cold store: `gs://bucket/prefix` or `file:///folder`; unset: `cold` of the data folder",
    },
    "Who may ask": {
        "auth_mode": "`required`: no command without a valid token; `open`: tests only, everybody may do everything",
        "token": "the token this caller sends; unset: the administrator's of the data folder",
        "token_leeway_s": "how far the clocks of issuer and worker may differ",
        "token_public_key_file": "PEM file of the keys that verify tokens; unset: `keys/public.pem` of the data folder",
        "token_private_key_file": "PEM file of the key that signs; unset: `keys/signing.pem` of the data folder",
        "system_token_ttl_s": "life of the tokens that workers and beat sign for themselves",
        "system_public_key_file": "PEM file of the keys that verify the system's own tokens; unset: "
        "`keys/system-public.pem` of the data folder",
        "system_private_key_file": "PEM file of the key that workers and beat sign with; unset: `keys/system.pem` "
        "of the data folder",
        "token_ttl_s": "life of a token that is issued without one",
        "token_max_ttl_s": "longest life of a token; longer ones are refused, whoever signed them",
        "token_revocations_refresh_s": "how soon a process sees that a token was revoked",
        "four_eyes": "actions that take two people, by their names in the table of roles, with commas between",
        "four_eyes_ttl_s": "how long such an action waits for the second person",
        "four_eyes_waiting_max": "how many commands of one name may wait for a second person at once",
        "four_eyes_keep_s": "how long is kept what was confirmed, declined or over, to answer whoever asks again",
    },
    "Audit": {
        "audit_anchor_interval_s": "how often the ends of the chains that grew are written to the cold store",
        "audit_full_anchor_interval_s": "how often those of all chains are, earlier ones held against the rows first",
        "audit_denials_per_minute": "refusals of one verified caller that are audited row by row; others are counted",
        "audit_patience_s": "how long a command beside the desk tries again while others keep its chain's end busy",
        "refused_callers_flush_s": "how often a process writes down how many callers nobody could verify",
        "refused_callers_keep_s": "how long those numbers are kept",
        "refused_answer_expires_s": "how long the answer to a caller nobody could verify waits for its caller",
    },
    "Messages": {
        "message_max_bytes": "largest message that is parsed at all; above `command_max_argument_bytes`",
        "json_max_depth": "how deep a message may be nested",
        "message_key_file": "PEM file of the key that signs Celery's messages; unset: they are not signed",
        "message_cert_file": "PEM file of its certificate",
        "message_certs_dir": "folder of the certificates whose messages are accepted, `*.pem`",
    },
    "Credentials": {
        "credential_max_bytes": "largest credential",
        "credential_inbox_s": "how long what was sealed to an agent elsewhere lies in its inbox",
        "credential_refresh_s": "how long an `AgentClient` believes what it was told before it asks again",
        "credential_known_s": "how long a worker goes on hiding a value after agents opened the one in its place",
    },
    "Postgres": {
        "db_pool_size": "connections a process keeps; as many more for a moment",
        "db_connect_timeout_s": "wait for a connection",
        "db_lock_timeout_ms": "wait for a locked row; then the command is Busy",
        "db_statement_timeout_ms": "longest statement",
        "db_idle_in_transaction_timeout_ms": "longest silence inside a transaction, after which Postgres ends it",
    },
    "Redis": {
        "redis_socket_timeout_s": "wait for an answer",
        "redis_connect_timeout_s": "wait for a connection",
        "redis_health_check_interval_s": "silence after which a connection is tried before it is used",
        "broker_visibility_timeout_s": "after it, a message that a dead worker held goes to another; above twice the "
        "longest task",
        "broker_slow_visibility_timeout_s": "the same for workers of `checkpoints` and `maintenance`",
        "result_expires_s": "how long an answer waits for its caller",
    },
    "Commands": {
        "command_deadline_s": "how long a manager or `fntx` asks before it says that the outcome is unknown",
        "command_in_flight": "messages one manager has under way on a queue; what else it is asked waits for its turn",
        "command_resend_s": "pause before a command is sent again under the same id; doubles up to four times this",
        "query_patience_s": "how long a question is asked again while Postgres is out of reach, or Redis takes nothing",
        "command_soft_time_limit_s": "after it, a command or query task is told to end",
        "command_time_limit_s": "after it, its process is killed",
        "subscribe_poll_s": "how often a subscription looks for events that nothing announced",
        "subscribe_overlap_s": "how long after its time an event may still be committed; above a step's time limit",
        "command_max_argument_bytes": "largest arguments of one task, as JSON",
        "start_wait_ready_s": "how long a start waits for its agents (`wait_ready_s`), where the config says nothing",
        "stop_deadline_s": "option hours a stop may take before a person is called, where the config says nothing",
        "outbox_batch": "sessions whose follow-ups one relay takes at a time",
    },
    "State": {
        "save_interval_s": "how often a session is saved, where its template or config says nothing",
        "checkpoint_interval_s": "how often a session is checkpointed, where its template or config says nothing",
        "save_batch": "sessions one save sweep claims",
        "hot_ttl_s": "life of hot copies, inboxes and a closed session's live state in Redis",
        "max_part_bytes": "largest part an agent may report",
        "inline_part_bytes": "parts up to this size ride inside the manifest",
        "checkpoint_batch": "sessions one checkpoint sweep claims",
        "save_chunk_bytes": "state a save sweep holds in memory at a time",
        "memory_tier_bytes": "state a worker process keeps at hand",
        "hot_checkpoints": "newest checkpoints of a session that Redis holds too",
        "tier_retry_s": "how long a tier that was out of reach is passed over before it is tried again",
        "invalid_states_max": "invalid states of a session that are kept aside as evidence",
    },
    "Keys": {
        "key_ring": "the key ring itself, as `fntx keys init` writes it; for desks that keep it in a secret store",
        "key_ring_file": "file of the key ring; unset: `keys/ring.json` of the data folder",
        "key_rotation_batch": "data keys that one step of `fntx keys rotate` wraps anew",
        "accept_unsealed": "read blobs that an earlier version wrote without a seal; whoever can write to a store can "
        "then put back unsealed state, so leave it off once such blobs are gone",
    },
    "The cold store": {
        "cold_timeout_s": "wait for one request",
        "cold_retry_s": "how long a failing request is tried again before the store counts as out of reach; 0: once",
        "cold_resumable_bytes": "objects above this size are uploaded in pieces that can be resumed",
    },
    "Backups, while Postgres is away": {
        "backup_max_bytes": "largest backup folder of a host; then it keeps only the newest save of each session",
        "backups_per_session": "backups kept of one session, the newest ones",
        "backup_import_batch": "backups one sweep brings in",
    },
    "Retention and archive": {
        "warm_keep_s": "age at which a checkpoint moves from Postgres to the cold store",
        "archive_after_s": "how long a closed session waits before it is archived",
        "archive_max_bytes": "largest archive that is made or read, for it is held in memory whole, up to three times "
        "over; a larger session's rows stay in Postgres, with an event that says so",
        "retention_batch": "checkpoints or sessions one step of a retention sweep claims",
        "retention_bytes_per_s": "how fast a sweep moves",
        "retention_sweep_s": "how long a retention sweep goes on while more is due",
        "maintenance_database_url": "how partitions are made and dropped; unset: as `database_url`",
        "partitions_ahead": "weeks of history whose partitions are made ahead",
    },
    "Hosting and liveness": {
        "lease_s": "a worker silent for so long is lost: its sessions are taken over. Also the claim of a save or "
        "checkpoint sweep",
        "lease_renew_s": "how often a worker renews its lease",
        "liveness_interval_s": "how often lost workers are looked for",
        "shutdown_checkpoint_s": "time for checkpoints when a worker shuts down; its saves come first",
        "recovery_attempts_max": "recoveries tried by themselves; then a person has to",
        "recovery_candidates_max": "checkpoints a recovery or its plan looks at, newest first",
        "plan_verified_max": "usable candidates a recovery plan reads whole; a recovery reads on until one holds",
        "pending_again_s": "how often what waits (a start, a stop, a recovery) is looked at",
        "pending_batch": "sessions one pending sweep claims",
        "recoveries_per_sweep": "most sessions one liveness or health sweep recovers",
        "step_interval_s": "how often hosted agents are stepped, where the template or config says nothing",
        "step_batch": "sessions a worker process claims at a time",
        "step_slice_s": "longest time one backtest session is stepped before the next one's turn",
        "state_sweep_s": "longest time one save, checkpoint or liveness sweep goes on while more is due",
        "step_stay_s": "how long a step sweep waits for steps that come due before the next tick of beat",
        "step_sweep_s": "longest time one step sweep goes on claiming",
        "guard_sweep_s": "the same of a sweep that steps guards, while no agents worker lives",
        "agent_failures_max": "failures after which an agent is quarantined and its session suspended",
        "step_time_limit_s": "after it, the process of a step sweep is killed; a hosted step hangs after a third",
    },
    "Agents of other services": {
        "agent_inbox_entries": "lifecycle events kept for a session's agents; who falls further behind joins again",
        "agent_slow_s": "an agent that leaves an event unacknowledged for so long is slow",
        "agent_reports_max_per_s": "reports of one agent a second; more are refused",
        "agent_records_max": "trades, decisions and errors of a session that may wait for Postgres; then reports that "
        "bring more are refused, to be sent again",
        "agent_records_max_bytes": "the same in bytes",
        "agent_record_max_bytes": "largest trade, decision or error",
        "agent_unsent_max_bytes": "what an `AgentClient` keeps at most while it cannot reach Redis; then its reports "
        "are refused",
        "agent_clock_skew_s": "how far in the future what an agent reports may be dated",
        "intake_batch": "records one step of an intake sweep takes of a session",
        "intake_sweep_s": "longest time one intake sweep goes on while more waits",
        "hosted_memory_max_bytes": "memory that one step of a hosted agent may take; more counts as a failure of it",
        "hosted_events_max": "events a hosted agent may tell in one step; more count as a failure of it",
        "hosted_events_max_bytes": "the same of their data, as JSON",
    },
    "People in the loop": {
        "approvals_per_sweep": "expired approvals one sweep closes at a time",
        "people_open_max": "approvals, and orders by hand, that may be open in one session",
        "approval_again_s": "how long a trade whose approval went stale is not asked for again",
        "manual_order_expires_s": "how long a person's order waits for its session's executor to take it up",
    },
    "Memory": {
        "memory": "the memory system: `postgres`, or the name of an entry point in the group `fntx_sessions.memory`",
        "memory_batch": "sessions one step of a memory sweep claims",
        "memory_sweep_s": "longest time one memory sweep goes on while more is due",
        "memory_timeout_s": "longest wait for one call of a memory system of another package",
        "memory_question_s": "the same for a search or a list",
        "memory_retry_s": "pause before a memory system that failed is tried again; doubles up to 64 times this; "
        "questions are refused that long",
        "memory_content_max_bytes": "largest slice, and largest context",
        "memory_context_entries": "contexts kept for each agent",
        "memory_keep_s": "how long a slice that names no expiry is kept",
    },
    "The published market": {
        "market_history_keep_s": "how long published markets are kept to be played again",
        "regime_window_s": "over how much of the past volatility is measured where the publisher names no regime",
    },
    "Rules": {
        "rule_interval_s": "how often the rules of a session on the wall's clock are evaluated",
        "rule_batch": "sessions one rule sweep claims",
        "rule_data_max_age_s": "older data is no data to a rule that sets no `max_age_s` of its own",
        "rule_data_missing_s": "how long a stop rule may be without data before that counts as a failure of health",
        "rule_retry_s": "pause before a rule asks again for what was refused; doubles up to sixteen times this",
        "rule_decisions_kept": "decisions kept of each session, the newest ones",
        "template_max_bytes": "largest template or template file, as JSON",
        "template_depth_max": "how deep a template may nest",
        "rule_depth_max": "how deep all_of, any_of and none_of may nest",
        "rule_plugin_limit_ms": "how long one condition of another package may take",
        "rule_plugin_start_s": "how long a package of conditions may take to be imported, in its own process",
        "rule_plugin_budget_s": "how long all such conditions together may take of each `rule_interval_s`, in a "
        "process",
        "rule_plugin_failures_max": "failures in a row after which a condition of another package is set aside",
        "rule_plugin_aside_s": "for how long",
    },
    "Health": {
        "health_interval_s": "how often each started session is looked at",
        "health_batch": "sessions one health sweep claims at a time",
        "agent_quiet_s": "an agent without a heartbeat for so long is quiet; for a hosted one at least three steps",
        "agent_dead_s": "a remote agent without a heartbeat for so long is dead",
        "agent_hung_s": "a remote agent that lives, and whose own part does not move for so long, is hung",
        "agent_memory_max_bytes": "memory of an agent, as it reports it, from which on its session is degraded",
        "agent_cpu_max_ms": "processor time of a hosted agent's step from which on its session is degraded",
        "worker_memory_max_bytes": "memory of a worker with all its processes, from which on it is degraded",
        "worker_cpu_max_fraction": "share of its machine's processors from which on a worker is degraded",
        "save_overdue_s": "how much later than its own interval a save may be before that is a failure",
        "step_overdue_s": "how late a step may be before that is a failure",
        "error_rate_max_fraction": "share of steps and broker calls that failed over 5 minutes, from which on that "
        "is a failure",
        "decision_latency_max_ms": "median time from quote to order intent from which on a session is degraded",
        "health_suspends": "checks whose failure suspends a running session, comma-separated; names in "
        "[operations.md](operations.md#health)",
        "health_suspends_repeated": "the same, where they failed the time before too",
        "health_suspensions_per_sweep": "sessions one health sweep suspends at most; 0: none, it only tells",
        "health_storm_fraction": "share of running sessions whose failing together is taken for the desk's own fault: "
        "none is suspended",
        "health_storm_sessions": "how many have to fail for that at least",
        "recovery_backoff_s": "pause between recoveries of a session whose health goes on failing; doubles each time",
    },
    "Beat and sweeps": {
        "beat_late_s": "nothing that beat sent has run for so long: an alert, and an event on sessions with positions",
        "sweep_rest_s": "how long a sweep that has nothing to do is left out at most; 0: it is sent at every tick",
        "sweep_late_s": "how far behind its interval a sweep may be before that is an alert",
        "overdue_s": "how long a save, checkpoint, step, rule, health check or what is pending may be due, beyond the "
        "interval of the sweep that looks for it, before that is an alert",
    },
    "Many sessions at once": {
        "bulk_wave_size": "sessions of a wave, where the asker says nothing",
        "bulk_wave_pause_s": "pause between the waves of a resume, where the asker says nothing; pause and stop have "
        "none",
        "bulk_sessions_max": "most sessions one run may mean; a halt may mean any number",
        "bulk_failures_max_fraction": "share of a wave that could not be asked, above which the run stops for a person",
        "bulk_retry_s": "pause before a halt's run asks again those that could not be asked",
        "bulk_preview_s": "how long a preview of a resume looks into locked sessions; of those after it, it tells what "
        "their status says",
        "bulk_sweep_s": "longest time one bulk sweep goes on beginning items while more is due",
        "bulk_keep_s": "how long an ended run is kept",
    },
    "Halts": {
        "halt_lock_timeout_ms": "wait for starts, resumes and openings that are under way as a halt is placed",
        "halt_look_s": "how long `fntx halt` waits for Redis before it goes straight to Postgres and the broker",
        "halt_patience_s": "how long it waits for a worker's answer before it does so",
        "halt_database_s": "how long it waits for a Postgres that gives no answer before it says to call the broker",
        "halt_flatten_s": "how long it then goes on closing positions by itself",
    },
    "Backtests": {
        "backtest_in_flight": "sessions of all runs that may trade at once",
    },
    "Money": {
        "broker": "the broker of sessions that name none",
        "flat_by_minutes": "before the stock close, everything not held overnight is closed",
        "paper_equity_usd": "equity of a new account",
        "fee_per_contract_usd": "fee of a contract and side",
        "quote_max_age_s": "older quotes open nothing",
        "quote_stale_mark_s": "older quotes are marked at the worse of last quote and model",
        "quote_stale_suspend_s": "older quotes with positions suspend the session",
        "market_clock_skew_s": "how far in the future a published market's time may lie; further on it is not fresh",
        "limit_grace_s": "what agents of other services have after flat-by or hold time before that is a breach",
        "loss_warning_fraction": "share of the day's loss limit at which a warning comes",
        "expiry_buffer_fraction": "distance to the strike, a share of it, within which nothing is carried into expiry",
        "stress_move_fraction": "move of the spot in the stress figure",
        "flatten_cap_usd": "most that flattening pays above the ask",
    },
    "The pricing model": {
        "half_spread_usd": "least half spread",
        "half_spread_fraction": "half spread as a share of the value",
        "wide_spread_factor": "widening after a stop and at the end of the day",
        "wide_spread_minutes": "how long before the stock close that is",
        "stop_slippage_usd": "what a stop pays above the next bar's ask, a leg",
        "session_variance_share": "share of a day's variance that falls into the stock session",
    },
    "Seeing it": {
        "log_format": "`json`; `console` for people, in colour; `auto`: `console` where stderr is a terminal",
        "log_level": "the least level that is logged",
        "log_printed_per_s": "how many lines that agents and libraries print in a worker's process are logged",
        "flower_port": "Flower's port on loopback; the next free one where it is taken",
        "flower_auth": "`required`: nobody sees a page without a login; `open`: everybody may look, and nobody may act "
        "without a login",
        "flower_basic_auth": "Flower's view-only logins, `user:password`, comma-separated; unset: `flower.password` of "
        "the data folder",
        "flower_login_max_s": "after it a login with a token ends, and sooner where the token does",
        "flower_logins_max": "logins at once; the oldest makes room",
        "flower_logins_each_max": "logins at once with one token; its oldest makes room",
        "flower_behind_tls": "true where a proxy with TLS stands before Flower: browsers then send its cookies over "
        "TLS alone",
        "flower_retry_max_s": "longest pause before Flower asks for events again while Redis is away",
        "flower_end_s": "how long Flower's end may take when a store hangs",
        "flower_metrics_from": "networks besides this machine that may read Flower's `/metrics`, comma-separated CIDR",
        "pages_refresh_s": "pause between looks of a live page",
        "pages_health_s": "pause between looks of the Health page at the whole desk, which all who watch it share",
        "pages_patience_s": "how long a page waits for the stores before it shows what it knew last",
        "pages_day_s": "pause between looks of the page of the day at its figures, which all who watch it share",
        "pages_threads": "looks of the pages at the stores at the same time",
        "pages_act_wait_s": "how long a page that sent a command waits for its outcome before it says: under way",
        "pages_deeds_kept": "commands sent from the pages of which it is kept how to ask again",
        "pages_streams_max": "live pages at once; one more is told to ask now and then. Those who look without a token "
        "have half of them",
        "pages_streams_each_max": "live pages at once with one token",
        "pages_views_kept": "last known views that are kept for when a store is away",
        "pages_rows": "sessions on a page of the board",
        "pages_timeline_rows": "entries on a page of a session's timeline",
        "pages_plot_points": "points of a curve; a longer one is thinned, its extremes kept",
        "pages_plot_marks": "marks of each kind on a curve, the newest; the timeline has them all",
        "pages_plot_pause_s": "samples of a curve that lie further apart are not joined by a line",
        "pages_look_kept_s": "how long a costly look of a page, such as a recovery plan, is shown before the next",
        "metrics_port": "where workers show their figures to Prometheus, on loopback: each takes the next free port "
        "from this one on; 0: nowhere but on Flower's `/metrics`",
        "metrics_session_labels": "label figures with session ids; on a desk of many sessions that is many series",
        "tracing": "send OpenTelemetry traces, to where `OTEL_EXPORTER_OTLP_ENDPOINT` says; needs the extra `otel`",
    },
    "Tests and drills": {
        "failpoints": "`name:action` pairs, see `fntx_sessions/testing.py`; empty in production",
    },
}
# Read by processes of ours, set by ours, or for one moment: not settings, but named where people see them.
ENVIRONMENT = {
    "FNTX_TRACEBACK": "1: `fntx` shows the traceback of an unexpected error",
    "FNTX_NODE": "which node the health check of a container pings",
    "FNTX_HOST_ID": "set by a worker for its children: the host they are",
    "FNTX_STACK_FOLDER": "set by `fntx up` for its children: by it they are found after a kill",
}
_HEAD = f"""# Settings

Generated from `fntx_sessions/settings.py` and `fntx_sessions/settings_doc.py` by
`{_COMMAND}`; edit those, not this page.

A process reads its settings once, from its environment. `fntx up` hands what it was given to everything it starts.
What a single session does (intervals, strategies, limits) is in its config, not here: see
[integration.md](integration.md) and [trading.md](trading.md).
"""


def render() -> str:
    """Return the page; raises LookupError naming a setting that has no meaning here, or a meaning without a setting."""
    named = {name for group in GROUPS.values() for name in group}
    if differing := named ^ Settings.model_fields.keys():
        msg = f"settings.py and settings_doc.py differ in {sorted(differing)}"
        raise LookupError(msg)
    return "\n".join([_HEAD, *(line for name, group in GROUPS.items() for line in _group(name, group)), *_rest()])


def _group(title: str, group: dict[str, str]) -> Iterator[str]:
    yield from (f"## {title}", "", "| variable | default | unit | meaning |", "|---|---|---|---|")
    for name, meaning in group.items():
        field = Settings.model_fields[name]
        yield f"| `{PREFIX}{name.upper()}` | {_default(name, field)} | {_unit(name, field)} | {meaning} |"
    yield ""


def _rest() -> Iterator[str]:
    yield from ("## Not settings", "", "| variable | meaning |", "|---|---|")
    yield from (f"| `{name}` | {meaning} |" for name, meaning in ENVIRONMENT.items())
    yield ""


def _default(name: str, field: FieldInfo) -> str:
    if name in _MADE:
        return _MADE[name]
    value: Any = field.default
    if value is None or not str(value):
        return "unset"
    return f"`{value}`".replace(".0`", "`")


def _unit(name: str, field: FieldInfo) -> str:
    if SecretStr in get_args(field.annotation):
        return "secret"
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with --check answer 1 when it is not what Settings say."""
    return write_or_check(PAGE, render(), "Settings", _COMMAND, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
