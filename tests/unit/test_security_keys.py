"""Keys and tokens on disk: made once, whole, and for one user."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fntx_sessions.exceptions import StackError
from fntx_sessions.security import key_files, keys, local, pages
from fntx_sessions.security.tokens import expires_in_s, issue, verify
from fntx_sessions.settings import Settings


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_opens_the_desk_is_this_users_alone(tmp_path):
    """Folder 0700, private key and administrator's token 0600; nothing else is left in the folder."""
    made = local.ensure_local_keys(tmp_path / "new" / "home")
    assert (mode(made.directory), mode(made.signing_file), mode(made.admin_token_file)) == (0o700, 0o600, 0o600)
    assert {path.name for path in made.directory.iterdir()} == {
        "signing.pem", "public.pem", "system.pem", "system-public.pem", "admin.token",
    }  # fmt: skip


def test_a_second_start_keeps_key_and_token(tmp_path):
    """What is there and good stays: tokens given out go on working."""
    made = local.ensure_local_keys(tmp_path)
    before = [path.read_bytes() for path in (made.signing_file, made.public_file, made.admin_token_file)]
    local.ensure_local_keys(tmp_path)
    assert [path.read_bytes() for path in (made.signing_file, made.public_file, made.admin_token_file)] == before


def test_two_starts_at_once_agree_on_one_key(tmp_path):
    """Whoever wins, every token of either verifies afterwards."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: local.ensure_local_keys(tmp_path), range(8)))
    settings = Settings(home=tmp_path)
    assert verify(local.current_token(settings), settings).roles == {"admin"}


@pytest.mark.parametrize("held", [b"", b"not a token", None], ids=["empty", "damaged", "near its end"])
def test_a_token_that_will_not_do_is_renewed(tmp_path, held):
    """`fntx up` replaces the administrator's token when it is damaged or ends within a week."""
    made = local.ensure_local_keys(tmp_path)
    settings = Settings(home=tmp_path)
    made.admin_token_file.write_bytes(issue(settings, "admin", ["admin"], 3600).encode() if held is None else held)
    local.ensure_local_keys(tmp_path)
    assert expires_in_s(local.current_token(settings) or "", settings) > local.ADMIN_TOKEN_RENEW_BELOW_S


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o666])
def test_a_private_key_open_to_others_is_refused(tmp_path, bits):
    """It may be known to them already; the error says how to close it."""
    signing = local.ensure_local_keys(tmp_path).signing_file
    signing.chmod(bits)
    with pytest.raises(StackError, match="chmod 600"):
        issue(Settings(home=tmp_path), "x", ["viewer"], 60)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_that_is_no_key_is_named(tmp_path, content):
    """A damaged key file is an error that names the file, not a traceback out of a library."""
    signing = local.ensure_local_keys(tmp_path).signing_file
    signing.write_bytes(content)
    with pytest.raises(StackError, match=r"signing\.pem"):
        local.ensure_local_keys(tmp_path)


def test_keys_can_be_changed_without_a_gap(tmp_path):
    """With both public keys in the file, tokens of the old and the new key verify."""
    old, new = (Settings(home=tmp_path / name) for name in ("old", "new"))
    both = tmp_path / "both.pem"
    both.write_bytes(b"\n".join(local.ensure_local_keys(each.home).public_file.read_bytes() for each in (old, new)))
    for each in (old, new):
        settings = Settings(home=tmp_path, token_public_key_file=both)
        assert verify(issue(each, "ann", ["operator"], 60), settings).name == "ann"


def test_workers_sign_for_the_system_only_with_the_private_key(tmp_path):
    """Without a key there is no system token; with one it is short-lived and used again until half its life."""
    settings = Settings(home=tmp_path)
    assert local.process_token(settings) is None
    local.ensure_local_keys(tmp_path)
    token = local.process_token(settings, host="w1")
    assert token == local.process_token(settings, host="w1")
    actor = verify(token, settings)
    assert (actor.name, actor.roles, actor.host) == ("system", {"system"}, "w1")
    assert 0 < expires_in_s(token, settings) <= settings.system_token_ttl_s


def test_the_callers_own_token_goes_before_the_homes(tmp_path):
    """FNTX_TOKEN, else the administrator's token of the home, else none."""
    assert local.current_token(Settings(home=tmp_path)) is None
    local.ensure_local_keys(tmp_path)
    assert local.current_token(Settings(home=tmp_path, token="mine")) == "mine"
    assert verify(local.current_token(Settings(home=tmp_path)), Settings(home=tmp_path)).name == "admin"


def test_a_key_id_is_that_of_the_key(tmp_path):
    """The public file names the key that signs."""
    made = keys.ensure_key_pairs(tmp_path)
    signing = key_files.load_private_key(made.signing_file)
    assert list(key_files.load_public_keys(made.public_file)) == [key_files.key_id(signing.public_key())]


def test_flower_always_has_a_login(tmp_path):
    """A password is made once and kept for this user; a setting that is no login is refused."""
    first = pages.flower_login(Settings(home=tmp_path))
    assert first == pages.flower_login(Settings(home=tmp_path))
    assert mode(pages.password_file(tmp_path)) == 0o600
    assert pages.flower_login(Settings(home=tmp_path, flower_basic_auth="a:b, c:d")) == ["a:b", "c:d"]
    for bad in ("", "open", "user:", ":password", "a:b,"):
        with pytest.raises(StackError, match="user:password"):
            pages.flower_login(Settings(home=tmp_path, flower_basic_auth=bad))
