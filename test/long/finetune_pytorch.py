#!/usr/bin/env python3
"""Fine-tunes with PyTorch + Transformers on the tasks of quality.mjs that peer/finetune.py lacks, with its recipe: AdamW, weight decay 0.01
(not on biases and LayerNorm), linear schedule with 10 % warm-up, clip 1.0, dropout 0.1, batches padded to their longest sequence.

    python finetune_pytorch.py squad|resume_ner_zh --train FILE --eval FILE --model FOLDER --epochs N --lr RATE [--seed 42] >> PEER.jsonl

The files and the folder are those that quality.mjs writes and names. A folder without weights gives a new model. Prints a JSON line, for
quality.mjs --peer PEER.jsonl. Needs PyTorch 2.13, Transformers 5.18 and seqeval.
"""

import argparse
import collections
import json
import math
import pathlib
import re
import string
import sys
import time

import numpy as np
import torch
from seqeval.metrics import f1_score
from transformers import AutoTokenizer, BertConfig, BertForQuestionAnswering, BertForTokenClassification, get_linear_schedule_with_warmup

BATCH = 32
MAX_LENGTH = {"squad": 384, "resume_ner_zh": 128}
DOC_STRIDE = 128
N_BEST = 20
MAX_ANSWER = 30


def padded(rows, keys, fill=0):
    longest = max(len(row["input_ids"]) for row in rows)
    batch = {key: torch.tensor([row[key] + [fill] * (longest - len(row[key])) for row in rows]) for key in keys}
    batch["attention_mask"] = torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows])
    return batch


class Tags:
    """Characters with BMES tags: the label of each word is on its first token."""

    def __init__(self, tokenizer, train, evaluation):
        self.tokenizer = tokenizer
        self.train_rows, self.eval_rows = self.read(train), self.read(evaluation)
        self.names = sorted({tag for _, tags in self.train_rows for tag in tags})
        self.train = [self.encode(row) for row in self.train_rows]

    @staticmethod
    def read(path):
        sentences = pathlib.Path(path).read_text(encoding="utf-8").split("\n\n")
        rows = [[line.split(" ") for line in sentence.splitlines() if line.strip()] for sentence in sentences]
        return [([word for word, _ in row], [tag for _, tag in row]) for row in rows if row]

    def encode(self, row):
        words, tags = row
        encoded = self.tokenizer(words, is_split_into_words=True, truncation=True, max_length=MAX_LENGTH["resume_ner_zh"])
        labels, last = [], None
        for word in encoded.word_ids():
            known = word is not None and word != last and tags[word] in self.names
            labels.append(self.names.index(tags[word]) if known else -100)
            last = word
        return {"input_ids": encoded["input_ids"], "labels": labels}

    def batch(self, rows):
        batch = padded(rows, ["input_ids"])
        longest = batch["input_ids"].shape[1]
        batch["labels"] = torch.tensor([row["labels"] + [-100] * (longest - len(row["labels"])) for row in rows])
        return batch

    def model(self, folder):
        return load(BertForTokenClassification, folder, num_labels=len(self.names))

    def evaluate(self, model):
        labelled, guessed = [], []
        rows = [self.encode(row) for row in self.eval_rows]
        for first in range(0, len(rows), 64):
            batch = self.batch(rows[first : first + 64])
            labels = batch.pop("labels")
            for known, best in zip(labels, model(**batch).logits.argmax(-1)):
                labelled.append([self.inside(self.names[k]) for k in known if k >= 0])
                guessed.append([self.inside(self.names[b]) for k, b in zip(known, best) if k >= 0])
        return float(f1_score(labelled, guessed))

    @staticmethod
    def inside(tag):
        """seqeval knows the inside of a span as I-."""
        return tag.replace("M-", "I-") if tag.startswith("M-") else tag


