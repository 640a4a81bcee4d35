from __future__ import annotations

import pytest
from example_plugins.robots import NOTHING_ALLOWED, Robots, parse_robots
from hypothesis import given
from hypothesis import strategies as st

GIVEN = """\
\ufeffUser-agent: *
Disallow: /private   # not for machines
Allow: /private/open
Crawl-delay: 0.5

Sitemap: https://example.com/sitemap.xml
user-agent: other
User-Agent: Web-Archive
Disallow: /*.pdf$
Disallow: /search?*q=
Disallow: /caf\u00e9
disallow: /%7ejoe
Crawl-delay: 1000
nonsense
User-agent: nobody
Disallow: /
"""


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("/", True),
        ("/private", True),  # the group for all is not for who has one of its own
        ("/a/b.pdf", False),
        ("/a.pdf?page=1", True),
        ("/search?lang=en&q=x", False),
        ("/search?lang=en", True),
        ("/caf%c3%a9/menu", False),
        ("/%7Ejoe", False),
    ],
)
def test_own_group(target: str, *, allowed: bool) -> None:
    assert parse_robots(GIVEN, "web-archive").allow(target) is allowed


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/%7Esecret/", "/~secret/x"),
        ("/~secret/", "/%7esecret/x"),
        ("/admin", "/%61dmin"),
        ("/%61dmin", "/admin"),
        # The examples of RFC 9309, 2.2.2 and 2.2.3.
        ("/foo/bar?baz=quz", "/foo/bar?baz=quz"),
        ("/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar"),
        ("/foo/bar?baz=https%3A%2F%2Ffoo.bar", "/foo/bar?baz=https://foo.bar"),
        ("/foo/bar/\u30c4", "/foo/bar/%E3%83%84"),
        ("/foo/bar/%E3%83%84", "/foo/bar/%e3%83%84"),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz"),
        ("/path/file-with-a-%2A.html", "/path/file-with-a-*.html"),
        ("/path/foo-%24", "/path/foo-$"),
        ("/*/a$b*c$", "/x/a$b/c"),
        ("/*://", "/?to=http://a.example"),
    ],
)
def test_one_path_spelled_in_two_ways(path: str, target: str) -> None:
    assert not parse_robots(f"User-agent: *\nDisallow: {path}", "a").allow(target)


@pytest.mark.parametrize(
    ("path", "target"), [("/a/b", "/a%2Fb"), ("/a%2Fb", "/a/b"), ("/a%3Fb", "/a?b"), ("/%2A", "/b")]
)
def test_what_delimits_stays_apart(path: str, target: str) -> None:
    assert parse_robots(f"User-agent: *\nDisallow: {path}", "a").allow(target)


@pytest.mark.parametrize("name", ["Web-Archive/1.0", "web-archive 2 (of Example)"])
def test_a_group_may_name_a_version(name: str) -> None:
    robots = parse_robots(f"User-agent: {name}\nDisallow: /\n\nUser-agent: *\n", "web-archive")
    assert not robots.allow("/x")


def test_a_name_that_begins_alike_is_another() -> None:
    assert parse_robots("User-agent: web-archiver\nDisallow: /", "web-archive").allow("/x")


def test_group_for_all() -> None:
    robots = parse_robots(GIVEN, "unheard-of")
    assert [robots.allow(path) for path in ("/", "/private/x", "/private/open/x")] == [
        True, False, True
    ]  # fmt: skip
    assert robots.delay == 0.5


def test_delay_is_bounded() -> None:
    assert parse_robots(GIVEN, "web-archive").delay == 60
    assert parse_robots("User-agent: *\nCrawl-delay: soon", "a").delay == 0


def test_groups_of_one_name_are_one() -> None:
    robots = parse_robots("User-agent: a\nDisallow: /1\nUser-agent: a\nDisallow: /2", "a")
    assert not robots.allow("/1")
    assert not robots.allow("/2")


def test_an_empty_disallow_and_no_file_allow_all() -> None:
    assert parse_robots("User-agent: *\nDisallow:", "a").allow("/x")
    assert Robots().allow("/x")
    assert not NOTHING_ALLOWED.allow("/x")


def test_the_end_is_not_met_twice() -> None:
    robots = parse_robots("User-agent: *\nDisallow: /ab*bc$", "a")
    assert robots.allow("/abc")
    assert not robots.allow("/abbc")


@given(st.text(), st.text(max_size=20))
def test_any_text_can_be_read(text: str, target: str) -> None:
    robots = parse_robots(f"User-agent: *\nDisallow: /{text}", "a")
    assert robots.allow(f"/{target}") in {True, False}


@pytest.mark.timeout(10)  # milliseconds, but for ever where stars are tried one against the other
def test_many_stars_take_no_time() -> None:
    robots = parse_robots(f"User-agent: *\nDisallow: /{'*a' * 10_000}b", "a")
    assert robots.allow("/" + "a" * 100_000)
