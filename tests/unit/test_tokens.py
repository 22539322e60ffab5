"""The analyzer's output, pinned: an index and a question meet only if both were cut by the same rules.

A row that turns red means that every index must be rebuilt: bump text.tokens.ANALYZER, then change the row.
"""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.text import tokens
from holdfast.text.tokens import ANALYZER, STOP, TERM_CHARS, question_terms, terms

ENGLISH = """
running => run
runs => run
ran => ran
runner => runner
garden => garden
gardens => garden
gardening => garden
gardener => garden
gardened => garden
tomatoes => tomato
tomato => tomato
happily => happili
happiness => happi
national => nation
nationality => nation
organization => organiz
organisations => organis
relational => relat
conditional => condit
valency => valenc
digitizer => digit
conformably => conform
radically => radic
differently => differ
analogously => analog
vietnamization => vietnam
predication => predic
operator => oper
feudalism => feudal
decisiveness => decis
hopefulness => hope
callousness => callous
formality => formal
sensitivity => sensit
sensibility => sensibl
triplicate => triplic
formative => format
formalize => formal
electrical => electr
hopeful => hope
goodness => good
revival => reviv
allowance => allow
inference => infer
airliner => airlin
adjustable => adjust
defensible => defens
irritant => irrit
replacement => replac
adjustment => adjust
dependent => depend
adoption => adopt
homologous => homolog
effective => effect
bowdlerize => bowdler
probate => probat
rate => rate
cease => ceas
controlling => control
rolling => roll
flies => fli
dies => die
mules => mule
denied => deni
died => die
agreed => agre
owned => own
humbled => humbl
sized => size
meeting => meet
stating => state
siezing => siez
itemization => item
sensational => sensat
traditional => tradit
reference => refer
colonizer => colon
plotted => plot
skies => sky
dying => die
lying => lie
news => news
inning => inning
proceed => proceed
exceed => exceed
succeed => succeed
generate => generat
general => general
generously => generous
arsenal => arsenal
university => universiti
universe => univers
communication => communic
community => communiti
queries => queri
query => queri
databases => databas
database => databas
indexes => index
indices => indic
index => index
caching => cach
cached => cach
caches => cach
passwords => password
children => children
mice => mice
better => better
worse => wors
was => was
were => were
being => be
the => the
"""

APOSTROPHES = """
it's => it
dog's => dog
dogs' => dog
don't => don't
can't => can't
o'brien => o'brien
we're => we're
rock'n'roll => rock'n roll
isn't => isn't
"""

IDENTIFIERS = """
C++ => c
c# => c
foo_bar => foo bar
fooBar => foobar
snake_case => snake case
kebab-case => kebab case
node.js => node js
v1.2.3 => v1 2 3
3.14 => 3 14
1,000 => 1 000
0x7f => 0x7f
README.md => readm md
/usr/lib/x => usr lib x
e-mail => e mail
user@example.com => user exampl com
https://example.com/a?b=c => https exampl com a b c
#tag => tag
[[Link]] => link
**bold** => bold
2024-05-01 => 2024 05 01
10:30 => 10 30
a => a
b2b => b2b
x86_64 => x86 64
utf-8 => utf 8
IPv6 => ipv6
"""

LATIN = """
café => cafe
CAFÉ => cafe
naïve => naiv
résumé => resum
Zürich => zurich
Straße => strass
STRASSE => strass
smørrebrød => smorrebrod
Łódź => lodz
œuvre => oeuvr
encyclopædia => encyclopaedia
Þór => thor
ærø => aero
ﬁne => fine
ﬀ => ff
Ⅷ => viii
½ => 1 2
① => 1
Ａ => a
Ｂｃ => bc
１２３ => 123
İstanbul => istanbul
ısı => isi
ŒUVRE => oeuvr
ñandú => nandu
crème => creme
brûlée => brule
été => ete
Ångström => angstrom
Åse => ase
đường => duong
Việt => viet
tiếng => tieng
ð => d
ħ => h
"""

UNSPACED = """
日本語 => 日本 本語
全文検索 => 全文 文検 検索
東京 => 東京
東 => 東
ひらがな => ひら らが がな
カタカナ => カタ タカ カナ
ｶﾀｶﾅ => カタ タカ カナ
コンピューター => コン ンピ ピュ ュー ータ ター
中文分词 => 中文 文分 分词
搜索引擎 => 搜索 索引 引擎
人 => 人
日本語text混在 => 日本 本語 text 混在
Python入門 => python 入門
2024年5月 => 2024 年 5 月
々 => 々
〇 => 〇
한국어 => 한국 국어
검색 => 검색
안녕하세요 => 안녕 녕하 하세 세요
가 => 가
데이터베이스 => 데이 이터 터베 베이 이스
ภาษาไทย => ภา าษ ษา าไ ไท ทย
สวัสดี => สว วั ัส สด ดี
ก็ => ก็
ข้อมูล => ข้ ้อ อม มู ูล
ພາສາລາວ => ພາ າສ ສາ າລ ລາ າວ
မြန်မာ => မြ ြန န် ်မ မာ
ខ្មែរ => ខ្ ្ម មែ ែរ
"""