class Squad:
    """SQuAD 2.0, in windows; the rules of run_qa.py and of SQuAD's own evaluation."""

    def __init__(self, tokenizer, train, evaluation):
        self.tokenizer = tokenizer
        self.questions = self.read(evaluation)
        self.train = [window for each in self.read(train) for window in self.windows(each)]

    @staticmethod
    def read(path):
        return [
            {"question": qa["question"].lstrip(), "context": paragraph["context"], "answers": qa["answers"]}
            for article in json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["data"]
            for paragraph in article["paragraphs"]
            for qa in paragraph["qas"]
        ]

    def windows(self, each):
        encoded = self.tokenizer(each["question"], each["context"], truncation="only_second", max_length=MAX_LENGTH["squad"], stride=DOC_STRIDE,
                                 return_overflowing_tokens=True, return_offsets_mapping=True, return_token_type_ids=True)
        for w, ids in enumerate(encoded["input_ids"]):
            offsets = [at if part == 1 else None for at, part in zip(encoded["offset_mapping"][w], encoded.sequence_ids(w))]
            inside = [i for i, at in enumerate(offsets) if at is not None]
            start = end = 0
            if each["answers"]:
                first = each["answers"][0]["answer_start"]
                last = first + len(each["answers"][0]["text"])
                if offsets[inside[0]][0] <= first and offsets[inside[-1]][1] >= last:
                    start = max(i for i in inside if offsets[i][0] <= first)
                    end = min(i for i in inside if offsets[i][1] >= last)
            yield {"input_ids": ids, "token_type_ids": encoded["token_type_ids"][w], "offsets": offsets, "start": start, "end": end}

    def batch(self, rows):
        batch = padded(rows, ["input_ids", "token_type_ids"])
        batch["start_positions"] = torch.tensor([row["start"] for row in rows])
        batch["end_positions"] = torch.tensor([row["end"] for row in rows])
        return batch

    def model(self, folder):
        return load(BertForQuestionAnswering, folder)

    def evaluate(self, model):
        scores = []
        for each in self.questions:
            windows = list(self.windows(each))
            batch = padded(windows, ["input_ids", "token_type_ids"])
            output = model(**batch)
            null, best, text = math.inf, -math.inf, ""
            for w, window in enumerate(windows):
                start, end = output.start_logits[w].numpy(), output.end_logits[w].numpy()
                null = min(null, start[0] + end[0])
                for s in np.argsort(-start)[:N_BEST]:
                    for e in np.argsort(-end)[:N_BEST]:
                        if max(s, e) >= len(window["offsets"]) or window["offsets"][s] is None or window["offsets"][e] is None:
                            continue
                        if s <= e < s + MAX_ANSWER and start[s] + end[e] > best:
                            best = start[s] + end[e]
                            text = each["context"][window["offsets"][s][0] : window["offsets"][e][1]]
            answer = "" if null > best else text
            golds = [gold["text"] for gold in each["answers"] if self.normal(gold["text"])] or [""]
            scores.append(max(self.overlap(answer, gold) for gold in golds))
        return float(np.mean(scores))

    @staticmethod
    def normal(text):
        text = "".join(sign for sign in text.lower() if sign not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    def overlap(self, answer, gold):
        answer, gold = self.normal(answer), self.normal(gold)
        if not answer or not gold:
            return float(answer == gold)
        same = sum((collections.Counter(answer) & collections.Counter(gold)).values())
        return 2 * same / (len(answer) + len(gold)) if same else 0.0


def load(kind, folder, **fields):
    if (pathlib.Path(folder) / "model.safetensors").exists():
        return kind.from_pretrained(folder, **fields)
    return kind(BertConfig.from_pretrained(folder, **fields))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("task", choices=list(MAX_LENGTH))
    for name in ("--train", "--eval", "--model"):
        arguments.add_argument(name, required=True)
    arguments.add_argument("--epochs", type=int, required=True)
    arguments.add_argument("--lr", type=float, required=True)
    arguments.add_argument("--seed", type=int, default=42)
    given = arguments.parse_args()
    torch.manual_seed(given.seed)
    order = np.random.default_rng(given.seed)
    kind = {"squad": Squad, "resume_ner_zh": Tags}[given.task]
    task = kind(AutoTokenizer.from_pretrained(given.model), given.train, given.eval)
    model = task.model(given.model)
    plain = lambda name: name.endswith("bias") or "LayerNorm" in name
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for name, p in model.named_parameters() if not plain(name)], "weight_decay": 0.01},
            {"params": [p for name, p in model.named_parameters() if plain(name)], "weight_decay": 0.0},
        ],
        lr=given.lr,
    )
    total = given.epochs * math.ceil(len(task.train) / BATCH)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(0.1 * total), total)
    model.train()
    losses, tokens, started = [], 0, time.time()
    for _ in range(given.epochs):
        rows = order.permutation(len(task.train))
        for first in range(0, len(rows), BATCH):
            batch = task.batch([task.train[row] for row in rows[first : first + BATCH]])
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            tokens += int(batch["attention_mask"].sum())
            if len(losses) % 50 == 0:
                print(f"{len(losses)} of {total}: {np.mean(losses[-50:]):.4f}", file=sys.stderr)
    seconds = time.time() - started
    model.eval()
    with torch.no_grad():
        score = task.evaluate(model)
    print(json.dumps({"task": given.task, "epochs": given.epochs, "lr": given.lr, "seed": given.seed, "dtype": "fp32", "steps": total,
                      "f1": round(score, 4), "last_loss": round(float(np.mean(losses[-50:])), 4),
                      "real_tokens_per_second": round(tokens / seconds)}), flush=True)


main()
