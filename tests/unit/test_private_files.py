"""Secrets beside the keys: doctor says when others may come to them."""

import os
from pathlib import Path

import pytest

from fntx_sessions.security.local import current_token, ensure_local_keys
from fntx_sessions.security.pages import flower_login, password_file
from fntx_sessions.settings import Settings
from fntx_sessions.stack.private_status import diagnose_private


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o666])
def test_a_secret_that_others_may_read_is_told_with_the_way_out(tmp_path: Path, mode: int) -> None:
    """Of the administrator's token and Flower's login; a stop by that token does not fail over a mode."""
    token = ensure_local_keys(tmp_path).admin_token_file
    flower_login(Settings(home=tmp_path))
    assert list(diagnose_private(tmp_path)) == []
    for path in (token, password_file(tmp_path)):
        path.chmod(mode)
    found = list(diagnose_private(tmp_path))
    assert [(check.name, check.result) for check in found] == [("admin token", "fail"), ("Flower's login", "fail")]
    assert [check.fix for check in found] == [f"chmod 600 {token}", f"chmod 600 {password_file(tmp_path)}"]
    assert current_token(Settings(home=tmp_path))


def test_a_secret_that_is_a_link_is_told(tmp_path: Path) -> None:
    """What it leads to may be anybody's."""
    token = ensure_local_keys(tmp_path).admin_token_file
    os.rename(token, tmp_path / "elsewhere")  # noqa: PTH104 - as a shell does
    token.symlink_to(tmp_path / "elsewhere")
    (check,) = diagnose_private(tmp_path)
    assert "symbolic link" in check.meaning
    assert check.fix == f"rm {token}; fntx up"


def test_a_home_without_secrets_has_none_that_are_open(tmp_path: Path) -> None:
    """Before the first start."""
    assert list(diagnose_private(tmp_path / "none")) == []
