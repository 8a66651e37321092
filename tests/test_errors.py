import re

import pytest

from safetycatch import errors


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = set(re.findall(r"(\w+Error)\b", errors.__doc__ or "")) - {"ValueError"}
    there = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert drawn == there


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ExperimentError("x"), 2),
        (errors.DataError("x"), 2),
        (errors.UsageError("x"), 2),
        (errors.StatisticsError("x"), 2),
        (errors.RefusedError("x"), 10),
        (errors.StoreError("x"), 10),
        (errors.ApprovalNeededError("x"), 30),
        (errors.BudgetReachedError("x"), 40),
        (errors.ProviderUnusableError("x"), 50),
        (errors.StoppedError("x"), 130),
        (errors.StoppedError("x", 15), 143),
    ],
)
def test_exit_codes(error, code):
    assert error.exit_code == code
    assert isinstance(error, errors.SafetycatchError)


def test_a_message_says_where_what_was_expected_and_what_to_type():
    error = errors.InputError("found 5", where="x.yaml: data", expected="a path", fix="data: a.csv")
    assert str(error) == "x.yaml: data: found 5\n  expected a path\n  fix      data: a.csv"
    assert str(errors.InputError("found 5")) == "found 5"


def test_a_statistic_that_is_undefined_is_a_value_error_too():
    with pytest.raises(ValueError, match="n is 0"):
        raise errors.StatisticsError("n is 0")
