"""Function calls are read in OpenAI's form and in the plain one."""

import pytest

from winnow.records.shapes import Unusable
from winnow.records.trainers.calls import read_calls

ADD = {"name": "add", "arguments": {"a": 1}}


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "add", "arguments": {"a": 1}}',
        '[{"name": "add", "arguments": {"a": 1}}]',
        '{"name": "add", "arguments": "{\\"a\\": 1}"}',
        '[{"id": "x", "type": "function", "function": {"name": "add", "arguments": "{\\"a\\": 1}"}}]',
    ],
)
def test_every_usual_form_is_the_same_call(text: str):
    assert read_calls(text) == [ADD]


def test_arguments_that_are_not_json_stay_text():
    assert read_calls('{"name": "run", "arguments": "ls -l"}') == [{"name": "run", "arguments": "ls -l"}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("weather()", "a function call is not JSON"),
        ("[]", "a function call is an empty list"),
        ('"weather"', "a function call lacks `name`"),
        ('{"function": "weather"}', "a function call lacks `name`"),
        ('{"arguments": {}}', "a function call lacks `name`"),
        ('{"name": "weather"}', "a function call lacks `arguments`"),
        ('{"name": "weather", "arguments": null}', "a function call lacks `arguments`"),
    ],
)
def test_other_text_is_no_call(text: str, reason: str):
    with pytest.raises(Unusable, match=reason):
        read_calls(text)
