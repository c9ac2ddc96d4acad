"""`kedro merge`: an adapter and its base model as one folder."""

from pathlib import Path

import click

from winnow.commands.run import choosing_options


@click.command()
@click.argument("model")
@click.option("--base", metavar="NAME_OR_FOLDER", help="The model it was trained on; default: the one it records.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the model; default: in data/06_models/merged.")
@click.option("--seed", type=int, help="Which of an arm's models; default: 0.")
@click.option("--dtype", type=click.Choice(["fp32", "bf16", "fp16"]), help="Default: the base model's own.")
@click.option("--force", is_flag=True, help="Replace the folder if a model is in it.")
@choosing_options("env")
def merge(
    model: str, base: str | None, out: Path | None, seed: int | None, dtype: str | None, force: bool, env: str | None
) -> None:
    """Merge an adapter into its base model: safetensors, tokenizer, chat template, for any trainer or server.

    MODEL is an arm that was run, or a folder with adapter_config.json, such as a checkpoint-*. The base is taken as it
    is published, not quantised, whatever the adapter was trained on. Works on the CPU.

    \b
    kedro merge less
    kedro merge less --seed 3 --out models/less-3 --dtype bf16
    kedro merge data/06_models/warmup/1f8be21f09cd3e11/checkpoint-50
    kedro merge my_adapter --base Qwen/Qwen2.5-0.5B
    """
    from winnow.commands.kindly import kindly

    kindly(lambda: _merge(model, base, out, seed, dtype, force, env))


def _merge(
    model: str, base: str | None, out: Path | None, seed: int | None, dtype: str | None, force: bool, env: str | None
) -> None:
    from winnow.commands.models import find_model
    from winnow.errors import BadSetting
    from winnow.settings import DATA_ROOT
    from winnow.training.merged_folder import check_target

    found = find_model(model, base, seed, env)
    target = (out or DATA_ROOT / "06_models" / "merged" / found.name).expanduser().resolve()
    if not found.is_adapter or found.folder is None:
        where = found.folder or found.base.summary.get("pretrained") or found.base.path
        raise BadSetting(f"{model!r} is no adapter: {where} is a whole model already. There is nothing to merge.")
    published = Path(found.base.summary.get("pretrained") or found.base.path)
    check_target(target, (found.folder, found.base.path, published), force)

    from winnow.records.tokenizer import model_name
    from winnow.training.merge import merge_adapter

    click.echo(f"{found.folder}\n  is merged into the unquantised weights of {model_name(found.base)}")
    written = merge_adapter(found.base, found.folder, target, found.template, dtype)
    click.echo(f"{target}  {written}; use it as `model.base`, or `kedro chat {target}`")
