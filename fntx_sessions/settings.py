"""One frozen Settings, read once from FNTX_* variables; every duration and size carries its unit in its name."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.tls import postgres_address, redis_address


def _words(value: Any) -> Any:
    """Return what stands between commas."""
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
_URL_KINDS = {
    "database_url": ("postgresql",),
    "maintenance_database_url": ("postgresql",),
    "redis_url": ("redis://", "rediss://", "unix://"),
}


class Settings(BaseSettings):
    """What a process of this service may be told from outside.

    Built from the environment (prefix ``FNTX_``). The three addresses, where set, point at servers that somebody
    else runs; where unset, ``fntx up`` starts its own and hands their addresses to its children.
    """

    model_config = SettingsConfigDict(env_prefix="FNTX_", frozen=True, extra="ignore")

    def __init__(self, **values: Any) -> None:
        """Read the environment, `values` laid over it; raises InvalidArgument naming the variable that is wrong."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            name = "FNTX_" + "_".join(str(part) for part in first["loc"]).upper()
            problem = first["msg"].removeprefix("Value error, ")
            raise InvalidArgument(name, problem, "Correct or unset that variable; docs/settings.md has all.") from None

    # Where things are.
    home: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("fntx")))
    # Before the addresses, which say what they are verified by.
    database_ca_file: Path | None = None
    redis_ca_file: Path | None = None
    database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    cold_url: str | None = None

    # Who may ask. `required`: a command without a valid token is refused; `open` is for tests and says so.
    auth_mode: Literal["required", "open"] = "required"
    token: SecretStr | None = None
    token_leeway_s: int = Field(default=5, ge=0)
    token_public_key_file: Path | None = None
    token_private_key_file: Path | None = None
    system_token_ttl_s: int = Field(default=300, gt=0)
    system_public_key_file: Path | None = None
    system_private_key_file: Path | None = None
    token_ttl_s: int = Field(default=3600, gt=0)
    token_max_ttl_s: int = Field(default=31 * 86_400, gt=0)
    token_revocations_refresh_s: float = Field(default=5.0, gt=0)
    four_eyes: Words = ()
    four_eyes_ttl_s: float = Field(default=3600.0, gt=0)
    four_eyes_waiting_max: int = Field(default=100, ge=1)
    four_eyes_keep_s: int = Field(default=30 * 86_400, ge=60)

    # What is done is written down, and where its chains ended is told elsewhere.
    audit_anchor_interval_s: float = Field(default=900.0, gt=0)
    audit_full_anchor_interval_s: float = Field(default=86_400.0, gt=0)
    audit_denials_per_minute: int = Field(default=60, ge=1)
    audit_patience_s: float = Field(default=6.0, gt=0)
    refused_callers_flush_s: float = Field(default=10.0, gt=0)
    refused_callers_keep_s: int = Field(default=30 * 86_400, ge=60)
    refused_answer_expires_s: int = Field(default=60, ge=1)

    # What is read before anybody is verified.
    message_max_bytes: int = Field(default=1_000_000, ge=10_000)
    json_max_depth: int = Field(default=64, ge=8)
    message_key_file: Path | None = None
    message_cert_file: Path | None = None
    message_certs_dir: Path | None = None

    # What agents may know: sealed, and handed out when they are stepped.
    credential_max_bytes: int = Field(default=16_384, ge=64)
    credential_inbox_s: int = Field(default=3600, ge=1)
    credential_refresh_s: float = Field(default=30.0, ge=0)
    credential_known_s: float = Field(default=3600.0, ge=0)

    # Postgres.
    db_pool_size: int = Field(default=2, ge=1)
    db_connect_timeout_s: int = Field(default=5, ge=1)
    db_lock_timeout_ms: int = Field(default=2000, ge=1)
    db_statement_timeout_ms: int = Field(default=8000, ge=1)
    db_idle_in_transaction_timeout_ms: int = Field(default=10000, ge=1)

    # Redis.
    redis_socket_timeout_s: float = Field(default=5.0, gt=0)
    redis_connect_timeout_s: float = Field(default=2.0, gt=0)
    redis_health_check_interval_s: int = Field(default=10, ge=1)
    broker_visibility_timeout_s: int = Field(default=60, ge=10)
    broker_slow_visibility_timeout_s: int = Field(default=3600, ge=60)
    result_expires_s: int = Field(default=3600, ge=60)

    # Commands, as the caller sees them.
    command_deadline_s: float = Field(default=30.0, gt=0)
    command_in_flight: int = Field(default=200, ge=1)
    command_resend_s: float = Field(default=2.0, gt=0)
    query_patience_s: float = Field(default=3.0, ge=0)
    command_soft_time_limit_s: int = Field(default=8, ge=1)
    command_time_limit_s: int = Field(default=10, ge=1)
    subscribe_poll_s: float = Field(default=1.0, gt=0)
    subscribe_overlap_s: float = Field(default=30.0, gt=0)
    command_max_argument_bytes: int = Field(default=262_144, ge=1024)
    start_wait_ready_s: float = Field(default=30.0, ge=0)
    stop_deadline_s: float = Field(default=900.0, gt=0)
    outbox_batch: int = Field(default=200, ge=1)

    # State.
    save_interval_s: float = Field(default=5.0, gt=0)
    checkpoint_interval_s: float = Field(default=900.0, gt=0)
    save_batch: int = Field(default=500, ge=1)
    hot_ttl_s: int = Field(default=7 * 86_400, ge=60)
    max_part_bytes: int = Field(default=20_000_000, ge=1024)
    inline_part_bytes: int = Field(default=8192, ge=0)
    checkpoint_batch: int = Field(default=50, ge=1)
    save_chunk_bytes: int = Field(default=32_000_000, ge=1024)
    memory_tier_bytes: int = Field(default=64_000_000, ge=0)
    hot_checkpoints: int = Field(default=3, ge=0)
    tier_retry_s: float = Field(default=5.0, ge=0)
    invalid_states_max: int = Field(default=5, ge=0)

    # Keys: the ring that wraps each session's data key.
    key_ring: SecretStr | None = None
    key_ring_file: Path | None = None
    key_rotation_batch: int = Field(default=500, ge=1)
    accept_unsealed: bool = False

    # The cold store.
    cold_timeout_s: float = Field(default=10.0, gt=0)
    cold_retry_s: float = Field(default=30.0, ge=0)
    cold_resumable_bytes: int = Field(default=8_000_000, ge=262_144)

    # Backups, for as long as Postgres is away.
    backup_max_bytes: int = Field(default=2_000_000_000, ge=0)
    backups_per_session: int = Field(default=20, ge=1)
    backup_import_batch: int = Field(default=100, ge=1)

    # Retention: how long Postgres keeps what is in the cold store too, and how fast it moves.
    warm_keep_s: float = Field(default=30 * 86_400, ge=0)
    archive_after_s: float = Field(default=0.0, ge=0)
    archive_max_bytes: int = Field(default=1_000_000_000, ge=1)
    retention_batch: int = Field(default=20, ge=1)
    retention_bytes_per_s: float = Field(default=20_000_000, gt=0)
    retention_sweep_s: float = Field(default=20.0, gt=0)
    maintenance_database_url: SecretStr | None = None
    partitions_ahead: int = Field(default=4, ge=1)

    # Hosting and liveness. `lease_s` is what a dead worker costs before its sessions are taken over.
    lease_s: float = Field(default=15.0, gt=0)
    lease_renew_s: float = Field(default=5.0, gt=0)
    liveness_interval_s: float = Field(default=5.0, gt=0)
    shutdown_checkpoint_s: float = Field(default=10.0, ge=0)
    recovery_attempts_max: int = Field(default=5, ge=1)
    recovery_candidates_max: int = Field(default=20, ge=1)
    plan_verified_max: int = Field(default=3, ge=1)
    pending_again_s: float = Field(default=1.0, gt=0)
    pending_batch: int = Field(default=100, ge=1)
    recoveries_per_sweep: int = Field(default=500, ge=1)
    step_interval_s: float = Field(default=1.0, gt=0)
    step_batch: int = Field(default=20, ge=1)
    step_slice_s: float = Field(default=2.0, gt=0)
    # How long one save or checkpoint sweep goes on while more is due; the next tick goes on from there.
    state_sweep_s: float = Field(default=10.0, gt=0)
    step_stay_s: float = Field(default=0.9, ge=0)
    step_sweep_s: float = Field(default=5.0, gt=0)
    guard_sweep_s: float = Field(default=2.0, gt=0)
    agent_failures_max: int = Field(default=3, ge=1)
    step_time_limit_s: int = Field(default=15, ge=1)

    # Agents of other services: what they may send, and what may lie before them unread.
    agent_inbox_entries: int = Field(default=1000, ge=10)
    agent_slow_s: float = Field(default=60.0, gt=0)
    agent_reports_max_per_s: int = Field(default=50, ge=1)
    agent_records_max: int = Field(default=10_000, ge=1)
    # A batch of an `AgentClient` fits.
    agent_records_max_bytes: int = Field(default=16_000_000, ge=4_000_000)
    agent_record_max_bytes: int = Field(default=65_536, ge=256)
    agent_unsent_max_bytes: int = Field(default=32_000_000, ge=1024)
    agent_clock_skew_s: float = Field(default=5.0, ge=0)
    intake_batch: int = Field(default=1000, ge=1)
    intake_sweep_s: float = Field(default=5.0, gt=0)
    hosted_memory_max_bytes: int = Field(default=512_000_000, ge=1_000_000)
    hosted_events_max: int = Field(default=500, ge=1)
    hosted_events_max_bytes: int = Field(default=250_000, ge=1024)

    # People in the loop.
    approvals_per_sweep: int = Field(default=500, ge=1)
    people_open_max: int = Field(default=50, ge=1)
    approval_again_s: float = Field(default=15.0, ge=0)
    manual_order_expires_s: float = Field(default=60.0, gt=0)

    # Memory: whose slices and context, and how they are kept.
    memory: str = "postgres"
    memory_batch: int = Field(default=200, ge=1)
    memory_sweep_s: float = Field(default=5.0, gt=0, le=10)
    memory_timeout_s: float = Field(default=5.0, gt=0, le=5)
    memory_question_s: float = Field(default=1.0, gt=0, le=5)
    memory_retry_s: float = Field(default=5.0, gt=0)
    memory_content_max_bytes: int = Field(default=65_536, ge=256, le=200_000)
    memory_context_entries: int = Field(default=1000, ge=10)
    memory_keep_s: float = Field(default=365 * 86_400, ge=0)

    # The published market.
    market_history_keep_s: float = Field(default=30 * 86_400, ge=0)
    regime_window_s: float = Field(default=1800.0, gt=0, le=86_400)

    # Rules: how often they are evaluated on the wall, on how old data, and what becomes of those without any.
    rule_interval_s: float = Field(default=5.0, gt=0)
    rule_batch: int = Field(default=1000, ge=1)
    rule_data_max_age_s: float = Field(default=30.0, gt=0)
    rule_data_missing_s: float = Field(default=120.0, gt=0)
    rule_retry_s: float = Field(default=30.0, gt=0)
    rule_decisions_kept: int = Field(default=50, ge=1, le=10_000)
    template_max_bytes: int = Field(default=131_072, ge=1024)
    template_depth_max: int = Field(default=12, ge=6, le=50)
    rule_depth_max: int = Field(default=4, ge=1, le=20)
    rule_plugin_limit_ms: int = Field(default=200, ge=1)
    rule_plugin_start_s: float = Field(default=10.0, gt=0)
    rule_plugin_budget_s: float = Field(default=1.0, gt=0)
    rule_plugin_failures_max: int = Field(default=3, ge=1)
    rule_plugin_aside_s: float = Field(default=60.0, gt=0)

    # Health: what counts as ill, which failed checks suspend, and how healing is bounded.
    health_interval_s: float = Field(default=60.0, gt=0)
    health_batch: int = Field(default=500, ge=1)
    agent_quiet_s: float = Field(default=30.0, gt=0)
    agent_dead_s: float = Field(default=120.0, gt=0)
    agent_hung_s: float = Field(default=60.0, gt=0)
    agent_memory_max_bytes: int = Field(default=1_000_000_000, ge=1)
    agent_cpu_max_ms: float = Field(default=500.0, gt=0)
    worker_memory_max_bytes: int = Field(default=2_000_000_000, ge=1)
    worker_cpu_max_fraction: float = Field(default=0.95, gt=0, le=1)
    save_overdue_s: float = Field(default=120.0, gt=0)
    step_overdue_s: float = Field(default=60.0, gt=0)
    error_rate_max_fraction: float = Field(default=0.5, gt=0, le=1)
    decision_latency_max_ms: float = Field(default=5000.0, gt=0)
    health_suspends: str = "agent_dead,agent_hung,agent_quarantined,save_age,state_valid,rules_data"
    health_suspends_repeated: str = "error_rate"
    health_suspensions_per_sweep: int = Field(default=20, ge=0)
    health_storm_fraction: float = Field(default=0.5, gt=0, le=1)
    health_storm_sessions: int = Field(default=5, ge=2)
    recovery_backoff_s: float = Field(default=30.0, gt=0)

    # Beat and sweeps: from when on they count as late, and sessions as overdue.
    beat_late_s: float = Field(default=15.0, gt=0)
    sweep_rest_s: float = Field(default=10.0, ge=0)
    sweep_late_s: float = Field(default=30.0, gt=0)
    overdue_s: float = Field(default=15.0, gt=0)

    # Bulk runs: one command on many sessions, in waves.
    bulk_wave_size: int = Field(default=100, ge=1)
    bulk_wave_pause_s: float = Field(default=1.0, ge=0)
    bulk_sessions_max: int = Field(default=10_000, ge=1)
    bulk_failures_max_fraction: float = Field(default=0.2, ge=0, le=1)
    bulk_retry_s: float = Field(default=5.0, gt=0)
    bulk_preview_s: float = Field(default=4.0, gt=0)
    bulk_sweep_s: float = Field(default=8.0, gt=0)
    bulk_keep_s: float = Field(default=90 * 86_400, ge=0)

    # Halts: how long one waits for those who begin to trade right now, how long the command line looks for a desk that
    # answers before it acts by itself, how long for a Postgres that gives no answer before it says that only the broker
    # can help, and how long it goes on closing positions.
    halt_lock_timeout_ms: int = Field(default=5000, ge=1)
    halt_look_s: float = Field(default=1.0, gt=0)
    halt_patience_s: float = Field(default=5.0, gt=0)
    halt_database_s: float = Field(default=5.0, gt=0)
    halt_flatten_s: float = Field(default=120.0, gt=0)

    # Backtest runs: how many of their sessions may trade at once, over all runs.
    backtest_in_flight: int = Field(default=32, ge=1, le=10_000)

    # Money: thresholds of trading.md.
    broker: str = "paper"
    flat_by_minutes: int = Field(default=15, ge=0)
    paper_equity_usd: float = Field(default=100_000.0, gt=0)
    fee_per_contract_usd: float = Field(default=0.68, ge=0)
    quote_max_age_s: float = Field(default=15.0, gt=0)
    quote_stale_mark_s: float = Field(default=30.0, gt=0)
    quote_stale_suspend_s: float = Field(default=60.0, gt=0)
    market_clock_skew_s: float = Field(default=2.0, ge=0)
    limit_grace_s: float = Field(default=60.0, ge=0)
    loss_warning_fraction: float = Field(default=0.8, gt=0, lt=1)
    expiry_buffer_fraction: float = Field(default=0.005, ge=0, lt=1)
    stress_move_fraction: float = Field(default=0.05, gt=0, lt=1)
    flatten_cap_usd: float = Field(default=0.25, ge=0)

    # The pricing model and the paper broker's fills (docs/trading.md, "The model").
    half_spread_usd: float = Field(default=0.01, ge=0)
    half_spread_fraction: float = Field(default=0.05, ge=0, lt=1)
    wide_spread_factor: float = Field(default=2.0, ge=1)
    wide_spread_minutes: float = Field(default=30.0, ge=0)
    stop_slippage_usd: float = Field(default=0.05, ge=0)
    session_variance_share: float = Field(default=0.75, gt=0, le=1)

    # Seeing it: logs, Flower with the Sessions pages, figures for Prometheus, traces.
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_printed_per_s: int = Field(default=100, ge=1)
    flower_port: int = Field(default=5555, ge=0, le=65535)
    flower_auth: Literal["required", "open"] = "required"
    flower_basic_auth: SecretStr | None = None
    flower_login_max_s: float = Field(default=12 * 3600, gt=0)
    flower_logins_max: int = Field(default=200, ge=1)
    flower_logins_each_max: int = Field(default=20, ge=1)
    flower_behind_tls: bool = False
    flower_retry_max_s: float = Field(default=5.0, gt=0)
    flower_end_s: float = Field(default=3.0, gt=0)
    flower_metrics_from: str = ""
    pages_refresh_s: float = Field(default=1.0, gt=0)
    pages_health_s: float = Field(default=2.0, gt=0)
    pages_patience_s: float = Field(default=3.0, gt=0)
    pages_day_s: float = Field(default=10.0, gt=0)
    pages_threads: int = Field(default=4, ge=1)
    pages_act_wait_s: float = Field(default=2.0, gt=0)
    pages_deeds_kept: int = Field(default=500, ge=1)
    pages_streams_max: int = Field(default=200, ge=1)
    pages_streams_each_max: int = Field(default=40, ge=1)
    pages_views_kept: int = Field(default=200, ge=1)
    pages_rows: int = Field(default=100, ge=1, le=1000)
    pages_timeline_rows: int = Field(default=200, ge=1, le=1000)
    pages_plot_points: int = Field(default=2000, ge=10, le=5000)
    pages_plot_marks: int = Field(default=200, ge=1, le=5000)
    pages_plot_pause_s: float = Field(default=1800.0, gt=0)
    pages_look_kept_s: float = Field(default=30.0, gt=0)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    metrics_session_labels: bool = False
    tracing: bool = False

    # Tests and drills: `name[:action]` pairs, see fntx_sessions.testing. Empty in production.
    failpoints: str = ""

    @field_validator("database_url", "maintenance_database_url", "redis_url")
    @classmethod
    def _must_be_a_url(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        kinds = _URL_KINDS[info.field_name or ""]
        if value is not None and not value.get_secret_value().startswith(kinds):
            msg = f"is not a URL that begins with {' or '.join(kinds)}"
            raise ValueError(msg)
        if value is None:
            return None
        secure = redis_address if info.field_name == "redis_url" else postgres_address
        ca_file = info.data.get("redis_ca_file" if info.field_name == "redis_url" else "database_ca_file")
        return SecretStr(secure(value.get_secret_value(), ca_file))

    @property
    def hosted_hung_s(self) -> float:
        """Seconds after which a hosted agent's step hangs: well before its process is killed, so that it is seen."""
        return min(self.agent_hung_s, self.step_time_limit_s / 3)

    @property
    def step_soft_limit_s(self) -> int:
        """Seconds after which a sweep of steps is told to end."""
        return max(1, self.step_time_limit_s * 2 // 3)

    @property
    def step_begin_s(self) -> float:
        """Seconds after which a sweep begins no further step: whatever does not hang ends before the soft limit."""
        return max(0.0, self.step_soft_limit_s - self.hosted_hung_s)

    @property
    def step_claim_s(self) -> int:
        """Seconds a claim of steps holds: longer than the time limit that kills its holder."""
        return self.step_time_limit_s + 5


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the process's settings, read from the environment on the first call."""
    return Settings()
