"""Secrets in text: each known form is found, nothing else is, and what is masked is all that changes.

No secret stands in this file: each is made when the test runs, out of parts.
"""

from __future__ import annotations

import base64
import json
import random
import string
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.text.markers import conflict_line
from holdfast.text.secrets import Secret, find_secrets, redact

ROOT = Path(__file__).resolve().parent.parent.parent
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
WORD = BASE62 + "_-"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
RSA = "RSA PRIVATE"


def chance(rng: random.Random, size: int, letters: str = BASE62) -> str:
    """`size` characters, of which some are digits and some are not, as in nearly every token."""
    if letters in (BASE62, WORD):
        return "k7" + "".join(rng.choice(letters) for _ in range(size - 4)) + "Q3"
    return "".join(rng.choice(letters) for _ in range(size))


def summed(rng: random.Random, begin: str) -> str:
    body = chance(rng, 30)
    rest, digits = crc32(body.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = BASE62[digit] + digits
    return begin + body + digits


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def jwt(rng: random.Random) -> str:
    return f"{part({'typ': 'JWT', 'alg': 'HS256'})}.{part({'sub': chance(rng, 9)})}.{chance(rng, 43, WORD)}"


def age(rng: random.Random) -> str:
    """By the other direction of BIP 173: the sum is computed, where the code only checks it."""
    prefix = "age-secret-key-"
    body = [rng.randrange(32) for _ in range(52)]
    sum_ = 1
    for value in [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix), *body, *[0] * 6]:
        top = sum_ >> 25
        sum_ = (sum_ & 0x1FFFFFF) << 5 ^ value
        for i in range(5):
            if top >> i & 1:
                sum_ ^= (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)[i]
    check = [(sum_ ^ 1) >> 5 * (5 - i) & 31 for i in range(6)]
    return f"{prefix}1{''.join(BECH32[v] for v in body + check)}".upper()


def pem(rng: random.Random, label: str = RSA, end: str = "\n") -> str:
    lines = [chance(rng, 64, BASE62 + "+/") for _ in range(12)] + [chance(rng, 18)]
    return end.join([f"-----BEGIN {label} KEY-----", *lines, f"-----END {label} KEY-----"])


Make = Callable[[random.Random], str]
FORMED: dict[str, tuple[str, Make]] = {
    **{f"github {c}": ("GitHub token", lambda r, c=c: summed(r, f"gh{c}_")) for c in "pousr"},
    "github fine": ("GitHub token", lambda r: "github_" + f"pat_{chance(r, 22)}_{chance(r, 59)}"),
    **{
        f"gitlab {c}": ("GitLab token", lambda r, c=c: f"gl{c}-" + chance(r, 20, WORD))
        for c in ("pat", "dt", "rt", "ptt", "soat", "cbt")
    },
    "gitlab routed": ("GitLab token", lambda r: f"gl{'pat'}-{chance(r, 40, WORD)}.01.{chance(r, 9, 'abc0123xyz')}"),
    **{
        f"aws {c}": ("AWS access key id", lambda r, c=c: f"A{c}A" + chance(r, 16, "ABCDEFGHIJKLMNOPQRSTUVWY2367"))
        for c in ("KI", "SI")
    },
    "google": ("Google API key", lambda r: "AI" + "za" + chance(r, 35, WORD)),
    "google client": ("Google client secret", lambda r: "GOC" + "SPX-" + chance(r, 28, WORD)),
    "google access": ("Google access token", lambda r: "ya" + "29." + chance(r, 120, WORD)),
    "slack bot": (
        "Slack token",
        lambda r: f"xo{'xb'}-{chance(r, 12, '1234567890')}-{chance(r, 12, '1234567890')}-{chance(r, 24)}",
    ),
    "slack app": (
        "Slack token",
        lambda r: (
            f"xa{'pp'}-1-A{chance(r, 10, 'BCDE2468')}-{chance(r, 13, '13579')}-{chance(r, 64, '0a1b2c3d4e5f6789')}"
        ),
    ),
    "slack hook": (
        "Slack webhook",
        lambda r: f"hooks.slack.com/{'services'}/T{chance(r, 8, 'ABC234')}/B{chance(r, 8, 'ABC234')}/{chance(r, 24)}",
    ),
    "stripe": ("Stripe key", lambda r: "sk" + "_live_" + chance(r, 24)),
    "stripe limited": ("Stripe key", lambda r: "rk" + "_live_" + chance(r, 99)),
    "openai": ("OpenAI key", lambda r: "sk" + "-proj-" + chance(r, 120, WORD)),
    "openai old": ("OpenAI key", lambda r: "sk" + "-" + chance(r, 48)),
    "openrouter": ("OpenRouter key", lambda r: "sk" + "-or-v1-" + chance(r, 64, "0123456789abcdef")),
    "anthropic": ("Anthropic key", lambda r: "sk" + "-ant-api03-" + chance(r, 93, WORD) + "AA"),
    "hugging face": ("Hugging Face token", lambda r: "hf" + "_" + chance(r, 34)),
    "npm": ("npm token", lambda r: summed(r, "npm_")),
    "pypi": ("PyPI token", lambda r: "py" + "pi-AgEIcHlwaS5vcmc" + chance(r, 150, WORD)),
    "sendgrid": ("SendGrid key", lambda r: f"S{'G'}.{chance(r, 22, WORD)}.{chance(r, 43, WORD)}"),
    "telegram": ("Telegram token", lambda r: f"{chance(r, 10, '123456789')}:A{'A'}{chance(r, 33, WORD)}"),
    "azure": ("Azure client secret", lambda r: f"aZ~8Q~{chance(r, 34, WORD)}"),
    "jwt": ("JSON web token", jwt),
    "age": ("age key", age),
    "pem": ("private key", pem),
    "openssh": ("private key", lambda r: pem(r, "OPENSSH PRIVATE")),
    "pkcs8, crlf": ("private key", lambda r: pem(r, "PRIVATE", "\r\n")),
    "in json": ("private key", lambda r: pem(r, "PRIVATE", "\\n")),
    "quoted": ("private key", lambda r: pem(r, "EC PRIVATE", "\n> ")),
    "cut off": ("private key", lambda r: pem(r).rpartition("\n")[0].rpartition("\n")[0]),
}


