from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetspect.errors import ConfigError
from jetspect.runtime.redaction import public_address, without_credentials
from jetspect.runtime.settings import parse_settings
from jetspect.runtime.sources.gstreamer import GStreamerSettings
from jetspect.runtime.sources.video import VideoSettings


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("", ""),
        ("/dev/video0", "/dev/video0"),
        ("rtsp://cam/main", "rtsp://cam/main"),
        ("http://192.168.1.5:8080/video.mjpg", "http://192.168.1.5:8080/video.mjpg"),
        ("rtsp://[fe80::1]:554/main", "rtsp://[fe80::1]:554/main"),
        ("file:///data/clip.mp4", "file:///data/clip.mp4"),
        ("rtsp://me:secret@cam:554/main", "rtsp://cam:554/main"),
        ("rtsp://secret@cam", "rtsp://cam"),
        ("http://cam/x?user=admin&password=secret", "http://cam/x"),
        ("http://cam?token=secret", "http://cam"),
        ("http://cam/x#secret", "http://cam/x"),
        ("rtsp://me:se/cr/secret@cam/main", "rtsp://cam/main"),
        ("rtsp://me:1@secret@cam/main", "rtsp://cam/main"),
        ("rtsp://me:12?secret@cam/main", "rtsp://..."),
        ("rtsp://me:12/34?secret@cam/main", "rtsp://..."),
        ("rtsp://me:12#secret@cam/main", "rtsp://..."),
        ("http://cam/x?user=me@firm&password=secret", "http://..."),
        ("rtsp://me:secret", "rtsp://..."),
        ("rtsp://cam/user=admin_password=secret_channel=1/0.sdp", "rtsp://cam/.../0.sdp"),
    ],
)
def test_an_address_is_shown_without_what_opens_it(address: str, shown: str) -> None:
    assert public_address(address) == shown
    assert public_address(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("user-pw=secret ! x", "user-pw=... ! x"),
        ("user-pw = secret ! x", "user-pw=... ! x"),
        ("user-pw\t=\n'my secret' ! x", "user-pw=... ! x"),
        (r'user-pw="my \"secret\" secret" ! x', "user-pw=... ! x"),
        (r"user-pw='my \'secret' ! x", "user-pw=... ! x"),
        (r"user-pw=my\ secret ! x", "user-pw=... ! x"),
        ('user-pw=(string)"my secret" ! x', "user-pw=... ! x"),
        ('user-pw="my secret ! x', "user-pw=..."),
        ("src::user-pw=secret ! x", "src::user-pw=... ! x"),
        ("USER-ID=secret Proxy-PW=secret", "USER-ID=... Proxy-PW=..."),
        (
            "pwd=secret passwd=secret passphrase=secret auth-token=secret",
            "pwd=... passwd=... passphrase=... auth-token=...",
        ),
        ('extra-headers="headers,Authorization=secret" ! x', "extra-headers=... ! x"),
        ('structure="a,password=secret" ! x', 'structure="a,password=..." ! x'),
        ("location=rtsp://me:se/secret@cam/main ! x", "location=rtsp://cam/main ! x"),
        ('location = "rtsp://me:my secret@cam/main?a=b" ! x', 'location="rtsp://cam/main" ! x'),
        (r"location=rtsp://me:my\ secret@cam/ ! x", "location=rtsp://cam/ ! x"),
        ("location=http://cam/?user=secret&pwd=secret ! x", "location=http://cam/ ! x"),
        ("rtsp://me:secret@cam/ ! x", "rtsp://cam/ ! x"),
        ('no source element for URI "rtsp://me:secret@cam/?x"', 'no source element for URI "rtsp://cam/"'),
        ("password=rtsp://secret@cam/", "password=..."),
    ],
)
def test_a_pipeline_is_shown_without_what_opens_its_camera(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    assert without_credentials(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "videotestsrc pattern=red ! video/x-raw, format = BGR ,width=64 ! videoconvert ! appsink sync=false",
        "nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM),framerate=15/1 ! nvvidconv ! appsink",
        'rtspsrc location="rtsp://192.168.1.30:554/main" protocols=tcp ! queue name=keys bypass=true ! appsink',
    ],
)
def test_a_text_without_a_login_stays_as_it_is(text: str) -> None:
    assert without_credentials(text) == text


@settings(max_examples=60)
@given(st.text("/?#@:=&[]%;\\ .a1é", max_size=8))
def test_no_password_of_any_kind_is_shown_in_an_address(noise: str) -> None:
    assert "SECRET" not in public_address(f"rtsp://me:{noise}SECRET@cam/main")
    assert "SECRET" not in public_address(f"rtsp://me:SECRET{noise}@cam/main")


@pytest.mark.parametrize(
    ("kind", "key", "text"),
    [
        (GStreamerSettings, "pipeline", "rtspsrc user-pw = secret ! appsink"),
        (GStreamerSettings, "pipeline", "rtspsrc location=rtsp://cam/?token=secret ! appsink"),
        (VideoSettings, "device", "http://cam/x?user=admin&pwd=secret"),
    ],
)
def test_settings_show_no_text_that_holds_a_login(
    kind: type[GStreamerSettings] | type[VideoSettings], key: str, text: str
) -> None:
    assert "secret" not in repr(kind.model_validate({key: text}))
    with pytest.raises(ConfigError) as caught:
        parse_settings({key: "x", "kind": text}, kind, where="station.toml")
    assert "secret" not in str(caught.value)
