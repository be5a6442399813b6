"""What the tests of `parity` compare with: numbers of PyTorch's generator on a CPU, and losses of Transformers' Trainer with dropout on.

Run with torch 2.13, transformers 5.18 and accelerate 1.15: python make_parity.py. Writes beside it
- random.json: numbers of the generator;
- base/: a small random BERT without a head;
- new.json: some of the weights of new models of every class, made from that config;
- runs.json: for each run its data, the arguments of its Trainer, the head that from_pretrained drew, and the loss and the gradient's
  norm of every update.
"""

import json
import os
import random
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertLMHeadModel,
    BertModel,
    Trainer,
    TrainingArguments,
    set_seed,
)

HERE = os.path.dirname(os.path.abspath(__file__))
BASE = os.path.join(HERE, "base")
VOCABULARY, LENGTH = 90, 14
MICRO_UPDATES = 100


def write(name, value):
    with open(os.path.join(HERE, name), "w") as file:
        json.dump(value, file, separators=(",", ":"))
        file.write("\n")


# ---------------------------------------------------------------------------------------------------------------------------------------
# The generator


def mask(n, p):
    """A mask of dropout as a text of 0 and 1."""
    kept = torch.nn.functional.dropout(torch.ones(n), p) > 0
    return "".join("1" if keep else "0" for keep in kept.tolist())


def random_numbers(seed):
    def fresh():
        torch.manual_seed(seed)

    result = {"seed": seed}
    fresh()
    result["rand"] = torch.rand(5).tolist()
    torch.empty((), dtype=torch.int64).random_()
    result["rand_after_loader_seed"] = torch.rand(1).item()
    for n in (1, 2, 10, 700):
        fresh()
        result[f"randperm_{n}"] = torch.randperm(n).tolist()
    fresh()
    # an odd number of draws first: pairs of words straddle the border of a block of 624
    torch.rand(1)
    result["dropout_0.1"] = mask(700, 0.1)
    result["dropout_0.7"] = mask(10, 0.7)
    result["rand_after"] = torch.rand(1).item()
    for n in (1, 5, 15, 16, 20, 32, 100):
        fresh()
        result[f"normal_{n}"] = torch.empty(n).normal_(0, 0.02).tolist()
        result[f"rand_after_normal_{n}"] = torch.rand(1).item()
    fresh()
    # the second of a pair waits for the next call
    result["normals"] = [torch.empty(n).normal_(0, 1).tolist() for n in (1, 17, 2)]
    return result


# ---------------------------------------------------------------------------------------------------------------------------------------
# Runs of the Trainer


def make_base():
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=LENGTH + 2,
        initializer_range=0.1,
    )
    BertModel(config).save_pretrained(BASE)


def new_weights():
    base = BertConfig.from_pretrained(BASE).to_dict()
    classes = (
        (BertModel, {}),
        (BertForPreTraining, {}),
        (BertForMaskedLM, {}),
        (BertForMaskedLM, {"tie_word_embeddings": False}),
        (BertLMHeadModel, {"is_decoder": True}),
        (BertForNextSentencePrediction, {}),
        (BertForSequenceClassification, {"num_labels": 3}),
        (BertForMultipleChoice, {}),
        (BertForTokenClassification, {"num_labels": 4}),
        (BertForQuestionAnswering, {}),
    )
    result = []
    for model_class, config in classes:
        set_seed(42)
        model = model_class(BertConfig(**{**base, **config}))
        # the second row: the first one of the word embeddings is padding, and zero
        rows = {name: value.flatten()[24:27].tolist() for name, value in model.named_parameters() if value.dim() > 1}
        result.append({"class": model_class.__name__, "config": config, "rows": rows})
    return result


def sentence(rng):
    return [2, *(rng.randrange(5, VOCABULARY) for _ in range(rng.randrange(2, LENGTH - 1))), 3]


def classification(rng, ids):
    return {"labels": sum(ids) % 3}


def regression(rng, ids):
    return {"labels": round(len(ids) / 5 + rng.random(), 3)}


def tokens(rng, ids):
    return {"labels": [-100 if i in (2, 3) or rng.random() < 0.2 else i % 4 for i in ids]}


def answer(rng, ids):
    start = rng.randrange(len(ids))
    return {"start_positions": start, "end_positions": rng.randrange(start, len(ids))}


def next_words(rng, ids):
    return {"labels": list(ids)}


