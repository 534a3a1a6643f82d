"""What the scanners see in code, and what they must not be talked out of."""

from __future__ import annotations

import shutil

import pytest
import yaml

from forja.evaluation.code_scan import NOT_SCANNED, SEVERE, scan
from forja.evaluation.code_scan import RULES as OWN

HEAD = "import os\ndef run(text):\n    "


def test_a_scan_finds_what_is_severe_and_where() -> None:
    told = scan([HEAD + "return eval(text)\n", HEAD + "return text.strip()\n", "def broken(:"])
    assert ("B307", 78, 3) in [(one.rule, one.cwe, one.line) for one in told[0]]
    assert told[1] == told[2] == []


def test_what_is_of_low_severity_does_not_count() -> None:
    assert scan(["import subprocess\nassert subprocess\n"]) == [[]]


def test_a_comment_silences_no_scanner() -> None:
    assert scan([HEAD + "return eval(text)  # nosec # nosemgrep\n"])[0]


def test_what_a_scanner_fails_on_is_not_taken_for_secure() -> None:
    told = scan(["# coding: no-such-thing\nx = eval(y)\n", "x = 1\n"])
    assert NOT_SCANNED in [one.rule for one in told[0]]
    assert told[1] == []


def test_many_pieces_are_scanned_at_once_and_told_apart() -> None:
    codes = [HEAD + ("return eval(text)\n" if number % 3 == 0 else "return text\n") for number in range(60)]
    assert [bool(found) for found in scan(codes)] == [number % 3 == 0 for number in range(60)]


FLASK = "from flask import *\nimport jwt, ldap, lxml.etree, os, re, requests, ssl, traceback, logging\n"
RULES = {
    "eval-of-a-value": ("eval(x)", "eval('1')"),
    "shell-command-of-a-value": ("os.system('ls ' + x)", "os.system('ls')"),
    "sql-of-a-value": ("x.execute('a' + y)", "x.execute('a ?', (y,))"),
    "pickle-of-a-value": ("import pickle; pickle.loads(x)", "import json; json.loads(x)"),
    "unsafe-yaml": ("import yaml; yaml.load(x)", "import yaml; yaml.load(x, Loader=yaml.SafeLoader)"),
    "certificate-unchecked": ("requests.get(x, verify=False)", "requests.get(x, timeout=1)"),
    "certificate-or-host-unchecked": ("c = ssl.create_default_context(); c.check_hostname = False", "x.host = False"),
    "xml-with-entities": (
        "lxml.etree.XMLParser(resolve_entities=True)",
        "lxml.etree.XMLParser(resolve_entities=False)",
    ),
    "token-unchecked": ("jwt.decode(x, verify=False)", "jwt.decode(x, y, algorithms=['HS256'])"),
    "password-in-code": ("x.connect(host=y, password='hunter2')", "x.connect(host=y, password=os.environ['P'])"),
    "error-told-to-the-asker": ("return traceback.format_exc()", "logging.error(traceback.format_exc())"),
    "redirect-to-what-a-request-says": ("return redirect(request.args['a'])", "return redirect(url_for('home'))"),
    "page-of-what-a-request-says": ("return 'Hi ' + request.args['a']", "return 'Hi ' + escape(request.args['a'])"),
    "template-of-what-a-request-says": (
        "t = request.form['a']; return render_template_string(t)",
        "return render_template_string('{{ a }}', a=request.form['a'])",
    ),
    "file-of-what-a-request-says": (
        "return open(os.path.join('a', request.args['a'])).read()",
        "return open(os.path.join('a', secure_filename(request.args['a']))).read()",
    ),
    "address-of-what-a-request-says": (
        "requests.get(request.args['a'], timeout=1)",
        "requests.get('https://example.org', params={'a': request.args['a']}, timeout=1)",
    ),
    "header-of-what-a-request-says": (
        "x.headers['A'] = request.args['a']",
        "x.headers['A'] = str(int(request.args['a']))",
    ),
    "pattern-of-what-a-request-says": ("re.search(request.args['a'], x)", "re.search('a+', request.args['a'])"),
    "query-of-what-a-request-says": (
        "q = request.args['a']; x.search_s(y, ldap.SCOPE_SUBTREE, '(a=%s)' % q)",
        "q = request.args['a']; x.execute('SELECT ?', (q,))",
    ),
    "log-of-what-a-request-says": ("logging.info(request.args['a'])", "logging.info(repr(request.args['a']))"),
}


def test_each_of_the_own_rules_sees_its_weakness_and_not_its_mending() -> None:
    if not shutil.which("semgrep"):
        pytest.skip("semgrep is missing: Forja's own rules are NOT tried")
    codes = [f"{FLASK}def f(x, y):\n    {line}\n" for pair in RULES.values() for line in pair]
    told = [[one.rule for one in found] for found in scan(codes)]
    assert [rule for rule, found in zip(RULES, told[::2], strict=True) if rule not in found] == []
    assert [rule for rule, found in zip(RULES, told[1::2], strict=True) if rule in found] == []


def test_every_own_rule_is_tried_and_says_what_it_is_of() -> None:
    rules = [rule for path in sorted(OWN.glob("*.yaml")) for rule in yaml.safe_load(path.read_text())["rules"]]
    assert sorted(rule["id"] for rule in rules) == sorted(RULES)
    assert all(rule["severity"] in SEVERE and rule["metadata"]["cwe"] > 0 and rule["message"] for rule in rules)
