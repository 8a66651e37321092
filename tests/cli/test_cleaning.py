import pyarrow as pa
import pytest
from pyarrow import parquet

from safetycatch.cli.cleaning import write_clean_copy
from safetycatch.errors import UsageError

ROWS = [{"id": str(n), "input": f'line, "{n}"\nmore', "target": "x"} for n in range(4)]


def _data(folder, kind):
    path = folder / f"t{kind}"
    if kind == ".parquet":
        parquet.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == ".jsonl":
        import json

        path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    else:
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["id", "input", "target"], delimiter="\t" if kind == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(ROWS)
    (folder / "x.yaml").write_text(f"data: {{path: t{kind}, id: id}}\nprompts: [p.md]\nmodels: [sandbox/echo]\n")
    return path


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_the_copy_lacks_the_leaked_rows_only(tmp_path, kind):
    from safetycatch.data.loading import load_examples
    from safetycatch.settings import DataSettings

    path = _data(tmp_path, kind)
    before = path.read_bytes()
    copy = write_clean_copy(tmp_path / "x.yaml", {"data": str(path), "leaked_ids": ["1", "3"]})
    assert (copy.path.name, copy.n_kept, copy.n_left_out) == (f"t.clean{kind}", 2, 2)
    kept = load_examples(DataSettings(path=copy.path.name, id="id"), root=tmp_path).table
    assert kept["example_id"].to_pylist() == ["0", "2"]
    assert kept["input"].to_pylist() == [ROWS[0]["input"], ROWS[2]["input"]]
    assert path.read_bytes() == before


def test_another_file_of_that_name_is_not_overwritten(tmp_path):
    path = _data(tmp_path, ".csv")
    (tmp_path / "t.clean.csv").write_text("mine")
    with pytest.raises(UsageError, match="another file"):
        write_clean_copy(tmp_path / "x.yaml", {"data": str(path), "leaked_ids": []})
    assert (tmp_path / "t.clean.csv").read_text() == "mine"


def test_check_refuses_leaks_and_its_copy_passes(command, tmp_path):
    words = ["red", "green", "blue", "white", "black", "brown", "grey", "pink"]
    texts = [f"please paint my {word} bicycle in {other} today" for word in words for other in words]
    lines = ["input,target,part"]
    lines += [f"{text},{'ab'[n % 2]},{'train' if n % 2 else 'test'}" for n, text in enumerate(texts)]
    lines += [f"{texts[1]},b,test", f"{texts[3]},b,test"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "p.md").write_text("a or b?")
    text = (
        "data: t.csv\nsplit: {column: part}\ntask: classify\nbudget: $1\n"
        "claim: {metric: accuracy, smallest_effect: 0.2}\ndefaults: {prompt: p.md, model: sandbox/echo}\n"
        "candidates: [{id: a}, {id: b, params: {seed: 1}}]\n"
        "catches: {SC511: warn}\n"
    )
    (tmp_path / "x.yaml").write_text(text)
    ended = command("check", "x.yaml", "--write-clean", cwd=tmp_path)
    assert ended.code == 10, ended
    assert "SC501 refused" in ended.out
    assert "t.clean.csv" in ended.out
    (tmp_path / "x.yaml").write_text(text.replace("t.csv", "t.clean.csv"))
    ended = command("check", "x.yaml", "--json", cwd=tmp_path)
    fired = [row["code"] for row in ended.document["findings"] if row["status"] == "fired" and row["level"] == "refuse"]
    assert fired == []