def texts(text: str) -> list[str]:
    return [text[x.start : x.end] for x in find_secrets(text)]


AROUND = [("", ""), ("a\nb ", "\n"), ("- [key] `", "` #x"), ("KEY=", " "), ("これは", "です"), ('{"k": "', '"}')]


@pytest.mark.parametrize("name", FORMED)
def test_each_form_is_found_whole_wherever_it_stands(name: str) -> None:
    kind, make = FORMED[name]
    rng = random.Random(name)
    for _ in range(25):
        secret = make(rng)
        for before, after in AROUND:
            text = before + secret + after
            (found,) = find_secrets(text)
            assert found == Secret(kind, 1 + before.count("\n"), len(before), len(before) + len(secret)), text
            assert secret not in repr(found)


def test_a_token_in_a_longer_value_is_one_with_it() -> None:
    token = FORMED["npm"][1](random.Random(1))
    assert find_secrets(f"password: q8Zr2mW4xT:{token} x") == [Secret("npm token", 1, 10, 21 + len(token))]
    assert find_secrets(f"a {token}:q8Zr2mW4xT x") == [Secret("npm token", 1, 2, 2 + len(token))]


@pytest.mark.parametrize("name", ["github p", "npm", "age"])
def test_a_wrong_checksum_is_no_token(name: str) -> None:
    for seed in range(20):
        token = FORMED[name][1](random.Random(seed))
        swapped = token[:-1] + next(c for c in (BECH32.upper() if name == "age" else BASE62) if c != token[-1])
        assert find_secrets(token)
        assert not find_secrets(swapped)


