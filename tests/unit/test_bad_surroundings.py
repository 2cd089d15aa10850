"""What is wrong around the program is told in one sentence: a variable, a full disk, a log nobody can write."""

import errno
import io

import psycopg2
import pytest
from redis.exceptions import ResponseError
from sqlalchemy.exc import OperationalError
from supervisor import loggers

from fntx_sessions.database import engine
from fntx_sessions.exceptions import InvalidArgument, Unavailable
from fntx_sessions.settings import Settings
from fntx_sessions.stack import supervise
from fntx_sessions.state import redis_client


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("FNTX_LEASE_S", "abc", "FNTX_LEASE_S: Input should be a valid number"),
        ("FNTX_LEASE_S", "-1", "FNTX_LEASE_S: Input should be greater than 0"),
        ("FNTX_REDIS_URL", "localhost:6379", "FNTX_REDIS_URL: is not a URL that begins with redis://"),
        ("FNTX_DATABASE_URL", "mysql://secret@host", "FNTX_DATABASE_URL: is not a URL that begins with postgresql"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch, name, value, problem):
    """The sentence holds the variable and what is wrong, never the value, which may be a password."""
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidArgument, match=problem) as refused:
        Settings()
    assert "secret" not in str(refused.value)


def test_a_full_disk_is_told_as_one():
    """Both stores: out of reach, and the fix is room on the disk, not a start of the stack."""
    told = [
        redis_client.translate(ResponseError("MISCONF Errors writing to the AOF file: No space left on device")),
        engine.translate(
            OperationalError("", {}, psycopg2.OperationalError("FATAL: could not write: No space left on device"))
        ),
    ]
    for error in told:
        assert isinstance(error, Unavailable)
        assert "Free space" in str(error)


class Full(io.BytesIO):
    """A log on a full disk."""

    def write(self, _data: object) -> int:
        """Refuse, as the disk does."""
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_supervisor_outlives_a_log_it_cannot_write(tmp_path, monkeypatch):
    """A line is lost, nothing is raised, and with room again the next line is there."""
    monkeypatch.setattr(loggers.Handler, "handleError", supervise._carry_on)
    monkeypatch.setattr(loggers.RotatingFileHandler, "emit", supervise._emit_or_carry_on)
    handler = loggers.RotatingFileHandler(str(tmp_path / "x.log"))
    handler.setFormat("%(message)s")
    handler.stream.close()
    handler.stream = Full()
    handler.emit(loggers.LogRecord(20, "lost"))
    handler.stream.close()
    handler.emit(loggers.LogRecord(20, "kept"))
    handler.close()
    assert (tmp_path / "x.log").read_text() == "kept"