SPACED = """
हिन्दी => हिन्दी
नमस्ते => नमस्ते
किताबें => किताबें
क्षत्रिय => क्षत्रिय
বাংলা => বাংলা
தமிழ் => தமிழ்
తెలుగు => తెలుగు
ಕನ್ನಡ => ಕನ್ನಡ
മലയാളം => മലയാളം
русский => русскии
Русские => русские
ёлка => елка
Ёлка => елка
й => и
Й => и
Ελληνικά => ελληνικα
ΟΔΟΣ => οδοσ
οδός => οδοσ
άλφα => αλφα
עברית => עברית
שָׁלוֹם => שָׁלוֹם
العربية => العربية
مُحَمَّد => مُحَمَّد
كتاب => كتاب
հայերեն => հայերեն
ქართული => ქართული
አማርኛ => አማርኛ
ᠮᠣᠩᠭᠣᠯ => ᠮᠣᠩᠭᠣᠯ
"""

MIXED = """
l’été => l'ete
o’brien => o'brien
d'accord => d'accord
rock’n’roll => rock'n roll
😀 =>
👍🏽 =>
™ => tm
© =>
² => 2
x² => x2
H₂O => h2o
№5 => no5
naïve's => naiv
Müller's => muller
Ana's => ana
"""

GROUPS = {
    "english": ENGLISH,
    "apostrophes": APOSTROPHES,
    "identifiers": IDENTIFIERS,
    "latin": LATIN,
    "unspaced": UNSPACED,
    "spaced": SPACED,
    "mixed": MIXED,
}
ROWS = [
    pytest.param(text, found.split(), id=f"{name}-{text!a}")
    for name, group in GROUPS.items()
    for text, found in (line.split(" =>") for line in group.strip().splitlines())
]


@pytest.mark.parametrize(("text", "expected"), ROWS)
def test_the_terms_of(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_there_are_enough_pins_and_they_belong_to_this_analyzer() -> None:
    assert len(ROWS) >= 200
    assert ANALYZER == 1, "check every row above against the new analyzer, then write its number here"


def test_a_long_word_is_cut_and_not_stemmed() -> None:
    assert terms("x" * 65) == ["x" * 64]
    assert terms("running" * 10) == [("running" * 10)[:64]]
    assert terms("é" * 70) == ["e" * 64]


def test_order_and_repeats_are_kept() -> None:
    assert terms("The cat saw the cat. The END") == ["the", "cat", "saw", "the", "cat", "the", "end"]


def test_stop_words_are_left_out_of_questions_that_have_others() -> None:
    assert question_terms("what is the garden of Ana") == (["garden", "ana"], ["what", "is", "the", "of"])
    assert question_terms("what is it") == (["what", "is", "it"], [])
    assert question_terms("") == ([], [])
    assert question_terms("isn't it a dog's life")[0] == ["dog", "life"]
    assert all(question_terms(f"{word} garden")[0] == ["garden"] for word in STOP)


@given(st.text(max_size=200))
def test_any_text_has_short_folded_terms(text: str) -> None:
    found = terms(text)
    assert all(0 < len(t) <= TERM_CHARS for t in found)
    assert terms(text) == found
    assert not any(c.isspace() or c.isupper() for t in found for c in t)


MARKS = "".join(re.escape(chr(c)) for c in range(0x300, 0x20000) if unicodedata.category(chr(c)) in ("Mn", "Mc"))
LETTER = rf"(?:(?![{tokens._UNSPACED}])[^\W_]|[{MARKS}])"
WORD = rf"(?![{MARKS}]){LETTER}+(?:'{LETTER}+)?"
DEFINITION = re.compile(rf"([{tokens._UNSPACED}](?:[{tokens._UNSPACED}]|[{MARKS}])*)|({WORD})")
ALPHABETS = st.sampled_from(
    [
        "ab'’_1 ", "éüßøıŁÆ", "мир ёй", "नमस्ते", "สวัสดี", "日本語。", "ｶﾞがー", "한국어", "العربية", "\u0301\u0300\u0327",
        "\U0001b000\U00020000", "\U0001d400\U0001f600\U00011000\U00011001", "½²Ⅷ", "\u200d\ufe0f", "ǅĳﬁ",
    ]
)  # fmt: skip
MIXED = st.lists(ALPHABETS.flatmap(st.sampled_from), max_size=40).map("".join)


@settings(max_examples=500)
@given(st.one_of(MIXED, st.text(max_size=60)))
def test_the_quick_ways_give_what_the_definition_says(text: str) -> None:
    """One slow pattern over the folded text is the definition; what is told about most runs without it is the same."""
    if text.isascii():
        return
    folded = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'").translate(tokens._LETTERS)
    bare = re.sub("[\u0300-\u036f]+", "", unicodedata.normalize("NFD", folded))
    expected: list[str] = []
    for run, word in DEFINITION.findall(unicodedata.normalize("NFC", bare)):
        if word:
            expected.append(tokens._stems[word] if word.isascii() else word[:TERM_CHARS])
        else:
            expected += [run[i : i + 2] for i in range(len(run) - 1)] or [run]
    assert terms(text) == expected


@given(st.lists(st.sampled_from("garden Straße 東京都 สวัสดี l’été हिन्दी x² o'brien".split()), max_size=6))
def test_words_do_not_change_each_other(words: list[str]) -> None:
    """Across a space, and for words of one script alone, a text's terms are those of its words."""
    assert terms(" ".join(words)) == [t for w in words for t in terms(w)]
