"""A user's own scorer: a function of output, target and row, named `module:function`."""

from __future__ import annotations

import importlib
import inspect
import math
from typing import TYPE_CHECKING, Any, cast, get_args

from safetycatch.errors import ExperimentError
from safetycatch.scoring.scorer import Scorer, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def own(name: str) -> Scorer:
    """Return the scorer of the function `module:function`, called as `function(output, target, row)`.

    It returns a number in any range (between 0 and 1 where its unit is points), a boolean, or NaN or None for
    "undefined". It sees every reply that came, refusals and cut ones too (`row["status"]`). `function.higher_is_better`
    and `function.unit` are read when they are there. Its values are not taken for 0 or 1, so it is no rate.

    Raises: ExperimentError when the module or function is not there or cannot be called so.
    """
    function = _function(name)
    unit = getattr(function, "unit", "score")
    if unit not in get_args(Unit):
        raise ExperimentError(
            f"the unit {unit!r} is unknown", where=f"scorer {name}", expected=", ".join(get_args(Unit))
        )

    def score(parsed: str | None, target: str, row: Mapping[str, Any]) -> float:
        where = f"scorer {name}, example {row.get('example_id', '?')}"
        try:
            value = function(parsed if parsed is not None else "", target, row)
        except Exception as error:
            raise ExperimentError(f"{type(error).__name__}: {error}", where=where) from error
        number = _number(value, where)
        if unit == "points" and not (math.isnan(number) or 0 <= number <= 1):
            raise ExperimentError(
                f"returned {number:g}",
                where=where,
                expected="a share between 0 and 1, since its unit is points",
                fix=f"divide it, or leave out {name.partition(':')[2]}.unit: a score may have any range",
            )
        return number

    higher = bool(getattr(function, "higher_is_better", True))
    return Scorer(name, cast("Unit", unit), higher, "item", False, str, score, raw=True)


def _number(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    try:
        number = float(value) if not isinstance(value, str) else None
    except (TypeError, ValueError):
        number = None
    if number is None or math.isinf(number):
        raise ExperimentError(
            f"returned {value!r:.80}", where=where, expected="a finite number, a boolean, or NaN for undefined"
        )
    return number


def _function(name: str) -> Callable[..., Any]:
    where = f"scorer {name}"
    module_name, _, function_name = name.partition(":")
    if not function_name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise ExperimentError("not a function's name", where=where, expected="module:function")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = f"no module named {error.name!r}"
        raise ExperimentError(missing, where=where, fix="run from the folder that holds it, or install it") from None
    except Exception as error:
        raise ExperimentError(f"importing it failed: {type(error).__name__}: {error}", where=where) from error
    function = getattr(module, function_name, None)
    if function is None:
        offered = [key for key, item in vars(module).items() if inspect.isfunction(item) and not key.startswith("_")]
        raise ExperimentError(
            f"{module_name} has no {function_name!r}", where=where, expected=", ".join(offered[:10]) or "a function"
        )
    if not callable(function):
        raise ExperimentError(f"{function_name} is not a function", where=where)
    if inspect.iscoroutinefunction(function):
        raise ExperimentError("an async function cannot score", where=where, expected="a plain function")
    try:
        inspect.signature(function).bind("", "", {})
    except TypeError as error:
        raise ExperimentError(str(error), where=where, expected="function(output, target, row)") from None
    except ValueError:
        pass  # a built-in without a signature: found out at the first call
    return function
