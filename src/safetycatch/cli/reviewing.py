"""`review`: a local page on which people label answers, and read the rows of a run."""

from __future__ import annotations

import contextlib
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import EXIT_OK, InputError, StoppedError, UsageError

if TYPE_CHECKING:
    from safetycatch.cli.output import Output
    from safetycatch.review.taking import Taken
    from safetycatch.store import Store, StoredRun
    from safetycatch.store.label_sets import LabelSet

PANEL = "People"
EXPERIMENTS = (".yaml", ".yml")
MANY = 10_000


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command(rich_help_panel=PANEL)(review)


def review(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[EXPERIMENT|RUN|FILE|SET]",
            help="An experiment (its newest run), a run id, 'last' (the default), a file of inputs and outputs, or a "
            "label set.",
        ),
    ] = None,
    set_name: Annotated[str | None, typer.Option("--set", help="The label set's name, below labels/.")] = None,
    annotator: Annotated[str | None, typer.Option("--as", help="Who labels; default: your login name.")] = None,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="About so many answers, when a set is made.")] = 200,
    candidate: Annotated[str | None, typer.Option(help="Answers of this candidate only.")] = None,
    input_column: Annotated[str | None, typer.Option("--input", help="FILE's column of inputs.")] = None,
    output_column: Annotated[str | None, typer.Option("--output", help="FILE's column of answers.")] = None,
    rows: Annotated[bool, typer.Option("--rows", help="Read a run's rows only; no label set is made.")] = False,
    query: Annotated[
        str, typer.Option("--filter", help="With --rows: what their address says behind its ?, as 'score=wrong'.")
    ] = "",
    csv: Annotated[Path | None, typer.Option("--csv", help="With --rows: write them to a new file, and end.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="On 127.0.0.1; 0 takes a free one.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="The link as one line of JSON; then it serves.")] = False,
) -> int:
    """Label answers on a local page, blind and by keyboard; name failure modes; read a run's rows."""
    from safetycatch.cli.output import Output
    from safetycatch.review.app import Review, create_app
    from safetycatch.review.desk import Desk
    from safetycatch.review.serving import bound, keys_of, serve

    if (query or csv is not None) and not rows:
        raise UsageError("--filter and --csv are about a run's rows", fix="safetycatch review last --rows …")
    output, who = Output(json=json), _annotator(annotator)
    source = _Source(what, set_name)
    store, run = source.run()
    opened = None if rows else _label_set(source, store, run, n, candidate, (input_column, output_column), output)
    if rows and (run is None or store is None):
        raise UsageError("no run whose rows could be read", where="--rows", fix="safetycatch review last --rows")
    labels = _labels_there(source, run, candidate) if rows else None
    if csv is not None and store is not None and run is not None:
        from safetycatch.cli.rows_file import write_rows

        write_rows(store, run, labels, query, csv, output)
        return EXIT_OK
    listener = bound(port)
    keys = keys_of(listener)
    desk = None
    if opened is not None:
        words = ["safetycatch", "review", str(source.shown(opened.folder)), "--as", who, "--port", str(keys.port)]
        desk = Desk(opened, annotator=who, again=shlex.join(words), now=lambda: datetime.now(UTC))
    app = create_app(Review(desk, store, run, labels, query.lstrip("?")), keys)
    # Ctrl-C is how the page is closed.
    with contextlib.closing(listener), contextlib.suppress(KeyboardInterrupt, StoppedError):
        _tell(output, keys.url(), opened, run, who, source)
        serve(app, listener)
    if opened is not None:
        saved = {name: desk.saved(name) for name in opened.annotators()} if desk is not None else {}
        told = ", ".join(f"{name} {count:,}" for name, count in saved.items() if count) or "none"
        output.field("saved", f"{told} · {source.shown(opened.folder)}")
    return EXIT_OK


def _annotator(given: str | None) -> str:
    """Return who labels. Raises: InputError for a name that cannot be a file's."""
    import getpass

    from safetycatch.identity import checked_name

    if given is not None:
        return checked_name(given, "--as")
    try:
        return checked_name(getpass.getuser().lower(), "your login name")
    except (InputError, OSError, KeyError):
        raise UsageError(
            "your login name cannot name a file", where="--as", fix="safetycatch review … --as NAME"
        ) from None