def example(rng, label):
    ids = sentence(rng)
    return {"input_ids": ids, "token_type_ids": [int(i > len(ids) // 2) for i in range(len(ids))], **label(rng, ids)}


def choices(rng):
    """An example of multiple choice: every field has one list for each choice."""
    given = [example(rng, lambda *_: {}) for _ in range(3)]
    fields = {name: [choice[name] for choice in given] for name in given[0]}
    return {**fields, "labels": max(range(3), key=lambda i: len(given[i]["input_ids"]))}


def pad(rows, value):
    length = max(len(row) for row in rows)
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])


def collate(batch):
    """DataCollatorWithPadding, DataCollatorForTokenClassification and DataCollatorForMultipleChoice, without a tokenizer."""
    fields = {name: [row[name] for row in batch] for name in batch[0]}
    nested = isinstance(fields["input_ids"][0][0], list)

    def tensor(rows, value):
        if not nested:
            return pad(rows, value)
        return pad([choice for row in rows for choice in row], value).view(len(rows), len(rows[0]), -1)

    result = {}
    for name, rows in fields.items():
        if name == "labels" and not nested and isinstance(rows[0], list):
            result[name] = pad(rows, -100)
        elif name in ("input_ids", "token_type_ids"):
            result[name] = tensor(rows, 0)
        else:
            result[name] = torch.tensor(rows)
    ones = [[[1] * len(choice) for choice in row] if nested else [1] * len(row) for row in fields["input_ids"]]
    result["attention_mask"] = tensor(ones, 0)
    return result


class RecordingTrainer(Trainer):
    """Remembers the loss of each micro-step as it is, without the rounding of a log."""

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


def run(name, model_class, label, examples, arguments, config=None, evaluate=False):
    seed = arguments["seed"]
    rng = random.Random(name)
    data = [choices(rng) if label is choices else example(rng, label) for _ in range(examples)]
    set_seed(seed)
    model = model_class.from_pretrained(BASE, attn_implementation="sdpa", **(config or {}))
    base = set(BertModel.from_pretrained(BASE).state_dict())
    head = {k: v for k, v in model.state_dict().items() if k.removeprefix("bert.") not in base and not k.startswith("cls.predictions.decoder")}
    first = {k: {"shape": list(v.shape), "data": v.flatten().tolist()} for k, v in head.items()}
    with tempfile.TemporaryDirectory() as folder:
        trainer = RecordingTrainer(
            model,
            TrainingArguments(
                folder,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                eval_strategy="epoch" if evaluate else "no",
                logging_steps=1,
                disable_tqdm=True,
                **arguments,
            ),
            train_dataset=data,
            eval_dataset=data[:11] if evaluate else None,
            data_collator=collate,
        )
        trainer.losses = []
        trainer.train()
    norms = [line["grad_norm"] for line in trainer.state.log_history if "grad_norm" in line]
    accumulation = arguments.get("gradient_accumulation_steps", 1)
    per_epoch = -(-examples // arguments["per_device_train_batch_size"])
    losses, micro = [], iter(trainer.losses)
    while len(losses) < trainer.state.global_step:
        done = (len(losses) % -(-per_epoch // accumulation)) * accumulation
        losses.append(sum(next(micro) for _ in range(min(accumulation, per_epoch - done))))
    assert len(norms) == len(losses) and next(micro, None) is None
    print(name, losses[0], losses[-1], "norms", norms[0], norms[-1])
    return {
        "class": model_class.__name__,
        "arguments": arguments,
        "config": config or {},
        "evaluate": evaluate,
        "examples": data,
        "head": first,
        "losses": losses,
        "norms": norms,
    }


def arguments(**given):
    fixed = {"learning_rate": 1e-3, "weight_decay": 0.1, "warmup_steps": 10, "max_grad_norm": 1.0, "seed": 42}
    return {**fixed, "per_device_train_batch_size": 8, "max_steps": MICRO_UPDATES, **given}


def main():
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(2)
    write("random.json", [random_numbers(seed) for seed in (0, 42, 2**31 + 5)])
    make_base()
    write("new.json", new_weights())
    short = {"gradient_accumulation_steps": 2, "max_steps": 20, "warmup_steps": 5}
    write(
        "runs.json",
        {
            "classification": run("classification", BertForSequenceClassification, classification, 200, arguments(), {"num_labels": 3}, True),
            "tokens": run("tokens", BertForTokenClassification, tokens, 120, arguments(seed=7), {"num_labels": 4, "classifier_dropout": 0.3}),
            "accumulation": run(
                "accumulation",
                BertForSequenceClassification,
                classification,
                100,
                arguments(seed=3, data_seed=11, gradient_accumulation_steps=2),
                {"num_labels": 3},
            ),
            "regression": run("regression", BertForSequenceClassification, regression, 40, arguments(**short), {"num_labels": 1}),
            "token_accumulation": run("token_accumulation", BertForTokenClassification, tokens, 44, arguments(**short), {"num_labels": 4}),
            "question_answering": run("question_answering", BertForQuestionAnswering, answer, 44, arguments(**short)),
            "multiple_choice": run("multiple_choice", BertForMultipleChoice, choices, 20, arguments(**short)),
            "causal": run("causal", BertLMHeadModel, next_words, 44, arguments(**short), {"is_decoder": True}),
        },
    )


main()
