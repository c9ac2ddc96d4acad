"""`kedro fetch`: what a recipe needs, from a server that plays the hub, and without a network."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from support.hub import Hub, hub
from support.study import KEDRO, PROJECT, Study
from winnow.commands.fetch import fetch
from winnow.commands.recipes import RECIPES
from winnow.errors import BadSetting, MissingResource
from winnow.fetch import IGNORED, DataSource, Item, data_in, models_in
from winnow.paths import located
from winnow.recipes import read_recipe, read_sources

PICKLES = {"pytorch_model.bin": b"pickle", "original/consolidated.00.pth": b"pickle"}
WEIGHTS = {"config.json": b"{}", "model.safetensors": b"weights", **PICKLES}
ROWS = {"main/a.parquet": b"rows", "main/b.csv": b"other", "README.md": b"card"}
RECIPE = {
    "run": {"params": {"model": {"base": "someone/model"}, "warmup": {"less": {"base": "someone/model"}}}},
    "fetch": [{"repo": "someone/data", "files": ["main/*.parquet"], "to": "data/01_raw/x"}],
}


def write(folder: Path, **parts: Any) -> Path:
    path = folder / "mine.yml"
    path.write_text(yaml.safe_dump({**RECIPE, **parts}))
    return path


def run(study: Study, recipe: Path, endpoint: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(study.folder / "hf"), "HF_HUB_DISABLE_XET": "1", **environment}
    command = [str(KEDRO), "fetch", str(recipe)]
    inherited = {name: value for name, value in study.environment().items() if not name.startswith("HF_")}
    return subprocess.run(
        command, cwd=PROJECT, env={**inherited, **own}, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that this process takes for the real one."""
    with hub({"models/someone/model": WEIGHTS, "datasets/someone/data": ROWS}) as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def test_models_come_from_the_endpoint_once_with_weights_that_are_not_pickled(tmp_path: Path):
    study, recipe = Study(tmp_path), write(tmp_path, fetch=[])
    with hub({"models/someone/model": WEIGHTS}) as server:
        done = run(study, recipe, server.url, HF_TOKEN="hf_secret")
        assert done.returncode == 0, done.stderr[-3000:]
        assert server.taken() == ["config.json", "model.safetensors"]
        assert {token for _, path, token in server.requests if "someone" in path} == {"Bearer hf_secret"}
        assert "hf_secret" not in done.stdout + done.stderr
        kept = next((tmp_path / "hf").glob("hub/models--someone--model/snapshots/*"))
        assert {path.name for path in kept.iterdir()} == {"config.json", "model.safetensors"}
        # Without this a model is not found by its name when there is no network.
        assert (kept.parents[1] / "refs" / "main").read_text() == kept.name
        server.requests.clear()
        again = run(study, recipe, server.url)
        assert again.returncode == 0, again.stderr[-3000:]
        assert server.taken() == []