class _Source:
    """What the command line names: `path` where it is a file or folder, else a run."""

    def __init__(self, what: str | None, set_name: str | None) -> None:
        from safetycatch.cli.label_people import folder_of, is_set, near_set

        self.what, self.set_name = what, set_name
        path = Path(what) if what else None
        self.file = path if path is not None and path.is_file() else None
        if path is not None and self.file is None and path.suffix and not path.is_dir():
            from safetycatch.data.reading import KINDS

            if path.suffix.lower() in {*KINDS, *EXPERIMENTS}:
                from safetycatch.configuration import near_file

                raise UsageError("no such file", where=str(path), fix=near_file(path))
        self.experiment = self.file if self.file is not None and self.file.suffix.lower() in EXPERIMENTS else None
        self.base = self.experiment.parent if self.experiment is not None else Path()
        named = what if what is not None and self.file is None else (set_name if what is None else None)
        self.folder = folder_of(named) if named is not None and is_set(folder_of(named)) else None
        # A run's id has no folder before it.
        if path is not None and self.file is None and self.folder is None and len(path.parts) != 1:
            near = near_set(str(path))
            fix = f"safetycatch review {near}" if near else "safetycatch review FILE, or a run of `safetycatch ls`"
            raise UsageError("no label set or file", where=str(path), fix=fix)
        if what is None and set_name is not None and self.folder is None:
            raise UsageError(
                f"no label set {set_name[:80]!r}",
                where=str(folder_of(set_name)),
                fix=f"safetycatch review last --set {set_name}",
            )

    def run(self) -> tuple[Store | None, StoredRun | None]:
        """Return the store and the run that is meant; none of a plain file, or of a set whose run is not here."""
        from safetycatch.cli.reading import load, open_store
        from safetycatch.store.label_sets import LabelSet

        if self.folder is not None:
            run_id = LabelSet.open(self.folder).settings.source.get("run")
            if not isinstance(run_id, str) or open_store() is None:
                return None, None
            with contextlib.suppress(UsageError):
                return open_store(), load(run_id)
            return None, None
        if self.experiment is not None:
            return self._newest(self.experiment)
        if self.file is not None:
            return None, None
        return open_store(), self._named()

    def _named(self) -> StoredRun:
        from safetycatch.cli.label_people import near_set
        from safetycatch.cli.reading import load

        if self.what is None:
            return load("last")
        try:
            return load(self.what)
        except UsageError as error:
            near = near_set(self.what)
            if not near:
                raise
            raise UsageError(
                f"no run, label set or file {self.what[:80]!r} ({error.found})", fix=f"safetycatch review {near}"
            ) from None

    def _newest(self, path: Path) -> tuple[Store, StoredRun]:
        from safetycatch import load_experiment
        from safetycatch.project import find_project
        from safetycatch.store import Runs, Store

        experiment = load_experiment(path)
        name, root = experiment.name, find_project(path).store_root
        store = Store.open(root) if root.is_dir() else None
        runs = Runs(store).ls(MANY) if store is not None else []
        newest = next((run for run in runs if run.name == name and run.status == "done"), None)
        if store is None or newest is None:
            again = f"safetycatch run {shlex.quote(str(path))}"
            if experiment.claiming and experiment.judge is not None:
                # SC101 refuses the claim for want of the labels that this command is to make.
                again = f"take `claim:` out of it for now, so that it explores, then {again}, then this command again"
            raise UsageError("this experiment has no finished run", where=str(path), fix=again)
        return store, newest

    def shown(self, folder: Path) -> Path:
        """Return a folder as the user would type it."""
        folder = folder.absolute()
        return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _label_set(
    source: _Source,
    store: Store | None,
    run: StoredRun | None,
    n: int,
    candidate: str | None,
    columns: tuple[str | None, str | None],
    output: Output,
) -> LabelSet:
    """Return the label set that is meant: one that is there, else a new one of the source's answers."""
    from safetycatch.cli.label_people import is_set
    from safetycatch.store.label_sets import LABELS, LabelSet

    if source.folder is not None:
        return LabelSet.open(source.folder)
    folder = source.base / LABELS / (source.set_name or _name_of(source, run, candidate))
    if is_set(folder):
        found = LabelSet.open(folder)
        own = found.settings.source.get("run")
        if run is not None and own != run.run_id:
            output.field("note", f"{folder} holds answers of {own or 'a file'}; another --set NAME takes this run's")
        return found
    return _made(folder, _taken(source, store, run, candidate, columns), n, source, output)


