"""Which cold store the settings name; none is asked anything on the way."""

from pathlib import Path

import pytest

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.settings import Settings
from fntx_sessions.state.objects.cold import open_cold


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (None, "folder {home}/cold"),
        ("file:///srv/fntx", "folder /srv/fntx"),
        ("file:///srv/with%20space", "folder /srv/with space"),
        ("file://localhost/srv/fntx", "folder /srv/fntx"),
        ("gs://desk-archive", "gs://desk-archive/"),
        ("gs://desk-archive/prod/one/", "gs://desk-archive/prod/one/"),
    ],
)
def test_an_address_names_its_store(tmp_path: Path, url: str | None, told: str):
    """gs:// is a bucket, file:// a folder, nothing the folder `cold` at home; nothing is made or reached yet."""
    store = open_cold(Settings(home=tmp_path, cold_url=url))
    assert str(store) == told.format(home=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert open_cold(Settings(home=tmp_path, cold_url=url)) is store


@pytest.mark.parametrize(
    "url",
    [
        *("", "s3://bucket", "gs://", "gs://UPPER", "gs:///x", "gs://bucket/a//b", "gs://bucket/../x", "gs://b?x=1"),
        *("file://", "file:///", "file://host/srv", "/srv/fntx", "gs://bucket#x", "file:///srv/%00"),
    ],
)
def test_a_bad_address_is_refused_by_its_variable(tmp_path: Path, url: str):
    """InvalidArgument names FNTX_COLD_URL and shows how to write one."""
    with pytest.raises(InvalidArgument, match=r"FNTX_COLD_URL.*gs://bucket/prefix or file:///folder"):
        open_cold(Settings(home=tmp_path, cold_url=url))
