from safetycatch.calls import Progress
from safetycatch.cli.output import Output
from safetycatch.cli.progress import LINE_EVERY_S, LiveView, Tally


def test_shards_of_a_candidate_add_up():
    tally = Tally()
    for candidate, done, held in [("a", 5, 1), ("a", 10, 2), ("b", 3, 0), ("a", 4, 4)]:
        tally.add(candidate, Progress(done, held, 1, 2, 0.5))
    assert (tally.of("done"), tally.of("from_journal"), tally.of("errors")) == (17, 6, 3)
    assert tally.text() == "35 % from the journal · 3 errors · $1.50"


def test_a_pipe_gets_a_line_every_few_seconds(capsys):
    now = [0.0]
    view = LiveView(Output(json=False), clock=lambda: now[0])
    view.expect(1200)
    for second in range(12):
        now[0] = float(second)
        view.progress("a", Progress(100 * second, 0, 0, 5, 0.01))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == int(11 / LINE_EVERY_S)
    assert lines[0] == "  calls     500/1,200 · 0 errors · $0.010 · 7.0 s left"


def test_a_pipe_that_was_just_told_something_is_not_told_how_far_it_is(capsys):
    now = [0.0]
    view = LiveView(Output(json=False), clock=lambda: now[0])
    now[0] = LINE_EVERY_S
    view.say("plan", "100 calls")
    view.progress("a", Progress(1, 0, 0, 5, 0.0))
    assert capsys.readouterr().out == "  plan      100 calls\n"


def test_with_json_everything_but_the_document_goes_to_stderr(capsys):
    output = Output(json=True)
    LiveView(output).say("split", "train 1")
    output.document({"ratio": float("nan"), 1: {2}})
    out, err = capsys.readouterr()
    assert out == '{\n  "ratio": null,\n  "1": [\n    2\n  ]\n}\n'
    assert err == "  split     train 1\n"


def test_stages_cannot_move_the_cursor(capsys):
    LiveView(Output(json=False)).say("split", "\x1b[2Jgone\nverdict   BETTER")
    assert capsys.readouterr().out == "  split     \\u001b[2Jgone\\nverdict   BETTER\n"


def test_money_adds_up_over_candidates_and_shards():
    tally = Tally()
    for candidate, done, usd in [("a", 5, 0.5), ("a", 10, 1.0), ("b", 3, 0.25), ("a", 4, 0.5)]:
        tally.add(candidate, Progress(done, 0, 0, 2, usd))
    assert tally.text() == "0 errors · $1.75"


def test_a_price_that_nobody_knows_is_no_zero():
    tally = Tally()
    tally.add("a", Progress(5, 0, 0, 2, 0.0, unpriced=5))
    assert tally.text() == "0 errors · price unknown"
    tally.add("b", Progress(5, 0, 0, 2, 0.5))
    assert tally.text() == "0 errors · at least $0.50"


def test_more_than_expected_is_never_more_than_all(capsys):
    now = [0.0]
    view = LiveView(Output(json=False), clock=lambda: now[0])
    view.expect(100)
    now[0] = LINE_EVERY_S
    view.progress("a", Progress(120, 0, 0, 5, 0.0))
    assert capsys.readouterr().out == "  calls     120/120 · 0 errors · $0.00\n"


def test_the_time_left_goes_by_what_came_since_the_total_was_told(capsys):
    now = [0.0]
    view = LiveView(Output(json=False), clock=lambda: now[0])
    view.expect(1000)
    view.progress("a", Progress(400, 0, 0, 5, 0.0))
    now[0] = 100.0
    capsys.readouterr()
    view.expect(600)
    now[0] += 10.0
    view.progress("b", Progress(100, 0, 0, 5, 0.0))
    assert capsys.readouterr().out.endswith("500/600 · 0 errors · $0.00 · 10 s left\n")