def test_data_goes_into_its_folder_and_half_of_it_is_not_taken_for_the_whole(
    tmp_path: Path, server: Hub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("winnow.settings.DATA_ROOT", tmp_path / "data")
    arguments = [str(write(tmp_path)), "--data-only"]
    folder = tmp_path / "data" / "01_raw" / "x"
    del server.repositories["datasets/someone/data"]
    folder.mkdir(parents=True)
    (folder / "something").write_text("of another day")
    assert CliRunner().invoke(fetch, arguments).exit_code == 1
    server.repositories["datasets/someone/data"] = ROWS
    result = CliRunner().invoke(fetch, arguments)
    assert result.exit_code == 0, result.output
    assert server.taken() == ["main/a.parquet"]
    assert (folder / "main" / "a.parquet").read_bytes() == b"rows"
    server.requests.clear()
    assert CliRunner().invoke(fetch, arguments).exit_code == 0
    assert server.taken() == []
    assert {token for _, _, token in server.requests} == {None}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yml")), ids=lambda path: path.stem)
def test_every_recipes_data_goes_where_the_recipe_looks_or_where_its_comment_says(path: Path):
    params, root = read_recipe(path)["params"], PROJECT / "data"
    looked = [params.get("ingest", {}).get("folder"), *params.get("evaluate", {}).get("data", {}).values()]
    looked += [target["files"] for target in params.get("targets", {}).get("sets", {}).values()]
    places = [located(place, root).resolve() for place in looked if place]
    comment = "".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    for entry, item in zip(read_sources(path), data_in(read_sources(path), root), strict=True):
        assert item.to is not None
        is_read = any(item.to in (place, *place.parents) or place in item.to.parents for place in places)
        assert is_read or str(entry.to) in comment, entry
    named = params.get("model", {}).get("base")
    assert {item.name for item in models_in(params, Path("m"))} >= ({named} if named else set())


def test_the_models_of_a_recipe_are_those_of_a_hub_each_once(tmp_path: Path):
    params = {
        "model": {"base": "a/target", "revision": "v1"},
        "warmup": {"less": {"base": "a/small"}, "proxy": {"base": None}},
        "select_moe": {"base": str(tmp_path)},
    }
    found = models_in(params, tmp_path)
    assert [(item.name, item.revision, item.to) for item in found] == [
        ("a/target", "v1", None),
        ("a/small", None, None),
    ]
    elsewhere = models_in(params, tmp_path, "modelscope")
    assert [item.to for item in elsewhere] == [tmp_path / "a/target", tmp_path / "a/small"]
    assert models_in({}, tmp_path) == []
    assert models_in({"model": {"base": "./local"}}, tmp_path) == []


def test_the_commands_by_hand_are_those_of_the_tools():
    to = Path.cwd() / "data" / "my rows"
    data = Item("dataset", "a/b", to, "hub", "v1", ("main/*", "x.csv"))
    assert shlex.split(data.command) == [
        *("hf", "download", "a/b", "--repo-type", "dataset", "--revision", "v1", "--local-dir", "data/my rows"),
        *("--include", "main/*", "--include", "x.csv"),
    ]
    model = shlex.split(Item("model", "a/b", None).command)
    assert model[:5] == ["hf", "download", "a/b", "--exclude", "*.bin"]
    assert model.count("--exclude") == len(IGNORED)
    scope = shlex.split(Item("dataset", "a/b", to, "modelscope", None, ("main/*", "x.csv")).command)
    assert scope[:4] == ["modelscope", "download", "--dataset", "a/b"]
    assert scope[-3:] == ["--include", "main/*", "x.csv"]
    url = Item("url", "https://x.org/f/rows.jsonl?raw=1", to).command
    assert shlex.split(url)[-3:] == ["--output", "data/my rows/rows.jsonl", "https://x.org/f/rows.jsonl?raw=1"]


def test_data_goes_into_the_raw_data_and_no_link_leads_out_of_it(tmp_path: Path):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "data"
    for folder in (root / "01_raw", elsewhere):
        folder.mkdir(parents=True)
    (root / "01_raw" / "link").symlink_to(elsewhere)
    for to in ("src", "conf", ".git/hooks", "data", "data/01_raw", "data/06_models/mine", "data/01_raw/link/x"):
        with pytest.raises(BadSetting, match="should be a folder in data/01_raw"):
            data_in([DataSource(repo="a/b", to=Path(to))], root)
    (tmp_path / "linked").symlink_to(root)
    entry = [DataSource(repo="a/b", to=Path("data/01_raw/x"))]
    assert data_in(entry, tmp_path / "linked")[0].to == root / "01_raw" / "x"


def test_a_recipe_that_writes_into_the_sources_is_refused(tmp_path: Path):
    recipe = write(tmp_path, fetch=[{"repo": "someone/data", "to": "src"}])
    result = CliRunner().invoke(fetch, [str(recipe), "--dry-run"])
    assert result.exit_code == 1
    assert "`fetch.to` is 'src'" in result.output


def test_the_data_root_is_where_the_variable_says(tmp_path: Path):
    command = [str(KEDRO), "fetch", str(write(tmp_path)), "--data-only", "--dry-run"]
    environment = {**Study(tmp_path).environment(), "WINNOW_DATA_ROOT": str(tmp_path / "big")}
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert f"-> {tmp_path / 'big' / '01_raw' / 'x'}\n" in done.stdout


def test_without_a_network_the_commands_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = CliRunner().invoke(fetch, [str(write(tmp_path))])
    assert result.exit_code == 1
    assert "hf download someone/model --exclude" in result.stdout
    assert "hf download someone/data --repo-type dataset --local-dir data/01_raw/x" in result.stdout
    assert "HF_HUB_OFFLINE is set" in result.stderr


@pytest.mark.parametrize(
    ("options", "kinds"),
    [([], ["model", "dataset"]), (["--models-only"], ["model"]), (["--data-only"], ["dataset"])],
)
def test_a_dry_run_fetches_nothing(tmp_path: Path, options: list[str], kinds: list[str]):
    result = CliRunner().invoke(fetch, [str(write(tmp_path)), "--dry-run", *options])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines() if not line.startswith(" ")] == kinds


