"""Which server a command talks to, with which token; and the file that knows the servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stcloud.errors import UsageError
from stcloud.profiles import Place, Profile, ProfileFile, Profiles, check_profile_name, same_server
from stcloud.target import DEFAULT_URL, resolve

from tests.unit.cli.support import Script, ok, run_cli

LOCAL = Profile("local", "http://localhost:8001", "ada", Place.FILE)
PROD = Profile("prod", "https://cloud.test", "bob", Place.FILE)
BOTH = Profiles("local", {"local": LOCAL, "prod": PROD})


# --- which server, which token ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "environ", "url", "profile"),
    [
        ({}, {}, LOCAL.url, "local"),
        ({"profile": "prod"}, {}, PROD.url, "prod"),
        ({"profile": "prod"}, {"STCLOUD_URL": LOCAL.url}, PROD.url, "prod"),
        ({}, {"STCLOUD_PROFILE": "prod"}, PROD.url, "prod"),
        ({"profile": "local"}, {"STCLOUD_PROFILE": "prod"}, LOCAL.url, "local"),
        ({}, {"STCLOUD_URL": "https://CLOUD.test:443/"}, "https://CLOUD.test:443", "prod"),
        ({}, {"STCLOUD_URL": "https://new.test", "STCLOUD_PROFILE": "prod"}, "https://new.test", None),
        ({"url": "https://new.test"}, {"STCLOUD_URL": PROD.url}, "https://new.test", None),
        ({"url": f"{PROD.url}/api"}, {"STCLOUD_PROFILE": "local"}, PROD.url, "prod"),
    ],
)
def test_the_server_and_its_own_profile(
    options: dict[str, str], environ: dict[str, str], url: str, profile: str | None
) -> None:
    found = resolve(BOTH, environ, **{"url": None, "profile": None, **options})  # type: ignore[arg-type]
    assert (found.url, found.profile.name if found.profile else None) == (url, profile)
    assert found.token is None


def test_without_anything_it_is_this_computer() -> None:
    assert resolve(Profiles(), {}, url=None, profile=None).url == DEFAULT_URL


def test_a_profile_and_another_servers_url_are_a_contradiction() -> None:
    with pytest.raises(UsageError, match="is for"):
        resolve(BOTH, {}, url=LOCAL.url, profile="prod")
    with pytest.raises(UsageError, match="no profile"):
        resolve(BOTH, {}, url=None, profile="nobody")


def test_the_environments_token_wins_and_stays_with_the_environments_server() -> None:
    environ = {"STCLOUD_TOKEN": " canary ", "STCLOUD_URL": PROD.url}
    assert resolve(BOTH, environ, url=None, profile=None).token == "canary"
    assert resolve(BOTH, {"STCLOUD_TOKEN": "canary"}, url=DEFAULT_URL, profile=None).token == "canary"
    for env, options in (
        (environ, {"url": LOCAL.url}),
        (environ, {"profile": "local"}),
        ({"STCLOUD_TOKEN": "canary"}, {"url": "https://evil.test"}),
        ({"STCLOUD_TOKEN": "canary"}, {"profile": "prod"}),
        ({"STCLOUD_TOKEN": "canary", "STCLOUD_PROFILE": "prod"}, {}),
    ):
        with pytest.raises(UsageError) as caught:
            resolve(BOTH, env, **{"url": None, "profile": None, **options})  # type: ignore[arg-type]
        assert "canary" not in caught.value.message + str(caught.value.advice)
        assert "STCLOUD_URL" in str(caught.value.advice)
        # Whoever signs in brings what is needed; the token stays here all the same.
        assert resolve(BOTH, env, **{"url": None, "profile": None, **options}, may_be_new=True).token is None  # type: ignore[arg-type]


def test_a_new_name_makes_a_profile_and_the_environments_is_not_turned_into_another_server() -> None:
    new = resolve(BOTH, {}, url="https://new.test", profile="mine", may_be_new=True)
    assert (new.profile, new.profile_name) == (None, "mine")
    moved = resolve(BOTH, {}, url="https://new.test", profile="prod", may_be_new=True)
    assert (moved.profile, moved.profile_name) == (None, "prod")
    env = resolve(BOTH, {"STCLOUD_PROFILE": "prod"}, url="https://new.test", profile=None, may_be_new=True)
    assert (env.profile, env.profile_name) == (None, None)


def test_tokens_are_bound_to_scheme_host_port_and_path() -> None:
    assert same_server("https://cloud.test", "https://CLOUD.test:443/")
    for other in ("http://cloud.test", "https://cloud.test:444", "https://cloud.test.evil", "https://cloud.test/b"):
        assert not same_server("https://cloud.test", other)


def test_names_for_new_profiles() -> None:
    assert BOTH.name_for(PROD.url) == "prod"
    assert BOTH.name_for("http://127.0.0.1:9") == "local-2"
    assert BOTH.name_for("https://a.example.com") == "a.example.com"
    for name in ("", "../x", "a/b", ".hidden", "a b", "x" * 65):
        with pytest.raises(UsageError):
            check_profile_name(name)


# --- config.toml ------------------------------------------------------------------------------------------------------
def test_profiles_survive_being_written(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path / "stcloud")
    assert file.read() == Profiles()
    odd = Profile("a.b-c_d", "https://cloud.test:8443/sub", 'zoë "the" \\ admin', None)
    profiles = BOTH.having(odd, current=True)
    file.write(profiles)
    assert file.read() == profiles
    assert profiles.without("a.b-c_d").current is None


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        'current = "nobody"',
        "profiles = 3",
        "[profiles.x]",
        "[profiles.x]\nurl = 3",
        '[profiles.x]\nurl = "ftp://x"',
        '[profiles.x]\nurl = "https://user:canary@x"',
        '[profiles."../x"]\nurl = "https://x"',
        '[profiles.x]\nurl = "https://x"\nsecret = "under the mat"',
        '[profiles.x]\nurl = "https://x"\nusername = "\\u001b[2J"',
    ],
)
def test_a_broken_config_is_named_and_does_no_harm(tmp_path: Path, text: str) -> None:
    folder = tmp_path / ".config" / "stcloud"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(text)
    script = Script([ok({})])
    ran = run_cli("jobs", "list", "--json", script=script, home=tmp_path)
    assert ran.code == 2
    assert "config.toml" in json.loads(ran.out)["error"]["message"]
    assert "canary" not in ran.out + ran.err
    assert script.asked == []
