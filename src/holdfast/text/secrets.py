"""Find what must not stand in a note that others read: keys, tokens and passwords; and mask it.

What is found is surely one: a format that a vendor documents, with its checksum where it has one, or a random value
beside a word that says what it is. Placeholders, examples, digests, UUIDs and prose are none. What has neither form nor
name is not found. Linear in the text, whatever the text is.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote
from zlib import crc32


class Secret(NamedTuple):
    """Where a secret stands: its line, from 1, and its range in the text; never what it is."""

    kind: str
    line: int
    start: int
    end: int


def find_secrets(text: str) -> list[Secret]:
    """The secrets in `text`, in order, none inside another. Lines are counted by `\\n`."""
    spans: list[Span] = []
    for span in sorted([*_formed(text), *_named(text)]):
        if spans and span[0] < spans[-1][1]:  # One in the other: all of both, by the name of the known form.
            start, end, kind = spans[-1]
            spans[-1] = start, max(end, span[1]), span[2] if kind in _BY_NAME else kind
        else:
            spans.append(span)
    out, line, at = [], 1, 0
    for start, end, kind in spans:
        line += text.count("\n", at, start)
        at = start
        out.append(Secret(kind, line, start, end))
    return out


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """`text` with each of the `secrets` found in it masked by its kind; it keeps its lines and all else."""
    out, at = [], 0
    for x in sorted(secrets, key=lambda s: s.start):
        out += [text[at : x.start], f"[redacted {x.kind}]", *re.findall(r"\r?\n", text[x.start : x.end])]
        at = x.end
    return "".join([*out, text[at:]])


Span = tuple[int, int, str]
Proof = Callable[[str], bool]

_WORD = "[A-Za-z0-9_-]"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

_SAMPLE = re.compile(
    "xxxx|0000|[*][*][*]|[.][.][.]|…|0123|12345|abcdef|example|sample|placeholder|change.?me|your|dummy|fake|test|todo"
    "|redacted|insert|replace|secret|password|passwort|p[a@]ssw[o0]r|token|environ|getenv|process[.]|config|settings|hunter2"
)
"""What stands, in lower case, where a secret will stand, or in its place in a document."""


def _is_random(value: str, least: int = 8) -> bool:
    """Whether it has `least` characters that are not the same, and is no sample."""
    return len(set(value)) >= least and not _SAMPLE.search(value.lower())


def _is_mixed(token: str) -> bool:
    """Random behind the beginning, and with digits as well as letters."""
    body = token[4:]
    return _is_random(body, 12) and any(map(str.isdigit, body)) and any(map(str.isalpha, body))


def _sums_up(token: str) -> bool:
    """The last 6 characters are the CRC-32 of the 30 before, in base 62 (github.blog, 2021-04-05; npm has the same)."""
    rest, digits = crc32(token[-36:-6].encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = _BASE62[digit] + digits
    return digits == token[-6:]


def _is_bech32(key: str) -> bool:
    """The checksum of BIP 173, which age gives its keys."""
    prefix, _, values = key.lower().rpartition("1")
    sum_ = 1
    for value in [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix), *map(_BECH32.index, values)]:
        top, sum_ = sum_ >> 25, (sum_ & 0x1FFFFFF) << 5 ^ value
        for i, part in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            sum_ ^= part if top >> i & 1 else 0
    return sum_ == 1


def _is_jwt(token: str) -> bool:
    """The header is JSON with an algorithm (RFC 7515); the sample of jwt.io is none."""
    header, claims, _ = token.split(".")
    if "bGci" not in header and "YWxn" not in header and "FsZyI" not in header:
        return False  # `alg` in base64, as it falls on the three places: no need to decode the others
    return b'"alg"' in _start_of(header) and b'"John Doe"' not in _start_of(claims)


def _start_of(part: str) -> bytes:
    """What a part of a token begins with; b"" where it is no base64url of JSON."""
    part = part[:8_192]
    raw = urlsafe_b64decode(part + "=" * (-len(part) % 4)) if len(part) % 4 != 1 else b""
    return raw if raw[:2] == b'{"' else b""


FORMATS: Sequence[tuple[str, str, str, Proof]] = (
    ("gh", rf"gh[pousr]_[A-Za-z0-9]{{36}}(?!{_WORD})", "GitHub token", _sums_up),
    ("github_pat_", rf"github_pat_[A-Za-z0-9]{{22}}_[A-Za-z0-9]{{59}}(?!{_WORD})", "GitHub token", _is_mixed),
    (
        "gl",
        rf"gl(?:pat|oas|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat|ffct)-{_WORD}{{20,300}}(?:\.[0-9a-z]{{2,9}}){{0,2}}(?!{_WORD})",
        "GitLab token",
        _is_mixed,
    ),
    ("AIza", rf"AIza{_WORD}{{35}}(?!{_WORD})", "Google API key", _is_mixed),
    ("AGE-", rf"AGE-SECRET-KEY-1[{_BECH32.upper()}]{{58}}(?!{_WORD})", "age key", _is_bech32),
    ("A", rf"A(?:KI|SI)A[A-Z0-9]{{16}}(?!{_WORD})", "AWS access key id", _is_random),
    ("GOCSPX-", rf"GOCSPX-{_WORD}{{28}}(?!{_WORD})", "Google client secret", _is_mixed),
    ("ya29.", rf"ya29\.{_WORD}{{60,2000}}", "Google access token", _is_mixed),
    ("xox", r"xox[abcdeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{24,250}(?![A-Za-z0-9_-])", "Slack token", _is_mixed),
    ("xapp-", r"xapp-[0-9]-[A-Z0-9]{8,16}-[0-9]{8,16}-[0-9a-f]{32,80}(?![A-Za-z0-9_-])", "Slack token", _is_mixed),
    (
        "hooks.",
        r"hooks\.slack\.com/services/T[A-Z0-9]{6,14}/B[A-Z0-9]{6,14}/[A-Za-z0-9]{24}(?![A-Za-z0-9])",
        "Slack webhook",
        _is_mixed,
    ),
    ("sk_", r"sk_live_[A-Za-z0-9]{24,250}(?![A-Za-z0-9_])", "Stripe key", _is_mixed),
    ("rk_", r"rk_live_[A-Za-z0-9]{24,250}(?![A-Za-z0-9_])", "Stripe key", _is_mixed),
    ("sk-ant-", rf"sk-ant-[a-z]{{3,8}}[0-9]{{2}}-{_WORD}{{80,200}}(?!{_WORD})", "Anthropic key", _is_mixed),
    ("sk-or-", rf"sk-or-v1-[0-9a-f]{{64}}(?!{_WORD})", "OpenRouter key", _is_mixed),
    ("sk-", rf"sk-(?:proj|svcacct|admin)-{_WORD}{{40,250}}(?!{_WORD})", "OpenAI key", _is_mixed),
    ("sk-", rf"sk-[A-Za-z0-9]{{48}}(?!{_WORD})", "OpenAI key", _is_mixed),
    (
        "hf_",
        rf"hf_[A-Za-z0-9]{{34}}(?!{_WORD})",
        "Hugging Face token",
        lambda t: _is_random(t[3:], 16) and t[3:].lower() != t[3:],
    ),
    ("npm_", rf"npm_[A-Za-z0-9]{{36}}(?!{_WORD})", "npm token", _sums_up),
    ("pypi-", rf"pypi-AgE{_WORD}{{60,1000}}(?!{_WORD})", "PyPI token", _is_mixed),
    ("SG.", rf"SG\.{_WORD}{{22}}\.{_WORD}{{43}}(?!{_WORD})", "SendGrid key", _is_mixed),
    ("eyJ", rf"eyJ{_WORD}{{10,}}+\.{_WORD}{{4,}}+\.{_WORD}{{10,}}+", "JSON web token", _is_jwt),
    ("-----BEGIN ", r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----", "private key", bool),
)
"""How a token begins, its whole form, its name, and what proves it. The first beginning that fits counts."""

# A start behind a letter, `_` or `-` is none: so no run of such characters is read more than once. Each form begins
# with a character of its own, by which the search skips what begins none; what is before it is looked at after it.
_FORMED = re.compile("|".join(rf"{form[0]}(?<!{_WORD}.){form[1:]}" for _, form, _, _ in FORMATS))
_BY_START: dict[str, list[tuple[str, str, Proof]]] = {}
for _begin, _, _kind, _proof in FORMATS:
    for _start in ("AK", "AS") if _begin == "A" else (_begin[:2],):
        _BY_START.setdefault(_start, []).append((_begin, _kind, _proof))


def _formed(text: str) -> Iterator[Span]:
    """Tokens of a known form, and private keys."""
    at = 0
    while m := _FORMED.search(text, at):
        token, start = m[0], m.start()
        kind, proof = next((kind, proof) for begin, kind, proof in _BY_START[token[:2]] if token.startswith(begin))
        at = start + 3
        end = _key_end(text, m.end()) if token[0] == "-" else m.end()
        if end and proof(token):
            yield start, end, kind
            at = end


_KEY_LINES = re.compile(r"(?:(?:[ \t>]|\\[nr]|\r?\n)*+[A-Za-z0-9+/=]{16,}+)++")
_KEY_LINE = re.compile(r"[A-Za-z0-9+/]{40}")
_KEY_RUN = re.compile(r"[A-Za-z0-9+/=]{16,}")
KEY_CHARS = 65_536
"""No private key is longer."""
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,60}-----")


def _key_end(text: str, begin: int) -> int:
    """Where the private key ends whose first line ends at `begin`; 0 where there is nothing like a key."""
    stop = text.find("-----", begin, begin + KEY_CHARS)
    last = _KEY_END.match(text, stop) if stop >= 0 else None
    if last is None:  # cut off: as far as it looks like one
        lines = _KEY_LINES.match(text, begin, begin + KEY_CHARS)
        stop = end = lines.end() if lines else begin
    else:
        end = last.end()
    found = _KEY_LINE.search(text, begin, stop)
    if found is None or not _is_random(found[0]):
        return 0
    in_lines = sum(len(x) for x in _KEY_RUN.findall(text, begin, stop))
    return end if 2 * in_lines >= stop - begin else 0


def _any_case(words: str) -> str:
    return "".join(f"[{c}{c.upper()}]" if "a" <= c <= "z" else c for c in words)


_NAMES = (
    ("password", ("password", "passwd", "passphrase", "pwd", "passwort", "kennwort", "senha", "_pass", "-pass")),
    ("password", ("mot de passe", "contrase[ñÑ]a", "пароль", "Пароль", "パスワード", "密码", "密碼")),
    ("secret", ("secret", "secret[_-]?key", "secret[_-]?access[_-]?key")),
    ("API key", ("api[_ -]?key", "access[_-]?key", "account[_-]?key", "auth[_-]?key")),
    ("token", ("token", "bearer")),
)
_BY_NAME = frozenset(kind for kind, _ in _NAMES)
_KINDS = tuple(
    (kind, re.compile("|".join(map(_any_case, sorted(names, key=len, reverse=True))))) for kind, names in _NAMES
)
_NAME = "|".join(
    first + _any_case(name[1:])
    for name in sorted((n for _, names in _NAMES for n in names), key=len, reverse=True)
    for first in sorted({name[0], name[0].upper()})
)

# A name, then what stands between it and its value in YAML, JSON, shell, tables and English, then the value; or an
# address with a password in it; or the middle of a token. No part can be read in two ways, or without end.
_NAMED = re.compile(
    rf"(?:{_NAME}|://|Q~|:AA)(?:"
    r"(?<=://)(?P<user>[^\s:@/?#,\"'<>`\[\]]{0,64}+):(?P<pass>[^\s@/\"'<>`\[\]]{3,128}+)@(?P<host>[A-Za-z0-9_.-]{1,253}+)"
    r"|(?<=[A-Za-z0-9_~.-]{3}[78]Q~)(?P<azure>[A-Za-z0-9_~.-]{31,34})(?![A-Za-z0-9_~-])"
    r"|(?<=[0-9]{8}:AA)(?P<bot>[A-Za-z0-9_-]{33})(?![A-Za-z0-9_-])"
    r"|(?<!~)(?<!:AA)(?<!//)[0-9]?[\"'`*_)]{0,4}+"
    r"(?:[ \t]{0,4}+(?:::?|:?=>?|\||：)[ \t]{0,4}+|[ \t](?:is|was|ist|est|es)[ \t:]{1,2}|(?<=[rR])[ \t])[\"'`*]{0,4}+"
    r"(?P<value>[^\s\"'`<>|,;(){}\[\]\\]{8,128}+)(?=[\s\"'`>|,;)}\]\\]|$))"
)

_LIKE_CODE = re.compile(
    r"[$%@!&*#]?(?:[A-Za-z_]++[0-9]{0,2}+(?:[.%-]|(?=_)|$))*+"  # a word, or several: names of variables, too
    r"|[A-Z]+[A-Z0-9_]*_[A-Z0-9_]*"  # the name of an environment variable
    r"|(?:https?:|[.~]?/|[A-Za-z]:|\$).*"  # an address, a path, a variable
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|(?:b2|sha[0-9]{1,3}|md5|blake2b?)[-:].*"
    r"|[0-9TZ:.,+/-]*"  # a date, a number
)
_HEX = re.compile(r"(?:[0-9a-f]{32,128}|[0-9A-F]{32,128})")
_LONG_RUN = re.compile(r"[a-z]{8}|[A-Z]{8}|[0-9]{8}")

_COMMON = frozenset(
    "pass passwd pwd password secret user username root admin postgres guest token foo bar test pw none null".split()
)
"""Passwords in addresses that stand for one."""


def _class_of(letter: str) -> str:
    return "1" if letter.isdigit() else "a" if letter.islower() else "A"


_BY_MIDDLE = {"azure": "Azure client secret", "bot": "Telegram token"}


def _named(text: str) -> Iterator[Span]:
    """Values that their name tells to be secret, passwords in addresses, and tokens known by their middle."""
    at = 0
    while m := _NAMED.search(text, at):
        group = str(m.lastgroup)
        start, at = m.span(group if group != "host" else "pass")
        if group == "value":
            value = m[group].rstrip(".:")
            kind, name = next((kind, found) for kind, names in _KINDS if (found := names.match(m[0])))
            is_cut = m[group].endswith("..")
            if not is_cut and _is_secret_value(value, is_password=kind == "password"):
                yield start, start + len(value), "AWS secret key" if _is_aws(name[0], value) else kind
            else:
                at = m.start() + name.end()
        elif group == "host":
            if _is_own(m["pass"], m["user"], m["host"]):
                yield start, at, "password"
            else:
                at = m.end("user")
        elif _is_mixed(m[0]):
            before = text[m.start() - 10 : m.start()]
            digits = len(before) - len(before.rstrip("0123456789"))
            yield m.start() - (4 if group == "azure" else digits), at, _BY_MIDDLE[group]


_CLASSES = str.maketrans({chr(i): None for i in range(33, 127)} | {c: _class_of(c) for c in _BASE62})
_CHANGE = re.compile("a(?=[A1])|A(?=[a1])|1(?=[aA])")
_SIGN = re.compile("[!@#$%^&*?+=~]")


def _is_secret_value(value: str, *, is_password: bool) -> bool:
    """Whether a value looks made by chance: classes of characters change often in it; or a person's, with a sign."""
    size = len(value)
    if len(set(value)) < (6 if is_password else 10) or size < (8 if is_password else 16) or value.isalpha():
        return False
    classes = value.translate(_CLASSES)
    digits, lower, upper = map(classes.count, "1aA")
    if not digits or lower + upper < 3 or _SAMPLE.search(value.lower()) or _LIKE_CODE.fullmatch(value):
        return False
    if is_password and _SIGN.search(value):
        return True
    if len(_CHANGE.findall(classes)) < 0.3 * (len(classes) - 1):
        return False
    is_dense = bool(lower and upper) or digits >= 2
    return is_dense and (bool(_HEX.fullmatch(value)) or not _LONG_RUN.search(value))


def _is_aws(name: str, value: str) -> bool:
    return "access" in name.lower() and "secret" in name.lower() and len(value) == 40


def _is_own(password: str, user: str, host: str) -> bool:
    """Whether somebody's password stands in an address: not a sample, not the user's name, not for a sample host."""
    low = unquote(password).lower()
    if len(set(low)) < 3 or low in _COMMON or low == user.lower() or _SAMPLE.search(low) or low.isdigit():
        return False
    if any(c in password for c in "${}%*()…") and not re.search(r"%[0-9A-Fa-f]{2}", password):
        return False
    return not re.search(r"(?i)(?:^|\.)(?:example|test|invalid)(?:\.[a-z]+)?$|^(?:.|host(?:name)?)$", host)
