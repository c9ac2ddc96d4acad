"""A tiny model that has learnt one conversation by heart, in a template that is not its tokenizer's own."""

from pathlib import Path

import torch

from winnow.fabricate.base_model import make_model
from winnow.fabricate.tokenizer import make_tokenizer
from winnow.params import FabricatedModel
from winnow.records.chat_template import NAMED
from winnow.records.template import render
from winnow.stages import Finished, Work, locate

TULU = NAMED["tulu"].read_text(encoding="utf-8")
TALK = [("Hi", "Good day, 你好 🎉!"), ("And you?", "Fine,\nthanks a lot.")]
STEPS = 80


def turns() -> list[dict[str, str]]:
    return [
        {"role": role, "content": text} for pair in TALK for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def make_talker(data: Path) -> Finished:
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    model = make_model(FabricatedModel(hidden=64, layers=2, heads=2), tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    rendered = render(turns(), tokenizer, TULU)
    ids = torch.tensor(rendered.input_ids)[None].long()
    labels = torch.where(torch.tensor(rendered.supervised)[None], ids, -100)
    for _ in range(STEPS):
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with Work.resume(locate(data / "06_models", "base", 1, {"talker": True}, {})) as work:
        model.save_pretrained(work.path)
        tokenizer.save_pretrained(work.path)
        return work.finish({"pretrained": None, "revision": None, "trust_remote_code": False}, {})
