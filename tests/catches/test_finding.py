import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.catches import CATCHES, Observation, Policy, judge, refuse
from safetycatch.catches.finding import findings_from_table, findings_table, parse_overrides, with_matters
from safetycatch.errors import RefusedError, UsageError
from safetycatch.experiment import CatchSettings
from safetycatch.tables import checked

LEAK = Observation("SC501", "fired", "3 rows", "8 points", "check --write-clean", {"rows": 3})
OVERRIDABLE = [code for code, catch in CATCHES.items() if catch.overridable]
REFUSING = [code for code, catch in CATCHES.items() if catch.level == "refuse"]
SEEN = st.sampled_from(["passed", "fired", "not_applicable", "not_checked"])
OBSERVATIONS = st.builds(
    Observation,
    st.sampled_from(list(CATCHES)),
    SEEN,
    st.text(),
    st.text(),
    st.text(),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.floats() | st.integers() | st.none()),
    st.sampled_from([None, "refuse", "warn"]),
)
LEVELS = st.builds(CatchSettings, level=st.sampled_from([None, "refuse", "warn", "off"]))
POLICIES = st.builds(
    Policy,
    st.booleans(),
    st.dictionaries(st.sampled_from(OVERRIDABLE), LEVELS),
    st.dictionaries(st.sampled_from(list(CATCHES)), st.just("known")),
)


def fire(code):
    return Observation(code, "fired", "saw this")


def test_the_four_parts_stand_in_order():
    assert Policy().finding(LEAK).text().splitlines() == [
        "SC501 refused · test rows also appear in the training data",
        "  saw      3 rows",
        "  matters  8 points",
        "  fix      check --write-clean",
        '  or       --override SC501 --because "…"   (shown on top of the report)',
    ]


@given(st.text())
def test_text_from_data_cannot_forge_a_line(text):
    shown = Policy().finding(Observation("SC501", "fired", f"e.g. {text}", "m", "f")).text()
    assert len(shown.splitlines()) == 5
    assert all(line.isprintable() for line in shown.splitlines())


def test_a_warning_can_be_acknowledged(policy):
    assert policy().finding(fire("SC510")).text().endswith('--override SC510 --because "…"   (acknowledges it)')


@pytest.mark.parametrize("code", REFUSING)
def test_a_claim_is_refused(code):
    assert Policy(claiming=True).finding(fire(code)).refuses


@pytest.mark.parametrize("code", REFUSING)
def test_exploring_refuses_only_what_always_does(code):
    finding = Policy(claiming=False).finding(fire(code))
    assert finding.refuses == CATCHES[code].always
    assert finding.level == ("refuse" if CATCHES[code].always else "warn")


def test_a_user_may_be_stricter_while_exploring(policy):
    assert policy(claiming=False, SC501="refuse").finding(LEAK).refuses
    assert policy(claiming=False, SC510="refuse").finding(fire("SC510")).refuses


def test_thresholds_alone_leave_the_level(policy):
    assert policy(SC501={"near": 0.7}).finding(LEAK).level == "refuse"
    assert policy(claiming=False, SC501={"near": 0.7}).finding(LEAK).level == "warn"


def test_a_threshold_is_the_users_else_the_catalogues(policy):
    assert policy(SC501={"near": 0.7}).threshold("SC501", "near") == 0.7
    assert policy(SC501={"near": 0.7}).threshold("SC501", "similar") == 0.6


def test_off_is_shown_and_never_reads_as_passed(policy):
    finding = policy(SC501="off").finding(LEAK)
    assert (finding.level, finding.status, finding.reason) == ("off", "not_checked", "switched off in the settings")
    assert not finding.refuses
    assert "3 rows" in finding.text()


def test_an_override_is_shown_with_its_reason(policy):
    finding = policy(overrides={"SC501": "the rows are public"}).finding(LEAK)
    assert (finding.status, finding.refuses, finding.alternative) == ("overridden", False, "")
    assert finding.text().splitlines()[0].startswith("SC501 overridden")
    assert finding.text().splitlines()[-1] == "  because  the rows are public"


def test_a_warning_is_acknowledged(policy):
    assert policy(overrides={"SC510": "one language"}).finding(fire("SC510")).status == "acknowledged"


def test_what_passed_is_not_overridden(policy):
    finding = policy(overrides={"SC501": "why"}).finding(Observation("SC501", "passed", "nothing"))
    assert (finding.status, finding.reason) == ("passed", None)


