"""Permalinks: words, folders, scripts."""

from __future__ import annotations

import unicodedata

import pytest

from holdfast.text.permalink import permalink, stem


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("note.md", "note"),
        ("Note.MD", "note"),
        ("a.b.markdown", "a-b"),
        ("log.txt", "log"),
        ("no suffix", "no-suffix"),
        ("archive.md.md", "archive-md"),
        ("Projects/My Note.md", "projects/my-note"),
        ("HTTPServer.md", "http-server"),
        ("getHTTPResponseCode.md", "get-http-response-code"),
        ("ABC.md", "abc"),
        ("aB.md", "a-b"),
        ("2FA.md", "2-fa"),
        ("v2.md", "v2"),
        ("Æther ÆON.md", "aether-aeon"),
        ("ÉCOLE NormaleSup.md", "ecole-normale-sup"),
        ("naïve café.md", "naive-cafe"),
        ("Łódź Øre Ðað Þing ŋ ə.md", "lodz-ore-dad-thing-n-e"),
        ("STRAẞE Straße.md", "strasse-strasse"),
        ("Ａｂｃ ½.md", "abc-½"),
        ("x\u0304y.md", "xy"),
        ("中文Note.md", "中文-note"),
        ("Note中文.md", "note-中文"),
        ("第3章.md", "第3章"),
        ("中文и.md", "中文-и"),
        ("ガギグ.md", "ガギグ"),
        ("हिन्दी.md", "हिन्दी"),
        ("Й.md", "й"),
        ("it's ‘q’ ʼx.md", "its-q-x"),
        ("__a__b__.md", "a-b"),
        ("-.md", "note"),
        ("🎉/a.md", "note/a"),
        ("a//b.md", "a/note/b"),
        ("bad\udce9name.md", "bad-name"),
    ],
)
def test_permalink(path: str, expected: str) -> None:
    assert permalink(path) == expected


def test_all_latin_letters_become_ascii_or_stay_letters() -> None:
    letters = [chr(n) for n in range(0xC0, 0x250) if chr(n).isalpha()]
    kept = [c for c in letters if not permalink(f"a{c}a.md").isascii()]
    # Clicks and a few letters of phonetic use have no ASCII form.
    assert all("LATIN LETTER" in unicodedata.name(c) or len(unicodedata.name(c).split()[-1]) > 1 for c in kept), kept
    assert permalink("ŁŃŘŤ.md") == "lnrt"


def test_composed_and_decomposed_are_one() -> None:
    for name in ("Café Noir", "ÅngströmÉtude", "ガイド", "Ёлка"):
        assert permalink(unicodedata.normalize("NFD", name)) == permalink(unicodedata.normalize("NFC", name))


def test_permalink_of_a_permalink_is_itself() -> None:
    for path in ("Projects/My Note.md", "中文/东京Tokyo混合.md", "Écrits/Søren.md"):
        once = permalink(path)
        assert permalink(once) == once


@pytest.mark.parametrize(
    ("path", "expected"), [("a/b c.md", "b c"), ("x.TXT", "x"), ("v1.2.md", "v1.2"), (".md", ""), ("a/b", "b")]
)
def test_stem(path: str, expected: str) -> None:
    assert stem(path) == expected