VALUES: dict[str, tuple[str, str]] = {
    "password: {}": ("password", "Xk29!fjQ2"),
    "Password = '{}'": ("password", "Xk29fjQ2"),
    "The wifi password is {}.": ("password", "Tr0ub4dor&3"),
    "- [access] **Passwort**: {} #home": ("password", "Sommer2024!"),
    "DB_PASS={}": ("password", "q8Zr2mW4xT"),
    "| passwd | {} |": ("password", "q8Zr2mW4xT"),
    "contraseña: {}": ("password", "q8Zr2mW4xT"),
    "パスワード：{}": ("password", "q8Zr2mW4xT"),
    'api_key = "{}"': ("API key", "q8Zr2mW4xTq0Lk3vB7"),
    "X-Api-Key: {}": ("API key", "0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
    '{{"client_secret": "{}"}}': ("secret", "q8Zr2mW4xTq0Lk3vB7"),
    "auth_token:: {}": ("token", "q8Zr2mW4xTq0Lk3vB7"),
    "Authorization: Bearer {}": ("token", "q8Zr2mW4xTq0Lk3vB7"),
    "aws_secret_access_key = {}": ("AWS secret key", "wJ4lrX/tnF3MI+K7MD2NGbPxRfiC9Yq8Zr2mW4xT"),
    '"SecretAccessKey": "{}"': ("AWS secret key", "wJ4lrX/tnF3MI+K7MD2NGbPxRfiC9Yq8Zr2mW4xT"),
    "AccountKey={};EndpointSuffix=x": ("API key", "wJ4lrX/tnF3MI+K7MD2NGbPxRfiC9Yq8Zr2mW4xT=="),
    "postgres://ana:{}@db.corp.net/x": ("password", "geheim9"),
    "see https://ana:{}@git.corp.net/a.git": ("password", "p%40q7-x"),
    "token:password:{}": ("password", "q8Zr2mW4xT"),
    "redis://:{}@cache:6379/0": ("password", "q8Zr2m"),
}


@pytest.mark.parametrize("line", VALUES)
def test_a_value_is_found_by_its_name(line: str) -> None:
    kind, value = VALUES[line]
    text = "one\r\n" + line.format(value) + "\r\ntwo"
    (found,) = find_secrets(text)
    assert (found.kind, found.line, text[found.start : found.end]) == (kind, 2, value)


NAMES = [
    *"password: |Password = |api_key: |API_KEY=|secret: |token: |client_secret = |auth_token=".split("|"),
    "The password is ",
]
HARMLESS = [
    "xxxxxxxxxxxxxxxxxxxx",
    "changeme",
    "changeme123!",
    "<your-api-key>",
    "${DB_PASSWORD}",
    "$DB_PASSWORD2",
    "{{ secrets.API_KEY }}",
    "example",
    "your-api-key-123456789",
    "********",
    "MY_SECRET_KEY_2",
    "os.environ['API_KEY']",
    "getpass.getpass()",
    "secrets.token_urlsafe(32)",
    "config.api_key2",
    "550e8400-e29b-41d4-a716-446655440000",
    "b2-0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "sha256:0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "the one that Ana chose in 2024",
    "internationalization",
    "correct-horse-battery-staple",
    "2024-05-01T10:00:00Z",
    "+49 170 1234567",
    "https://vault.corp.net/v1/kv2",
    "/etc/keys/id_rsa2",
    "~/.ssh/id_ed25519",
    "None",
    "str = Field(min_length=12)",
    "p@ssw0rd123",
    "Anna2024",
    "gpt-4o-mini-2024-07-18",
    "draft-of-2024-05-01-v2",
    "12345678901234",
]
IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0"
    "DHxgljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg=="
)
PROSE = [
    "550e8400-e29b-41d4-a716-446655440000",
    "commit 0f1e2d3c4b5a69788796a5b4c3d2e1f0aabbccdd",
    "b2-0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "Call +1 (555) 010-9999 before 2024-05-01 10:30.",
    "https://ana@git.corp.net/a?b=c#d",
    "https://host:8080/a@b",
    "mailto:ana:x@corp.net",
    "git@github.com:ana/notes.git",
    "postgres://user:password@localhost/db",
    "postgres://dev:dev@db.corp.net",
    "https://ana:geheim9@example.com/",
    "mysql://root:${PASSWORD}@db.corp.net",
    "http://a:{token}@b.net",
    "A token is a word. Tokens: 512. A secret: he never told.",
    "gh" + "p_" + "x" * 36,
    "gl" + "pat-" + "x" * 20,
    "AKIA" + "IOSFODNN7" + "EXAMPLE",
    "sk" + "-" + "ant-api03-...",
    "eyJ" + "hbGciOi...",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
    f"-----BEGIN {RSA} KEY-----",
    f"-----BEGIN {RSA} KEY-----\n...\n-----END {RSA} KEY-----",
    f"-----BEGIN {RSA} KEY-----\nMIIEpAIBAAKCAQEA...\n-----END {RSA} KEY-----",
    f"Look for `-----BEGIN {RSA} KEY-----`, then for words.",
    f"-----BEGIN PUBLIC KEY-----\n{IMAGE[:64]}\n-----END PUBLIC KEY-----",
    f"-----BEGIN {RSA} KEY-----\nis how it begins; then a line like\n{IMAGE[:40]}\nand then\n-----END {RSA} KEY-----",
    f"{part({'alg': 'HS256'})}.{part({'sub': '1234567890', 'name': 'John Doe'})}.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV",
    f"data:image/png;base64,{IMAGE}",
    "sk-learn-contrib-and-a-long-hyphenated-name-of-something",
    "hf_hub_download_and_other_names_in_code",
    "SG.1",
    "desk-" + "a1B2" * 12,
    "tokenizer: o200k_base_2024_v2_final_x1",
    "password_hash = argon2id",
    "The passphrase was long; nobody wrote it down in 2021.",
]


@pytest.mark.parametrize("text", [*PROSE, *(name + value for name in NAMES for value in HARMLESS)])
def test_what_is_no_secret_is_not_found(text: str) -> None:
    assert texts(text) == []


