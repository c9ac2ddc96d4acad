"""Benchmarks in their published layouts, small, and a model that answers some of their questions."""

import json
from pathlib import Path

import torch

from winnow.fabricate.base_model import make_model
from winnow.fabricate.tokenizer import make_tokenizer
from winnow.params import FabricatedModel
from winnow.stages import Finished, Work, locate

LETTERS = "ABCD"
NAMES = ("Ann", "Ben", "Cleo", "Dan")


def sums(first: int, last: int) -> list[dict[str, str]]:
    """Rows in GSM8K's form, of which up to eighty differ."""
    rows = []
    for number in range(first, last):
        left, right = number % 5, number // 5 % 4
        answer = f"{left} and {right} make {left + right}.\n#### {left + right}"
        name = NAMES[number // 20 % len(NAMES)]
        rows.append({"question": f"{name} has {left} pens, {right} come. How many?", "answer": answer})
    return rows


def write_gsm8k(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for split, rows in (("train", sums(0, 12)), ("test", sums(3, 23))):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def write_mmlu(folder: Path) -> Path:
    """Two subjects of different sizes; choices that a reader of tables would take for missing values."""
    for split, sizes in (("dev", (5, 5)), ("test", (5, 11))):
        (folder / split).mkdir(parents=True)
        for subject, size in zip(("anatomy", "virology"), sizes, strict=True):
            lines = [f'"What, {n} of {subject}?",None,NA,{n},"d, {n}",{LETTERS[n % 4]}' for n in range(size)]
            (folder / split / f"{subject}_{split}.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def write_bbh(folder: Path) -> Path:
    folder.mkdir(parents=True)
    prompts = {}
    for task in ("navigate", "snarks"):
        rows = [{"input": f"Is it {n} in {task}?", "target": "Yes" if n % 2 else "No"} for n in range(9)]
        # One question is there twice.
        rows.append(rows[0])
        (folder / f"{task}.json").write_text(json.dumps({"canary": "x", "examples": rows}), encoding="utf-8")
        worked = [(f"Is it {n} in {task}?", f"Let's think step by step.\n{n}. So the answer is No.") for n in (6, 7, 8)]
        questions = "\n\n".join(f"Q: {question}\nA: {answer}" for question, answer in worked)
        prompts[task] = f"Say {{{{ 7 * 7 }}}} of {task}.\n\n{questions}\n"
    (folder / "bbh-three-shot.json").write_text(json.dumps(prompts), encoding="utf-8")
    return folder


def write_tydiqa(folder: Path) -> Path:
    (folder / "dev").mkdir(parents=True)
    entries = [
        {"id": f"{language}-{n}", "question": f"What grows, {n}?", "answers": [{"text": answer, "answer_start": 0}]}
        for language, size in (("english", 4), ("finnish", 2))
        for n in range(size)
        for answer in ["the barley"]
    ]
    squad = {"data": [{"paragraphs": [{"context": "The barley grows.", "qas": [entry]}]} for entry in entries]}
    (folder / "dev" / "tydiqa-goldp-v1.1-dev.json").write_text(json.dumps(squad), encoding="utf-8")
    shot = {"context": "Oats grow.", "question": "What grows?", "answers": [{"text": "oats"}]}
    (folder / "one-shot.json").write_text(json.dumps({"english": [shot], "finnish": [shot]}), encoding="utf-8")
    return folder


def trained_on_sums(root: Path) -> Finished:
    """A model that has seen some rows of GSM8K's form often enough to answer in it, rightly now and then."""
    with Work.resume(locate(root / "06_models", "base", 1, {"trained": "sums"}, {})) as work:
        torch.manual_seed(0)
        tokenizer = make_tokenizer()
        model = make_model(FabricatedModel(hidden=64, layers=2, heads=4), tokenizer)
        texts = [f"Question: {row['question']}\nAnswer: {row['answer']}<|im_end|>" for row in sums(0, 12)]
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
        for _ in range(150):
            model(**batch, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.save_pretrained(work.path)
        tokenizer.save_pretrained(work.path)
        return work.finish({"pretrained": None, "revision": None, "trust_remote_code": False}, {})