def _labels_there(source: _Source, run: StoredRun | None, candidate: str | None) -> LabelSet | None:
    """Return the label set that a run's labels would lie in, or its `judge.labels`; None where none is there."""
    from safetycatch.cli.label_people import is_set
    from safetycatch.store.label_sets import LABELS, LabelSet

    folder = source.folder or source.base / LABELS / (source.set_name or _name_of(source, run, candidate))
    others = () if run is None or source.folder or source.set_name else _judge_labels(run)
    return next((LabelSet.open(path) for path in (folder, *others) if is_set(path)), None)


def _judge_labels(run: StoredRun) -> list[Path]:
    """Return where a run's `judge.labels` may lie: beside the file that its command names."""
    from safetycatch.project import find_project

    named = ((run.manifest.get("config") or {}).get("judge") or {}).get("labels")
    root = find_project(Path.cwd()).root
    words = [root / word for word in shlex.split(str(run.summary.get("command") or ""))[2:]]
    return [word.parent / named for word in words if word.is_file()] if named else []


def _name_of(source: _Source, run: StoredRun | None, candidate: str | None) -> str:
    from safetycatch.identity import checked_name

    if run is not None:
        return run.run_id + (f"-{candidate}" if candidate else "")
    stem = source.file.stem.lower() if source.file is not None else ""
    try:
        return checked_name(stem, "label set")
    except InputError as error:
        return error.fix


def _taken(
    source: _Source,
    store: Store | None,
    run: StoredRun | None,
    candidate: str | None,
    columns: tuple[str | None, str | None],
) -> Taken:
    from safetycatch.review.taking import from_file, from_run

    if run is not None and store is not None:
        return from_run(store, run, candidate=candidate)
    if source.file is None:
        raise UsageError("nothing to label", where="safetycatch review", fix="safetycatch review last")
    return from_file(source.file, input_column=columns[0], output_column=columns[1])


def _made(folder: Path, taken: Taken, n: int, source: _Source, output: Output) -> LabelSet:
    from dataclasses import replace

    from safetycatch.identity import canonical_json, derive_seed
    from safetycatch.review.sampling import chosen
    from safetycatch.store.label_sets import LabelSet

    seed = derive_seed(0, "labels", folder.name, canonical_json(taken.settings.source).decode())
    found = chosen(taken.answers, n=n, seed=seed, interest=taken.interest)
    origin: dict[str, Any] = {**taken.settings.source, "n_answers": len(taken.answers), "picked": found.picked}
    made = LabelSet.create(
        folder, found.items, replace(taken.settings, seed=seed, source=origin), now=datetime.now(UTC)
    )
    output.block("note", list(taken.notes))
    n_picked, n_shown = sum(found.picked.values()), made.n_answers
    reasons = ", ".join(f"{reason} {count}" for reason, count in found.picked.items())
    n_all = len({(answer["example_id"], answer["output_hash"]) for answer in taken.answers})
    output.field(
        "made",
        f"{source.shown(folder)}: {n_shown - n_picked:,} answers drawn at random of {n_all:,}"
        + (f", {n_picked:,} picked ({reasons})" if n_picked else ""),
    )
    return made


def _tell(output: Output, url: str, opened: LabelSet | None, run: StoredRun | None, who: str, source: _Source) -> None:
    output.document(
        {
            "url": url,
            "set": opened.name if opened is not None else None,
            "folder": str(opened.folder.absolute()) if opened is not None else None,
            "answers": opened.n_answers if opened is not None else 0,
            "annotator": who,
            "run": run.run_id if run is not None else None,
        },
        line=True,
    )
    if opened is not None:
        output.field("set", f"{source.shown(opened.folder)} · {opened.n_answers:,} answers · labelling as {who}")
        output.block("note", opened.notes)
    output.field("open", url)
    output.field("", "on this machine only, until Ctrl-C; the link is another one at every start")
