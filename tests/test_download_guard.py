"""What yt-dlp is held to, and what its failures mean."""

import subprocess
import sys
from pathlib import Path

import pytest

from labels.videos.download.network_guard import fault_of_address
from labels.videos.download.outcomes import BLOCKED, OUTCOMES, TRANSIENT, classify, one_line

# As YouTube says it (yt-dlp 2026.10), and as the network does.
MESSAGES = [
    ("Private video. Sign in if you've been granted access to this video", "private"),
    ("This video is private", "private"),
    ("Video unavailable. This video has been removed by the uploader", "removed"),
    ("Video unavailable. This video is no longer available because the YouTube account associated with this video has "
     "been terminated.", "removed"),
    ("Video unavailable. This video contains content from X, who has blocked it on copyright grounds", "removed"),
    ("Video unavailable", "removed"),
    ("This video is not available", "removed"),
    ("HTTP Error 404: Not Found", "removed"),
    ("Sign in to confirm your age. This video may be inappropriate for some users.", "age"),
    ("Video unavailable. The uploader has not made this video available in your country", "geo"),
    ("Video unavailable. This video contains content from X, who has blocked it in your country", "geo"),
    ("Sign in to confirm you’re not a bot. Use --cookies for the authentication", "bot"),
    ("Video unavailable. This content isn't available, try again later. The current session has been rate-limited by "
     "YouTube for up to an hour.", "rate_limited"),
    ("Unable to download API page: HTTP Error 429: Too Many Requests", "rate_limited"),
    ("Join this channel to get access to members-only content like this video", "members"),
    ("This live event will begin in 3 days.", "no_video"),
    ("Requested format is not available. Use --list-formats for a list of available formats", "no_format"),
    ("unable to download video data: HTTP Error 403: Forbidden", "network"),
    ("Unable to download webpage: HTTP Error 403: Forbidden", "forbidden"),
    ("Unable to download webpage: HTTP Error 503: Service Unavailable", "network"),
    ("Unable to download webpage: The read operation timed out", "network"),
    ("Unable to download webpage: [Errno -3] Temporary failure in name resolution", "network"),
    ("Unable to download webpage: <urlopen error [Errno 111] Connection refused>", "network"),
    ("4096 bytes read, 100000 more expected", "short"),
    ("something nobody has seen before", "error"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "outcome"), MESSAGES)
def test_what_a_failure_means(message, outcome):
    error = classify(Exception(f"ERROR: [youtube] AAAAAAAAAAA: {message}"))
    assert error.outcome == outcome
    assert error.message == message  # without yt-dlp's prefix
    assert error.is_transient == (outcome in ("network", "short"))


def test_a_cause_below_counts():
    try:
        try:
            raise ConnectionResetError("Connection reset by peer")
        except ConnectionResetError as error:
            raise RuntimeError("giving up") from error
    except RuntimeError as error:
        assert classify(error).outcome == "network"


def test_outcomes_are_told_apart():
    assert len(set(OUTCOMES)) == len(OUTCOMES) and set(OUTCOMES) >= TRANSIENT | BLOCKED and not TRANSIENT & BLOCKED


def test_messages_are_one_printable_line():
    assert one_line("a\x1b[31m\nb\x00c" + "d" * 1000) == "a [31m b c" + "d" * 289 + "…"


@pytest.mark.parametrize(("address", "may"), [
    ("93.184.216.34", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.0.0.1", False), ("::1", False),
    ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False), ("fe80::1", False),
    ("fc00::1", False), ("::ffff:127.0.0.1", False), ("::ffff:93.184.216.34", True), ("64:ff9b::7f00:1", False),
    ("64:ff9b::5db8:d822", True), ("2002:7f00:1::", False), ("x", False),
])  # fmt: skip
def test_the_public_internet(address, may):
    assert (fault_of_address(address) == "") == may


# Each line is run in a process under the guard; an audit hook cannot be taken off again.
TRIED = [
    ("import socket; socket.create_connection(('127.0.0.1', 9), 1)", "127.0.0.1 is not on the public internet"),
    ("import socket; socket.socket(socket.AF_UNIX).connect('/tmp/x')", "local socket"),
    ("import urllib.request as r; r.urlopen('file:///etc/passwd')", "only http and https"),
    ("import urllib.request as r; r.urlopen('http://[::1]:9/')", "::1 is not on the public internet"),
    ("import subprocess; subprocess.run(['ffmpeg', '-version'])", "no program is started"),
    ("import subprocess; subprocess.run('touch x', shell=True)", "no program is started"),
    ("import os; os.system('true')", "no program is started"),
    ("open('../outside', 'w')", "no file is written outside"),
    ("import os; os.open('../outside', os.O_CREAT | os.O_WRONLY)", "no file is written outside"),
    ("open('/dev/null', 'w').write('x'); open('inside', 'w').write('x')", ""),
]  # fmt: skip
UNDER_GUARD = """
import os, sys
from pathlib import Path
from labels.videos.settings import DownloadSettings
from labels.videos.download.network_guard import NetworkGuard
os.chdir(sys.argv[1])
for number, line in enumerate(sys.argv[2:]):
    guard = NetworkGuard(DownloadSettings(proxy=""))
    try:
        with guard.watching(Path(".")):
            exec(line)
    except Exception:
        pass
    print(guard.refused)
    guard._fault = lambda *_: ""
"""


def test_what_the_guard_refuses(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-c", UNDER_GUARD, str(folder), *(line for line, _ in TRIED)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env={"PYTHONPATH": str(root)}, check=True)
    for (line, expected), refused in zip(TRIED, done.stdout.splitlines(), strict=True):
        assert (expected in refused) if expected else refused == "", (line, refused)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_yt_dlp_is_told_nothing_that_a_list_could_choose():
    from labels.videos.download.worker import FILE_NAME, YT_DLP_VERSION, _Watch, download_options
    from labels.videos.settings import DownloadSettings

    settings = DownloadSettings(bytes_per_s=1000, workers=4, max_height=480, min_height=240)
    options = download_options(settings, _Watch(settings, None))
    assert options["outtmpl"] == {"default": FILE_NAME}  # no suffix of the remote's
    assert options["skip_unavailable_fragments"] is False and options["cachedir"] is False
    assert options["external_downloader"] == {"default": "native"} and options["postprocessors"] == []
    assert options["ratelimit"] == 250
    assert "+" not in options["format"]  # joining two formats would need ffmpeg
    assert not {"exec", "exec_cmd", "netrc_cmd", "cookiesfrombrowser", "config_locations"} & set(options)
    assert YT_DLP_VERSION