def test_what_cannot_be_fetched_is_one_message(tmp_path: Path):
    for arguments, code, said in (
        (["nothing"], 1, "`kedro recipes` lists them"),
        (["demo"], 0, "Nothing to fetch"),
        (["demo", "--models-only", "--data-only"], 2, "exclude each other"),
        ([str(write(tmp_path)), "--data-only", "--source", "modelscope"], 1, "pip install modelscope"),
    ):
        result = CliRunner().invoke(fetch, arguments)
        assert (result.exit_code, said in result.output) == (code, True), result.output


def test_modelscope_is_asked_for_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked[name] = options
        (Path(options["local_dir"]) / "model.safetensors").parent.mkdir(parents=True)
        (Path(options["local_dir"]) / "model.safetensors").touch()
        return options["local_dir"]

    module: Any = ModuleType("modelscope.hub.snapshot_download")
    module.snapshot_download = module.dataset_snapshot_download = download
    for name in ("modelscope", "modelscope.hub"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "modelscope.hub.snapshot_download", module)
    assert Item("model", "a/m", tmp_path / "m", "modelscope").fetch() == tmp_path / "m"
    Item("dataset", "a/d", tmp_path / "d", "modelscope", "v2", ("x/*",)).fetch()
    assert asked["a/m"]["ignore_patterns"] == list(IGNORED)
    assert (asked["a/d"]["revision"], asked["a/d"]["allow_patterns"]) == ("v2", ["x/*"])


def test_a_url_is_a_file_that_appears_whole(tmp_path: Path):
    with hub({"plain": {"/rows.jsonl": b"{}\n" * 1000}}) as server:
        item = Item("url", f"{server.url}/rows.jsonl", tmp_path / "to")
        assert item.fetch().read_bytes() == b"{}\n" * 1000
        assert item.fetch() == tmp_path / "to" / "rows.jsonl"
        assert len(server.requests) == 1
        with pytest.raises(MissingResource, match=r"missing\.jsonl cannot be fetched"):
            Item("url", f"{server.url}/missing.jsonl", tmp_path / "to").fetch()
    assert not (tmp_path / "to" / "missing.jsonl").exists()


def test_a_repository_that_is_not_there_or_has_only_pickles_is_said(tmp_path: Path, server: Hub):
    server.repositories["models/someone/old"] = {"config.json": b"{}", **PICKLES}
    with pytest.raises(MissingResource, match="no model 'someone/nothing' at the hub, or it is private"):
        Item("model", "someone/nothing", tmp_path / "a").fetch()
    with pytest.raises(MissingResource, match=r"has no \*\.safetensors file"):
        Item("model", "someone/old", tmp_path / "b").fetch()
    assert not list((tmp_path / "b").rglob("*.bin"))