@pytest.mark.parametrize("size", [6, 8, 12, 16, 20, 32, 40, 64])
def test_digests_and_ids_are_none(size: int) -> None:
    rng = random.Random(size)
    for _ in range(50):
        for letters in ("0123456789abcdef", string.digits, BASE62, BECH32):
            word = chance(rng, size, letters)
            assert texts(f"id {word}, file {word}.md, https://x.net/{word}?v={word} hash: {word}") == []


@pytest.mark.parametrize("place", ["examples", "docs", "src", "tests", "tools", "README.md", "CHANGELOG.md"])
def test_the_repository_has_none(place: str) -> None:
    here = ROOT / place
    kinds = {".md", ".py", ".jsonl", ".json", ".yaml", ".toml", ".sql", ".txt", ".sh"}
    found, looked = {}, 0
    for file in [here] if here.is_file() else sorted(here.rglob("*")):
        if file.suffix in kinds and file.is_file() and file != Path(__file__).resolve():
            looked += 1
            if lines := [(x.kind, x.line) for x in find_secrets(file.read_text("utf-8", "surrogateescape"))]:
                found[str(file)] = lines
    assert looked
    assert found == {}


def test_this_file_has_only_what_is_made_up_for_a_name() -> None:
    assert {x.kind for x in find_secrets(Path(__file__).read_text("utf-8"))} <= {
        "password",
        "secret",
        "API key",
        "token",
    }


MADE = [make(random.Random(name)) for name, (_, make) in FORMED.items()]
MADE += [line.format(value) for line, (_, value) in VALUES.items()]
SIGNS = ["password: ", "token=", "://", "@", "[redacted token]", "\n", "\r\n", " ", "-----", "```\n"]
PIECES = st.sampled_from([*MADE, *SIGNS])


@given(st.lists(st.one_of(PIECES, st.text(max_size=20)), max_size=12), st.sampled_from(["", " ", "\n"]))
def test_masking_leaves_none_and_keeps_all_else(pieces: list[str], between: str) -> None:
    text = between.join(pieces)
    found = find_secrets(text)
    masked = redact(text, found)
    assert masked.count("\n") == text.count("\n")
    at = upto = 0
    for x in found:
        assert upto <= x.start < x.end <= len(text)
        assert x.line == 1 + text.count("\n", 0, x.start)
        kept = text[upto : x.start]
        assert masked[at : at + len(kept)] == kept
        at += len(kept)
        end = "\r\n" if "\r\n" in text[x.start : x.end] else "\n"
        mask = f"[redacted {x.kind}]" + end * text.count("\n", x.start, x.end)
        assert masked[at : at + len(mask)] == mask
        at, upto = at + len(mask), x.end
    assert masked[at:] == text[upto:]
    if between:
        assert not find_secrets(masked)


HOSTILE = [
    "a",
    "-",
    "eyJaaaaaaaaaa.",
    "eyJaaaaaaaaaa-",
    "password=1",
    "password:",
    "password is ",
    "://a:a",
    "://a:aa@b",
    "g" + "hp_",
    "aaa8Q~",
    "1234567890:AA",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\n" + "Ab1" * 20 + "\n",
    "token 'a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a_a1!'",
    "gl" + "pat-" + "a" * 299 + "!",
    "xo" + "xb-" + "a-" * 120,
    "password=a1" + "_a" * 60 + "! ",
    "token=" + "a." * 60 + "1 ",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_is_linear(piece: str) -> None:
    """Four times the text takes about four times the time, where a square would be sixteen."""

    def cost_s(size: int) -> float:
        text = "-----BEGIN PRIVATE KEY-----\n" + piece * (size // len(piece))
        tries = []
        for _ in range(3):
            begin = time.process_time()
            find_secrets(text)
            tries.append(time.process_time() - begin)
        return min(tries)

    assert cost_s(400_000) < 9 * cost_s(100_000) + 0.02


MERGE = "a\n<<<<<<< ours\nb\n=======\nc\n>>>>>>> theirs\nd\n"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (MERGE, 2),
        (MERGE.replace("\n", "\r\n"), 2),
        (f"{MERGE}{MERGE}", 2),
        (f"```\n{MERGE}```\n", 0),
        (f"```\n```\n{MERGE}", 4),
        (f"~~~~\n```\n~~~\n{MERGE}~~~~\n{MERGE}", 13),
        (MERGE.replace("=======\n", ""), 0),
        (MERGE.replace("<<<<<<< ours\n", ""), 0),
        ("a <<<<<<< ours\n=======\n>>>>>>> theirs\n", 0),
        ("<<<<<<< ours\n>>>>>>> theirs\n=======\n", 0),
        ("Title\n=======\n", 0),
        ("", 0),
    ],
)
def test_a_merge_left_undone(body: str, line: int) -> None:
    assert conflict_line(body.encode()) == line