@pytest.mark.parametrize("code", [code for code in CATCHES if code not in OVERRIDABLE])
def test_what_would_lose_data_cannot_be_overridden(policy, code):
    finding = policy(claiming=False, overrides={code: "I must"}).finding(fire(code))
    assert finding.refuses or finding.pauses
    assert finding.alternative == ""
    with pytest.raises(UsageError, match=f"{code} cannot be overridden"):
        parse_overrides([code], "I must")


def test_refuse_raises_with_every_text(policy):
    findings = judge([LEAK, fire("SC201"), fire("SC510")], policy())
    with pytest.raises(RefusedError) as caught:
        refuse(findings)
    assert [finding.code for finding in caught.value.findings] == ["SC201", "SC501"]
    assert str(caught.value) == "\n\n".join(finding.text() for finding in caught.value.findings)
    assert caught.value.exit_code == 10


def test_warnings_refuse_nothing(policy):
    refuse(judge([fire("SC510"), Observation("SC501", "passed", "nothing")], policy()))


def test_judge_keeps_the_gravest(policy):
    template = Observation("SC501", "fired", "templates", level="warn")
    passed, unknown = Observation("SC501", "passed", "x"), Observation("SC501", "not_checked", "y")
    assert [finding.saw for finding in judge([passed, LEAK, template, unknown], policy())] == ["3 rows"]
    assert [finding.saw for finding in judge([template, LEAK], policy())] == ["3 rows"]


def test_judge_keeps_the_later_of_equals(policy):
    first, second = Observation("SC703", "fired", "first"), Observation("SC703", "fired", "second")
    assert judge([first, second], policy())[0].saw == "second"


def test_judge_orders_by_code(policy):
    found = judge([fire("SC1202"), fire("SC201"), fire("SC901"), fire("SC501")], policy())
    assert [finding.code for finding in found] == ["SC201", "SC501", "SC901", "SC1202"]


@given(st.lists(OBSERVATIONS, max_size=6), POLICIES)
def test_a_refusal_survives_any_company(observations, policy):
    alone = {observation.code for observation in observations if policy.finding(observation).refuses}
    assert {finding.code for finding in judge(observations, policy) if finding.refuses} == alone


@given(st.lists(OBSERVATIONS, max_size=5), POLICIES)
def test_findings_keep_their_contract_and_come_back(observations, policy):
    findings = judge(observations, policy)
    written = checked(findings_table(findings), "findings")
    sink = pa.BufferOutputStream()
    pq.write_table(written, sink)
    again = findings_from_table(pq.read_table(pa.BufferReader(sink.getvalue())))
    assert [finding.row() for finding in again] == written.to_pylist()
    assert [finding.text() for finding in again] == [finding.text() for finding in findings]


def test_undefined_evidence_is_null():
    evidence = {"luck": math.nan, "n": np.int64(3), "rates": {"a": np.float64(0.5), "b": -math.inf}, "ids": ("x",)}
    row = Policy().finding(Observation("SC205", "fired", "x", evidence=evidence)).row()
    assert json.loads(row["evidence"]) == {"luck": None, "n": 3, "rates": {"a": 0.5, "b": None}, "ids": ["x"]}


def test_the_fingerprint_is_of_what_was_looked_at():
    other = Observation("SC501", "fired", "other words", evidence={"rows": 3})
    assert Policy().finding(LEAK).row()["fingerprint"] == Policy().finding(other).row()["fingerprint"]


def test_the_number_it_changes_can_come_later():
    assert with_matters(Policy().finding(LEAK), "82.6 % is 81.2 %").matters == "82.6 % is 81.2 %"


@pytest.mark.parametrize("because", [None, "", "  "])
def test_an_override_needs_a_reason(because):
    with pytest.raises(UsageError, match="--override without a reason"):
        parse_overrides(["SC501"], because)


def test_a_reason_needs_an_override():
    with pytest.raises(UsageError, match="--because without --override"):
        parse_overrides([], "why")


def test_an_unknown_code_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean SC501"):
        parse_overrides(["sc501"], "why")


def test_overrides_are_read():
    assert parse_overrides(["SC501", "SC510"], " why ") == {"SC501": "why", "SC510": "why"}
    assert parse_overrides([], None) == {}
